"""What a replay writes: decisions, clusters, a summary and a report, in a folder that is made for it.

A replay that ends early leaves nothing that looks complete: decisions are written under another name until the
end, and ``summary.json``, which comes last, is taken away before the first of the others changes. So a folder
with a summary is whole. The summary says of which inputs it is, so that ``resume`` can tell what is done; where
nothing is, it goes on from the checkpoint of a replay of the same inputs that was stopped.

Decisions are packed in members of ``Pace.requests`` lines each, so that the file is the same whether or not the replay
was stopped on the way.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import orjson

from gateway.errors import FileError, FileErrors
from gateway.files import STDIN, sync_folder, write_atomically
from gateway.identity import load_accounts
from gateway.replay import checkpoint
from gateway.replay.checkpoint import Pace
from gateway.replay.engine import Replay
from gateway.replay.feed import feed
from gateway.replay.log import log_files, texts_beside
from gateway.replay.pipes import memory_bytes
from gateway.replay.report import render
from gateway.replay.source import source_of
from gateway.replay.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.policy import PolicySet
    from gateway.replay.engine import Decision

DECISIONS = "decisions.ndjson.gz"
CLUSTERS = "clusters.json"
SUMMARY = "summary.json"
REPORT = "report.html"
_PARTIAL = f".{DECISIONS}.partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to replay into which folder. ``texts`` ``None``: the file beside the log; ``apart`` as ``feed`` has it.

    ``member`` (a multiple of ``feed.BATCH``) and ``checkpoint_s``: see ``checkpoint.Pace``.
    """

    policies: PolicySet
    accounts: Path
    requests: Path
    out: Path
    texts: Path | None = None
    apart: bool | None = None
    member: int = 4_096
    checkpoint_s: float = 30.0


