"""When to stop asking a store that does not answer, and when to ask it again: a state machine, no I/O.

closed --(``FAILURES`` failures in a row)--> open --(jittered pause)--> half-open: one probe at a time
half-open --(the probe fails)--> open, twice the pause up to ``LONGEST_S`` --(it succeeds)--> closed

Probes are made beside the request path, so that no request waits for a dead store, and the jitter keeps the
workers of a fleet from probing in step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FAILURES = 3
FIRST_S = 0.25
LONGEST_S = 5.0


class Breaker:
    """``jitter`` gives numbers in [0, 1); a pause is between half of its length and all of it."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._failures = 0
        self._pause_s = FIRST_S
        self._probe_at_s: float | None = None
        self.is_open = False
        """The store is not to be asked by requests."""

    @property
    def state(self) -> str:
        """``closed`` or ``open``."""
        return "open" if self.is_open else "closed"

    def succeeded(self) -> None:
        """The store answered."""
        if not self._failures:
            return
        self._failures = 0
        self._pause_s = FIRST_S
        self._probe_at_s = None
        self.is_open = False

    def failed(self, now_s: float) -> None:
        """The store did not answer; while open only a probe's failure makes the pause longer."""
        self._failures += 1
        if self.is_open or self._failures >= FAILURES:
            self.is_open = True
            self._probe_at_s = now_s + self._pause_s * (0.5 + 0.5 * self._jitter())
            self._pause_s = min(LONGEST_S, 2 * self._pause_s)

    def probe_due(self, now_s: float) -> bool:
        """Whether it is time for the one probe."""
        return self._probe_at_s is not None and now_s >= self._probe_at_s
