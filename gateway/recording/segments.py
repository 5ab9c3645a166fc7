"""The files of recordings: written as they come, closed sorted and packed, forgotten.

``requests-YYYYMMDDTHHMMSS-NUMBER-PID.ndjson.part`` is being written by the process that holds its lock (``flock``);
closed it is ``requests-....ndjson.zst``, sorted by ``ts``; ``samples-...`` are the same with requests in full. Replies end in another order than requests came, so the
youngest ``LATE_S`` of a file go on into the next one; what was open for longer than that is written with the
time at which the file before ended. So closed files, in the order of their names, are one log.
``accounts.ndjson`` has the accounts that were seen, and when last (``seen_at``, by the hour).

A file is forgotten when the oldest request that it may hold is as old as its retention: by the time in its name, which
neither copying nor touching changes.
"""

from __future__ import annotations

import calendar
import contextlib
import fcntl
import os
import re
import time
from typing import TYPE_CHECKING, Any

import orjson
import zstandard

from gateway.files import sync_folder, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

LATE_S = 900.0
"""Longer than the wait for a first byte (600 s) and nearly every reply after it."""
ACCOUNTS = "accounts.ndjson"
REQUESTS, SAMPLES = "requests", "samples"
"""How the files of sketches, and of requests in full, begin."""
_PART, _CLOSED = ".ndjson.part", ".ndjson.zst"
_NAME = re.compile(r"(requests|samples)-(\d{8}T\d{6})-\d{3}-\d+\.ndjson\.(part|zst)")


class Segment:
    """The open file of one process. Not safe for threads."""

    def __init__(self, folder: Path, now_s: float, floor_ts: float, kind: str = REQUESTS) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.began_s = now_s
        self.size = 0
        self._floor_ts = floor_ts
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now_s))
        for number in range(1_000):
            name = f"{kind}-{stamp}-{number:03d}-{os.getpid()}"
            self.path = folder / (name + _PART)
            if not (folder / (name + _CLOSED)).exists() and self._opened():
                return
        raise FileExistsError(f"got 1000 recordings named {kind}-{stamp}-* in {folder}, expected a few")

    def _opened(self) -> bool:
        """Whether a new file is open and locked, before another process could take it for one that was left."""
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return False
        self._file = os.fdopen(handle, "r+b")
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink == 0:
            self._file.close()
            return False
        return True

    def write(self, lines: bytes) -> None:
        """Append whole lines. Raises OSError."""
        self._file.write(lines)
        self._file.flush()
        self.size += len(lines)

    def close(self, cut_ts: float) -> tuple[list[bytes], float]:
        """Pack what began before ``cut_ts``; returns the other lines, and the ``ts`` that the next file begins at."""
        self._file.seek(0)
        kept = close_lines(self.path, self._file.read(), cut_ts, self._floor_ts)
        self.path.unlink()
        self._file.close()
        return kept


def close_lines(part: Path, data: bytes, cut_ts: float, floor_ts: float) -> tuple[list[bytes], float]:
    """Write the closed file of ``part`` from its lines; see ``Segment.close``. A torn last line is dropped."""
    rows = []
    for line in data.split(b"\n")[:-1]:
        with contextlib.suppress(orjson.JSONDecodeError, KeyError):
            rows.append((orjson.loads(line)["ts"], line))
    rows.sort(key=lambda row: row[0])
    now = [(ts, line) for ts, line in rows if ts < cut_ts]
    if now:
        lines = [line if ts >= floor_ts else _moved(line, floor_ts) for ts, line in now]
        packed = zstandard.ZstdCompressor(level=6).compress(b"\n".join(lines) + b"\n")
        write_atomically(part.with_name(part.name.removesuffix(_PART) + _CLOSED), packed)
        floor_ts = max(floor_ts, now[-1][0])
    return [line for ts, line in rows if ts >= cut_ts], floor_ts


def _moved(line: bytes, ts: float) -> bytes:
    row: dict[str, Any] = orjson.loads(line)
    return orjson.dumps({**row, "ts": ts})


def close_left_over(folder: Path) -> None:
    """Close what processes that are no more have left. Raises OSError."""
    for part in sorted(path for path in folder.glob("*" + _PART) if _NAME.fullmatch(path.name)):
        with contextlib.suppress(FileNotFoundError, BlockingIOError), part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            close_lines(part, file.read(), float("inf"), 0.0)
            part.unlink()


def began_at(path: Path) -> float | None:
    """When a file of recordings was begun, from its name; ``None`` for other files."""
    found = _NAME.fullmatch(path.name)
    return None if found is None else float(calendar.timegm(time.strptime(found[2], "%Y%m%dT%H%M%S")))


def list_recordings(folder: Path, kind: str) -> list[Path]:
    """The closed files of a kind, oldest first."""
    return sorted(path for path in folder.glob(f"{kind}-*{_CLOSED}") if _NAME.fullmatch(path.name))


def forget_old(folder: Path, kind: str, retention_s: float, now_s: float) -> list[Path]:
    """Remove the closed files of a kind that may hold a request older than ``retention_s``; returns them."""
    old = [path for path in list_recordings(folder, kind) if now_s - ((began_at(path) or 0.0) - LATE_S) > retention_s]
    for path in old:
        path.unlink(missing_ok=True)
    return old


def add_accounts(folder: Path, rows: dict[str, dict[str, Any]], forget_before_s: float = 0.0) -> None:
    """Join ``rows`` (by account) with those of other processes in ``accounts.ndjson``; leave out who was last seen
    before ``forget_before_s``. Raises OSError, ValueError for lines that are no accounts.
    """
    path = folder / ACCOUNTS
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held: dict[str, dict[str, Any]] = {}
        if path.exists():
            held = {row["account"]: row for row in map(orjson.loads, path.read_bytes().splitlines())}
        kept = {
            name: row for name, row in (held | rows).items() if row.get("seen_at", forget_before_s) >= forget_before_s
        }
        if kept == held:
            return
        write_atomically(path, b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in kept.values()))
        sync_folder(folder)
    finally:
        os.close(lock)
