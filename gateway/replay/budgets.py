"""Budgets for replay: the same buckets and answers, without what nobody asks a replay for.

Left out: balances for reply headers, metrics, heartbeats and the store's failures (the store is this process).
A test holds decisions to those of ``gateway.budgets.Budgets``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.budgets import Budgets, MemoryStore
from gateway.budgets.refusals import refuse, shadowed
from gateway.types import Amounts, Grant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.clock import Clock
    from gateway.types import Charge, Refusal


class ReplayBudgets(Budgets):
    """Reserve and settle in memory, on a replay's clock."""

    def __init__(self, clock: Clock) -> None:
        self._quiet = MemoryStore(clock)
        super().__init__(self._quiet, clock)

    async def reserve(self, reservation: str, charges: Sequence[Charge], amounts: Amounts) -> Grant | Refusal:
        """Charge every bucket, or none."""
        kept = tuple(charges)
        lines = self._shapes.lines(kept, amounts)
        decision = await self._ask(reservation, kept, lines)
        if not decision.granted:
            return refuse(lines, decision)
        return Grant(reservation=reservation, shadowed=shadowed(lines, decision), charges=kept, reserved=amounts)

    async def settle(self, grant: Grant, actual: Amounts) -> None:
        """Replace what was reserved by ``actual``."""
        if grant.charges:
            self._quiet.settle_now(grant.reservation, self._shapes.lines(grant.charges, actual), self._quiet.now_us())
