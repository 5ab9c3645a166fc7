"""Time, as a value that is passed in, so that tests and replay decide what time it is.

Shared budgets use the store's clock instead (``Redis TIME``).
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> float:
        """Seconds since the epoch, UTC; may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since some start; never goes back."""
        ...


class SystemClock:
    """The machine's clock."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class ManualClock:
    """A clock that moves when told to: for tests and for replay.

    >>> clock = ManualClock(1_000.0)
    >>> clock.advance(2.5)
    >>> clock.now()
    1002.5
    """

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def now(self) -> float:
        """The time it was last set to."""
        return self._now_s

    def monotonic(self) -> float:
        """The same time: it is never moved back."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move forward by ``seconds`` >= 0. Raises ValueError if negative."""
        if seconds < 0:
            raise ValueError(f"got {seconds} s, expected a step forward (>= 0): time does not go back")
        self._now_s += seconds

    def move_to(self, now_s: float) -> None:
        """Move forward to ``now_s``; an earlier time leaves the clock where it is."""
        self._now_s = max(self._now_s, now_s)
