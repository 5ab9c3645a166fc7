"""Prepared requests of a log, in order: read, prepared and analysed in a second process where that pays.

The second process reads ahead by a bounded number of batches; it ends with the log, at the first bad line, or
when nobody listens any more. Standard input and small logs are read in this process.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import multiprocessing
import os
import pickle
import threading
from queue import Full, Queue
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import ConfigError, FileError, FileErrors
from gateway.files import STDIN
from gateway.replay.analyse import Analyser
from gateway.replay.log import read_requests
from gateway.replay.prepare import Prepared, Preparer

if TYPE_CHECKING:
    from collections.abc import Generator
    from multiprocessing.connection import Connection
    from pathlib import Path

    from gateway.replay.analyse import AnalysisPlan
    from gateway.types import Verdict

BATCH = 256
AHEAD = 16
"""Batches that wait, about a megabyte each at most with ordinary requests."""
APART_FROM_BYTES = 256 * 1024
"""A packed log so large takes longer to read than a process takes to start."""
GC_SELDOM = (50_000, 20, 100)
"""Thresholds of the garbage collector: a replay makes many small values and no cycles."""
_LOOK_S = 0.2


class Source(NamedTuple):
    """What to read and how. ``texts`` ``None``: the file beside the log, where there is one."""

    requests: Path
    accounts: Path
    texts: Path | None
    key: bytes
    body_bytes: bool
    analysis: AnalysisPlan


class Batch(NamedTuple):
    """Requests in the order of the log, and how many bytes of its file were read until then.

    ``verdicts`` come before the request of their index. ``clusters`` comes with the last batch, which has no requests.
    """

    requests: list[Prepared]
    verdicts: dict[int, list[Verdict]]
    position: int
    clusters: list[dict[str, Any]] | None = None


def feed(source: Source, *, apart: bool | None = None) -> Generator[Batch]:
    """The log of ``source`` in batches. ``apart``: in a second process (default: where it pays).

    Raises FileErrors at the first line that is unusable, after all before it were given.
    """
    if apart if apart is not None else _pays(source.requests):
        return _from_process(source)
    return _batches(source, whole=1)


def _pays(requests: Path) -> bool:
    if str(requests) == STDIN or (os.cpu_count() or 1) < 2:  # noqa: PLR2004 - two processes need two
        return False
    try:
        return requests.is_dir() or requests.stat().st_size >= APART_FROM_BYTES
    except OSError:
        return False


def _batches(source: Source, whole: int = BATCH) -> Generator[Batch]:
    """Batches of ``whole`` requests; those before a bad line come before its error."""
    log = read_requests(source.requests, source.texts)
    prepare = Preparer(source.key, body_bytes=source.body_bytes).prepare
    analyser = Analyser(source.analysis, source.accounts, source.key)
    rows: list[Prepared] = []
    verdicts: dict[int, list[Verdict]] = {}
    try:
        for recorded in log:
            request = prepare(recorded)
            if found := analyser.due(request.ts):
                verdicts[len(rows)] = found
            analyser.observe(request)
            rows.append(request)
            if len(rows) >= whole:
                yield Batch(rows, verdicts, log.position())
                rows, verdicts = [], {}
    except FileErrors:
        if rows:
            yield Batch(rows, verdicts, log.position())
        raise
    yield Batch(rows, verdicts, log.position())
    yield Batch([], {}, log.position(), analyser.clusters())


def _serve(source: Source, pipe: Connection) -> None:
    """The second process: batches, then ``None``; or the places of what is wrong.

    Requests go by ``marshal``, which is several times faster; the rest, which is seldom, by ``pickle``.
    """
    gc.freeze()
    gc.set_threshold(*GC_SELDOM)
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        try:
            for batch in _batches(source):
                rest = pickle.dumps((batch.verdicts, batch.clusters)) if batch.verdicts or batch.clusters else b""
                pipe.send_bytes(marshal.dumps((list(map(tuple, batch.requests)), rest, batch.position)))
            pipe.send_bytes(marshal.dumps(None))
        except FileErrors as error:
            places = [(one.file, one.line, one.column, one.message) for one in error.errors]
            pipe.send_bytes(marshal.dumps(places))


def _from_process(source: Source) -> Generator[Batch]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(source, theirs), daemon=True, name="replay-reader")
    process.start()
    theirs.close()
    waiting: Queue[bytes | None] = Queue(AHEAD)
    ended = threading.Event()
    thread = threading.Thread(target=_receive, args=(ours, waiting, ended), daemon=True, name="replay-receive")
    thread.start()
    try:
        while (batch := _next(waiting.get())) is not None:
            yield batch
    finally:
        ended.set()
        process.terminate()
        process.join()
        thread.join()
        ours.close()


def _next(data: bytes | None) -> Batch | None:
    """The batch in a message of our own child; ``None`` at the end. Raises what the child met."""
    if data is None:
        raise ConfigError("the process that reads the log ended early; run again, with more memory to spare")
    message = marshal.loads(data)  # noqa: S302 - through a private pipe
    if message is None:
        return None
    if isinstance(message, list):
        places = [FileError(file=file, line=line, column=at, message=text) for file, line, at, text in message]
        raise FileErrors(places)
    rows, rest, position = message
    verdicts, clusters = pickle.loads(rest) if rest else ({}, None)  # noqa: S301 - as above
    return Batch(list(map(Prepared._make, rows)), verdicts, position, clusters)


def _receive(pipe: Connection, waiting: Queue[bytes | None], ended: threading.Event) -> None:
    """Move what comes through the pipe into the queue, so that the reader never waits for a pass of the analysis."""
    while not ended.is_set():
        data: bytes | None = None
        with contextlib.suppress(EOFError, OSError):
            if not pipe.poll(_LOOK_S):
                continue
            data = pipe.recv_bytes()
        while not ended.is_set():
            try:
                waiting.put(data, timeout=_LOOK_S)
                break
            except Full:
                continue
        if data is None:
            return
