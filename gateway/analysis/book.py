"""The book of phrases: which phrases more than one account says, and in which requests they meet.

A phrase costs nothing until a second account says it: until then it is a tag in a fixed table that newer
phrases overwrite. A phrase said twice gets a number, until it has been silent for the horizon. Requests that say numbered phrases are kept as
rows until they leave the window; everything else about them is forgotten.

Memory: 16 bytes a slot of the table, 60 a number, 20 a kept request and 4 a phrase of it.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

import numpy as np

from gateway.analysis.renumbering import Renumbering
from gateway.analysis.templates import Rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

_TAG, _STATE = 0, 1
_NOBODY: Final = -1
"""State of a slot: a phrase's number, or ``_NOBODY``, or ``_FIRST`` less the account that said it first."""
_FIRST: Final = -2
_ROW_PHRASES: Final = 64
"""Numbered phrases kept of one request; more are the same texts again."""


class PhraseBook:
    """Numbers phrases that at least two accounts say and keeps the rows in which they stand."""

    def __init__(self, slots_log2: int) -> None:
        size = 1 << slots_log2
        self._mask = np.int64(size - 1)
        self._table = np.full((size, 2), _NOBODY, np.int64)
        """Of each slot the tag and its state, side by side: both come with one look into memory."""
        self._table[:, _TAG] = 0
        self.hashes: list[int] = []
        self.first_s = array("d")
        self._muted = np.zeros(1_024, bool)
        self._heard_s = np.zeros(1_024)
        self._said = array("i")
        """Numbers said in the kept rows, row by row; and of each row how many, by whom, when, and what it wants."""
        self._lengths = array("i")
        self._accounts = array("i")
        self._times = array("d")
        self._wants = array("i")

    def __len__(self) -> int:
        """How many phrases have numbers."""
        return len(self.hashes)

    def note(self, ts: float, account: int, phrases: Sequence[int], wants: int = 0) -> NDArray[np.int32]:
        """Enter a request's phrases (below 2**64); the numbers of those that have one (and keep them as a row)."""
        codes = np.asarray(phrases, np.uint64).view(np.int64)
        slots = codes & self._mask
        tags, states = self._table.take(slots, 0).T
        same, free = tags == codes, states < 0
        if np.count_nonzero(free):  # a tenth of what any() takes on so few
            mine = _FIRST - account
            fresh = slots[free > same]
            if fresh.size:
                self._table[fresh, _TAG] = codes[free > same]
                self._table[fresh, _STATE] = mine
            second = free & same & (states != mine)
            if np.count_nonzero(second):
                self._number(ts, slots[second], codes[second])
                tags, states = self._table.take(slots, 0).T
                same, free = tags == codes, states < 0
        said = states[same > free].astype(np.int32)
        self._heard_s[said] = ts
        row: NDArray[np.int32] = said[~self._muted[said]][:_ROW_PHRASES]
        if row.size > 1:
            self._said.frombytes(row.tobytes())
            self._lengths.append(row.size)
            self._accounts.append(account)
            self._times.append(ts)
            self._wants.append(wants)
        return row

    def _number(self, ts: float, slots: NDArray[np.int64], codes: NDArray[np.int64]) -> None:
        start = len(self.hashes)
        self._table[slots, _STATE] = np.arange(start, start + slots.size)
        self.hashes.extend(codes.view(np.uint64).tolist())
        self.first_s.extend(array("d", [ts]) * slots.size)
        if len(self.hashes) > self._muted.size:
            more = max(slots.size, self._muted.size)
            self._muted = np.concatenate([self._muted, np.zeros(more, bool)])
            self._heard_s = np.concatenate([self._heard_s, np.zeros(more)])

    def numbers_of(self, codes: Iterable[int]) -> dict[int, int]:
        """Number to hash, for those of the hashes that have a number."""
        wanted = np.fromiter(codes, np.uint64)
        tags, states = self._table.take(wanted.view(np.int64) & self._mask, 0).T
        known = (states >= 0) & (tags == wanted.view(np.int64))
        return dict(zip(states[known].tolist(), wanted[known].tolist(), strict=True))

    @property
    def born_s(self) -> NDArray[np.float64]:
        """When each numbered phrase was first said by a second account."""
        return np.array(self.first_s, np.float64)

    def mute(self, phrases: NDArray[np.int64]) -> None:
        """Leave phrases of the background out of rows, those kept and those to come."""
        self._muted[phrases] = True
        rows = self.rows()
        heard = ~self._muted[rows.phrase]
        if heard.all():
            return
        lengths = np.bincount(rows.request[heard], minlength=self.kept)
        keep = lengths > 1
        self._said = array("i", rows.phrase[heard & keep[rows.request]].tobytes())
        self._lengths = array("i", lengths[keep].astype(np.int32).tobytes())
        self._accounts = array("i", rows.account[keep].astype(np.int32).tobytes())
        self._times = array("d", rows.ts[keep].tobytes())
        self._wants = array("i", rows.wants[keep].astype(np.int32).tobytes())

    def unmute(self) -> None:
        """Look at every phrase again."""
        self._muted[:] = False

    def forget(self, before_s: float) -> None:
        """Drop rows older than ``before_s``; numbers stay until ``renumber``."""
        young = np.flatnonzero(np.array(self._times) >= before_s)
        gone = int(young[0]) if young.size else self.kept
        if gone:
            del self._said[: sum(self._lengths[:gone])]
            del self._lengths[:gone], self._accounts[:gone], self._times[:gone], self._wants[:gone]

    def silent_since(self, before_s: float) -> Renumbering:
        """Which numbers stay: phrases said since ``before_s``, or in a kept row."""
        stays = self._heard_s[: len(self.hashes)] >= before_s
        stays[np.array(self._said, np.int32)] = True
        return Renumbering.of(stays)

    def senders(self) -> NDArray[np.int32]:
        """The accounts of the kept rows, one a row."""
        return np.array(self._accounts, np.int32)

    def renumber(self, accounts: Renumbering, phrases: Renumbering) -> None:
        """Forget accounts and phrases that do not stay; their slots are free again. What a kept row names stays."""
        state = self._table[:, _STATE]
        first, numbered = state <= _FIRST, state >= 0
        state[first] = _FIRST - accounts.place[_FIRST - state[first]]
        state[numbered] = phrases.place[state[numbered]]
        self._table[state == _NOBODY, _TAG] = 0  # ``GONE`` of either kind makes nobody's slot
        self.hashes = [self.hashes[number] for number in phrases.kept.tolist()]
        self.first_s = phrases.column(self.first_s)
        self._muted, self._heard_s = phrases.room(self._muted, False), phrases.room(self._heard_s, 0.0)
        self._said = array("i", phrases.new(np.array(self._said, np.int32)).tobytes())
        self._accounts = array("i", accounts.new(np.array(self._accounts, np.int32)).tobytes())

    @property
    def kept(self) -> int:
        """How many rows are kept."""
        return len(self._lengths)

    def rows(self) -> Rows:
        """The kept requests."""
        lengths = np.array(self._lengths, np.int64)
        return Rows(
            request=np.repeat(np.arange(lengths.size, dtype=np.int64), lengths),
            phrase=np.array(self._said, np.int32),
            account=np.array(self._accounts, np.int64),
            ts=np.array(self._times, np.float64),
            wants=np.array(self._wants, np.int64),
        )
