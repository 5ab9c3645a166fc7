"""The first process of a replay: reads a log and prepares its requests, for who decides and for the analysis."""

from __future__ import annotations

import contextlib
import marshal
from typing import TYPE_CHECKING

from gateway.errors import FileErrors
from gateway.replay.log import read_requests
from gateway.replay.pipes import memory_bytes, settle_in
from gateway.replay.prepare import Preparer

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from multiprocessing.connection import Connection

    from gateway.replay.prepare import Prepared
    from gateway.replay.source import AnalysisPlan, Source

BATCH = 256


def prepared(source: Source, whole: int) -> Generator[tuple[list[Prepared], int]]:
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


def columns(rows: Sequence[Prepared], plan: AnalysisPlan) -> tuple[list[float], list[str], list[bytes | None]]:
    """What the analysis takes: times, accounts, and traits but of requests that their address exempts."""
    traits = [row.traits for row in rows]
    if plan.exempt_at:
        traits = [None if plan.spares(row.account, row.ip) else row.traits for row in rows]
    return [row.ts for row in rows], [row.account for row in rows], traits


def read(to_decide: Connection, source: Source, to_analyse: Connection) -> None:
    """The first process: batches; then the bytes of memory that it took, or the places of what is wrong.

    A batch goes to whoever decides first: who waits for the analysis of one then always has it.
    """
    settle_in()
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        try:
            for rows, position in prepared(source, BATCH):
                to_decide.send_bytes(marshal.dumps((list(map(tuple, rows)), position)))
                to_analyse.send_bytes(marshal.dumps(columns(rows, source.analysis)))
        except FileErrors as error:
            places = [(one.file, one.line, one.column, one.message) for one in error.errors]
            to_decide.send_bytes(marshal.dumps(places))
            return
        to_decide.send_bytes(marshal.dumps(memory_bytes()))
        to_analyse.send_bytes(b"")
