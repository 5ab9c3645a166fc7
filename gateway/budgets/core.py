"""What the facade and the stores say to each other, and the interface every store keeps.

A request's charges become ``Line``s (bucket key, shape, amount, floor); a store answers a ``Decision`` with
one ``View`` a line. What that means for the caller (grant, refusal, wording) is decided above the stores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gateway.budgets.windows import Shape, shape_of
from gateway.errors import StoreError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from gateway.types import Amounts, Budget, Charge

SHAPES_KEPT = 4096
SETS_KEPT = 8192
"""Charges of so many accounts are kept compiled, at about 1.5 kB each."""
MOST = 10**13
"""The largest amount that is counted: sums of hundreds stay exact in doubles. A caller may declare any cap."""


class BucketBroken(StoreError):
    """The store is well, but a bucket of this request cannot be counted: something else wrote to its key."""


class Line(NamedTuple):
    """One bucket of a request. ``floor`` is what it is settled at if the reservation is abandoned."""

    key: str
    shape: Shape
    amount: int
    floor: int = 0
    tag: str = ""
    """Whose bucket it is; buckets of one tag share a slot of Redis Cluster."""


class View(NamedTuple):
    """A bucket at the decision: ``wait_us`` 0 it fits, -1 it never fits, else how long until it fits."""

    remaining: int
    reset_us: int
    wait_us: int = 0


class Decision(NamedTuple):
    """Granted if every line that is not shadow fits; then, and only then, all were charged."""

    granted: bool
    views: tuple[View, ...]


class Move(NamedTuple):
    """What was spent in ``source`` (in its open window) is added to ``target``; units must be the same.

    ``keep`` leaves the source as it is (an account keeps its own history when it joins a cluster), else
    it is emptied. ``deduct``, where given, loses the same amounts as far as it has them (a split).
    """

    source: Charge
    target: Charge
    keep: bool = True
    deduct: Charge | None = None


class Renewal(NamedTuple):
    """One open reservation of a heartbeat; the lines carry the floors."""

    reservation: str
    lines: Sequence[Line]


class Store(Protocol):
    """Where buckets live. Every method raises StoreError when it cannot be done within the time limit."""

    name: str
    in_process: bool
    """It cannot be away: no last word of it has to be kept."""

    async def open(self) -> None:
        """Make what the first call needs."""
        ...

    async def aclose(self) -> None:
        """Close it."""
        ...

    async def ping(self) -> None:
        """Return if decisions can be made (and written) again."""
        ...

    async def reserve(self, reservation: str, lines: Sequence[Line]) -> Decision:
        """Check every line, charge all or none; once per id."""
        ...

    async def settle(self, reservation: str, lines: Sequence[Line]) -> None:
        """Bring a reservation to the lines' amounts; at most one settlement of an id counts."""
        ...

    def send_settlement(self, reservation: str, lines: Sequence[Line]) -> asyncio.Future[Any] | None:
        """As ``settle``, sent before this returns, so that it comes before every later call of this or another process;
        its end, with the StoreError if there was one. ``None``: nothing was sent, it takes ``settle``.
        """
        ...

    async def renew(self, renewals: Sequence[Renewal]) -> None:
        """Keep open reservations and their leases for 30 s more, with new floors."""
        ...

    async def reap(self) -> int:
        """Abandon what nobody renewed; returns how many."""
        ...

    async def peek(self, lines: Sequence[Line]) -> tuple[View, ...]:
        """Balances; changes nothing."""
        ...

    async def move(self, move_id: str, moves: Sequence[Move]) -> bool:
        """Carry spending, once per id; False if it was done before."""
        ...

    async def workers(self, worker: str) -> int:
        """Sign of life of one worker; how many share this store."""
        ...


class Row(NamedTuple):
    """A charge compiled: a ``Line`` but for its amounts."""

    key: str
    shape: Shape
    unit: int
    tag: str


class Shapes:
    """Budgets compiled once each, and the charges of an account once for all its requests.

    Budgets live as long as their policy set and a decision's charges as long as it is kept, so identity is the key.
    """

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Budget, Shape]] = {}
        self._sets: dict[int, tuple[Sequence[Charge], tuple[Row, ...]]] = {}

    def of(self, budget: Budget) -> Shape:
        """The shape of ``budget``; bounded memory over many policy sets."""
        found = self._kept.get(id(budget))
        if found is not None and found[0] is budget:
            return found[1]
        if len(self._kept) >= SHAPES_KEPT:
            self._kept.clear()
        shape = shape_of(budget)
        self._kept[id(budget)] = (budget, shape)
        return shape

    def line(self, charge: Charge, amount: int = 0, floor: int = 0) -> Line:
        """The line of one charge."""
        key, shape, _, tag = self._row(charge)
        return Line(key, shape, amount, floor, tag)

    def rows(self, charges: Sequence[Charge]) -> tuple[Row, ...]:
        """What of a request's lines is the same each time; kept where ``charges`` is a tuple, which cannot change."""
        found = self._sets.get(id(charges))
        if found is not None and found[0] is charges:
            return found[1]
        rows = tuple([self._row(charge) for charge in charges])
        if type(charges) is tuple:
            if len(self._sets) >= SETS_KEPT:
                self._sets.clear()
            self._sets[id(charges)] = (charges, rows)
        return rows

    def lines(self, charges: Sequence[Charge], amounts: Amounts, floors: Amounts | None = None) -> list[Line]:
        """The lines of a request, in the order of its charges; without ``floors`` they are the amounts."""
        spent = by_unit(amounts)
        return lines_of(self.rows(charges), spent, spent if floors is None else by_unit(floors))

    def _row(self, charge: Charge) -> Row:
        shape = self.of(charge.budget)
        tag = shape.subject + charge.value
        return Row(tag + shape.suffix, shape, shape.unit, tag)


def lines_of(rows: Sequence[Row], spent: tuple[int, ...], kept: tuple[int, ...]) -> list[Line]:
    """Lines with their amounts and floors, given by unit."""
    new = tuple.__new__  # a NamedTuple's own is a function of Python
    return [new(Line, (key, shape, spent[unit], kept[unit], tag)) for key, shape, unit, tag in rows]


def by_unit(amounts: Amounts) -> tuple[int, ...]:
    """``Amounts.of`` for every unit at once, in the order of ``UNITS``."""
    inputs, outputs = amounts.input_tokens, amounts.output_tokens
    spent = (amounts.requests, inputs, outputs, inputs + outputs, amounts.cost_microusd, 1)
    return spent if max(spent) <= MOST else tuple(min(MOST, amount) for amount in spent)


def floors_of(spent: tuple[int, ...]) -> tuple[int, ...]:
    """What a reservation is settled at, by unit, if its worker dies before anything was seen to flow: the request and
    its input, no output; of the cost the input's share by tokens (input is never dearer than output).
    """
    requests, inputs, _, tokens, cost, slot = spent
    return (requests, inputs, 0, inputs, cost * inputs // tokens if tokens else cost, slot)
