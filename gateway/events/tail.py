"""The growing log of a state folder, read on by one reader over rotation, packing and restarts.

``position`` is plain data: keep it with whatever was made of the events, and give it back to go on from there.
Each event is given exactly once for a position. Leaves out: waiting; ask again when it suits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import FileErrors
from gateway.events.reader import read_events
from gateway.events.segments import list_segments

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.types import Event

_PACKED = ".zst"


class EventTail:
    """Reads the segments of ``folder`` in their order, from ``position`` (default: the oldest there is).

    ``position`` maps a segment's name to the byte after the last event read; segments that were forgotten
    since leave it. Events of one segment come in the order they were appended.
    """

    def __init__(self, folder: Path, position: Mapping[str, int] | None = None) -> None:
        self._folder = folder
        self._offsets = dict(position or {})
        self._finished: set[str] = set()

    @property
    def position(self) -> dict[str, int]:
        """Where reading goes on."""
        return dict(self._offsets)

    def read(self, limit: int = 10_000) -> list[Event]:
        """The next events, at most ``limit``; an empty list where nothing is new.

        Raises FileErrors where a segment was damaged, once the events before the damage were given.
        """
        found: list[Event] = []
        paths = {path.name.removesuffix(_PACKED): path for path in list_segments(self._folder)}
        for gone in self._offsets.keys() - paths.keys():
            del self._offsets[gone]
        self._finished &= paths.keys()
        for name, path in paths.items():
            if name not in self._finished and not self._read_one(name, path, limit, found):
                break
        return found

    def _read_one(self, name: str, path: Path, limit: int, found: list[Event]) -> bool:
        """Add the new events of one segment; False where the next one has to wait."""
        packed = path.suffix == _PACKED
        reader = read_events(path, self._offsets.get(name, 0))
        try:
            if not packed and path.stat().st_size <= reader.offset:
                return True
            while len(found) < limit and (event := next(reader, None)) is not None:
                found.append(event)
        except (FileNotFoundError, FileErrors):
            if not path.exists():  # it was packed a moment ago: the next call finds it so
                return False
            if not found:
                raise
            return False
        finally:
            self._offsets[name] = reader.offset
        if len(found) >= limit:
            return False
        if packed:
            self._finished.add(name)
        return True
