"""Budgets for replay: the same buckets and answers, without what nobody asks a replay for.

Left out: balances for reply headers, metrics, heartbeats and the store's failures (the store is this process).
A test holds decisions to those of ``gateway.budgets.Budgets``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.budgets import Budgets, MemoryStore
from gateway.budgets.refusals import refuse, shadowed
from gateway.types import Amounts, Grant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.clock import Clock
    from gateway.types import Charge, Refusal


class ReplayBudgets(Budgets):
    """Reserve and settle in memory, on a replay's clock."""

    def __init__(self, clock: Clock) -> None:
        self._quiet = MemoryStore(clock)
        super().__init__(self._quiet, clock)

    def dump(self) -> dict[str, Any]:
        """All that later answers depend on, for ``pickle``: what is spent, and who joined which cluster."""
        kept = {name: value for name, value in vars(self._quiet).items() if name != "_clock"}
        return {"store": kept, "joins": self._joins}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from ``dump``."""
        vars(self._quiet).update(state["store"])
        self._joins = state["joins"]

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
