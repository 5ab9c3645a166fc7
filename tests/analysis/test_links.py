from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest

from gateway.analysis import links
from gateway.analysis.values import MOST_VALUES, ValueBook


def booked(rows: list[dict[str, Any]]) -> ValueBook:
    """One account a row: directory and first request in one mapping."""
    book = ValueBook()
    for number, row in enumerate(rows):
        book.note(number, row, row)
    return book


def alone(size: int) -> np.ndarray[Any, Any]:
    return np.arange(size)


def strangers(count: int) -> list[dict[str, Any]]:
    return [{"mail": 1_000 + place, "ja4": 5_000 + place, "created": 3_600.0 * place} for place in range(count)]


def kin(rows: list[dict[str, Any]], members: int) -> list[int]:
    return links.kin(booked(rows), alone(len(rows)), alone(len(rows)) < members)


def test_kin_needs_own_values_of_two_mechanisms() -> None:
    rows = [{"mail": 50, "ja4": 60} for _ in range(6)]
    rows += [{"mail": 50, "ja4": 60}, {"mail": 50, "ja4": 1}, {"mail": 1, "ja4": 60}]
    assert kin([*rows, *strangers(1_200)], 6) == [6]


def test_a_privacy_gateways_exit_and_fingerprint_are_one_mechanism() -> None:
    rows = [{"net": 50, "ja4": 60} for _ in range(7)]
    assert kin([*rows, *strangers(1_200)], 6) == []


def test_a_value_that_strangers_share_makes_nobody_kin() -> None:
    rows = [{"mail": 50, "ja4": 60} for _ in range(12)]
    assert kin([*rows, *strangers(1_200)], 6) == []


@pytest.mark.parametrize(("members", "found"), [(2, []), (3, [3]), (4, [4])])
def test_a_value_is_own_from_three_holders_on(members: int, found: list[int]) -> None:
    rows = [{"mail": 50, "ja4": 60} for _ in range(members + 1)]
    assert kin([*rows, *strangers(1_200)], members) == found


def test_accounts_of_one_holder_count_once_for_a_value() -> None:
    rows = [{"mail": 50, "ja4": 60} for _ in range(7)]
    holder = alone(1_207)
    holder[:6] = 0
    book = booked([*rows, *strangers(1_200)])
    assert links.kin(book, holder, alone(1_207) < 6) == []


def test_forged_values_of_a_cluster_do_not_make_their_first_owners_its_members() -> None:
    victims = [{"mail": 50, "ja4": 60, "created": 7.0} for _ in range(5)]
    copies = [{"mail": 50, "ja4": 60, "created": 7.0} for _ in range(6)]
    rows = [*copies, *victims, *strangers(1_200)]
    assert kin(rows, 6) == []


def told(rows: list[dict[str, Any]], group: int) -> np.ndarray[Any, Any]:
    """Bits of each mechanism, for a group of the first accounts among all others."""
    inside = alone(len(rows)) < group
    return links.likelihoods(booked(rows), alone(len(rows)), inside, ~inside)[0]


def test_a_likelihood_ratio_is_that_of_the_others_of_the_group_and_of_the_strangers() -> None:
    rows = [{"mail": 50 if place < 9 else 100 + place} for place in range(20)]
    rows += [{"mail": 50 if place < 3 else 200 + place} for place in range(99)]
    bits = told(rows, 20)[:, links.MECHANISM["mail"]]
    base = 3.5 / 100
    assert bits[0] == pytest.approx(np.log2(8 / 20 / base))
    assert bits[20] == pytest.approx(np.log2(9 / 20 / base))
    assert bits[10] == bits[30] == 0.0


@pytest.mark.parametrize(("others", "says"), [(1, False), (2, True)])
def test_a_value_says_something_where_two_others_of_the_group_show_it(others: int, says: bool) -> None:
    rows = [{"mail": 50}] * (others + 1) + strangers(200)
    assert bool(told(rows, 10)[0, links.MECHANISM["mail"]] > 0) is says


def test_an_account_that_shows_many_exits_is_told_the_less_by_one_of_them() -> None:
    book = booked([{"net": 50} for _ in range(4)] + strangers(300))
    for net in range(100, 107):
        book.note(0, {}, {"net": net})
    inside = alone(304) < 10
    bits = links.likelihoods(book, alone(304), inside, ~inside)[0][:, links.MECHANISM["net"]]
    assert bits[1] - bits[0] == pytest.approx(3.0)


def test_a_value_that_the_group_shows_as_seldom_as_strangers_do_tells_nobody() -> None:
    rows = [{"mail": place % 4, "ja4": place % 3} for place in range(400)]
    assert not links.are_told(told(rows, 40)).any()


def test_one_mechanism_tells_nobody_however_rare_its_value() -> None:
    rows = [{"mail": 50} for _ in range(20)] + strangers(2_000)
    bits = told(rows, 20)
    assert bits[0].max() == pytest.approx(links.CAP_BITS)
    assert not links.are_told(bits).any()


def test_values_of_two_mechanisms_that_only_the_group_shows_tell_its_members() -> None:
    rows = [{"mail": 50, "ja4": 60} for _ in range(20)] + strangers(2_000)
    assert np.flatnonzero(links.are_told(told(rows, 20))).tolist() == list(range(20))


@pytest.mark.parametrize(("holders", "population", "bits"), [(1, 1, 0.0), (1, 1_024, 10.0), (512, 1_024, 1.0)])
def test_a_value_weighs_its_rarity(holders: int, population: int, bits: float) -> None:
    assert float(links.bits_of(holders, population)) == bits


def test_the_book_holds_every_pair_once_whatever_is_repeated() -> None:
    rng, book = Random(3), ValueBook()
    seen: set[tuple[int, int]] = set()
    for number in range(30):
        for _ in range(rng.randint(1, 8)):
            net = rng.randint(1, 9)
            book.note(number, {}, {"net": net})
            seen.add((number, net))
    pairs = book.pairs("net")
    assert len(pairs.account) == len(seen)
    assert set(zip(pairs.account.tolist(), pairs.code.tolist(), strict=True)) == {
        (number, list(dict.fromkeys(pairs.code.tolist())).index(code)) for number, code in coded(book, seen)
    }


def coded(book: ValueBook, seen: set[tuple[int, int]]) -> set[tuple[int, int]]:
    """The oracle's pairs with the book's code of each value: the order in which values came."""
    order = list(book._kinds["net"].codes)
    return {(number, order.index(value)) for number, value in seen}


@pytest.mark.parametrize(("exits", "kept"), [(1, 1), (MOST_VALUES, MOST_VALUES), (MOST_VALUES + 1, MOST_VALUES)])
def test_an_account_that_roams_keeps_a_bounded_number_of_exits(exits: int, kept: int) -> None:
    book = ValueBook()
    for net in range(1, exits + 1):
        book.note(0, {}, {"net": net})
    assert len(book.pairs("net").account) == kept
