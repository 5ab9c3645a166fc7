"""Sudden changes of a group: a pivot to a new model, one pool taking over from another.

Both are e-values that a group's accounts change together, with one trial a holder, not a request:

*pivot*      within a day of a model's release, more of the group's holders ask for it than of other customers
*fail-over*  in one hour many of the group's accounts fall silent for good, and others begin soon after

When a change comes is not known. An e-detector (Shin, Ramdas, Rinaldo 2022, definition 2.2) starts a bet at every
moment at which it may come and sums them; divided by the number of moments, the sum is an e-value for the whole
log (a mixture over the moment), whenever one looks. Null: benign holders move at up to ``_MARGIN`` times the
share of the others, or ``BENIGN_MOVE``; they come and go in clumps of up to ``BENIGN_CLUMP`` times an even spread.
Release-day benchmarkers are single holders and a rotated key is one account: one trial each decides nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from gateway.analysis import evidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gateway.analysis.cohort import Cohort
    from gateway.analysis.renumbering import Renumbering

BENIGN_MOVE: Final = 0.3
"""Share of a benign group that asks for a new model on its first day: up to 0.4 of products and 0.18 of all
customers did in the development logs."""
BENIGN_CLUMP: Final = 8.0
_MARGIN: Final = 2.0
_MOST_NULL: Final = 0.8
_DAY_S: Final = 86_400.0
_HOUR_S: Final = 3_600.0
_MIN_HOURS: Final = 24
_FOLLOW_HOURS: Final = 6
"""A second pool is brought up within so many hours of the first one's end, account by account."""
_MOST_RELEASES: Final = 64
_NOTHING: Final = 0.5
"""What a bet is worth that was not placed: half of every stake stays in cash."""


class Change(NamedTuple):
    """A change that was looked for: the e-value (hedged, at most ``cap``) and words for people where it shows."""

    e_value: float
    words: str = ""


class ReleaseBook:
    """Models that appeared while the log ran, and who asked for each within a day of its first request.

    Memory: a byte an account for each of the first ``_MOST_RELEASES`` new models; names that callers make up after
    those are not looked at.
    """

    def __init__(self) -> None:
        self._first_s: dict[int, float] = {}
        self._asked: dict[int, bytearray] = {}
        self.settled: set[int] = set()
        """Models whose first day is over: requests for them need not be entered."""

    def note(self, ts: float, number: int, model: int, *, warm: bool) -> None:
        """Enter a request for a model; ``warm``: the log has run long enough to call a model new."""
        first_s = self._first_s.get(model)
        if first_s is None:
            if len(self._first_s) >= _MOST_RELEASES * _MOST_RELEASES:
                return
            first_s = self._first_s[model] = ts if warm and len(self._asked) < _MOST_RELEASES else -np.inf
            if first_s > -np.inf:
                self._asked[model] = bytearray()
        if ts >= first_s + _DAY_S:
            self.settled.add(model)
        else:
            asked = self._asked[model]
            if number >= len(asked):
                asked.extend(bytes(number + 1 - len(asked)))
            asked[number] = 1

    def renumber(self, accounts: Renumbering) -> None:
        """Forget accounts that do not stay."""
        for model, asked in self._asked.items():
            who = np.zeros(accounts.place.size, np.uint8)
            who[: len(asked)] = np.frombuffer(asked, np.uint8)
            self._asked[model] = bytearray(who[accounts.kept].tobytes())

    def releases(self) -> list[tuple[float, NDArray[np.int64]]]:
        """(time of release, accounts that asked within a day of it), in the order of release."""
        return [
            (self._first_s[model], np.flatnonzero(np.frombuffer(asked, np.uint8)))
            for model, asked in self._asked.items()
        ]


