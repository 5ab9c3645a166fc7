"""An account that appears in a cluster brings along what it spent in the open windows.

Joins, merges and splits are one thing seen from an account: a cluster it was not charged with before. The
first request that a worker sees of such a pair carries the account's spending into the cluster's buckets, once
over all workers (the move has an id). What a cluster lost by a split stays counted there until its window
has passed: too much for a while, never too little.

A cluster's budget is filled from the account's budget of the same unit whose window is the shortest that is at
least as long; where there is none from its longest. An account without a budget as long as the cluster's brings less
than it spent: a shadow budget with the cluster's window on accounts makes it exact. Leases are not carried: they
are over within seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from gateway.budgets.core import Move
from gateway.types import Subject, Unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.types import Charge

PAIRS_KEPT = 100_000


class Joins:
    """Which pairs of account and cluster this worker has already carried over; bounded memory."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()

    def wanted(self, charges: Sequence[Charge]) -> tuple[str, list[Move]] | None:
        """The move's id and the moves for a request's charges; ``None`` if nothing is to be carried."""
        cluster = next((charge.value for charge in charges if charge.budget.subject is Subject.CLUSTER), None)
        account = next((charge.value for charge in charges if charge.budget.subject is Subject.ACCOUNT), None)
        if cluster is None or account is None:
            return None
        name = f"join:{account}:{cluster}"
        if name in self._known:
            return None
        moves = _moves(charges)
        if not moves:
            self.done(name)
            return None
        return name, moves

    def done(self, name: str) -> None:
        """Do not ask again for this pair."""
        self._known[name] = None
        if len(self._known) > PAIRS_KEPT:
            self._known.popitem(last=False)


def _moves(charges: Sequence[Charge]) -> list[Move]:
    own = [charge for charge in charges if charge.budget.subject is Subject.ACCOUNT]
    moves = []
    for target in charges:
        budget = target.budget
        if budget.subject is not Subject.CLUSTER or budget.unit is Unit.CONCURRENCY:
            continue
        same = [charge for charge in own if charge.budget.unit is budget.unit]
        long_enough = [charge for charge in same if _length_s(charge) >= _length_s(target)]
        if long_enough:
            moves.append(Move(min(long_enough, key=_length_s), target))
        elif same:
            moves.append(Move(max(same, key=_length_s), target))
    return moves


def _length_s(charge: Charge) -> int:
    return charge.budget.window.length_s
