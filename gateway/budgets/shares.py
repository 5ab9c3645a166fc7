"""What one worker may give while the store cannot be asked: its share of what was left.

Invariants
* The shares of all workers are never over the limit: each is rounded down.
* Where the store's last word on a bucket is younger than its window, the share is of what was *left* then, not of
  the whole limit: a store that is away for a moment gives nobody a second budget.
* When the store answers again and nothing given here is open, what was given is forgotten: it was settled there.

Memory is bounded; a bucket that is forgotten has its share of the whole limit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.budgets.memory import MemoryStore
from gateway.types import Algorithm, Budget, Charge, OnStoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.budgets.core import Decision, Line, Shapes
    from gateway.clock import Clock
    from gateway.types import Amounts

MOST_BUCKETS = 100_000
_COUNTED = frozenset({Algorithm.SLIDING, Algorithm.CALENDAR})
"""Windows in which what is left only falls until something leaves the window. A token bucket refills all the
while and slots come back, so for those the share is of the limit.
"""


class Shares:
    """Decides in this process for budgets that say ``local_share``."""

    def __init__(self, clock: Clock, shapes: Shapes) -> None:
        self._clock = clock
        self._shapes = shapes
        self._given = MemoryStore(clock, max_buckets=MOST_BUCKETS)
        self._open: set[str] = set()
        self._used = False
        self._left: dict[str, tuple[float, int]] = {}
        self._budgets: dict[tuple[int, int], tuple[Budget, Budget]] = {}

    def heard(self, lines: Sequence[Line], decision: Decision, now_s: float) -> None:
        """The store's word on these buckets; forget what was given here once it is settled there."""
        if self._used and not self._open:
            self._given = MemoryStore(self._clock, max_buckets=MOST_BUCKETS)
            self._used = False
        if len(self._left) > MOST_BUCKETS:
            self._left.clear()
        left = self._left
        for line, view in zip(lines, decision.views, strict=False):
            left[line[0]] = (now_s, view[0])

    def reserve(
        self, reservation: str, charges: Sequence[Charge], amounts: Amounts, workers: int
    ) -> tuple[list[Line], Decision]:
        """Give what this worker may, or refuse; of ``workers`` that share the store."""
        shares = [self._share(charge, workers) for charge in charges if is_local(charge.budget)]
        lines = self._shapes.lines(shares, amounts)
        decision = self._given.reserve_now(reservation, lines, self._given.now_us())
        if decision.granted:
            self._used = True
            self._open.add(reservation)
        return lines, decision

    def settle(self, reservation: str, charges: Sequence[Charge], actual: Amounts, workers: int) -> None:
        """Replace what was given by ``actual``; call ``closed`` when the store has it."""
        shares = [self._share(charge, workers) for charge in charges if is_local(charge.budget)]
        self._given.settle_now(reservation, self._shapes.lines(shares, actual), self._given.now_us())

    def closed(self, reservation: str) -> None:
        """The store has the settlement, or it is given up."""
        self._open.discard(reservation)

    def _share(self, charge: Charge, workers: int) -> Charge:
        budget = charge.budget
        burst = budget.window.burst // workers
        none = budget.window.burst > 0 and burst == 0  # a burst of 0 would mean the whole limit
        limit = 0 if none else budget.limit // workers
        if budget.window.algorithm in _COUNTED:
            told = self._left.get(self._shapes.line(charge).key)
            if told is not None and self._clock.monotonic() - told[0] < budget.window.length_s:
                limit = min(limit, told[1] // workers)
        return Charge(budget=self._limited(budget, limit, burst), value=charge.value)

    def _limited(self, budget: Budget, limit: int, burst: int) -> Budget:
        """``budget`` with another limit; the same object again while it is asked for, as shapes are kept by it."""
        found = self._budgets.get((id(budget), limit))
        if found is None or found[0] is not budget or found[1].window.burst != burst:
            if len(self._budgets) > MOST_BUCKETS:
                self._budgets.clear()
            found = (budget, replace(budget, limit=limit, window=replace(budget.window, burst=burst)))
            self._budgets[id(budget), limit] = found
        return found[1]


def is_local(budget: Budget) -> bool:
    """Whether this process decides while the store is away."""
    return budget.on_store_error is OnStoreError.LOCAL_SHARE
