#!/usr/bin/env python3
"""Time and memory of linking: the analyzer over N accounts, each with its own sign-up and a few requests.

    loadtest/link_accounts.py [N ...]        (default 10000 100000)

Each account has a directory row of its own, sends three requests of random words with one of 1,000 habitual phrases,
shows three exits and two conversations; a campaign of N / 50 accounts (at most 5,000) sends one template. Prints one JSON
line a size: CPU seconds for entering accounts and events, CPU seconds of one pass, resident memory of the process (most,
and for each account beyond an empty analyzer), how many of the campaign were enforced; then for a snapshot its size,
seconds until it is kept, and for how long reading is held up.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gateway.analysis.analyzer import Analyzer
from gateway.worker.aside import Aside
from gateway.worker.core import State

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = 86_400.0
_REQUESTS = 3
_HASHES = 1 << 60


def resident_bytes() -> int:
    """Memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def enter(analyzer: Analyzer, size: int, campaign: int) -> None:
    """Enter ``size`` accounts, one in ``size // campaign`` of the campaign, over one day."""
    rng = np.random.default_rng(1)
    template = rng.integers(0, _HASHES, 40).tolist()
    habits = rng.integers(0, _HASHES, (1_000, 3)).tolist()
    values: Iterator[int] = (value for _ in iter(int, 1) for value in rng.integers(0, _HASHES, 4_096).tolist())
    for number in range(size):
        ts = 2 * DAY + number / size * DAY
        mine = number % (size // campaign) == 0
        mail = rng.integers(0, 50) if not mine else rng.integers(1_000, 1_000 + campaign // 5)
        known = {
            "country": "DE",
            "phone": "DE",
            "use": "",
            "mail": int(mail),
            "snet": next(values),
            "sip": next(values),
        }
        known |= {"pay": next(values)} if number % 2 else {}
        name = f"k:{next(values):024x}"
        analyzer.know(name, {**known, "created": ts - float(rng.uniform(0, 300)) * DAY})
        for turn in range(_REQUESTS):
            words = template if mine else [*habits[next(values) % 1_000], *(next(values) for _ in range(20))]
            shown: dict[str, Any] = {"net": next(values), "ja4": next(values) % 30, "prog": next(values) % 30}
            shown |= {"conv": [next(values)]} if turn else {}
            analyzer.observe(ts, name, {**shown, "ph": words})


async def keep(analyzer: Analyzer) -> dict[str, float]:
    """Size and times of one snapshot."""
    with tempfile.TemporaryDirectory(prefix="distillguard-snapshot-") as folder:
        began_s = time.perf_counter()
        aside = Aside(Path(folder) / "snapshot", State(analyzer=analyzer), b"k" * 32, 0.0)
        held_up_s = time.perf_counter() - began_s
        size_bytes = await aside.wait()
        return {
            "snapshot_mib": round(size_bytes / 2**20),
            "snapshot_s": round(time.perf_counter() - began_s, 1),
            "held_up_ms": round(1_000 * held_up_s),
        }


def measure(size: int) -> None:
    """One size, in a process of its own so that memory is its own."""
    analyzer = Analyzer()
    analyzer.due(0.0)
    campaign = min(5_000, size // 50)
    empty_bytes, begun = resident_bytes(), time.process_time()
    enter(analyzer, size, campaign)
    entered, begun = time.process_time() - begun, time.process_time()
    analyzer.tick(3 * DAY)
    passed = time.process_time() - begun
    enforced = [one for one in analyzer.clusters() if one["first_enforced_at"] is not None]
    told = {
        "accounts": size,
        "entered_cpu_s": round(entered, 1),
        "pass_cpu_s": round(passed, 1),
        "most_resident_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "bytes_an_account": round((resident_bytes() - empty_bytes) / size),
        "campaign": campaign,
        "enforced": sum(len(one["members"]) for one in enforced),
    }
    print(json.dumps(told | asyncio.run(keep(analyzer))), flush=True)


if __name__ == "__main__":
    for size in [int(text) for text in sys.argv[1:]] or [10_000, 100_000]:
        process = get_context("spawn").Process(target=measure, args=(size,))
        process.start()
        process.join()
