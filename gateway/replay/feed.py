"""Prepared requests of a log, in order, with the verdicts between them.

Where it pays two processes work ahead of whoever decides: one reads and prepares, one analyses. The log of standard
input and small ones are read in this process. All ways give the same.

    reader --requests--> who decides
    reader --times, accounts, traits--> analysis --verdicts, snapshots--> who decides
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import os
import pickle
import resource
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import FileError, FileErrors
from gateway.files import STDIN
from gateway.replay.analyse import Analyser
from gateway.replay.checkpoint import Snapshots, load_analysis
from gateway.replay.log import read_requests
from gateway.replay.pipes import Child, pipe
from gateway.replay.prepare import Prepared, Preparer

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

    from gateway.replay.analyse import AnalysisPlan
    from gateway.replay.checkpoint import Pace
    from gateway.types import Verdict

BATCH = 256
APART_FROM_BYTES = 256 * 1024
"""A packed log so large takes longer to read than a process takes to start."""
GC_SELDOM = (50_000, 20, 100)
"""Thresholds of the garbage collector: a replay makes many small values and no cycles."""


class Source(NamedTuple):
    """What to read and how. ``texts`` ``None``: the file beside the log, where there is one.

    ``skip`` requests were decided before; then ``analysed`` is the analysis's snapshot after them.
    """

    requests: Path
    accounts: Path
    texts: Path | None
    key: bytes
    body_bytes: bool
    analysis: AnalysisPlan
    pace: Pace | None = None
    skip: int = 0
    analysed: Path | None = None


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


def _prepared(source: Source, whole: int) -> Generator[tuple[list[Prepared], int]]:
    """Batches of ``whole`` requests and how far the file was read; those before a bad line come before its error."""
    log = read_requests(source.requests, source.texts, source.skip)
    prepare = Preparer(source.key, body_bytes=source.body_bytes).prepare
    rows: list[Prepared] = []
    try:
        for recorded in log:
            rows.append(prepare(recorded))
            if len(rows) >= whole:
                yield rows, log.position()
                rows = []
    except FileErrors:
        if rows:
            yield rows, log.position()
        raise
    yield rows, log.position()


class _Analysis:
    """The analyser of a source, and its snapshots."""

    def __init__(self, source: Source) -> None:
        self._analyser = Analyser(source.analysis, source.accounts, source.key)
        if source.analysed is not None:
            self._analyser.load(load_analysis(source.analysed))
        self._snapshots = Snapshots(source.pace, source.skip)
        self.clusters = self._analyser.clusters

    def take(
        self, times: Sequence[float], accounts: Sequence[str], traits: Sequence[bytes | None]
    ) -> tuple[dict[int, list[Verdict]], Path | None]:
        """The verdicts that come before each of these requests, and the snapshot after them, where it is time."""
        verdicts = {}
        due, observe = self._analyser.due, self._analyser.observe
        for index, ts in enumerate(times):
            if found := due(ts):
                verdicts[index] = found
            observe(ts, accounts[index], traits[index])
        return verdicts, self._snapshots.after(len(times), self._analyser.dump)


def _columns(rows: Sequence[Prepared], plan: AnalysisPlan) -> tuple[list[float], list[str], list[bytes | None]]:
    """What the analysis takes: times, accounts, and traits but of requests that their address exempts."""
    traits = [row.traits for row in rows]
    if plan.exempt_at:
        traits = [None if plan.spares(row.account, row.ip) else row.traits for row in rows]
    return [row.ts for row in rows], [row.account for row in rows], traits


def _here(source: Source) -> Generator[Batch]:
    analysis = _Analysis(source)
    position = 0
    for rows, position in _prepared(source, 1):
        verdicts, snapshot = analysis.take(*_columns(rows, source.analysis))
        yield Batch(rows, verdicts, position, snapshot)
    yield Batch([], {}, position, clusters=analysis.clusters())


def _read(to_decide: Connection, source: Source, to_analyse: Connection) -> None:
    """The first process: batches; then the bytes of memory that it took, or the places of what is wrong.

    A batch goes to whoever decides first: who waits for the analysis of one then always has it.
    """
    _settle_in()
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        try:
            for rows, position in _prepared(source, BATCH):
                to_decide.send_bytes(marshal.dumps((list(map(tuple, rows)), position)))
                to_analyse.send_bytes(marshal.dumps(_columns(rows, source.analysis)))
        except FileErrors as error:
            places = [(one.file, one.line, one.column, one.message) for one in error.errors]
            to_decide.send_bytes(marshal.dumps(places))
            return
        to_decide.send_bytes(marshal.dumps(memory_bytes()))
        to_analyse.send_bytes(b"")


def _analyse(to_decide: Connection, source: Source, rows: Connection) -> None:
    """The second process: for each batch its verdicts and snapshot, or nothing; then the clusters and the memory."""
    _settle_in()
    with contextlib.suppress(BrokenPipeError, EOFError, KeyboardInterrupt):
        analysis = _Analysis(source)
        while data := rows.recv_bytes():
            verdicts, snapshot = analysis.take(*marshal.loads(data))  # noqa: S302 - through a private pipe
            to_decide.send_bytes(pickle.dumps((verdicts, snapshot)) if verdicts or snapshot else b"")
        to_decide.send_bytes(pickle.dumps((analysis.clusters(), memory_bytes())))


def _settle_in() -> None:
    gc.freeze()
    gc.set_threshold(*GC_SELDOM)


def memory_bytes() -> int:
    """The most that this process ever took."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _apart(source: Source) -> Generator[Batch]:
    from_reader, to_analyse = pipe()
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(contextlib.closing(Child("replay-reader", _read, source, to_analyse)))
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
