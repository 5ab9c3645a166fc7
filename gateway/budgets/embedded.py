"""The memory store with a journal under it, so that a restart forgets nothing that was spent.

Entries (``journal``): ``["b", key, code, limit, size_us, ...state]`` a bucket after a change (no state: it is gone), and
``["o", id, [key, code, limit, size_us, amount, mark, floor], ...]`` a reservation (no rows: it is settled),
``["m", id, forgotten_at_us]`` a move that was done.
A flush writes buckets before reservations: a torn end may keep a hold too much, never make room. A reservation that
was opened and settled between two flushes is not written at all.

Bounds: a kill loses the changes of at most the last ``FLUSH_S``. Reservations that were open then are settled at
their floors at the next start. Leases are not kept: nobody holds one over a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from itertools import chain, islice
from typing import TYPE_CHECKING

from gateway.budgets.core import Line
from gateway.budgets.journal import Entry, Journal, sync
from gateway.budgets.memory import MemoryStore, Record
from gateway.budgets.windows import Lease, revive

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from gateway.clock import Clock

FLUSH_S = 0.1
REWRITTEN_PER_FLUSH = 1_000
"""Some 2 ms of the event loop."""
log = logging.getLogger(__name__)


class EmbeddedStore(MemoryStore):
    """``MemoryStore`` kept in ``folder/budgets.journal``. ``open`` reads it and keeps writing; one process only."""

    in_process = True

    def __init__(self, clock: Clock, folder: Path) -> None:
        super().__init__(clock)
        self._journal = Journal(folder / "budgets.journal")
        self._rewriting: Iterator[Entry] | None = None
        self._task: asyncio.Task[None] | None = None
        self._failing = False
        self._written: set[str] = set()
        """Reservations that are open in the journal."""
        self._syncing: asyncio.Future[None] | None = None
        self.dirty = set()
        self.changed = set()

    async def open(self) -> None:
        """Read the journal, settle what a kill left open, write the journal anew and start flushing."""
        self.load()
        self._task = asyncio.create_task(self._keep_flushing(), name="budgets-journal")

    async def aclose(self) -> None:
        """Flush and stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._try_flush()
        self._journal.close()

    def load(self) -> None:
        """Raises OSError if the folder cannot be read or written."""
        held = self.look()
        now_us = self.now_us()
        for reservation, rows in held.items():
            self._abandon(reservation, rows, now_us)
        self.dirty, self.changed = set(), set()
        self._journal.rewrite(self._entries(list(self._buckets), list(self._moved)))

    def look(self) -> dict[str, Entry]:
        """Take over what the journal says and write nothing: enough to ``peek`` beside the process that holds it.

        Returns the reservations that are open, which count as reserved. Raises OSError if it cannot be read.
        """
        held: dict[str, Entry] = {}
        for entry in self._journal.read():
            try:
                self._take(entry, held)
            except (TypeError, ValueError, IndexError):
                log.warning("budgets.journal: got an entry that is no bucket or reservation, left it out")
        return held

    def flush(self) -> None:
        """Write what changed since the last flush; a step of a rewrite under way.

        Raises OSError; then what changed is kept for the next flush, and the rewrite is given up.
        """
        assert self.dirty is not None
        assert self.changed is not None
        keys, ids = self.dirty, self.changed
        self.dirty, self.changed = set(), set()
        try:
            self._journal.append(map(self._bucket_entry, keys), filter(None, map(self._other_entry, ids)))
        except OSError:
            self.dirty |= keys
            self.changed |= ids
            self._written |= ids  # what was written of them is not known; an end too many harms nothing
            self._rewriting = self._syncing = None
            raise
        try:
            self._rewrite_on()
        except OSError:
            self._rewriting = None
            self._journal.give_up_rewrite()
            raise

    def _rewrite_on(self) -> None:
        """Begin a rewrite where it is time, or take the next step of one. A running store waits for no disk: the new
        file is brought to it in another thread.
        """
        if self._syncing is not None:
            if self._syncing.done():
                syncing, self._syncing = self._syncing, None
                syncing.result()
                self._journal.end_rewrite()
            return
        if self._journal.wants_rewrite:
            self._journal.begin_rewrite()
            self._rewriting = self._entries(list(self._buckets), [*self._moved, *self._open])
        if self._rewriting is not None:
            piece = list(islice(self._rewriting, REWRITTEN_PER_FLUSH))
            self._journal.add_to_rewrite(piece)
            if not piece:
                self._rewriting = None
                self._bring_to_disk()

    def _bring_to_disk(self) -> None:
        handle = self._journal.rewrite_handle()
        if self._task is None:
            sync(handle)
            self._journal.end_rewrite()
        else:
            self._syncing = asyncio.get_running_loop().run_in_executor(None, sync, handle)

    async def _keep_flushing(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            self._try_flush()

    def _try_flush(self) -> None:
        """Flush; of a row of failures the first is logged."""
        try:
            self.flush()
        except OSError as error:
            if not self._failing:
                log.error(  # noqa: TRY400 - no trace wanted
                    "budgets.journal: could not be written; until it can, what is spent is lost by a restart",
                    extra={"reason": str(error)},
                )
            self._failing = True
        else:
            self._failing = False

    def _entries(self, keys: Iterable[str], ids: Iterable[str]) -> Iterator[Entry]:
        return chain(map(self._bucket_entry, keys), filter(None, map(self._other_entry, ids)))

    def _bucket_entry(self, key: str) -> Entry:
        found = self._buckets.get(key)
        if found is None:
            return ["b", key]
        shape, state = found
        return ["b", key, shape.code, shape.limit, shape.size_us, *state]

    def _other_entry(self, name: str) -> Entry | None:
        """A reservation or a move, whose ids never meet: a request's id has no colon, a move's has. ``None``: a
        reservation that is over and that the journal does not know.
        """
        if name in self._moved:
            return ["m", name, self._moved[name]]
        record = self._open.get(name)
        if record is None:
            if name not in self._written:
                return None
            self._written.discard(name)
            return ["o", name]
        self._written.add(name)  # before it is: a write that fails half-way may have said it all the same
        entry: Entry = ["o", name]
        for line, amount, mark in zip(record.lines, record.amounts, record.marks, strict=True):
            shape = line.shape
            if shape.code != Lease.CODE:
                entry.append([line.key, shape.code, shape.limit, shape.size_us, amount, mark, line.floor])
        return entry

    def _take(self, entry: Entry, held: dict[str, Entry]) -> None:
        kind, name = entry[0], entry[1]
        if not isinstance(name, str):
            raise TypeError(name)
        if kind == "o":
            held.pop(name, None)
            if entry[2:]:
                held[name] = entry[2:]
        elif kind == "m":
            self._moved[name] = int(entry[2])
        elif kind == "b":
            self._buckets.pop(name, None)
            if entry[2:]:
                code, limit, size_us, *state = entry[2:]
                shape = revive(code, limit, size_us)
                if len(state) < len(shape.fresh()) or not all(isinstance(number, int | float) for number in state):
                    raise ValueError(state)
                self._buckets[name] = (shape, state)

    def _abandon(self, reservation: str, rows: Entry, now_us: int) -> None:
        """Settle at the floors what a killed process had open."""
        lines = [Line(row[0], revive(*row[1:4]), row[6], row[6]) for row in rows]
        record = Record(lines, [row[4] for row in rows], [row[5] for row in rows], 0)
        for position, line in enumerate(lines):
            self._change(record, reservation, position, line.floor, now_us)
