"""Where a worker's events come from and where its snapshots are kept: one seam, for files and for Redis.

The contract: ``read`` gives events at least once each, in order; ``position`` is where reading would go on after
them; what was read is given again after a kill unless ``keep`` has kept a snapshot since. Every method raises
StoreError where the store cannot be asked.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from typing import IO, TYPE_CHECKING, Protocol

from gateway.errors import FileErrors
from gateway.events import EventTail

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.types import JSON, Event

_log = logging.getLogger(__name__)
_IDLE_S = 1.0
"""Nobody waits for the analysis; looking more often only wakes an idle machine up."""
_WHOLE = 1 << 62
"""An offset past the end of any segment: nothing more is read of it."""


class Source(Protocol):
    """Events and snapshots of one deployment."""

    idle_s: float
    """How long to wait before reading again where nothing was new; ``read`` itself may have waited."""

    async def load(self, path: Path) -> bool:
        """Put the last snapshot at ``path``; whether there is one."""
        ...

    async def open(self, position: JSON) -> None:
        """Begin at a snapshot's position; ``None``: at the oldest event there is."""
        ...

    async def read(self) -> list[Event]:
        """The next events; empty where nothing is new, after waiting for a second at most."""
        ...

    @property
    def position(self) -> JSON:
        """Where reading goes on, as plain data."""
        ...

    async def keep(self, path: Path, position: JSON) -> None:
        """Keep the snapshot at ``path``; what was read until ``position`` need not be given again."""
        ...

    async def aclose(self) -> None:
        """Let go of files and connections."""
        ...


class TailSource:
    """Events of a state folder; the snapshot stays where it was written."""

    def __init__(self, folder: Path, *, limit: int = 2_000) -> None:
        self.idle_s = _IDLE_S
        self._folder = folder
        self._limit = limit
        self._tail = EventTail(folder)

    async def load(self, path: Path) -> bool:
        """Whether the file is there: it is in its place."""
        return await asyncio.to_thread(path.exists)

    async def open(self, position: JSON) -> None:
        """Go on at ``position``."""
        self._tail = EventTail(self._folder, position)

    async def read(self) -> list[Event]:
        """The next events; a segment that is damaged is left at the damage, and said so."""
        try:
            events = await asyncio.to_thread(self._tail.read, self._limit)
        except FileErrors as error:
            _log.error("events_damaged", extra={"reason": str(error)})
            segment = os.path.basename(error.errors[0].file).removesuffix(".zst")  # noqa: PTH119 - a name in words
            self._tail = EventTail(self._folder, {**self._tail.position, segment: _WHOLE})
            return await self.read()
        return events

    @property
    def position(self) -> JSON:
        """Offsets by segment."""
        return self._tail.position

    async def keep(self, path: Path, position: JSON) -> None:
        """Nothing: the position is in the snapshot."""

    async def aclose(self) -> None:
        """Nothing is open."""


def open_private(path: Path) -> IO[bytes]:
    """A new file that only this user may read. Raises OSError where its folder is gone: a state folder that was
    removed is not made again.
    """
    return os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb")


class FolderLock:
    """Only one worker reads a state folder: an exclusive lock, let go of by the operating system at a kill."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = -1

    def take(self) -> bool:
        """Whether the lock is held now."""
        if self._handle < 0:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._handle = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let go."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
