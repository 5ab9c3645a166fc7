"""The files of recordings: written as they come, sealed sorted and packed, forgotten.

``requests-YYYYMMDDTHHMMSS-PID.ndjson.part`` is being written by the process that holds its lock (``flock``);
sealed it is ``requests-....ndjson.zst``, sorted by ``ts``. Replies end in another order than requests came, so the
youngest ``LATE_S`` of a file go on into the next one; what was open for longer than that is written with the
time at which the file before ended. So sealed files, in the order of their names, are one log.
``accounts.ndjson`` has the accounts that were seen.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
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
_PART, _SEALED = ".ndjson.part", ".ndjson.zst"


class Segment:
    """The open file of one process. Not safe for threads."""

    def __init__(self, folder: Path, now_s: float, floor_ts: float) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.began_s = now_s
        self.size = 0
        self._floor_ts = floor_ts
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now_s))
        for number in range(1_000):
            name = f"requests-{stamp}-{number:03d}-{os.getpid()}"
            self.path = folder / (name + _PART)
            if not (folder / (name + _SEALED)).exists():
                with contextlib.suppress(FileExistsError):
                    self._file = self.path.open("x+b")
                    break
        else:
            raise FileExistsError(f"got 1000 recordings named requests-{stamp}-* in {folder}, expected a few")
        self.path.chmod(0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def write(self, lines: bytes) -> None:
        """Append whole lines. Raises OSError."""
        self._file.write(lines)
        self._file.flush()
        self.size += len(lines)

    def seal(self, cut_ts: float) -> tuple[list[bytes], float]:
        """Pack what began before ``cut_ts``; returns the other lines, and the ``ts`` that the next file begins at."""
        self._file.seek(0)
        kept = seal_lines(self.path, self._file.read(), cut_ts, self._floor_ts)
        self.path.unlink()
        self._file.close()
        return kept


def seal_lines(part: Path, data: bytes, cut_ts: float, floor_ts: float) -> tuple[list[bytes], float]:
    """Write the sealed file of ``part`` from its lines; see ``Segment.seal``. A torn last line is dropped."""
    rows = []
    for line in data.split(b"\n")[:-1]:
        with contextlib.suppress(orjson.JSONDecodeError, KeyError):
            rows.append((orjson.loads(line)["ts"], line))
    rows.sort(key=lambda row: row[0])
    now = [(ts, line) for ts, line in rows if ts < cut_ts]
    if now:
        lines = [line if ts >= floor_ts else _moved(line, floor_ts) for ts, line in now]
        packed = zstandard.ZstdCompressor(level=6).compress(b"\n".join(lines) + b"\n")
        write_atomically(part.with_name(part.name.removesuffix(_PART) + _SEALED), packed)
        floor_ts = max(floor_ts, now[-1][0])
    return [line for ts, line in rows if ts >= cut_ts], floor_ts


def _moved(line: bytes, ts: float) -> bytes:
    row: dict[str, Any] = orjson.loads(line)
    return orjson.dumps({**row, "ts": ts})


def seal_left_over(folder: Path) -> None:
    """Seal what processes that are no more have left. Raises OSError."""
    for part in sorted(folder.glob("requests-*" + _PART)):
        with contextlib.suppress(FileNotFoundError, BlockingIOError), part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            seal_lines(part, file.read(), float("inf"), 0.0)
            part.unlink()


def forget_old(folder: Path, retention_s: float, now_s: float) -> list[Path]:
    """Remove sealed files that are older than ``retention_s``; returns them."""
    old = [path for path in folder.glob("requests-*" + _SEALED) if now_s - path.stat().st_mtime > retention_s]
    for path in old:
        path.unlink(missing_ok=True)
    return old


def add_accounts(folder: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Join ``rows`` (by account) with those of other processes in ``accounts.ndjson``. Raises OSError."""
    path = folder / ACCOUNTS
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held: dict[str, dict[str, Any]] = {}
        if path.exists():
            held = {row["account"]: row for row in map(orjson.loads, path.read_bytes().splitlines())}
        if all(held.get(name) == row for name, row in rows.items()):
            return
        held |= rows
        write_atomically(path, b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in held.values()))
        sync_folder(folder)
    finally:
        os.close(lock)
