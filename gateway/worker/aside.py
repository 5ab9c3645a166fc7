"""Snapshots written by a copy of this process, so that reading goes on meanwhile (as Redis' BGSAVE does it).

``fork`` gives the copy the state as it is at that moment, whatever this process changes afterwards; what is held up is
the fork alone. The copy holds no lock, socket or pipe of this process: whoever waits for those to be closed does not
wait for it. It writes a draft; only this process, while it lives, puts that in the place of the last snapshot.

For as long as it writes, memory that either of the two changes exists twice: at worst the state again.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from typing import TYPE_CHECKING, Final, NoReturn

from gateway.worker.snapshot import SnapshotUnusable, draft_of, write_draft

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.worker.core import State

_UNUSABLE: Final = 2
_LONGEST_S: Final = 900.0
"""A copy that takes longer is stuck: 1,000,000 accounts take some ten seconds."""
_MOST_WORDS: Final = 4_096
_ENDING: Final = (signal.SIGTERM, signal.SIGINT)
"""Not for the copy, whose handlers would tell this process: that gets them too, and waits for the copy."""


class Aside:
    """A snapshot that is being written; ``wait`` once for how it went."""

    def __init__(self, path: Path, state: State, key: bytes, now_s: float) -> None:
        """Begin. ``state`` may change as soon as this returns. Raises OSError where no copy can be made."""
        self._path = path
        self._draft = draft_of(path)
        self._told, telling = os.pipe()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            self._pid = os.fork()
            if self._pid == 0:
                _write_and_end(telling, self._draft, state, key, now_s)
        except OSError:
            os.close(self._told)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(telling)

    async def wait(self) -> int:
        """Put the snapshot in its place when it is whole and on the disk; its size in bytes.

        Raises OSError, and SnapshotUnusable where the state holds what cannot be kept; then the old file stays. A
        wait that is cancelled ends the copy.
        """
        try:
            async with asyncio.timeout(_LONGEST_S):
                code, words = await asyncio.to_thread(self._hear)
        except (asyncio.CancelledError, TimeoutError):
            os.kill(self._pid, signal.SIGKILL)  # the thread that hears it reaps it
            self._draft.unlink(missing_ok=True)
            raise
        if code == 0:
            size = self._draft.stat().st_size
            self._draft.replace(self._path)
            return size
        self._draft.unlink(missing_ok=True)
        if code == _UNUSABLE:
            raise SnapshotUnusable(words)
        raise OSError(words or f"{self._path}: the process that wrote it ended with {code}, expected 0")

    def _hear(self) -> tuple[int, str]:
        """Exit status and last words of the copy, when it has ended."""
        with os.fdopen(self._told, "rb") as told:
            words = told.read()
        _, status = os.waitpid(self._pid, 0)
        return os.waitstatus_to_exitcode(status), words.decode("utf-8", "replace")


def _write_and_end(telling: int, draft: Path, state: State, key: bytes, now_s: float) -> NoReturn:
    """All that the copy does."""
    code = 1
    gc.disable()  # it would write to memory that is shared until then, and close what is not this process's any more
    try:
        _let_go(telling)
        write_draft(draft, state, key, now_s)
        code = 0
    except BaseException as error:  # noqa: BLE001 - whatever it is, it must not go on as this process
        code = _UNUSABLE if isinstance(error, SnapshotUnusable) else 1
        os.write(telling, f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:_MOST_WORDS])
    finally:
        os._exit(code)


def _let_go(telling: int) -> None:
    """Close what this process has open, but for ``telling`` and standard error."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.closerange(3, telling)
    os.closerange(telling + 1, os.sysconf("SC_OPEN_MAX"))
