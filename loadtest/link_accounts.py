#!/usr/bin/env python3
"""Time and memory of linking: the analyzer over N accounts, each with its own sign-up and a few requests.

    loadtest/link_accounts.py [N ...]        (default 10000 100000)

Each account sends two requests of random words with one of 1,000 habitual phrases; a campaign of N / 50 accounts
(at most 5,000) sends one template. Prints one JSON line a size: CPU seconds for entering accounts and events,
CPU seconds of one pass, resident memory of the process, and how many of the campaign were enforced.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from multiprocessing import get_context

import numpy as np

from gateway.analysis.analyzer import Analyzer
from gateway.analysis.config import AnalysisConfig

DAY = 86_400.0


def measure(size: int) -> None:
    """One size, in a process of its own so that memory is its own."""
    rng, begun = np.random.default_rng(1), time.process_time()
    analyzer = Analyzer(AnalysisConfig(phrase_slots_log2=22))
    analyzer.due(0.0)
    campaign = min(5_000, size // 50)
    template = rng.integers(0, 1 << 60, 40).tolist()
    habits = rng.integers(0, 1 << 60, (1_000, 3)).tolist()
    for number in range(size):
        ts = 2 * DAY + number / size * DAY
        mine = number % (size // campaign) == 0
        known = {
            "country": "DE",
            "mail": int(rng.integers(0, 50)) if not mine else int(rng.integers(1_000, 1_000 + campaign // 5)),
            "snet": number,
            "sip": number,
            "created": ts - float(rng.uniform(0, 300)) * DAY,
        }
        name = str(number)
        analyzer.know(name, known)
        shown = {"net": int(rng.integers(0, size)), "ja4": int(rng.integers(0, 30)), "prog": int(rng.integers(0, 30))}
        for _ in range(2):
            words = template if mine else [*habits[int(rng.integers(0, 1_000))], *rng.integers(0, 1 << 60, 20).tolist()]
            analyzer.observe(ts, name, {**shown, "ph": words})
    entered = time.process_time() - begun
    begun = time.process_time()
    analyzer.tick(3 * DAY)
    print(
        json.dumps(
            {
                "accounts": size,
                "entered_cpu_s": round(entered, 2),
                "pass_cpu_s": round(time.process_time() - begun, 2),
                "resident_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
                "campaign": campaign,
                "enforced": sum(
                    len(one["members"]) for one in analyzer.clusters() if one["first_enforced_at"] is not None
                ),
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    for size in [int(text) for text in sys.argv[1:]] or [10_000, 100_000]:
        process = get_context("spawn").Process(target=measure, args=(size,))
        process.start()
        process.join()
