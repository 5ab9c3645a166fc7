"""From a store's decision to what the caller is told.

A refusal by a budget of a cluster or an address must read like the account's own rate limit: it borrows
the words, the kind and the balance of the account's nearest budget of the same unit, and those buckets'
own balances are never shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.budgets.windows import DAY_S, NEVER, SECOND_US
from gateway.types import Balance, Refusal, RefusalKind, Unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.budgets.core import Decision, Line
    from gateway.types import Budget

HOUR_S = 3600
NOUNS = {
    Unit.REQUESTS: "requests",
    Unit.INPUT_TOKENS: "input tokens",
    Unit.OUTPUT_TOKENS: "output tokens",
    Unit.TOTAL_TOKENS: "tokens",
    Unit.COST: "spending",
}
SPANS = {1: "second", 60: "minute", HOUR_S: "hour", DAY_S: "day", 7 * DAY_S: "week", 31 * DAY_S: "month"}


def shadowed(lines: Sequence[Line], decision: Decision) -> tuple[str, ...]:
    """Names of shadow budgets that would have refused."""
    return tuple(
        line.shape.budget.name
        for line, view in zip(lines, decision.views, strict=True)
        if view.wait_us and line.shape.shadow
    )


def balances(lines: Sequence[Line], decision: Decision) -> tuple[Balance, ...]:
    """What the caller may see: no cluster, no address, no shadow."""
    new = tuple.__new__  # a NamedTuple's own is a function of Python
    return tuple(
        [
            new(Balance, (line[1].budget, view[0], view[1] / SECOND_US))
            for line, view in zip(lines, decision.views, strict=True)
            if line[1].shown
        ]
    )


def refuse(lines: Sequence[Line], decision: Decision) -> Refusal:
    """The refusal for a decision that was not granted: by the budget with the longest wait."""
    refusing = [
        (line, view) for line, view in zip(lines, decision.views, strict=True) if view.wait_us and not line.shape.shadow
    ]
    line, view = max(refusing, key=lambda pair: float("inf") if pair[1].wait_us == NEVER else pair[1].wait_us)
    retry_after_s = None if view.wait_us == NEVER else view.wait_us / SECOND_US
    budget = line.shape.budget
    shown = balances(lines, decision)
    spoken: Budget | None = budget
    if line.shape.hidden:
        spoken = _nearest(budget, [balance.budget for balance in shown])
        shown = tuple(
            Balance(budget=balance.budget, remaining=0, reset_s=max(balance.reset_s, retry_after_s or 0.0))
            if balance.budget is spoken
            else balance
            for balance in shown
        )
    return Refusal(
        kind=_kind(spoken),
        message=_message(spoken, None if line.shape.hidden else line, retry_after_s),
        rule=budget.name,
        retry_after_s=retry_after_s,
        balances=shown,
    )


def _nearest(hidden: Budget, visible: Sequence[Budget]) -> Budget | None:
    """The caller's own budget that a hidden one passes for: same unit if there is one, nearest window."""
    same = [budget for budget in visible if budget.unit is hidden.unit] or [
        budget for budget in visible if budget.unit is not Unit.CONCURRENCY
    ]
    return min(same, key=lambda budget: abs(budget.window.length_s - hidden.window.length_s), default=None)


def _kind(budget: Budget | None) -> RefusalKind:
    if budget is None or budget.unit is Unit.CONCURRENCY or budget.window.length_s <= HOUR_S:
        return RefusalKind.RATE_LIMITED
    return RefusalKind.BUDGET_EXHAUSTED


def _message(budget: Budget | None, own: Line | None, retry_after_s: float | None) -> str:
    if budget is None:
        what = "Rate limit reached."
    elif budget.unit is Unit.CONCURRENCY:
        what = "Rate limit reached: too many concurrent requests."
    else:
        what = f"Rate limit reached for {NOUNS[budget.unit]} per {_span(budget.window.length_s)}."
    if retry_after_s is not None:
        return f"{what} Please try again in {_duration(retry_after_s)}."
    if own is None or budget is None or own.shape.capacity == 0:
        return f"{what} Please contact support to raise your limit."
    if budget.unit is Unit.COST:
        return f"{what} This request may cost more than the limit allows at once: lower its maximum output."
    return (
        f"{what} This request may use up to {own.amount} {NOUNS[budget.unit]}, the limit allows "
        f"{own.shape.capacity} at once: shorten it or lower its maximum output."
    )


def _span(length_s: int) -> str:
    if length_s in SPANS:
        return SPANS[length_s]
    if length_s % DAY_S == 0:
        return f"{length_s // DAY_S} days"
    return f"{length_s // 60} minutes" if length_s % 60 == 0 else f"{length_s} seconds"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{max(1, round(seconds * 1000))} ms"
    whole = -int(-seconds // 1)
    if whole < 120:  # noqa: PLR2004 - seconds read best up to two minutes
        return f"{whole} s"
    return f"{-(-whole // 60)} min" if whole < 2 * HOUR_S else f"{-(-whole // HOUR_S)} h"
