"""Child processes that send messages: each pipe has a thread that reads ahead of whoever asks.

Messages wait in a queue of bounded length, so who is faster waits. A child ends with its work, when nobody
listens any more, or with its parent.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import resource
import threading
from queue import Full, Queue
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

AHEAD = 16
"""Messages that wait, some 300 kB each with ordinary requests."""
_LOOK_S = 0.2
_GC_SELDOM = (50_000, 20, 100)
_SPAWN = multiprocessing.get_context("spawn")


def pipe() -> tuple[Connection, Connection]:
    """(the end to read, the end to write) of a pipe."""
    return _SPAWN.Pipe(duplex=False)


class Inbox:
    """What comes through a pipe, read ahead by a thread."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection, self._name = connection, name
        self._waiting: Queue[bytes | None] = Queue(AHEAD)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._receive, daemon=True, name=f"{name}-receive")
        self._thread.start()

    def next(self) -> bytes:
        """The next message. Raises ConfigError where the pipe ended without one."""
        data = self._waiting.get()
        if data is None:
            raise ConfigError(f"{self._name}: got no answer from the process, expected one; give it more memory")
        return data

    def close(self) -> None:
        """Read no further."""
        self._ended.set()
        self._thread.join()
        self._connection.close()

    def _receive(self) -> None:
        while not self._ended.is_set():
            data: bytes | None = None
            with contextlib.suppress(EOFError, OSError):
                if not self._connection.poll(_LOOK_S):
                    continue
                data = self._connection.recv_bytes()
            while not self._ended.is_set():
                with contextlib.suppress(Full):
                    self._waiting.put(data, timeout=_LOOK_S)
                    break
            if data is None:
                return


class Child:
    """A process that runs ``work(connection, *args)``; the connection takes what ``next`` gives."""

    def __init__(self, name: str, work: Callable[..., None], *args: Any) -> None:
        ours, theirs = pipe()
        self._process = _SPAWN.Process(target=work, args=(theirs, *args), daemon=True, name=name)
        self._process.start()
        theirs.close()
        self._inbox = Inbox(ours, name)
        self.next = self._inbox.next

    def close(self) -> None:
        """End the process and wait until it is gone."""
        self._process.terminate()
        self._process.join()
        self._inbox.close()


def settle_in() -> None:
    """For a process that makes many small values and no cycles: collect garbage seldom."""
    gc.freeze()
    gc.set_threshold(*_GC_SELDOM)


def memory_bytes() -> int:
    """The most that this process ever took."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
