"""Failed credentials per address: guessing is slowed down, and remembered in bounded memory.

Only failures count, so an office behind one address with good keys never notices it. Once an address
has failed too often, its further credentials are refused unread, except those that were good from there
lately: one broken script does not lock its neighbours out.

The window is the ``limits`` library's sliding-window counter over a storage of ours, which takes the
time from a ``Clock``, holds at most ``MAX_ADDRESSES`` and starts no thread (the library's own memory
storage scans all counters in a thread started by a hit). Limit: a caller with more addresses than that
makes the oldest be forgotten; a key's 160 bits do not depend on this. Leaves out: what a failure is.
"""

from __future__ import annotations

from collections import OrderedDict
from math import floor
from typing import TYPE_CHECKING

from limits import RateLimitItemPerMinute
from limits.storage import Storage
from limits.storage.base import SlidingWindowCounterSupport
from limits.strategies import SlidingWindowCounterRateLimiter

if TYPE_CHECKING:
    from gateway.clock import Clock

FAILURES_PER_MIN = 120
"""Two a second: a fleet of misconfigured clients stays below it, a search for keys is of no use."""
MAX_ADDRESSES = 16_384
MAX_GOOD = 65_536
"""Credentials remembered as good from an address; 7 MB when full."""
_WINDOW_S = 60.0
_BEYOND_S = 0.001


class FailureLimiter:
    """Counts failures by address block; ``limit`` a minute, at least 1."""

    def __init__(self, clock: Clock, limit: int = FAILURES_PER_MIN) -> None:
        self._item = RateLimitItemPerMinute(limit)
        self._storage = BoundedStorage(clock)
        self._window = SlidingWindowCounterRateLimiter(self._storage)
        self._good: OrderedDict[tuple[str, bytes], None] = OrderedDict()
        self.refused = 0
        """Requests refused because of their address, so far."""

    @property
    def addresses(self) -> int:
        """Address blocks with failures that are remembered."""
        return len(self._storage)

    def blocks(self, block: str, credential: bytes) -> bool:
        """Whether a credential (its digest) from ``block`` is refused unread."""
        if not self._storage.counts or self._window.test(self._item, block) or (block, credential) in self._good:
            return False
        self.refused += 1
        return True

    def failed(self, block: str) -> None:
        """One more failure."""
        self._window.hit(self._item, block)

    def succeeded(self, block: str, credential: bytes) -> None:
        """This credential was good from there."""
        good = self._good
        good[block, credential] = None
        good.move_to_end((block, credential))
        if len(good) > MAX_GOOD:
            good.popitem(last=False)

    def retry_after_s(self, block: str) -> float:
        """How long until the block's failures have left the window: never more than two windows."""
        return self._storage.wait_s(self._item.key_for(block), self._item.amount)


class BoundedStorage(Storage, SlidingWindowCounterSupport):
    """What ``limits`` asks of a storage, for one window length: two counters a key, the oldest key goes first."""

    STORAGE_SCHEME = ["distillguard+bounded"]  # noqa: RUF012 - the library declares it as a list

    def __init__(self, clock: Clock, max_keys: int = MAX_ADDRESSES) -> None:
        super().__init__()
        self._clock = clock
        self._max_keys = max_keys
        self.counts: OrderedDict[str, tuple[int, int, int]] = OrderedDict()
        """By key: the window's number, its count, the count of the window before."""

    def __len__(self) -> int:
        return len(self.counts)

    def wait_s(self, key: str, limit: int) -> float:
        """Seconds until less than ``limit`` is in the window (a millisecond after it is exactly that), if
        nothing more is counted.
        """
        before, left_s, current, end_s = self.get_sliding_window(key, int(_WINDOW_S))
        if before * left_s / _WINDOW_S + current < limit:
            return 0.0
        if current < limit:
            return left_s - (limit - current) / before * _WINDOW_S + _BEYOND_S
        return end_s - _WINDOW_S + (_WINDOW_S - limit / current * _WINDOW_S) + _BEYOND_S

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count ``amount`` unless that exceeds ``limit``."""
        before, left_s, current, _ = self.get_sliding_window(key, expiry)
        if floor(before * left_s / expiry + current) + amount > limit:
            return False
        self.counts[key] = (int(self._clock.monotonic() // expiry), current + amount, before)
        self.counts.move_to_end(key)
        if len(self.counts) > self._max_keys:
            self.counts.popitem(last=False)
        return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        """Count of the window before, how long it still weighs, count of this window, how long until it is over."""
        window, into_s = divmod(self._clock.monotonic(), expiry)
        number, count, before = self.counts.get(key, (int(window), 0, 0))
        age = int(window) - number
        if age == 1:
            before, count = count, 0
        elif age > 1:
            before, count = 0, 0
        return before, expiry - into_s if before else 0.0, count, 2 * expiry - into_s

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        """Forget a key."""
        self.clear(key)

    def clear(self, key: str) -> None:
        """Forget a key."""
        self.counts.pop(key, None)

    def reset(self) -> int | None:
        """Forget all keys; answers how many there were."""
        count = len(self.counts)
        self.counts.clear()
        return count

    def check(self) -> bool:
        """Always there."""
        return True

    @property
    def base_exceptions(self) -> type[Exception] | tuple[type[Exception], ...]:
        """What this storage raises."""
        return ValueError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """No fixed windows here."""
        raise NotImplementedError("got a fixed window, expected the sliding-window strategy")

    def get(self, key: str) -> int:
        """The count of the last window."""
        return self.counts.get(key, (0, 0, 0))[1]

    def get_expiry(self, key: str) -> float:
        """No fixed windows here."""
        raise NotImplementedError("got a fixed window, expected the sliding-window strategy")
