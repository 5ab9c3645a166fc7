"""The embedded store: every bucket in this process, decided by plain synchronous calls.

``*_now`` take the time and await nothing, so that replay can call them by the million; the async methods
of ``Store`` read the clock and call them. One event loop runs at a time, so every decision is atomic.

States of a reservation: open -> settled | abandoned, abandoned -> settled. A settled id is remembered for
60 s, an abandoned one for an hour. Memory is bounded: buckets that count for nothing are swept, and above
``max_buckets`` the oldest go first (an attacker gains by that no more than by the fresh accounts it takes).
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from gateway.budgets.core import Decision, Shapes, View
from gateway.budgets.recent import Recent
from gateway.budgets.windows import HOLD_US, LEASE_WAIT_US, SECOND_US, Lease, Sliding

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Sequence

    from gateway.budgets.core import Line, Move, Renewal
    from gateway.budgets.windows import Shape, State
    from gateway.clock import Clock

ABANDONED_US = 3600 * SECOND_US
MOVED_US = 46 * 86_400 * SECOND_US
"""Longer than the longest window, so that nothing is carried twice while it counts."""
MOVES_KEPT = 200_000
SWEEP_EVERY = 512
SWEEP_STEP = 1024
MAX_BUCKETS = 2_000_000


Try: TypeAlias = tuple["State | None", tuple[float, int, int] | None, int]
"""Of one line: its bucket's state, (mark, remaining, reset) of what was spent, microseconds to wait."""


class Record:
    """A reservation that is not settled: per line what it holds (``amounts``) and where (``marks``)."""

    __slots__ = ("amounts", "expires_us", "lines", "marks")

    def __init__(self, lines: Sequence[Line], amounts: list[int], marks: list[float], expires_us: int) -> None:
        self.lines = lines
        self.amounts = amounts
        self.marks = marks
        self.expires_us = expires_us


