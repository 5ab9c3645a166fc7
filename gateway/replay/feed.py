"""Prepared requests of a log, in order, with the verdicts between them.

Where it pays two processes work ahead of whoever decides: one reads and prepares, one analyses. The log of standard
input and small ones are read in this process. All ways give the same.

    reader --requests--> who decides
    reader --times, accounts, traits--> analysis --verdicts, snapshots--> who decides
"""

from __future__ import annotations

import contextlib
import marshal
import os
import pickle
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import FileError, FileErrors
from gateway.files import STDIN
from gateway.replay.pipes import Child, pipe
from gateway.replay.prepare import Prepared
from gateway.replay.reader import columns, prepared, read

if TYPE_CHECKING:
    from collections.abc import Generator
    from multiprocessing.connection import Connection
    from pathlib import Path

    from gateway.replay.source import Source
    from gateway.types import Verdict

APART_FROM_BYTES = 256 * 1024
"""A packed log so large takes longer to read than a process takes to start."""


class Batch(NamedTuple):
    """Requests in the order of the log, and how many bytes of its file were read until then.

    ``verdicts`` come before the request of their index. ``snapshot`` is the analysis as it was after the batch.
    ``clusters`` comes with the last batch, which has no requests, as do the bytes of memory that other processes took.
    """

    requests: list[Prepared]
    verdicts: dict[int, list[Verdict]]
    position: int
    snapshot: Path | None = None
    clusters: list[dict[str, Any]] | None = None
    memory_bytes: int = 0


def feed(source: Source, *, apart: bool | None = None) -> Generator[Batch]:
    """The log of ``source`` in batches. ``apart``: by processes of their own (default: where it pays).

    Raises FileErrors at the first line that is unusable, after all before it were given.
    """
    if apart if apart is not None else _pays(source.requests):
        return _apart(source)
    return _here(source)


def _pays(requests: Path) -> bool:
    if str(requests) == STDIN or (os.cpu_count() or 1) < 2:  # noqa: PLR2004 - several processes need two
        return False
    try:
        return requests.is_dir() or requests.stat().st_size >= APART_FROM_BYTES
    except OSError:
        return False


def _here(source: Source) -> Generator[Batch]:
    from gateway.replay.analyse import Passes  # with it come numpy, scipy and igraph

    analysis = Passes(source)
    position = 0
    for rows, position in prepared(source, 1):
        verdicts, snapshot = analysis.take(*columns(rows, source.analysis))
        yield Batch(rows, verdicts, position, snapshot)
    yield Batch([], {}, position, clusters=analysis.clusters())


def _analyse(to_decide: Connection, source: Source, rows: Connection) -> None:
    """The second process. Only it imports the analysis."""
    from gateway.replay.analyse import analyse

    analyse(to_decide, source, rows)


def _apart(source: Source) -> Generator[Batch]:
    from_reader, to_analyse = pipe()
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(contextlib.closing(Child("replay-reader", read, source, to_analyse)))
        analysis = stack.enter_context(contextlib.closing(Child("replay-analysis", _analyse, source, from_reader)))
        to_analyse.close()
        from_reader.close()
        position = 0
        while not isinstance(message := marshal.loads(reader.next()), int):  # noqa: S302 - through a private pipe
            if isinstance(message, list):
                places = [FileError(file=file, line=line, column=at, message=text) for file, line, at, text in message]
                raise FileErrors(places)
            rows, position = message
            found = analysis.next()
            verdicts, snapshot = pickle.loads(found) if found else ({}, None)  # noqa: S301 - as above
            yield Batch(list(map(Prepared._make, rows)), verdicts, position, snapshot)
        clusters, memory = pickle.loads(analysis.next())  # noqa: S301 - as above
        yield Batch([], {}, position, clusters=clusters, memory_bytes=message + memory)
