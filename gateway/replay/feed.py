"""Prepared requests of a log, in order: read and prepared in a second process where that pays.

The second process reads ahead by a bounded number of batches; it ends with the log, at the first bad line, or
when nobody listens any more. Standard input and small logs are read in this process.
"""

from __future__ import annotations

import contextlib
import marshal
import multiprocessing
import os
import threading
from queue import Full, Queue
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import ConfigError, FileError, FileErrors
from gateway.files import STDIN
from gateway.replay.log import read_requests
from gateway.replay.prepare import Prepared, Preparer

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

BATCH = 256
AHEAD = 16
"""Batches that wait, about a megabyte each at most with ordinary requests."""
APART_FROM_BYTES = 256 * 1024
"""A packed log so large takes longer to read than a process takes to start."""
_LOOK_S = 0.2


class Source(NamedTuple):
    """What to read and how. ``texts`` ``None``: the file beside the log, where there is one."""

    requests: Path
    texts: Path | None
    key: bytes
    body_bytes: bool


class Batch(NamedTuple):
    """Requests in the order of the log, and how many bytes of its file were read until then."""

    requests: list[Prepared]
    position: int


def feed(source: Source, *, apart: bool | None = None) -> Generator[Batch]:
    """The log of ``source`` in batches. ``apart``: in a second process (default: where it pays).

    Raises FileErrors at the first line that is unusable, after all before it were given.
    """
    if apart if apart is not None else _pays(source.requests):
        return _from_process(source)
    return ((Batch([Prepared(*row) for row in rows], position)) for rows, position in _batches(source, whole=1))


def _pays(requests: Path) -> bool:
    if str(requests) == STDIN or (os.cpu_count() or 1) < 2:  # noqa: PLR2004 - two processes need two
        return False
    try:
        return requests.is_dir() or requests.stat().st_size >= APART_FROM_BYTES
    except OSError:
        return False


def _batches(source: Source, whole: int = BATCH) -> Iterator[tuple[list[tuple[Any, ...]], int]]:
    """Batches of ``whole`` requests; those before a bad line come before its error."""
    log = read_requests(source.requests, source.texts)
    prepare = Preparer(source.key, body_bytes=source.body_bytes).prepare
    rows: list[tuple[Any, ...]] = []
    try:
        for recorded in log:
            rows.append(tuple(prepare(recorded)))
            if len(rows) >= whole:
                yield rows, log.position()
                rows = []
    except FileErrors:
        if rows:
            yield rows, log.position()
        raise
    if rows:
        yield rows, log.position()


def _serve(source: Source, pipe: Connection) -> None:
    """The second process: batches, then ``None``; or the places of what is wrong."""
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        try:
            for batch in _batches(source):
                pipe.send_bytes(marshal.dumps(batch))
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
        while True:
            data = waiting.get()
            if data is None:
                raise ConfigError("the process that reads the log ended early; run again, with more memory to spare")
            message = marshal.loads(data)  # noqa: S302 - written by our own child through a private pipe
            if message is None:
                return
            if isinstance(message, list):
                raise FileErrors([FileError(file=f, line=ln, column=col, message=text) for f, ln, col, text in message])
            rows, position = message
            yield Batch(list(map(Prepared._make, rows)), position)
    finally:
        ended.set()
        process.terminate()
        process.join()
        thread.join()
        ours.close()


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
