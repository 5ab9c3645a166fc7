"""When accounts work: the days and hours in which each one asked for something.

An operator's pool is fed by a queue: an account that is in use works every day until it is dropped, while people,
and most programs that people start, leave days out. That alone is nothing to hold against anybody (products,
monitors and build farms work every day too): it only makes groups that are then weighed by what they share.

A request costs one comparison; a new hour of an account some 0.3 µs. Memory: 24 bytes an account.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gateway.analysis.renumbering import Renumbering

DAYS: Final = 62
"""Days kept of an account, counted from its first; longer than the longest campaign reported (45)."""
MIN_REQUESTS: Final = 6
MIN_HOURS: Final = 4
"""With fewer requests, or in fewer different hours, nothing is known of an account's rhythm."""
_DAY_HOURS: Final = 24
_HOUR_S: Final = 3_600


class Rhythm:
    """The working days and hours of all accounts, by the cohort's numbers."""

    def __init__(self) -> None:
        self._born = array("i")
        self._hour = array("i")
        self._days = array("q")
        self._hours = array("i")
        self._requests = array("i")

    def __len__(self) -> int:
        """How many accounts have been entered."""
        return len(self._born)

    def note(self, ts: float, number: int) -> None:
        """Enter a request at ``ts``; numbers come in order, as the cohort gives them."""
        hour = int(ts // _HOUR_S)
        if number == len(self._born):
            self._born.append(hour // _DAY_HOURS)
            self._hour.append(-1)
            self._days.append(0)
            self._hours.append(0)
            self._requests.append(0)
        self._requests[number] += 1
        if hour != self._hour[number]:
            self._hour[number] = hour
            self._hours[number] += 1
            day = hour // _DAY_HOURS - self._born[number]
            if 0 <= day < DAYS:
                self._days[number] |= 1 << day

    def renumber(self, accounts: Renumbering) -> None:
        """Forget accounts that do not stay."""
        for name in ("_born", "_hour", "_days", "_hours", "_requests"):
            setattr(self, name, accounts.column(getattr(self, name)))

    def known(self) -> NDArray[np.bool_]:
        """Accounts of which enough was seen to speak of a rhythm."""
        return (np.array(self._requests) >= MIN_REQUESTS) & (np.array(self._hours) >= MIN_HOURS)

    def working(self, now_s: float = 0.0, within_days: int | None = None) -> NDArray[np.bool_]:
        """Accounts that left no day out from their first to their last, and are ``known``.

        ``within_days`` keeps those whose first day lies so many days before ``now_s`` at most.
        """
        born, hour = np.array(self._born, np.int64), np.array(self._hour, np.int64)
        span = np.clip(hour // _DAY_HOURS - born + 1, 1, DAYS)
        full = np.left_shift(np.int64(1), span) - 1
        found = self.known() & (np.array(self._days, np.int64) == full)
        if within_days is not None:
            found &= born >= int(now_s // _HOUR_S) // _DAY_HOURS - within_days
        return np.asarray(found)
