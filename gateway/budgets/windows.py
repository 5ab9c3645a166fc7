"""The four windows of a budget as plain functions over a bucket's state: no I/O, no clock.

A ``Shape`` is a ``Budget`` compiled to whole microseconds. A bucket's state is a flat list of numbers, so
that it can be written down as it is. ``lua/windows.lua`` is the same arithmetic for Redis, operation by
operation (IEEE doubles on both sides), and the tests hold the two together.

Guarantees, for a window of length W and a limit L, while settled amounts do not exceed the reserved:

* ``Sliding``: at most L in any interval of length W. The window is kept in 12 slices of W/12 and the oldest,
  partly expired slice counts in full, so that the error is one-sided: nothing is ever over the limit,
  and an amount is remembered between W and W + W/12 (a customer at the limit gets at least 12/13 of it).
* ``Bucket`` (GCRA): at most burst + L * T/W in any interval of length T, to a millionth of one step.
* ``Calendar``: at most L per UTC day or month (so up to 2 L around midnight, as in every calendar).
* ``Lease``: at most L held at once; a lease that is not renewed expires.

A release gives back only what the reservation still occupies: it cannot make room that its own charge
did not take. An amount of 0 is never refused, an amount above what the bucket can ever hold always is.
"""

# ruff: noqa: D102 - the four windows override Shape, where the contract of each method stands
from __future__ import annotations

import math
from typing import TypeAlias

from gateway.budgets.months import DAY_US, month_bounds
from gateway.types import Algorithm, Budget, Subject, Unit, Window

SLICES = 12
"""Per sliding window: divides minutes, hours and days evenly, and keeps a bucket below 250 bytes."""
SECOND_US = 1_000_000
DAY_S = 86_400
HOLD_US = 30 * SECOND_US
"""How long a lease and an open reservation last without a heartbeat (three missed beats of 10 s)."""
LEASE_WAIT_US = SECOND_US
"""Retry hint for concurrency: a slot may be freed at any moment."""
NEVER = -1
"""Wait of an amount that does not fit even into an empty bucket."""
SLACK = 1e-6
"""Steps by which rounding of doubles may be off in a GCRA bucket."""

UNITS = (
    Unit.REQUESTS,
    Unit.INPUT_TOKENS,
    Unit.OUTPUT_TOKENS,
    Unit.TOTAL_TOKENS,
    Unit.COST,
    Unit.CONCURRENCY,
)
State: TypeAlias = list[float]


