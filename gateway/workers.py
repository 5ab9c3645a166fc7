"""Several worker processes on one pair of ports: start, watch, replace, stop.

The parent only forks and waits, so there is nothing in it that can break. Workers share the listening
sockets; whoever is free accepts.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

log = logging.getLogger("gateway.workers")

_EARLY_DEATH_S = 5.0
"""A worker that dies sooner than this will die again: the configuration is at fault, so all stop."""


def supervise(count: int, work: Callable[[], int]) -> int:
    """Run ``work`` in ``count`` forked processes until SIGTERM or SIGINT; returns the exit code.

    A worker that dies is replaced; one that dies right after its start ends everything with its code.
    """
    workers: dict[int, float] = {}
    stopping = False
    code = 0

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        _signal_all(workers, signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    for _ in range(count):
        workers[_fork(work)] = time.monotonic()
    while workers:
        pid, status = os.waitpid(-1, 0)
        started_s = workers.pop(pid, None)
        if started_s is None or stopping:
            continue
        log.error("worker died", extra={"pid": pid, "code": os.waitstatus_to_exitcode(status)})
        if time.monotonic() - started_s < _EARLY_DEATH_S:
            stopping, code = True, max(1, os.waitstatus_to_exitcode(status))
            _signal_all(workers, signal.SIGTERM)
        else:
            workers[_fork(work)] = time.monotonic()
    return code


def _fork(work: Callable[[], int]) -> int:
    pid = os.fork()
    if pid:
        return pid
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    try:
        code = work()
    except Exception as error:
        log.exception("worker failed")
        print(error, file=sys.stderr)  # noqa: T201 - the operator's one line
        code = 2
    finally:
        sys.stderr.flush()
    os._exit(code)


def _signal_all(workers: dict[int, float], number: int) -> None:
    for pid in list(workers):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
