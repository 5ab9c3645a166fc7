#!/usr/bin/env python3
"""Time and memory of linking: the analyzer over N accounts, each with its own sign-up and a few requests.

    loadtest/link_accounts.py [--turnover] [N ...]        (default 10000 100000)

Each account has a directory row of its own, sends three requests of random words with one of 1,000 habitual phrases,
shows three exits and two conversations; a campaign of N / 50 accounts (at most 5,000), signed up in five batches under
few mail domains, sends one template. Prints one JSON
line a size: CPU seconds for entering accounts and events, CPU seconds of one pass, resident memory of the process (most,
and for each account beyond an empty analyzer), how many of the campaign were enforced; then for a snapshot its size,
seconds until it is kept, and for how long reading is held up.

``--turnover``: N accounts without a directory, then 60 quiet days, N others, and so on, four times. Prints a line a turn:
accounts and phrases that are known and memory after it, CPU seconds of forgetting half of the accounts, and memory after that.
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
from gateway.analysis.known import Known
from gateway.worker.aside import Aside
from gateway.worker.core import State

if TYPE_CHECKING:
    from collections.abc import Iterator

DAY = 86_400.0
_REQUESTS = 3
_QUIET_DAYS = 60
_TURNS = 4
_HASHES = 1 << 60


def resident_bytes() -> int:
    """Memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def enter(analyzer: Analyzer, size: int, campaign: int, *, turn: int = 0, listed: bool = True) -> None:
    """Enter ``size`` accounts, one in ``size // campaign`` of the campaign, over one day; each ``turn`` has other ones,
    60 days after those of the last. ``listed``: a directory names them; else their requests say what is known.
    """
    rng = np.random.default_rng(1 + turn)
    template = rng.integers(0, _HASHES, 40).tolist()
    habits = rng.integers(0, _HASHES, (1_000, 3)).tolist()
    values: Iterator[int] = (value for _ in iter(int, 1) for value in rng.integers(0, _HASHES, 4_096).tolist())
    for number in range(size):
        ts = (2 + _QUIET_DAYS * turn) * DAY + number / size * DAY
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
        known |= {"created": ts - float(rng.uniform(0, 300)) * DAY}
        if mine:
            known |= {"created": ts // DAY * DAY - int(rng.integers(1, 6)) * DAY}
        described = None if listed else Known(known)
        if listed:
            analyzer.know(name, known)
        for request in range(_REQUESTS):
            words = template if mine else [*habits[next(values) % 1_000], *(next(values) for _ in range(20))]
            shown: dict[str, Any] = {"net": next(values), "ja4": next(values) % 30, "prog": next(values) % 30}
            shown |= {"conv": [next(values)]} if request else {}
            analyzer.observe(ts, name, {**shown, "ph": words}, described)


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


def turn_over(size: int) -> None:
    """Accounts that come and go: memory follows those within the horizon."""
    analyzer = Analyzer()
    analyzer.due(0.0)
    for turn in range(_TURNS):
        analyzer.tick((2 + _QUIET_DAYS * turn) * DAY)
        enter(analyzer, size, min(5_000, size // 50), turn=turn, listed=False)
        analyzer.tick((3 + _QUIET_DAYS * turn) * DAY)
        told: dict[str, float] = {"turn": turn, "accounts": len(analyzer.cohort), "phrases": len(analyzer.book)}
        told |= {"resident_mib": round(resident_bytes() / 2**20)}
        begun = time.process_time()
        analyzer.book.forget((2.5 + _QUIET_DAYS * turn) * DAY)
        analyzer.forget((2.5 + _QUIET_DAYS * turn) * DAY)
        told |= {"forgetting_cpu_s": round(time.process_time() - begun, 1), "left": len(analyzer.cohort)}
        print(json.dumps(told | {"then_resident_mib": round(resident_bytes() / 2**20)}), flush=True)


if __name__ == "__main__":
    target = turn_over if "--turnover" in sys.argv else measure
    for size in [int(text) for text in sys.argv[1:] if text.isdigit()] or [10_000, 100_000]:
        process = get_context("spawn").Process(target=target, args=(size,))
        process.start()
        process.join()
