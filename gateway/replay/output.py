"""What a replay writes: decisions, clusters, a summary and a report, in a folder that is made for it.

A replay that ends early leaves nothing that looks complete: decisions are written under another name until the
end, and ``summary.json``, which comes last, is taken away before the first of the others changes. So a folder
with a summary is whole. The summary says of which inputs it is, so that ``resume`` can tell what is done.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from gateway.files import STDIN, sync_folder, write_atomically
from gateway.replay.analyse import analysis_plan
from gateway.replay.engine import KEY, Replay
from gateway.replay.feed import Source, feed
from gateway.replay.log import log_files, read_accounts, texts_beside
from gateway.replay.report import render
from gateway.replay.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.policy import PolicySet
    from gateway.replay.engine import Decision
    from gateway.replay.log import Accounts

DECISIONS = "decisions.ndjson.gz"
CLUSTERS = "clusters.json"
SUMMARY = "summary.json"
REPORT = "report.html"
_PARTIAL = f".{DECISIONS}.partial"
_SHOWN_AFTER = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to replay into which folder. ``texts`` ``None``: the file beside the log; ``apart`` as ``feed`` has it."""

    policies: PolicySet
    accounts: Path
    requests: Path
    out: Path
    texts: Path | None = None
    apart: bool | None = None


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


async def run_replay(job: Job, on_step: Callable[[int, int], None] | None = None) -> dict[str, Any]:
    """Replay a log and return the summary. ``on_step`` is told how many requests and bytes of the log are done.

    Raises FileErrors for unusable input; then the folder has no decisions of this replay.
    """
    started_s = time.perf_counter()
    job.out.mkdir(parents=True, exist_ok=True)
    partial = job.out / _PARTIAL
    tally = Tally()
    try:
        clusters = await _decide_all(job, tally, partial, on_step)
        summary = _summary(job, clusters, tally, time.perf_counter() - started_s)
        _publish(job.out, partial, clusters, summary)
    finally:
        partial.unlink(missing_ok=True)
    return summary


async def _decide_all(
    job: Job, tally: Tally, partial: Path, on_step: Callable[[int, int], None] | None
) -> list[dict[str, Any]]:
    """Decide on every request; returns the clusters."""
    accounts = read_accounts(job.accounts)
    replay = Replay(job.policies, accounts)
    source = source_of(job.policies, accounts, job.accounts, job.requests, job.texts)
    clusters: list[dict[str, Any]] = []
    with contextlib.closing(feed(source, apart=job.apart)) as batches, partial.open("wb") as raw:
        with gzip.GzipFile(DECISIONS, "wb", compresslevel=1, fileobj=raw, mtime=0) as file:
            waiting: list[bytes] = []
            for batch in batches:
                for index, request in enumerate(batch.requests):
                    if index in batch.verdicts:
                        replay.apply(batch.verdicts[index])
                    decision = await replay.step(request)
                    tally.add(decision, request)
                    waiting.append(_line(decision))
                if len(waiting) >= _SHOWN_AFTER:
                    file.write(b"".join(waiting))
                    waiting.clear()
                    if on_step is not None:
                        on_step(tally.requests, batch.position)
                clusters = batch.clusters or clusters
            file.write(b"".join(waiting))
        raw.flush()
        os.fsync(raw.fileno())
    return clusters


def source_of(policies: PolicySet, accounts: Accounts, file: Path, requests: Path, texts: Path | None) -> Source:
    """What a replay of ``requests`` under ``policies`` is fed with; ``accounts`` were read from ``file``."""
    return Source(requests, file, texts, KEY, asks_size(policies), analysis_plan(policies, accounts))


def asks_size(policies: PolicySet) -> bool:
    """Whether a condition asks how large a body is, which costs time to find out."""
    conditions = (rule.condition for rule in policies.parts.rules)
    return any(condition is not None and "body_bytes" in condition.names for condition in conditions)


def _summary(job: Job, clusters: list[dict[str, Any]], tally: Tally, seconds: float) -> dict[str, Any]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "policy": job.policies.hash,
        "inputs": inputs_of(job),
        **tally.told(),
        "clusters": len(clusters),
        "enforced_clusters": sum(cluster["first_enforced_at"] is not None for cluster in clusters),
        "seconds": round(seconds, 3),
        "requests_per_s": round(tally.requests / seconds, 1) if seconds else 0.0,
        "peak_memory_bytes": peak * 1024,
    }


def _publish(out: Path, partial: Path, clusters: list[dict[str, Any]], summary: dict[str, Any]) -> None:
    """Give the results their names; the summary last."""
    (out / SUMMARY).unlink(missing_ok=True)
    sync_folder(out)
    partial.replace(out / DECISIONS)
    write_atomically(out / CLUSTERS, orjson.dumps(clusters, option=_PRETTY, default=str), mode=0o644)
    write_atomically(out / REPORT, render(summary, clusters).encode(), mode=0o644)
    write_atomically(out / SUMMARY, orjson.dumps(summary, option=_PRETTY), mode=0o644)


_PRETTY = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY


def _line(decision: Decision) -> bytes:
    identity, action, rule, cluster = decision[:4]
    fields = {"id": identity, "action": action, "rule": rule, "cluster": cluster}
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
