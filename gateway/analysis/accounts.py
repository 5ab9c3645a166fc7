"""Everything that is known of accounts: traits and holders, linkage values, rhythm, moves to new models.

One place to enter a request and one to ask about groups of accounts. Groups are lists of the cohort's numbers;
``inside`` flags a group's accounts (and others that are nobody's cohort) by number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.analysis import changes, links
from gateway.analysis.cohort import Cohort
from gateway.analysis.rhythm import Rhythm
from gateway.analysis.values import ValueBook

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from gateway.analysis.renumbering import Renumbering


class Accounts:
    """The accounts seen."""

    def __init__(self) -> None:
        self.cohort = Cohort()
        self.values = ValueBook()
        self.rhythm = Rhythm()
        self.releases = changes.ReleaseBook()
        self._holders: NDArray[np.int64] | None = None

    def see(self, ts: float, account: str, known: Mapping[str, Any], shown: Mapping[str, Any], *, warm: bool) -> int:
        """Enter a request; the account's number. ``warm``: what appears now is new, not only the log young."""
        number = self.cohort.see(ts, account, known, shown)
        self.values.note(number, known, shown)
        self.rhythm.note(ts, number)
        model = shown.get("model")
        if model is not None and model not in self.releases.settled:
            self.releases.note(ts, number, model, warm=warm)
        return number

    def learn(self, number: int, known: Mapping[str, Any]) -> None:
        """Take over what the directory says by now of an account that has been seen."""
        self.cohort.learn(number, known)
        self.values.learn(number, known)

    def renumber(self, accounts: Renumbering) -> None:
        """Forget accounts that do not stay."""
        for store in (self.cohort, self.values, self.rhythm, self.releases):
            store.renumber(accounts)
        self._holders = None

    def begin_pass(self) -> None:
        """Forget what was found for the last pass: accounts may have come and holders may be one now."""
        self._holders = None

    def holders(self) -> NDArray[np.int64]:
        """For each account, the first account of its holder; found once a pass."""
        if self._holders is None:
            self._holders = self.cohort.holder_numbers()
        return self._holders

    def flags(self, numbers: Iterable[int]) -> NDArray[np.bool_]:
        """A flag for each account: whether it is one of ``numbers``."""
        inside = np.zeros(len(self.cohort), bool)
        inside[list(numbers)] = True
        return inside

    def kin(self, members: Iterable[int]) -> list[int]:
        """Accounts outside that own values of a cluster link to it (``links.kin``)."""
        return links.kin(self.values, self.holders(), self.flags(members))

    def change(self, holders: list[int], inside: NDArray[np.bool_], now_s: float, cap: float) -> changes.Change:
        """Whether a group (one account a holder) pivots, or one part of it takes over from another."""
        moved = changes.pivot(self.releases, self.cohort, holders, inside, now_s, cap)
        return changes.joint([moved, changes.failover(self.cohort, holders, inside, now_s, cap)])