class MemoryStore:
    """Buckets of one process. See the module for states and bounds."""

    name = "memory"
    in_process = False

    def __init__(self, clock: Clock, *, max_buckets: int = MAX_BUCKETS) -> None:
        self._clock = clock
        self._max_buckets = max_buckets
        self._buckets: dict[str, tuple[Shape, State]] = {}
        self._leases: dict[str, dict[str, int]] = {}
        self._open: OrderedDict[str, Record] = OrderedDict()
        self._abandoned: OrderedDict[str, Record] = OrderedDict()
        self._done = Recent()
        self._moved: OrderedDict[str, int] = OrderedDict()
        self._shapes = Shapes()
        self._sweeping: Iterator[str] = iter(())
        self._calls = 0
        self.dirty: set[str] | None = None
        """Buckets changed since a journal last looked; ``None`` where nobody keeps one."""
        self.changed: set[str] | None = None
        """Reservations opened, renewed or ended, and moves done, since then."""

    def now_us(self) -> int:
        """The clock in microseconds."""
        return int(self._clock.now() * SECOND_US)

    def reserve_now(self, reservation: str, lines: Sequence[Line], now_us: int) -> Decision:
        """Check every line, then charge all or none. The same id is charged once however often it is sent."""
        self._calls += 1
        if self._calls % SWEEP_EVERY == 0:
            self.sweep_now(now_us)
        if reservation in self._open or reservation in self._abandoned or reservation in self._done:
            return Decision(True, self.peek_now(lines, now_us))
        tries, fits = self._try(lines, now_us)
        if fits:
            return Decision(True, self._charge(reservation, lines, tries, now_us))
        return Decision(False, self._refused(lines, tries, now_us))

    def settle_now(self, reservation: str, lines: Sequence[Line], now_us: int) -> None:
        """Bring what was reserved to the lines' amounts. At most one settlement of an id counts; an unknown
        id (made while this store could not be asked) is charged in full without a check.
        """
        if reservation in self._done:
            return
        record = self._open.pop(reservation, None) or self._abandoned.pop(reservation, None)
        if record is None:
            record = Record(lines, [0] * len(lines), [0] * len(lines), 0)
        for position, line in enumerate(lines):
            if line[2] != record.amounts[position] or line[1].code == Lease.CODE:
                self._change(record, reservation, position, line[2], now_us)
        self._done.add(reservation, now_us)
        self._note(reservation)

    def renew_now(self, reservation: str, lines: Sequence[Line], now_us: int) -> None:
        """Keep an open reservation and its leases for 30 s more; the lines' floors replace the old ones."""
        record = self._open.get(reservation)
        if record is None:
            return
        record.lines = lines
        record.expires_us = now_us + HOLD_US
        self._open.move_to_end(reservation)
        self._note(reservation)
        for line in lines:
            if line.shape.code == Lease.CODE:
                self._leases.setdefault(line.key, {})[reservation] = record.expires_us

    def reap_now(self, now_us: int) -> int:
        """Abandon reservations that nobody renewed: settle them at their floors. Returns how many."""
        count = 0
        while self._open:
            reservation, record = next(iter(self._open.items()))
            if record.expires_us > now_us:
                break
            del self._open[reservation]
            for position, line in enumerate(record.lines):
                self._change(record, reservation, position, line.floor, now_us)
            record.expires_us = now_us + ABANDONED_US
            self._abandoned[reservation] = record
            self._note(reservation)
            count += 1
        return count

    def peek_now(self, lines: Sequence[Line], now_us: int) -> tuple[View, ...]:
        """Balances; changes nothing."""
        return tuple(self._view(line, now_us) for line in lines)

    def move_now(self, move_id: str, moves: Sequence[Move], now_us: int) -> bool:
        """Carry spending between buckets, once per ``move_id`` (remembered for 46 days); False if it was done."""
        if move_id in self._moved:
            return False
        self._moved[move_id] = now_us + MOVED_US
        self._note(move_id)
        if len(self._moved) > MOVES_KEPT:
            self._moved.popitem(last=False)
        for move in moves:
            source, target = self._shapes.line(move.source), self._shapes.line(move.target)
            if source.shape.code == Lease.CODE:
                self._move_leases(source, target, keep=move.keep)
                continue
            spends = source.shape.spends(self._state(source), now_us)
            into = self._state(target)
            for at_us, amount in spends:
                target.shape.spend_at(into, now_us, at_us, amount)
            if move.deduct is not None:
                loser = self._shapes.line(move.deduct)
                for at_us, amount in spends:
                    loser.shape.spend_at(self._state(loser), now_us, at_us, -amount)
            if not move.keep:
                self._buckets.pop(source.key, None)
                self._touch(source.key)
        return True

    def sweep_now(self, now_us: int) -> None:
        """Forget what counts for nothing: a step over the buckets, and everything expired beside them."""
        self.reap_now(now_us)
        self._done.turn(now_us)
        while self._moved and next(iter(self._moved.values())) <= now_us:
            self._moved.popitem(last=False)
        while self._abandoned and next(iter(self._abandoned.values())).expires_us <= now_us:
            self._abandoned.popitem(last=False)
        for _ in range(SWEEP_STEP):
            key = next(self._sweeping, None)
            if key is None:
                self._sweeping = iter(list(self._buckets) + list(self._leases))
                break
            self._forget_if_idle(key, now_us)

    # -- Store: the same, on the clock ---------------------------------------------------------------

    async def open(self) -> None:
        """Nothing to open."""

    async def aclose(self) -> None:
        """Nothing to close."""

    async def ping(self) -> None:
        """Always there."""

    async def reserve(self, reservation: str, lines: Sequence[Line]) -> Decision:
        """``reserve_now``."""
        return self.reserve_now(reservation, lines, self.now_us())

    async def settle(self, reservation: str, lines: Sequence[Line]) -> None:
        """``settle_now``."""
        self.settle_now(reservation, lines, self.now_us())

    def send_settlement(self, reservation: str, lines: Sequence[Line]) -> asyncio.Future[Any] | None:
        """Nothing is sent: ``settle`` waits for nobody."""
        return None

    async def renew(self, renewals: Sequence[Renewal]) -> None:
        """``renew_now`` for each."""
        for renewal in renewals:
            self.renew_now(renewal.reservation, renewal.lines, self.now_us())

    async def reap(self) -> int:
        """``reap_now`` and a step of the sweep."""
        count = self.reap_now(self.now_us())
        self.sweep_now(self.now_us())
        return count

    async def peek(self, lines: Sequence[Line]) -> tuple[View, ...]:
        """``peek_now``."""
        return self.peek_now(lines, self.now_us())

    async def move(self, move_id: str, moves: Sequence[Move]) -> bool:
        """``move_now``."""
        return self.move_now(move_id, moves, self.now_us())

    async def workers(self, worker: str) -> int:
        """1: nobody else shares this store."""
        return 1

    # -- parts -----------------------------------------------------------------------------------------

    def _try(self, lines: Sequence[Line], now_us: int) -> tuple[list[Try], bool]:
        """Each line's state (``None``: a lease), what was spent of it already (where that is one step with looking),
        and how long it has to wait; whether no line has to that is not shadow.
        """
        buckets, fits = self._buckets, True
        tries: list[Try] = []
        for line in lines:
            key, shape, amount, _, _ = line
            state: State | None = None
            if shape.code == Lease.CODE:
                leases = self._leases.get(key)
                wait = 0 if not leases and shape.capacity > 0 else self._lease_view(line, now_us)[2]
            else:
                found = buckets.get(key)
                state = shape.fresh() if found is None else found[1]
                if type(shape) is Sliding and (spent := shape.take(state, now_us, amount)) is not None:
                    tries.append((state, spent, 0))
                    continue
                wait = shape.wait_us(state, now_us, amount)
            tries.append((state, None, wait))
            fits = fits and (not wait or shape.shadow)
        return tries, fits

    def _charge(self, reservation: str, lines: Sequence[Line], tries: list[Try], now_us: int) -> tuple[View, ...]:
        """Spend every line that is not yet and open the reservation; the views after it."""
        marks: list[float] = []
        views: list[View] = []
        changed: list[str] = []
        expires_us = now_us + HOLD_US
        new = tuple.__new__
        for line, (state, spent, wait) in zip(lines, tries, strict=True):
            key, shape, amount, _, _ = line
            if state is None:
                leases = self._leases.setdefault(key, {})
                leases[reservation] = expires_us
                marks.append(0)
                views.append(new(View, (max(0, shape.capacity - len(leases)), LEASE_WAIT_US, wait)))
                continue
            if spent is None:
                spent = shape.spend(state, now_us, amount)  # noqa: PLW2901 - spent only now
                if key not in self._buckets:
                    self._add(key, shape, state)
            marks.append(spent[0])
            views.append(new(View, (spent[1], spent[2], wait)))
            changed.append(key)
        self._open[reservation] = Record(lines, [line[2] for line in lines], marks, expires_us)
        if self.dirty is not None:
            self.dirty.update(changed)
        self._note(reservation)
        return tuple(views)

    def _refused(self, lines: Sequence[Line], tries: list[Try], now_us: int) -> tuple[View, ...]:
        """Take back what was spent; the views without it."""
        made = []
        for line, (state, spent, wait) in zip(lines, tries, strict=True):
            if state is None:
                made.append(self._lease_view(line, now_us)._replace(wait_us=wait))
                continue
            if spent is not None:
                line.shape.release(state, now_us, spent[0], line.amount)
            made.append(View(*line.shape.view(state, now_us), wait))
        return tuple(made)

    def _view(self, line: Line, now_us: int) -> View:
        if line.shape.code == Lease.CODE:
            return self._lease_view(line, now_us)._replace(wait_us=0)
        found = self._buckets.get(line.key)
        return View(*line.shape.view(line.shape.fresh() if found is None else found[1], now_us))

    def _lease_view(self, line: Line, now_us: int) -> View:
        assert isinstance(line.shape, Lease)
        leases = self._leases.get(line.key)
        if not leases:
            return View(line.shape.capacity, 0, line.shape.wait_for_slot_us(0, 0, now_us))
        for reservation in [held for held, expires_us in leases.items() if expires_us <= now_us]:
            del leases[reservation]
        held, first = len(leases), min(leases.values(), default=0)
        wait = line.shape.wait_for_slot_us(held, first, now_us)
        return View(max(0, line.shape.capacity - held), LEASE_WAIT_US if held else 0, wait)

    def _change(self, record: Record, reservation: str, position: int, amount: int, now_us: int) -> None:
        """Bring one line of a record to ``amount``: less is released where it was, more is charged now."""
        line = record.lines[position]
        key, shape, _, _, _ = line
        if shape.code == Lease.CODE:
            leases = self._leases.get(key, {})
            leases.pop(reservation, None)
            if not leases:
                self._leases.pop(key, None)
            return
        held = record.amounts[position]
        if amount > held:
            mark = shape.charge(self._state(line), now_us, amount - held)
            if held == 0:
                record.marks[position] = mark
        elif amount < held and (found := self._buckets.get(key)) is not None:
            shape.release(found[1], now_us, record.marks[position], held - amount)
            self._touch(key)
        record.amounts[position] = amount

    def _state(self, line: Line) -> State:
        """The bucket of a line, made if it is new, about to be changed."""
        found = self._buckets.get(line.key)
        if found is None:
            found = self._add(line.key, line.shape, line.shape.fresh())
        self._touch(line.key)
        return found[1]

    def _add(self, key: str, shape: Shape, state: State) -> tuple[Shape, State]:
        if len(self._buckets) >= self._max_buckets:
            for oldest in list(islice(self._buckets, 1 + self._max_buckets // 100)):
                del self._buckets[oldest]
                self._touch(oldest)
        self._buckets[key] = (shape, state)
        return shape, state

    def _touch(self, key: str) -> None:
        if self.dirty is not None:
            self.dirty.add(key)

    def _note(self, reservation: str) -> None:
        if self.changed is not None:
            self.changed.add(reservation)

    def _move_leases(self, source: Line, target: Line, *, keep: bool) -> None:
        held = self._leases.get(source.key, {})
        self._leases.setdefault(target.key, {}).update(held)
        if not keep:
            self._leases.pop(source.key, None)

    def _forget_if_idle(self, key: str, now_us: int) -> None:
        leases = self._leases.get(key)
        if leases is not None:
            if all(expires_us <= now_us for expires_us in leases.values()):
                del self._leases[key]
            return
        found = self._buckets.get(key)
        if found is not None and found[0].used(found[1], now_us) <= 0:
            del self._buckets[key]
            self._touch(key)
