"""The files that events are kept in: begun, appended to, rotated, packed, read back, forgotten.

A segment is ``events-YYYYMMDDTHHMMSS-PID.ndjson``; packed it is the same name with ``.zst``. Invariants:

* A segment has one writer, which holds its lock (``flock``) until it is done or dead, and never reopens one.
* Only whole lines are ever added; what a failed write left behind is cut off again. So only the last line
  of a segment can be torn, by a kill or a power cut, and readers drop it.
* Packing makes a whole new file and renames it into place before the old one goes: where both exist, the
  packed one is complete. Offsets count unpacked bytes and are the same in both.

Leaves out: threads and timing (``file_sink``), the meaning of a line (``codec``).
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zstandard

from gateway.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.clock import Clock

_NAME = re.compile(r"events-(\d{8}T\d{6})-(\d+)(?:-(\d+))?\.ndjson(\.zst)?")
_CHUNK_BYTES = 1024 * 1024
_DAY_S = 86_400
_PACK_LEVEL = 1
"""Most of an event is hashes, of which nothing can be saved: level 3 takes five times as long and saves no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large and how old segments get. Rotated ones go, oldest first, beyond either of the last two."""

    segment_bytes: int = 64 * 1024 * 1024
    segment_age_s: float = 3600.0
    keep_bytes: int = 20 * 1024 * 1024 * 1024
    keep_days: float = 90.0
    """Twice the campaign horizon of 45 days, so that a whole campaign can be replayed after it was found."""


class Segments:
    """The writer's side: the one open segment of a process. Not safe for threads; the caller locks."""

    def __init__(self, folder: Path, clock: Clock, limits: Limits) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.rotated = False
        """A segment was closed and may be packed; whoever packs puts it back to False."""
        self._clock = clock
        self._limits = limits
        self._handle = -1
        self._size = 0
        self._begun_s = 0.0

    def write(self, data: bytes) -> None:
        """Append whole lines. Raises OSError with nothing of ``data`` left in the segment."""
        if self._handle >= 0 and self._is_full(len(data)):
            self.close()
            self.rotated = True
        if self._handle < 0:
            self._begin()
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._handle, rest) :]
        except OSError:
            self._cut()
            raise
        self._size += len(data)

    def sync_later(self) -> int:
        """A handle of the open segment for ``os.fsync``, to be closed by the caller; -1 where none is open."""
        return os.dup(self._handle) if self._handle >= 0 else -1

    def close(self) -> None:
        """Make the open segment durable and let go of its lock."""
        if self._handle < 0:
            return
        handle, self._handle = self._handle, -1
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def _is_full(self, more_bytes: int) -> bool:
        """Whether ``more_bytes`` belong into the next segment."""
        too_large = self._size > 0 and self._size + more_bytes > self._limits.segment_bytes
        return too_large or self._clock.monotonic() - self._begun_s >= self._limits.segment_age_s

    def _begin(self) -> None:
        """Open a new file that did not exist, locked before anyone can take it for a dead process's."""
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(self._clock.now()))
        for number in range(10_000):
            again = f"-{number}" if number else ""
            path = self.folder / f"events-{stamp}-{os.getpid()}{again}.ndjson"
            try:
                self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            except FileExistsError:
                continue
            fcntl.flock(self._handle, fcntl.LOCK_EX)
            if os.fstat(self._handle).st_nlink == 0:  # another process's packer was faster than the lock
                os.close(self._handle)
                continue
            # asked last: a packer may have taken a plain file of this name away a moment ago
            if path.with_name(path.name + ".zst").exists():
                path.unlink()
                os.close(self._handle)
                continue
            self._size, self._begun_s = 0, self._clock.monotonic()
            sync_folder(self.folder)
            return
        raise FileExistsError(f"got 10000 segments named events-{stamp}-{os.getpid()} in {self.folder}, expected a few")

    def _cut(self) -> None:
        """Remove a partly written line; where even that fails, go on in a new segment."""
        try:
            os.ftruncate(self._handle, self._size)
        except OSError:
            handle, self._handle = self._handle, -1
            os.close(handle)


def list_segments(folder: Path) -> list[Path]:
    """The segments of a folder, oldest first; of one that is both packed and not, the packed file."""
    found: dict[tuple[str, int, int], Path] = {}
    names = sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208 - names are matched, not paths
    for name in names:
        if match := _NAME.fullmatch(name):
            found[match[1], int(match[2]), int(match[3] or 0)] = folder / name  # ".zst" sorts after the plain name
    return [found[key] for key in sorted(found)]


def pack_finished(folder: Path) -> list[Path]:
    """Pack every segment that no living process writes; returns the packed files. Raises OSError."""
    packed = []
    for path in list(folder.glob("events-*.ndjson")):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # another process packed it
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():
                packed.append(_pack(path))
        except BlockingIOError:
            continue
        finally:
            os.close(handle)
    return packed


def _pack(path: Path) -> Path:
    """Replace a finished segment by its packed form, without a torn last line."""
    target = path.with_name(path.name + ".zst")
    if not target.exists():
        fresh = path.with_name(f".{target.name}.new")
        with fresh.open("wb") as file:
            fresh.chmod(0o600)
            with zstandard.ZstdCompressor(level=_PACK_LEVEL).stream_writer(file, closefd=False) as packer:
                for chunk in _whole_lines(path):
                    packer.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(target)
        sync_folder(path.parent)
    path.unlink()
    return target


def _whole_lines(path: Path) -> Iterator[bytes]:
    """The file in large pieces, up to its last newline."""
    rest = b""
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            end = chunk.rfind(b"\n") + 1
            if end:
                yield rest + chunk[:end]
                rest = chunk[end:]
            else:
                rest += chunk


def forget_old(folder: Path, limits: Limits, now_s: float) -> list[Path]:
    """Remove packed segments beyond ``limits.keep_days`` or ``limits.keep_bytes``, oldest first; returns them."""
    removed = []
    kept_bytes = 0
    for path in reversed([path for path in list_segments(folder) if path.suffix == ".zst"]):
        facts = path.stat()
        kept_bytes += facts.st_size
        if kept_bytes > limits.keep_bytes or now_s - facts.st_mtime > limits.keep_days * _DAY_S:
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed
