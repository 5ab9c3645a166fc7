"""The start-up self-test: every configured budget is shown to be able to refuse.

A limiter that was never wired in, or whose unit is never charged, answers everything and is noticed by the
bill (BerriAI/litellm#27381). So each budget is driven, alone and in a scratch memory store, to its limit and over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.budgets.core import Line, Shapes
from gateway.budgets.memory import MemoryStore
from gateway.budgets.windows import NEVER
from gateway.clock import ManualClock
from gateway.types import Amounts, Charge, Unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.types import Budget

SCRATCH = "self-test"
LEASES_TRIED = 4096
"""Slots are taken one by one; above this many the rest is taken on trust of the same comparison."""


def self_test(budgets: Sequence[Budget]) -> list[str]:
    """Problems, one a line; empty if every budget takes its limit and refuses one step more.

    A shadow budget must report that it would refuse. A limit of 0 must refuse the first step.
    """
    problems = []
    seen: dict[str, Budget] = {}
    for budget in budgets:
        if seen.setdefault(budget.name, budget) != budget:
            problems.append(f"budget {budget.name!r}: got two budgets of this name, expected one")
        problem = _problem(budget)
        if problem is not None:
            problems.append(f"budget {budget.name!r}: {problem}")
    return problems


def _problem(budget: Budget) -> str | None:
    if budget.limit < 0:
        return f"got the limit {budget.limit}, expected at least 0"
    if budget.unit is not Unit.CONCURRENCY and budget.window.length_s <= 0:
        return f"got a window of {budget.window.length_s} s, expected more than 0"
    return _drive(budget)


def _drive(budget: Budget) -> str | None:
    line = Shapes().line(Charge(budget=budget, value=SCRATCH))
    if Amounts(requests=1, input_tokens=1, output_tokens=1, cost_microusd=1).of(budget.unit) <= 0:
        return f"its unit {budget.unit.value} is charged by no request, expected one that is"
    store = MemoryStore(ManualClock(1_800_000_000.0))
    if budget.unit is Unit.CONCURRENCY:
        return _lease_problem(store, line)
    capacity = line.shape.capacity
    if capacity and _waits(store, "fill", line._replace(amount=capacity)):
        return f"refused {capacity} of {capacity} when nothing was spent, expected them to fit"
    if not _waits(store, "over", line._replace(amount=1)):
        return f"answered one step above its limit of {capacity}, expected a refusal"
    return None


def _lease_problem(store: MemoryStore, line: Line) -> str | None:
    if line.shape.capacity > LEASES_TRIED:
        return None
    for slot in range(line.shape.capacity):
        if _waits(store, f"slot-{slot}", line):
            return f"refused slot {slot + 1} of {line.shape.capacity}, expected it to be free"
    if not _waits(store, "over", line):
        return f"gave more than its {line.shape.capacity} slots, expected a refusal"
    return None


def _waits(store: MemoryStore, reservation: str, line: Line) -> bool:
    """Whether the budget says no (a shadow budget says so and is answered all the same)."""
    decision = store.reserve_now(reservation, [line], store.now_us())
    wait_us = decision.views[0].wait_us
    refused = wait_us == NEVER or wait_us > 0
    return refused if line.shape.shadow else refused and not decision.granted
