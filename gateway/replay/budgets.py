"""Budgets for replay: the same buckets and answers, without what nobody asks a replay for.

In a replay nothing comes between a reservation and its settlement. So a reservation that every bucket has room for
changes nothing, and the settlement spends what was really used; wherever a bucket has no room, the store of
``gateway.budgets`` answers. Left out: balances for reply headers, metrics, heartbeats and the store's failures (the store
is this process). A test holds answers and balances to those of ``gateway.budgets.Budgets``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.budgets import Budgets, MemoryStore
from gateway.budgets.core import Decision, View, by_unit
from gateway.budgets.memory import SWEEP_EVERY
from gateway.budgets.refusals import refuse, shadowed
from gateway.budgets.windows import Lease
from gateway.types import Grant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.budgets.core import Line, Row
    from gateway.budgets.memory import Try
    from gateway.clock import Clock
    from gateway.types import Amounts, Charge, Refusal


class _Store(MemoryStore):
    """Checks when asked to reserve, and spends when asked to settle."""

    def has_room(self, rows: Sequence[Row], amounts: tuple[int, ...], now_us: int) -> bool:
        """Whether no bucket, in shadow or not, lacks room for ``amounts`` (by unit)."""
        find = self._buckets.get
        for key, shape, unit, _ in rows:
            if shape.code == Lease.CODE:  # none is held: whoever held one is settled
                if shape.capacity < 1:
                    return False
                continue
            found = find(key)
            if found is None:
                if amounts[unit] > shape.capacity:
                    return False
            elif shape.wait_us(found[1], now_us, amounts[unit]):
                return False
        return True

    def reserve_now(self, reservation: str, lines: Sequence[Line], now_us: int) -> Decision:
        """Check every line; charge none."""
        tries = [self._look(line, now_us) for line in lines]
        if any(wait and not line.shape.shadow for line, (_, _, wait) in zip(lines, tries, strict=True)):
            return Decision(False, self._refused(lines, tries, now_us))
        return Decision(True, tuple(View(0, 0, wait) for _, _, wait in tries))

    def _look(self, line: Line, now_us: int) -> Try:
        """A line's state and how long it has to wait; nothing is spent."""
        if line.shape.code == Lease.CODE:
            return None, None, self._lease_view(line, now_us).wait_us
        found = self._buckets.get(line.key)
        state = line.shape.fresh() if found is None else found[1]
        return state, None, line.shape.wait_us(state, now_us, line.amount)

    def spend(self, rows: Sequence[Row], amounts: tuple[int, ...], now_us: int) -> None:
        """Charge ``amounts`` (by unit) to every bucket."""
        self._calls += 1
        if self._calls % SWEEP_EVERY == 0:
            self.sweep_now(now_us)
        buckets = self._buckets
        for key, shape, unit, _ in rows:
            amount = amounts[unit]
            if amount <= 0 or shape.code == Lease.CODE:
                continue
            found = buckets.get(key)
            if found is None:
                found = self._add(key, shape, shape.fresh())
            shape.charge(found[1], now_us, amount)


class ReplayBudgets(Budgets):
    """Reserve and settle in memory, on a replay's clock."""

    def __init__(self, clock: Clock) -> None:
        self._quiet = _Store(clock)
        super().__init__(self._quiet, clock)

    def dump(self) -> dict[str, Any]:
        """All that later answers depend on, for ``pickle``: what is spent, and who joined which cluster."""
        left_out = {"_clock", "_shapes", "_sweeping"}
        return {
            "store": {name: value for name, value in vars(self._quiet).items() if name not in left_out},
            "joins": self._joins,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from ``dump``."""
        vars(self._quiet).update(state["store"])
        self._joins = state["joins"]

    async def reserve(self, reservation: str, charges: Sequence[Charge], amounts: Amounts) -> Grant | Refusal:
        """Find room in every bucket, or refuse."""
        rows = self._shapes.rows(charges)
        now_us = self._quiet.now_us()
        joins = any(shape.of_cluster for _, shape, _, _ in rows) and self._joins.wanted(charges) is not None
        if not joins and self._quiet.has_room(rows, by_unit(amounts), now_us):
            return Grant(reservation=reservation, charges=tuple(charges), reserved=amounts)
        lines = self._shapes.lines(charges, amounts)
        decision = await self._ask(reservation, tuple(charges), lines)
        if not decision.granted:
            return refuse(lines, decision)
        return Grant(
            reservation=reservation, shadowed=shadowed(lines, decision), charges=tuple(charges), reserved=amounts
        )

    async def settle(self, grant: Grant, actual: Amounts) -> None:
        """Spend ``actual``."""
        if grant.charges:
            self._quiet.spend(self._shapes.rows(grant.charges), by_unit(actual), self._quiet.now_us())
