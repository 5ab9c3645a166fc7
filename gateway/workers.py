"""Several worker processes on one pair of ports: start, watch, replace, stop.

The parent only forks and waits, so there is nothing in it that can break; should it be killed all the same,
its workers end as by SIGTERM, so that none holds the ports of its successor. Workers share the listening sockets;
whoever is free accepts.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from gateway.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

log = logging.getLogger("gateway.workers")

_STOPS = (signal.SIGTERM, signal.SIGINT)
_EARLY_DEATH_S = 5.0
_PAUSE_S = 0.5
"""Before a worker is replaced that ended so soon after its start: a crash loop must not burn a core."""


def supervise(count: int, work: Callable[[Callable[[], None]], int]) -> int:
    """Run ``work`` in ``count`` forked processes until SIGTERM or SIGINT; returns the exit code.

    ``work`` calls what it is given once it serves. A worker that dies is replaced. One that gives up ends everything with
    its code where none has served yet: the configuration is at fault. Later, what keeps it from starting (a policy file
    that is wrong at the moment, a store that is away) must not end those that serve; it is tried again until it can.
    """
    workers: dict[int, float] = {}
    stopping, proven = False, False
    code = 0
    parent_lives, parent_held = os.pipe()
    is_served, served = os.pipe()
    os.set_blocking(is_served, False)
    os.set_blocking(served, False)

    def start() -> None:
        if stopping:
            return
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)  # none may come to a worker that is not listed
        workers[_fork(lambda: work(lambda: _say(served)), parent_lives, parent_held)] = time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        _signal_all(workers, signal.SIGTERM)

    for number in _STOPS:
        signal.signal(number, stop)
    for _ in range(count):
        start()
    while workers:
        pid, status = os.waitpid(-1, 0)
        started_s = workers.pop(pid, None)
        if started_s is None or stopping:
            continue
        died_of = os.waitstatus_to_exitcode(status)
        log.error("worker died", extra={"pid": pid, "code": died_of})
        proven = proven or _said(is_served)
        if died_of > 0 and not proven:
            stopping, code = True, died_of
            _signal_all(workers, signal.SIGTERM)
        else:
            time.sleep(0.0 if time.monotonic() - started_s >= _EARLY_DEATH_S else _PAUSE_S)
            start()
    for end in (parent_lives, parent_held, is_served, served):
        os.close(end)
    return code


def _say(pipe: int) -> None:
    """Write to a pipe that is read once; a full one says it already."""
    with contextlib.suppress(BlockingIOError):
        os.write(pipe, b"1")


def _said(pipe: int) -> bool:
    """Whether anything was written to a pipe; returns at once."""
    try:
        return bool(os.read(pipe, 1))
    except BlockingIOError:
        return False


def _fork(work: Callable[[], int], parent_lives: int, parent_held: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.close(parent_held)
    for number in _STOPS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    threading.Thread(target=_outlive_no_parent, args=(parent_lives,), name="parent-watch", daemon=True).start()
    try:
        code = work()
    except (ConfigError, StoreError) as error:
        print(f"distillguard: {error}", file=sys.stderr)  # noqa: T201 - the operator's one line
        code = 2
    except Exception as error:
        log.exception("worker failed")
        print(error, file=sys.stderr)  # noqa: T201 - the operator's one line
        code = 2
    finally:
        sys.stderr.flush()
    os._exit(code)


def _outlive_no_parent(parent_lives: int) -> None:
    """Wait until the parent's end of the pipe is closed, which only its death does; then end as it would ask."""
    os.read(parent_lives, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _signal_all(workers: dict[int, float], number: int) -> None:
    for pid in list(workers):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