class Shape:
    """A budget compiled for the stores. A bucket's key is ``subject``, the subject's value, ``suffix``; the suffix
    tells buckets of one name but another window or unit apart: changing a limit keeps what was spent,
    changing the window starts anew. ``unit`` is the index in ``UNITS``, ``head`` the shape as Lua reads it.
    """

    __slots__ = (
        "budget",
        "capacity",
        "code",
        "head",
        "hidden",
        "limit",
        "of_cluster",
        "rate",
        "shadow",
        "shown",
        "size_us",
        "subject",
        "suffix",
        "unit",
    )

    def __init__(self, budget: Budget, code: int, size_us: int, capacity: int) -> None:
        self.budget = budget
        self.code = code
        self.limit = budget.limit
        self.capacity = capacity
        self.size_us = size_us
        self.rate = max(1, budget.limit) / size_us
        self.shadow = budget.shadow
        self.of_cluster = budget.subject is Subject.CLUSTER
        self.hidden = budget.subject in {Subject.CLUSTER, Subject.ADDRESS}
        self.shown = not self.hidden and not self.shadow
        self.subject = f"{budget.subject.value}:"
        self.unit = UNITS.index(budget.unit)
        self.suffix = f":{budget.name}:{budget.unit.value}:{code}:{size_us}"
        self.head = b"[%d,%d,%d,%d,%d," % (code, self.limit, capacity, size_us, self.shadow)

    def fresh(self) -> State:
        """The state of a bucket in which nothing was spent."""
        raise NotImplementedError

    def used(self, state: State, now_us: int) -> float:
        """What counts against the limit now."""
        raise NotImplementedError

    def room_in_us(self, state: State, now_us: int, excess: float) -> int:
        """How long until ``excess`` (> 0, at most what is used) has left the window; at least 1."""
        raise NotImplementedError

    def reset_us(self, state: State, now_us: int) -> int:
        """How long until more can be spent than now (GCRA: until the bucket is full); 0 if nothing is used."""
        raise NotImplementedError

    def charge(self, state: State, now_us: int, amount: int) -> float:
        """Spend ``amount``; the mark returned tells a later release where it stands."""
        raise NotImplementedError

    def release(self, state: State, now_us: int, mark: float, amount: int) -> None:
        """Give back what of ``amount``, charged with ``mark``, still counts."""
        raise NotImplementedError

    def spends(self, state: State, now_us: int) -> list[tuple[int, float]]:
        """What counts now as (time in microseconds, amount), for a move to another bucket."""
        raise NotImplementedError

    def spend_at(self, state: State, now_us: int, at_us: int, amount: float) -> None:
        """Spend (or with a negative amount take back) as if at ``at_us``, a time within the window."""
        raise NotImplementedError

    def wait_us(self, state: State, now_us: int, amount: int) -> int:
        """0 if ``amount`` fits, ``NEVER`` if it cannot, else microseconds until it does."""
        if amount <= 0:
            return 0
        if amount > self.capacity:
            return NEVER
        excess = self.used(state, now_us) + amount - self.capacity
        return 0 if excess <= SLACK else self.room_in_us(state, now_us, excess)

    def spend(self, state: State, now_us: int, amount: int) -> tuple[float, int, int]:
        """``charge`` and ``view`` in one, right after ``wait_us`` at the same instant: (mark, remaining, reset)."""
        mark = self.charge(state, now_us, amount)
        remaining, reset_us = self.view(state, now_us)
        return mark, remaining, reset_us

    def view(self, state: State, now_us: int) -> tuple[int, int]:
        """(what may still be spent, ``reset_us``)."""
        remaining = math.floor(self.capacity - self.used(state, now_us) + SLACK)
        return max(0, remaining), self.reset_us(state, now_us)