def finished(job: Job) -> dict[str, Any] | None:
    """The summary of a replay of the same inputs that ``job.out`` holds already; ``None`` where there is none."""
    try:
        summary = orjson.loads((job.out / SUMMARY).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None
    same = isinstance(summary, dict) and summary.get("inputs") == inputs_of(job) and str(job.requests) != STDIN
    return summary if same else None


def inputs_of(job: Job) -> dict[str, str]:
    """Names of what is replayed: the policy set's hash, and a digest of each file."""
    texts = job.texts if job.texts is not None else texts_beside(job.requests)
    found = {"policy": job.policies.hash, "accounts": _digest([job.accounts])}
    if str(job.requests) != STDIN:
        found["requests"] = _digest(log_files(job.requests))
    if texts is not None:
        found["texts"] = _digest([texts])
    return found


def _digest(paths: list[Path]) -> str:
    """BLAKE2b over the files; empty where one cannot be read (whoever reads it next says so)."""
    state = hashlib.blake2b(digest_size=16)
    with contextlib.suppress(OSError):
        for path in paths:
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    state.update(chunk)
        return state.hexdigest()
    return ""


async def run_replay(
    job: Job, on_step: Callable[[int, int], None] | None = None, *, resume: bool = False
) -> dict[str, Any]:
    """Replay a log and return the summary. ``on_step`` is told how many requests and bytes of the log are done.

    ``resume``: from the checkpoint of ``job.out``, if there is one of the same inputs. Raises FileErrors for unusable
    input; then the folder has no decisions of this replay.
    """
    started_s = time.perf_counter()
    job.out.mkdir(parents=True, exist_ok=True)
    partial = job.out / _PARTIAL
    try:
        run = _Run(job, on_step, resume=resume)
        await run.decide_all()
    except FileErrors:  # what a log has wrong stays wrong
        checkpoint.clear(job.out)
        partial.unlink(missing_ok=True)
        raise
    summary = _summary(job, run, time.perf_counter() - started_s)
    _publish(job.out, partial, run.clusters, summary)
    return summary


class _Run:
    """One replay under way."""

    def __init__(self, job: Job, on_step: Callable[[int, int], None] | None, *, resume: bool) -> None:
        self._job, self._on_step = job, on_step
        accounts = load_accounts(job.accounts)
        self._replay = Replay(job.policies, accounts)
        self.tally = Tally()
        self.clusters: list[dict[str, Any]] = []
        self.memory_bytes = 0
        self.resumed_at = 0
        self.inputs = inputs_of(job)
        keeps = str(job.requests) != STDIN
        found = checkpoint.load(job.out, self.inputs) if resume and keeps else None
        self._file = _open_partial(job.out / _PARTIAL, found.written_bytes if found is not None else 0)
        source = source_of(job.policies, accounts, job.accounts, job.requests, job.texts)
        source = source._replace(pace=Pace(job.out, job.member, job.checkpoint_s) if keeps else None)
        if found is None:
            checkpoint.clear(job.out)
        else:
            self.resumed_at = found.requests
            self.tally = found.state["tally"]
            self._replay.load(found.state["replay"])
            source = source._replace(skip=found.requests, analysed=found.analysed)
        self._source = source

    async def decide_all(self) -> None:
        """Decide on every request and write it down."""
        waiting: list[bytes] = []
        tally, replay, member = self.tally, self._replay, self._job.member
        with self._file, contextlib.closing(feed(self._source, apart=self._job.apart)) as batches:
            for batch in batches:
                for index, request in enumerate(batch.requests):
                    if index in batch.verdicts:
                        replay.apply(batch.verdicts[index])
                    decision = await replay.step(request)
                    tally.add(decision, request)
                    waiting.append(_line(decision))
                    if len(waiting) == member:
                        self._write(waiting, batch.position)
                if batch.snapshot is not None:
                    self._save(batch.snapshot)
                self.clusters = batch.clusters or self.clusters
                self.memory_bytes = batch.memory_bytes
            if waiting or not tally.requests:
                self._write(waiting, batch.position)
            self._sync()

    def _write(self, lines: list[bytes], position: int) -> None:
        self._file.write(gzip.compress(b"".join(lines), compresslevel=1, mtime=0))
        lines.clear()
        if self._on_step is not None:
            self._on_step(self.tally.requests, position)

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def _save(self, snapshot: Path) -> None:
        """Make this the place to go on from; all lines so far are written, since snapshots come after whole members."""
        self._sync()
        state = {"tally": self.tally, "replay": self._replay.dump()}
        here = checkpoint.Checkpoint(
            self.inputs, checkpoint.program(), self.tally.requests, self._file.tell(), snapshot, state
        )
        checkpoint.save(self._job.out, here)


def _open_partial(path: Path, written_bytes: int) -> IO[bytes]:
    """The decisions so far, cut where the checkpoint stands; from there on they are written anew.

    Raises FileErrors where there are fewer.
    """
    if not written_bytes:
        return path.open("wb")
    file = path.open("r+b") if path.exists() else path.open("w+b")
    if file.seek(0, os.SEEK_END) < written_bytes:
        file.close()
        problem = f"got fewer decisions than the checkpoint beside it has, expected {written_bytes} bytes"
        raise FileErrors([FileError(file=str(path), line=1, column=1, message=f"{problem}; begin without --resume")])
    file.truncate(written_bytes)
    file.seek(written_bytes)
    return file


def _summary(job: Job, run: _Run, seconds: float) -> dict[str, Any]:
    tally, clusters = run.tally, run.clusters
    return {
        "policy": job.policies.hash,
        "inputs": run.inputs,
        **tally.told(),
        "clusters": len(clusters),
        "enforced_clusters": sum(cluster["first_enforced_at"] is not None for cluster in clusters),
        "seconds": round(seconds, 3),
        "requests_per_s": round((tally.requests - run.resumed_at) / seconds, 1) if seconds else 0.0,
        "resumed_at": run.resumed_at,
        "peak_memory_bytes": memory_bytes() + run.memory_bytes,
    }


def _publish(out: Path, partial: Path, clusters: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    """Give the results their names; the summary last."""
    (out / SUMMARY).unlink(missing_ok=True)
    sync_folder(out)
    partial.replace(out / DECISIONS)
    write_atomically(out / CLUSTERS, orjson.dumps(clusters, option=_PRETTY, default=str), mode=0o644)
    write_atomically(out / REPORT, render(summary, clusters).encode(), mode=0o644)
    write_atomically(out / SUMMARY, orjson.dumps(summary, option=_PRETTY), mode=0o644)
    checkpoint.clear(out)


_PRETTY = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY


def _line(decision: Decision) -> bytes:
    identity, action, rule, cluster = decision[:4]
    fields = {"id": identity, "action": action, "rule": rule, "cluster": cluster}
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
