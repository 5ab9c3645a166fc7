"""When a worker's state is kept, and how: by a copy of the process where there is memory for one, one at a time.

What holds: a snapshot counts only while its worker leads; what it includes is acknowledged only after it is kept; a
snapshot that failed is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from gateway.errors import StoreError
from gateway.tasks import end_tasks
from gateway.worker.aside import Aside
from gateway.worker.snapshot import write_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.clock import Clock
    from gateway.types import JSON
    from gateway.worker.core import State
    from gateway.worker.sources import Source

KEEP_EVERY_S = 60.0
FIRST_AFTER_S = 2.0
"""The first one comes soon: a worker that loses the lead again and again still gets through a long log."""
_SHARE = 20.0
"""A snapshot takes at most one part in so many of the time: a large state is kept more seldom."""
_AGAIN_S = 5.0
_log = logging.getLogger(__name__)


class Keeper:
    """Keeps the snapshots of one session at ``path``. ``changed``: there is something that no snapshot includes."""

    def __init__(self, source: Source, path: Path, key: bytes, clock: Clock, held: Callable[[], bool]) -> None:
        self._source = source
        self._path = path
        self._key = key
        self._clock = clock
        self._held = held
        self._task: asyncio.Task[None] | None = None
        self._next_s = time.monotonic() + FIRST_AFTER_S
        self.changed = False
        self.kept_at_s = 0.0

    def due(self) -> bool:
        """Whether it is time, nothing is being kept, and there is something new."""
        return self.changed and self._task is None and time.monotonic() >= self._next_s

    async def begin(self, state: State) -> None:
        """Take the state as it is now; writing and keeping go on beside the caller, ``settle`` says how it went."""
        began_s = time.monotonic()
        now_s = self._clock.now()
        try:
            aside = Aside(self._path, state, self._key, now_s)
        except OSError as error:  # no memory for a copy: then reading waits for a thread
            _log.warning("snapshot_not_aside", extra={"reason": str(error)})
            await asyncio.to_thread(write_snapshot, self._path, state, self._key, now_s)
            aside = None
        self.changed = False
        held_up_s = time.monotonic() - began_s
        self._task = asyncio.create_task(self._finish(aside, state.position, began_s, held_up_s), name="snapshot")
        await asyncio.sleep(0)  # from here on it waits for the copy, and ends it where it is cancelled

    async def _finish(self, aside: Aside | None, position: JSON, began_s: float, held_up_s: float) -> None:
        try:
            if aside is not None:
                await aside.wait()
            if not self._held():
                _no_more()
            await self._source.keep(self._path, position)
        except BaseException:
            self.changed = True
            self._next_s = time.monotonic() + _AGAIN_S
            raise
        took_s = time.monotonic() - began_s
        self.kept_at_s = self._clock.now()
        self._next_s = time.monotonic() + max(KEEP_EVERY_S, _SHARE * took_s)
        _log.debug("snapshot_kept", extra={"took_s": round(took_s, 3), "held_up_s": round(held_up_s, 3)})

    async def settle(self, *, wait: bool = True) -> None:
        """Raise what went wrong with the last snapshot, once it has ended; ``wait`` for that, or look only.

        Raises StoreError, SnapshotUnusable and OSError.
        """
        if self._task is not None and (wait or self._task.done()):
            task, self._task = self._task, None
            await task

    async def give_up(self) -> None:
        """End what is under way: this worker leads no more."""
        if self._task is not None:
            await end_tasks([self._task])
            self._task = None

    def put_off(self) -> None:
        """Something went wrong: not again at once."""
        self._next_s = max(self._next_s, time.monotonic() + _AGAIN_S)


def _no_more() -> None:
    raise StoreError("another analysis worker leads; this one's snapshot does not count")
