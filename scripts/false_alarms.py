#!/usr/bin/env python3
"""How often are benign groups enforced? A seeded simulation of the analysis' decision over 45 days.

Each benign group (a popular prompt, a harness, a course) gathers holders over 45 days. Its holders act
independently but for a share of them, drawn anew for each group from 0 to the configured benign share, who
repeat a value of the group (households, colleagues); mail providers, addresses, clients and hours of sign-up have
bases of very different shapes; adoption and the share of programs without a rhythm are drawn up to their
configured bounds; the intent is ranked among the population's. The grounds are weighed each time the
group has grown by a tenth, as the analysis does, and an alarm at any look counts.

    scripts/false_alarms.py [--groups 10000] [--seed 1] [--excess 1.0]

``--excess 2`` draws the shares up to twice the configured bounds: what happens where the null is too narrow.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import numpy as np
from scipy import stats

from gateway.analysis import evidence, grounds
from gateway.analysis.config import AnalysisConfig

SHAPES = {
    "mail": (40, 1.1),
    "phone": (12, 0.7),
    "snet": (1_500, 0.4),
    "net": (900, 0.7),
    "hour": (700, 0.1),
    "ja4": (25, 1.0),
}
"""Values and Zipf exponent of each trait's base."""
FIRST, LARGEST = 8, 400
WANTING = 0.2
"""At most so many of a population's templates ask for reasoning, judge or clean."""


def values_of(rng: np.random.Generator, base: np.ndarray, size: int, share: float) -> np.ndarray:
    """Values of ``size`` holders; each after the first repeats an earlier one with chance ``share``."""
    values = rng.choice(base.size, size, p=base)
    for place in np.flatnonzero(rng.random(size) < share):
        if place:
            values[place] = values[rng.integers(place)]
    return values


def crossed(
    rng: np.random.Generator, bases: dict[str, np.ndarray], config: AnalysisConfig, excess: float
) -> tuple[bool, int, float]:
    """(whether a group was ever enforced, looks, its largest combined e-value)."""
    size = int(np.clip(rng.lognormal(3.6, 0.9), FIRST, LARGEST))
    shares = {kind: rng.uniform(0, config.benign_share * excess) for kind in bases}
    values = {kind: values_of(rng, base, size, shares[kind]) for kind, base in bases.items()}
    adoption = rng.uniform(0.001, config.benign_adoption * excess)
    trials = np.cumsum(rng.geometric(adoption, size))
    rhythm = 1 + rng.uniform(0, 0.9) * np.sin(np.arange(24) / 24 * 2 * np.pi)
    awake = rng.choice(24, size, p=rhythm / rhythm.sum())
    flat = rng.random(size) < rng.uniform(0, config.benign_steady * excess)
    hours = np.where(flat, rng.integers(0, 24, size), awake)
    others = rng.random(200) < (wants := rng.uniform(0, WANTING * excess))
    intent = evidence.half((others.size + 1) / (others.sum() + 1) if rng.random() < wants else 0.0)
    looks, best, n = 0, 0.0, FIRST
    while n <= size:
        logs = {
            kind: evidence.repeat_log_e(values[kind][:n], bases[kind][values[kind][:n]], config.benign_share)
            for kind in bases
        }
        given = {
            "content": evidence.hedge(
                evidence.rate_log_e(n, int(trials[n - 1]), config.benign_adoption), config.family_cap
            ),
            "intent": intent,
            "coordination": evidence.hedge(
                evidence.steady_log_e((rhythm / rhythm.mean())[hours[:n]], config.benign_steady), config.family_cap
            ),
        }
        found = replace(grounds.combine(logs, given, config), is_text=True)
        looks, best = looks + 1, max(best, found.combined)
        if found.suffice(config):
            return True, looks, best
        n = max(n + 1, int(n * 1.1))
    return False, looks, best


def main() -> None:
    """Simulate and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--excess", type=float, default=1.0)
    args = parser.parse_args()
    rng, config = np.random.default_rng(args.seed), AnalysisConfig()
    bases = {}
    for kind, (count, exponent) in SHAPES.items():
        weights = 1.0 / np.arange(1, count + 1) ** exponent
        bases[kind] = weights / weights.sum()
    results = [crossed(rng, bases, config, args.excess) for _ in range(args.groups)]
    alarms = sum(alarm for alarm, _, _ in results)
    interval = stats.binomtest(alarms, args.groups).proportion_ci(0.95, method="exact")
    peaks = np.array([best for _, _, best in results])
    print(
        json.dumps(
            {
                "groups": args.groups,
                "looks": sum(looks for _, looks, _ in results),
                "alpha": config.alpha,
                "alarms": alarms,
                "rate_95": [interval.low, interval.high],
                "groups_ever_above": {
                    f"{bound:g}": int((peaks >= bound).sum()) for bound in (10, 100, 1e3, 1e4, 1e5, 1e6)
                },
            }
        )
    )


if __name__ == "__main__":
    main()
