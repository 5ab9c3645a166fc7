"""What a replay writes: decisions, clusters and a summary, in a folder that is made for it."""

from __future__ import annotations

import gzip
import resource
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import orjson

from gateway.files import write_atomically
from gateway.replay.engine import Replay
from gateway.replay.log import read_accounts, read_requests

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.policy import PolicySet
    from gateway.replay.engine import Decision

DECISIONS = "decisions.ndjson.gz"
CLUSTERS = "clusters.json"
SUMMARY = "summary.json"


async def run_replay(
    policies: PolicySet, accounts: Path, requests: Path, out: Path, on_step: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Replay a log into ``out`` and return the summary. ``on_step`` is told how many requests are done.

    Raises FileErrors for unusable input; what was decided until then is in ``decisions.ndjson.gz``.
    """
    out.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing else runs in a replay's loop
    replay = Replay(policies, read_accounts(accounts))
    counts: Counter[str] = Counter()
    started_s = time.perf_counter()
    done = 0
    with gzip.open(out / DECISIONS, "wb", compresslevel=1) as file:
        for recorded in read_requests(requests):
            decision = await replay.step(recorded)
            counts[decision.action] += 1
            file.write(_line(decision))
            done += 1
            if on_step is not None:
                on_step(done)
    seconds = time.perf_counter() - started_s
    clusters = replay.clusters()
    summary = {
        "policy": policies.hash,
        "requests": done,
        "actions": dict(counts),
        "clusters": len(clusters),
        "enforced_clusters": sum(cluster["first_enforced_at"] is not None for cluster in clusters),
        "seconds": round(seconds, 3),
        "requests_per_s": round(done / seconds, 1) if seconds else 0.0,
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    write_atomically(out / CLUSTERS, orjson.dumps(clusters, option=orjson.OPT_INDENT_2, default=str), mode=0o644)
    write_atomically(out / SUMMARY, orjson.dumps(summary, option=orjson.OPT_INDENT_2), mode=0o644)
    return summary


def _line(decision: Decision) -> bytes:
    fields = {"id": decision.id, "action": decision.action, "rule": decision.rule, "cluster": decision.cluster}
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)
