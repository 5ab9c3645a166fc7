"""Events read back from segments, resumable by offset; a torn last line is dropped, never guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import FileError, FileErrors
from gateway.events.codec import decode
from gateway.files import open_binary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.types import Event

_SKIP_BYTES = 1024 * 1024


class EventReader:
    """An iterator over one segment. ``offset`` is where the next event begins, in unpacked bytes."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        self.path = path
        self.offset = offset
        self._events = self._read()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def _read(self) -> Iterator[Event]:
        line = 0
        with open_binary(self.path) as file:
            if self.path.suffix == ".zst":
                self._skip(file, self.offset)
            else:
                file.seek(self.offset)
            for text in file:
                if not text.endswith(b"\n"):
                    return
                line += 1
                try:
                    event = decode(text)
                except ValueError as error:
                    place = f"{error}; the line is at byte {self.offset}"
                    raise FileErrors([FileError(file=str(self.path), line=line, column=1, message=place)]) from None
                self.offset += len(text)
                yield event

    @staticmethod
    def _skip(file: object, count: int) -> None:
        """Read past ``count`` bytes of something that cannot seek."""
        while count > 0:
            got = len(file.read(min(count, _SKIP_BYTES)))  # type: ignore[attr-defined]
            if not got:
                return
            count -= got


def read_events(path: Path, offset: int = 0) -> EventReader:
    """The events of one segment, plain or packed, from ``offset`` (unpacked bytes) on.

    The iterator's ``offset`` is where to go on later, also after the segment was packed. Raises FileErrors
    where a whole line is no event (its line is counted from ``offset``), or the file cannot be read.
    """
    return EventReader(path, offset)
