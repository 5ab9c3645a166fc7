"""Where a replay stands, on the disk, so that one that was killed goes on.

Every so often the analysis writes a snapshot of itself after a whole number of steps (``Pace.requests`` requests). When
all requests up to there are decided and their decisions on the disk, ``save`` makes that the checkpoint: an atomic
change of one file, which names the inputs, the code and the snapshot that it belongs to. What a killed replay had
written beyond its checkpoint is cut off and decided again, to the same bytes.

Checkpoints hold Python values as they stand in memory (``pickle``): they are for the same program on the same machine,
and are read only where they belong to this user and nobody else may write them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pickle
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CHECKPOINT = ".checkpoint"
_SNAPSHOT = ".analysis-{}"
_COST_SHARE = 0.02
"""A snapshot that takes long is taken so seldom that it takes no more than this share of the time."""


class Pace(NamedTuple):
    """Snapshots in ``folder`` after multiples of ``requests``, not sooner than ``every_s`` after one another (0: at each)."""

    folder: Path
    requests: int = 4_096
    every_s: float = 30.0


class Snapshots:
    """Counts requests and takes a snapshot when it is time; ``pace`` ``None``: never."""

    def __init__(self, pace: Pace | None, done: int = 0) -> None:
        self._pace = pace
        self._done = done
        self._next_s = 0.0 if pace is None else time.monotonic() + pace.every_s

    def after(self, requests: int, dump: Callable[[], Mapping[str, Any]]) -> Path | None:
        """``requests`` more are done; the file of the snapshot, if one was taken."""
        self._done += requests
        pace = self._pace
        if pace is None or not requests or self._done % pace.requests or time.monotonic() < self._next_s:
            return None
        started_s = time.monotonic()
        path = pace.folder / _SNAPSHOT.format(self._done)
        write_atomically(path, pickle.dumps(dump(), protocol=5))
        took_s = time.monotonic() - started_s
        self._next_s = time.monotonic() + (max(pace.every_s, took_s / _COST_SHARE) if pace.every_s else 0.0)
        return path


class Checkpoint(NamedTuple):
    """``requests`` are decided, in the first ``written_bytes`` of the decisions; ``state`` is the decider's.

    ``inputs`` and ``program`` must be the same for it to be of use.
    """

    inputs: Mapping[str, str]
    program: str
    requests: int
    written_bytes: int
    analysed: Path
    state: Mapping[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Make it the folder's checkpoint; snapshots of others before it go. Raises OSError."""
    write_atomically(folder / CHECKPOINT, pickle.dumps(tuple(checkpoint), protocol=5))
    for path in folder.glob(_SNAPSHOT.format("*")):
        if int(path.name.rpartition("-")[2]) < checkpoint.requests:
            path.unlink(missing_ok=True)


def load(folder: Path, inputs: Mapping[str, str]) -> Checkpoint | None:
    """The folder's checkpoint, where it is whole, of these inputs, and by this program."""
    try:
        found = Checkpoint._make(pickle.loads(_own(folder / CHECKPOINT)))  # noqa: S301 - written by this user
    except (OSError, pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, TypeError, ValueError):
        return None
    fits = found.inputs == inputs and found.program == program() and found.analysed.exists()
    return found if fits else None


def load_analysis(path: Path) -> Mapping[str, Any]:
    """The analysis of a checkpoint. Raises OSError."""
    state: Mapping[str, Any] = pickle.loads(_own(path))  # noqa: S301 - written by this user
    return state


def clear(folder: Path) -> None:
    """Take the checkpoint away, then what it needs."""
    (folder / CHECKPOINT).unlink(missing_ok=True)
    for pattern in (_SNAPSHOT.format("*"), f".{_SNAPSHOT.format('*')}.new", f".{CHECKPOINT}.*.new"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def program() -> str:
    """A digest of the program's own source and of the interpreter: another one may go on in another way."""
    state = hashlib.blake2b(sys.version.encode(), digest_size=16)
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        with contextlib.suppress(OSError):
            state.update(path.read_bytes())
    return state.hexdigest()


def _own(path: Path) -> bytes:
    """What a file holds that is this user's alone to write. Raises PermissionError for another's."""
    with path.open("rb") as file:
        about = os.fstat(file.fileno())
        if about.st_uid != os.geteuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise PermissionError(f"{path}: others may write it")
        return file.read()
