"""The file that keeps the embedded store over a restart: an append-only journal of states.

One JSON array a line: an entry, or up to ``ENTRIES_PER_LINE`` of them. A later entry about the same thing replaces an
earlier one, so that a torn or repeated line harms nothing: what cannot be read is left out. The file is written anew,
piece by piece beside the old one, when it has grown to twice what it was after the last time.
"""

from __future__ import annotations

import contextlib
import errno
import os
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

COMPACT_MIN_BYTES = 4 * 1024 * 1024
ENTRIES_PER_LINE = 256
"""What one unreadable line may cost; writing them together takes a quarter of the time."""
Entry: TypeAlias = list[Any]


class Journal:
    """Appends and reads entries; knows nothing of budgets. Only one process may hold it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fresh = path.with_name(path.name + ".new")
        self._file: IO[bytes] | None = None
        self._next: IO[bytes] | None = None
        self._bytes = 0
        self._compacted_bytes = 0
        self._torn = False

    def read(self) -> Iterator[Entry]:
        """Every whole entry, oldest first; nothing if there is no file."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for row in file:
                entry = None
                with contextlib.suppress(orjson.JSONDecodeError):
                    entry = orjson.loads(row)
                if not isinstance(entry, list):
                    continue
                for one in entry if entry and isinstance(entry[0], list) else (entry,):
                    if isinstance(one, list) and len(one) > 1:
                        yield one

    def rewrite(self, entries: Iterable[Entry]) -> None:
        """Replace the file by ``entries``, atomically: the old one stands until the new one is on disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.begin_rewrite()
        self.add_to_rewrite(entries)
        sync(self.rewrite_handle())
        self.end_rewrite()

    def append(self, *groups: Iterable[Entry]) -> None:
        """Write entries with one call to the system, to a rewrite under way too; lines hold entries of one group.

        Raises OSError, also where only a part was taken (a full disk); a rewrite under way is given up then,
        and the next entries begin on a line of their own.
        """
        data = b"".join([_packed(entries) for entries in groups])
        if not data:
            return
        try:
            for file in (self._file, self._next):
                if file is not None:
                    _write(file, b"\n" + data if self._torn else data)
        except OSError:
            self._torn = True
            self.give_up_rewrite()
            raise
        self._torn = False
        self._bytes += len(data)

    @property
    def wants_rewrite(self) -> bool:
        """Whether rewriting would make the file markedly smaller and is not under way."""
        return self._next is None and self._bytes > max(COMPACT_MIN_BYTES, 2 * self._compacted_bytes)

    def begin_rewrite(self) -> None:
        """Start the new file; from now on ``append`` writes to both."""
        self._next = self._fresh.open("wb", buffering=0)
        os.fchmod(self._next.fileno(), 0o600)  # who spent what is nobody else's business

    def add_to_rewrite(self, entries: Iterable[Entry]) -> None:
        """A piece of what is live. Must be as it is now, not as it was when the rewrite began."""
        assert self._next is not None
        _write(self._next, _packed(entries))

    def rewrite_handle(self) -> int:
        """The new file, for ``sync`` in another thread."""
        assert self._next is not None
        return os.dup(self._next.fileno())

    def end_rewrite(self) -> None:
        """Put the new file, which is on disk, in the old one's place; nothing if it was given up meanwhile."""
        if self._next is None:
            return
        self._fresh.replace(self.path)
        if self._file is not None:
            self._file.close()
        self._file, self._next = self._next, None
        self._bytes = self._compacted_bytes = self.path.stat().st_size

    def give_up_rewrite(self) -> None:
        """The old file stands: one that lacks a piece must never take its place."""
        if self._next is not None:
            self._next.close()
            self._next = None

    def close(self) -> None:
        """Close the files; a rewrite under way is left unfinished and the old file stands."""
        for file in (self._file, self._next):
            if file is not None:
                file.close()
        self._file = self._next = None


def _write(file: IO[bytes], data: bytes) -> None:
    """All of ``data``, or OSError: a disk that fills up takes a part without one."""
    if file.write(data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def sync(handle: int) -> None:
    """Bring a file to disk and close the handle. Raises OSError."""
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _packed(entries: Iterable[Entry]) -> bytes:
    rest = iter(entries)
    lines: list[bytes] = []
    while some := list(islice(rest, ENTRIES_PER_LINE)):
        lines += (orjson.dumps(some), b"\n")
    return b"".join(lines)