class Sliding(Shape):
    """State: ``[total, slice, amount, slice, amount, ...]``, ascending, only slices with something in them."""

    __slots__ = ()
    CODE = 1

    def __init__(self, budget: Budget) -> None:
        size_us = -(-max(1, budget.window.length_s) * SECOND_US // SLICES)
        super().__init__(budget, self.CODE, size_us, budget.limit)

    def fresh(self) -> State:
        return [0]

    def used(self, state: State, now_us: int) -> float:
        oldest = now_us // self.size_us - SLICES
        while len(state) > 1 and state[1] < oldest:
            state[0] -= state[2]
            del state[1:3]
        return state[0]

    def take(self, state: State, now_us: int, amount: int) -> tuple[float, int, int] | None:
        """``wait_us`` and ``spend`` in one for the many charges that fit a bucket in use; else ``None``, nothing is spent."""
        size_us = self.size_us
        current: float = now_us // size_us
        if len(state) > 1 and state[1] < current - SLICES:
            self.used(state, now_us)
        left = self.capacity - state[0] - amount
        if len(state) == 1 or type(left) is not int or left < 0:
            return None
        state[0] += amount
        if state[-2] >= current:
            current = state[-2]
            state[-1] += amount
        elif amount > 0:
            state += (current, amount)
        return current, left, (int(state[1]) + SLICES + 1) * size_us - now_us

    def room_in_us(self, state: State, now_us: int, excess: float) -> int:
        position = 1
        while excess > state[position + 1] and position + 2 < len(state):
            excess -= state[position + 1]
            position += 2
        return self._gone_us(state, position) - now_us

    def reset_us(self, state: State, now_us: int) -> int:
        return self._gone_us(state, 1) - now_us if len(state) > 1 else 0

    def charge(self, state: State, now_us: int, amount: int) -> float:
        self.used(state, now_us)
        current: float = now_us // self.size_us
        if len(state) > 1 and state[-2] >= current:  # also where the clock went back
            current = state[-2]
            state[-1] += amount
        elif amount > 0:
            state += (current, amount)
        state[0] += amount
        return current

    def release(self, state: State, now_us: int, mark: float, amount: int) -> None:
        self.used(state, now_us)
        if len(state) > 1 and state[-2] == mark and state[-1] > amount:  # where a request ends soon after it began
            state[-1] -= amount
            state[0] -= amount
        else:
            self._add(state, mark, -amount)

    def spends(self, state: State, now_us: int) -> list[tuple[int, float]]:
        self.used(state, now_us)
        pairs = zip(state[1::2], state[2::2], strict=True)
        return [(min(now_us, int(index + 1) * self.size_us - 1), amount) for index, amount in pairs]

    def spend_at(self, state: State, now_us: int, at_us: int, amount: float) -> None:
        self.used(state, now_us)
        if at_us // self.size_us >= now_us // self.size_us - SLICES:
            self._add(state, at_us // self.size_us, amount)

    def _gone_us(self, state: State, position: int) -> int:
        return (int(state[position]) + SLICES + 1) * self.size_us

    @staticmethod
    def _add(state: State, index: float, amount: float) -> None:
        """Change one slice, not below 0; a negative amount for a slice that is gone changes nothing."""
        position = 1
        while position < len(state) and state[position] < index:
            position += 2
        if position < len(state) and state[position] == index:
            change = max(amount, -state[position + 1])
            state[position + 1] += change
            state[0] += change
            if state[position + 1] == 0:
                del state[position : position + 2]
        elif amount > 0:
            state[position:position] = [index, amount]
            state[0] += amount


class Bucket(Shape):
    """GCRA as a meter: ``[level, at_us]``, the level drains at ``limit`` per window.

    The mark is the time at which the level drains to 0 after the charge. What a charge of x still occupies
    at ``now`` is at least ``min(x, (mark - now) * rate)``: that much a release may give back.
    """

    __slots__ = ()

    def __init__(self, budget: Budget) -> None:
        capacity = (budget.window.burst or budget.limit) if budget.limit else 0
        super().__init__(budget, 2, max(1, budget.window.length_s) * SECOND_US, capacity)

    def fresh(self) -> State:
        return [0, 0]

    def used(self, state: State, now_us: int) -> float:
        return max(0, state[0] - max(0, now_us - state[1]) * self.rate)

    def room_in_us(self, state: State, now_us: int, excess: float) -> int:
        return max(1, math.ceil(excess / self.rate))

    def reset_us(self, state: State, now_us: int) -> int:
        return math.ceil(self.used(state, now_us) / self.rate)

    def charge(self, state: State, now_us: int, amount: int) -> float:
        state[0] = self.used(state, now_us) + amount
        state[1] = max(state[1], now_us)
        return state[1] + state[0] / self.rate

    def release(self, state: State, now_us: int, mark: float, amount: int) -> None:
        level = self.used(state, now_us)
        state[1] = max(state[1], now_us)
        held = min(amount, max(0, (mark - state[1]) * self.rate))
        state[0] = max(0, level - held)

    def spends(self, state: State, now_us: int) -> list[tuple[int, float]]:
        level = self.used(state, now_us)
        return [(now_us, level)] if level > 0 else []

    def spend_at(self, state: State, now_us: int, at_us: int, amount: float) -> None:
        drained = max(0, now_us - at_us) * self.rate
        kept = max(0, amount - drained) if amount > 0 else amount
        state[0] = max(0, self.used(state, now_us) + kept)
        state[1] = max(state[1], now_us)


class Calendar(Shape):
    """State: ``[period's start in microseconds, used]``; code 3 for UTC days, 4 for UTC months."""

    __slots__ = ("_last",)

    def __init__(self, budget: Budget) -> None:
        length_s = budget.window.length_s
        self._last = (0, 0)
        super().__init__(budget, 3 if length_s <= DAY_S else 4, max(1, length_s) * SECOND_US, budget.limit)

    def fresh(self) -> State:
        return [0, 0]

    def used(self, state: State, now_us: int) -> float:
        start, _ = self._period(now_us)
        if state[0] < start:
            state[0], state[1] = start, 0
        return state[1]

    def room_in_us(self, state: State, now_us: int, excess: float) -> int:
        return max(1, self._period(int(max(now_us, state[0])))[1] - now_us)

    def reset_us(self, state: State, now_us: int) -> int:
        return self.room_in_us(state, now_us, 0) if self.used(state, now_us) > 0 else 0

    def charge(self, state: State, now_us: int, amount: int) -> float:
        self.used(state, now_us)
        state[1] += amount
        return state[0]

    def release(self, state: State, now_us: int, mark: float, amount: int) -> None:
        self.used(state, now_us)
        if state[0] == mark:
            state[1] = max(0, state[1] - amount)

    def spends(self, state: State, now_us: int) -> list[tuple[int, float]]:
        used = self.used(state, now_us)
        return [(now_us, used)] if used > 0 else []

    def spend_at(self, state: State, now_us: int, at_us: int, amount: float) -> None:
        self.used(state, now_us)
        if at_us >= state[0]:
            state[1] = max(0, state[1] + amount)

    def _period(self, now_us: int) -> tuple[int, int]:
        if self._last[0] <= now_us < self._last[1]:
            return self._last
        if self.code == 4:  # noqa: PLR2004 - months
            self._last = month_bounds(now_us)
        else:
            start = now_us // DAY_US * DAY_US
            self._last = start, start + DAY_US
        return self._last


class Lease(Shape):
    """Concurrency: the stores keep ``{reservation: expires at}`` themselves and use only the numbers here."""

    __slots__ = ()
    CODE = 5

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget, self.CODE, HOLD_US, budget.limit)

    def wait_for_slot_us(self, held: int, first_expiry_us: float, now_us: int) -> int:
        """As ``wait_us`` for one more lease beside ``held``."""
        if self.capacity < 1:
            return NEVER
        if held < self.capacity:
            return 0
        return max(1, min(LEASE_WAIT_US, int(first_expiry_us) - now_us))


def shape_of(budget: Budget) -> Shape:
    """Compile a budget. A unit of concurrency is always a lease, whatever its window says."""
    if budget.unit is Unit.CONCURRENCY or budget.window.algorithm is Algorithm.LEASE:
        return Lease(budget)
    if budget.window.algorithm is Algorithm.BUCKET:
        return Bucket(budget)
    if budget.window.algorithm is Algorithm.CALENDAR:
        return Calendar(budget)
    return Sliding(budget)


def revive(code: int, limit: int, size_us: int) -> Shape:
    """A shape from the numbers written beside a bucket's state, enough to go on counting it.

    Raises ValueError for a code that is no window's.
    """
    algorithm = {1: Algorithm.SLIDING, 2: Algorithm.BUCKET, 3: Algorithm.CALENDAR, 4: Algorithm.CALENDAR}.get(code)
    if algorithm is None or limit < 0 or size_us < 1:
        raise ValueError(f"got the window {code}, {limit}, {size_us}, expected a code from 1 to 4 and sizes above 0")
    length_s = (size_us * SLICES if code == 1 else size_us) // SECOND_US
    window = Window(algorithm=algorithm, length_s=length_s)
    return shape_of(Budget(name="", subject=Subject.ACCOUNT, unit=Unit.REQUESTS, limit=limit, window=window))
