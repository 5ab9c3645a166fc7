"""The self-test finds budgets that would answer everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.budgets import self_test
from gateway.budgets.core import View
from gateway.budgets.memory import MemoryStore
from gateway.budgets.windows import Sliding
from gateway.types import Unit
from tests.budgets.helpers import BUCKET, CALENDAR, DAY_S, LEASE, SLIDING, budget

if TYPE_CHECKING:
    from gateway.types import Algorithm


@pytest.mark.parametrize("algorithm", [SLIDING, BUCKET, CALENDAR, LEASE])
@pytest.mark.parametrize("limit", [0, 1, 200, 1_000_000_000])
@pytest.mark.parametrize("shadow", [False, True])
def test_budgets_that_can_refuse_pass(algorithm: Algorithm, limit: int, shadow: bool) -> None:
    for unit in Unit:
        if unit is not Unit.CONCURRENCY or algorithm is LEASE:
            assert self_test([budget("b", limit, algorithm=algorithm, length_s=DAY_S, unit=unit, shadow=shadow)]) == []


def test_a_negative_limit_and_no_window_are_told() -> None:
    assert self_test([budget("b", -1), budget("c", 1, length_s=0)]) == [
        "budget 'b': got the limit -1, expected at least 0",
        "budget 'c': got a window of 0 s, expected more than 0",
    ]


def test_two_budgets_of_one_name_are_told() -> None:
    assert self_test([budget("b", 1), budget("b", 2)]) == ["budget 'b': got two budgets of this name, expected one"]


def test_a_limiter_that_was_never_registered_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """BerriAI/litellm#27381."""
    monkeypatch.setattr(Sliding, "wait_us", lambda *_: 0)
    assert self_test([budget("b", 5)]) == ["budget 'b': answered one step above its limit of 5, expected a refusal"]


def test_a_limiter_that_refuses_everything_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sliding, "wait_us", lambda *_: 10)
    assert self_test([budget("b", 5)]) == ["budget 'b': refused 5 of 5 when nothing was spent, expected them to fit"]


def test_slots_that_are_never_taken_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryStore, "_charge", lambda *_: (View(2, 0),))
    assert self_test([budget("b", 2, algorithm=LEASE)]) == [
        "budget 'b': gave more than its 2 slots, expected a refusal"
    ]