def pivot(
    book: ReleaseBook,
    cohort: Cohort,
    members: Sequence[int],
    inside: NDArray[np.bool_],
    now_s: float,
    cap: float,
) -> Change:
    """E-value that the group moves to new models faster than others. ``members``: one account a holder.

    Holders count that were there before the release and asked for anything since. Nothing is bet on a release
    until its day is over.
    """
    begun, seen = np.array(cohort.first_s), np.array(cohort.last_s)
    bets, best = [], Change(_NOTHING)
    for at_s, asked in book.releases():
        if now_s < at_s + _DAY_S:
            continue
        there = (begun < at_s) & (seen >= at_s)
        moved = np.zeros(begun.size, bool)
        moved[asked] = True
        others = there & ~inside[: begun.size]
        mine = np.array(members, np.int64)[there[np.array(members, np.int64)]]
        share = (int(moved[others].sum()) + 1) / (int(others.sum()) + 2)
        hits = int(moved[mine].sum())
        null = min(_MOST_NULL, max(BENIGN_MOVE, _MARGIN * share))
        bets.append(evidence.hedge(evidence.rate_log_e(hits, mine.size, null), cap))
        if bets[-1] > best.e_value and bets[-1] > 1.0:
            words = f"pivot: {hits} of {mine.size} moved to a model on its first day, {share:.0%} of others"
            best = Change(bets[-1], words)
    return Change(evidence.average(bets), best.words) if bets else best


def failover(cohort: Cohort, members: Sequence[int], inside: NDArray[np.bool_], now_s: float, cap: float) -> Change:
    """E-value that one part of the group stops and another begins in its place. ``members``: one account a holder.

    An account has stopped when it has been silent for a day. Bets of each hour: on the stops in it, times on the
    beginnings in the hours that follow (independent: who begins does not know who stops).
    """
    begun, seen = np.array(cohort.first_s), np.array(cohort.last_s)
    mine = np.array(members, np.int64)
    stopped = seen < now_s - _DAY_S
    stops = _hours(seen[mine[stopped[mine]]])
    starts = _hours(begun[mine])
    if stops.size == 0:
        return Change(_NOTHING)
    first, last = int(starts.min()), int((now_s - _DAY_S) // _HOUR_S)
    hours = max(last - first + 1, _MIN_HOURS)
    others = ~inside[: begun.size]
    all_stops, all_starts = _hours(seen[others & stopped]), _hours(begun[others])
    total, best = 0.0, Change(_NOTHING)
    for hour in np.unique(stops).tolist():
        gone = _clump(stops, all_stops, hour, 1, hours)
        come = _clump(starts, all_starts, hour, _FOLLOW_HOURS, hours)
        bet = min(cap * cap, evidence.hedge(gone, cap * cap) * evidence.hedge(come, cap * cap))
        total += bet
        if bet > best.e_value and bet > hours:
            count, fresh = _within(stops, hour, 1), _within(starts, hour, _FOLLOW_HOURS)
            best = Change(bet, f"fail-over: {count} accounts stopped within an hour, {fresh} began by six hours later")
    return Change(min(cap, _NOTHING + _NOTHING * total / hours), best.words)


def _hours(times: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.asarray((times // _HOUR_S).astype(np.int64))


def _within(times: NDArray[np.int64], hour: int, width: int) -> int:
    """How many fall into ``width`` hours from ``hour`` on."""
    return int(((times >= hour) & (times < hour + width)).sum())


def _clump(mine: NDArray[np.int64], others: NDArray[np.int64], hour: int, width: int, hours: int) -> float:
    """Natural log of the e-value that more of ``mine`` fall into ``width`` hours than benign clumps do."""
    hits, around = _within(mine, hour, width), _within(others, hour, width)
    null = min(_MOST_NULL, max(BENIGN_CLUMP * width / hours, _MARGIN * (around + 1) / (others.size + hours)))
    return evidence.rate_log_e(hits, mine.size, null)


def joint(found: Sequence[Change]) -> Change:
    """Any of several changes: the mean of their e-values, which holds whatever their dependence; all their words."""
    return Change(evidence.average([one.e_value for one in found]), "; ".join(one.words for one in found if one.words))
