from __future__ import annotations

import numpy as np
import pytest

from gateway.analysis.dossiers import Dossiers


def senders(*numbers: int) -> dict[int, float]:
    return {number: float(number) for number in numbers}


def test_a_pool_that_replaces_its_accounts_is_remembered_whole() -> None:
    book = Dossiers()
    for week in range(5):
        found = book.note([1, 2, 3, 4], senders(2 * week, 2 * week + 1), 1.0, float(week))
    assert list(found.senders) == list(range(10))
    assert len(book) == 1


@pytest.mark.parametrize(("phrases", "same"), [([1, 2, 3, 9], True), ([1, 2, 8, 9], True), ([1, 7, 8, 9], False)])
def test_two_templates_are_one_from_half_of_their_phrases_on(phrases: list[int], same: bool) -> None:
    book = Dossiers()
    book.note([1, 2, 3, 4], senders(1), 0.0, 0.0)
    assert (len(book.note(phrases, senders(2), 0.0, 1.0).senders) == 2) is same


def test_an_account_keeps_the_time_of_its_first_request() -> None:
    book = Dossiers()
    book.note([1, 2, 3], {5: 10.0}, 0.0, 10.0)
    assert book.note([1, 2, 3], {5: 20.0}, 0.0, 20.0).senders == {5: 10.0}


def test_a_template_that_wants_nothing_loses_its_stake() -> None:
    book = Dossiers()
    assert book.intent_e(book.note([1, 2, 3], senders(1, 2, 3), 0.5, 0.0)) == 0.0


def test_many_looks_at_one_template_are_one_trial() -> None:
    book = Dossiers()
    for index in range(50):
        book.note([10 * index, 10 * index + 1, 10 * index + 2], senders(1, 2, 3), 0.0, 0.0)
    first = book.intent_e(book.note([7_000, 7_001], senders(1, 2, 3), 1.0, 0.0))
    for look in range(9):
        again = book.intent_e(book.note([7_000, 7_001], senders(1, 2, 3), 1.0, float(look)))
    assert first == again == 50 + 1


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.3, 0.9])
def test_intent_of_exchangeable_templates_is_worth_no_more_than_its_stake(rate: float) -> None:
    rng = np.random.default_rng(7)
    values = []
    for _ in range(400):
        book = Dossiers()
        wants = rng.random(60) < rate
        for index, want in enumerate(wants):
            last = book.note([10 * index, 10 * index + 1], senders(1, 2, 3), float(want), 0.0)
        values.append(book.intent_e(last))
    error = np.std(values) / np.sqrt(len(values))
    assert np.mean(values) <= 1.0 + 3.0 * error


def test_forgotten_templates_leave_their_phrases_to_others() -> None:
    book = Dossiers()
    book.note([1, 2, 3], senders(1), 0.0, 0.0)
    book.forget(1.0)
    assert list(book.note([1, 2, 3], senders(2), 0.0, 2.0).senders) == [2]
