from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from gateway.analysis import evidence


def brute_earlier_equal(values: list[int]) -> list[int]:
    return [values[:place].count(value) for place, value in enumerate(values)]


@pytest.mark.parametrize("values", [[], [3], [1, 1], [2, 1, 2, 2, 1], list(range(9)) * 3])
def test_earlier_equal_counts_like_a_loop(values: list[int]) -> None:
    assert evidence.earlier_equal(np.array(values, np.int64)).tolist() == brute_earlier_equal(values)


def brute_repeat_log_e(values: list[int], base: list[float], benign: float) -> float:
    def likelihood(share: float) -> float:
        total = math.log(base[0])
        for place in range(1, len(values)):
            repeated = values[:place].count(values[place]) / place
            total += math.log((1 - share) * base[place] + share * repeated)
        return total

    larger = [share for share in evidence.SHARES if share > benign]
    mixture = math.log(sum(math.exp(likelihood(share)) for share in larger) / len(larger))
    return mixture - max(likelihood(share) for share in np.linspace(0, benign, evidence.NULL_STEPS))


def test_repeats_equal_the_sequential_likelihood_ratio() -> None:
    rng = np.random.default_rng(1)
    for benign in (0.0, 0.02, 0.07):
        values = rng.integers(0, 6, 25)
        base = rng.uniform(0.05, 0.9, 25)
        got = evidence.repeat_log_e(values, base, benign)
        assert got == pytest.approx(brute_repeat_log_e(values.tolist(), base.tolist(), benign), rel=1e-9)


@pytest.mark.parametrize("size", [0, 1])
def test_nothing_repeats_in_fewer_than_two_values(size: int) -> None:
    assert evidence.repeat_log_e(np.zeros(size, np.int64), np.ones(size), 0.02) == 0.0


def ever_crossed(rng: np.random.Generator, shares: np.ndarray, benign: float) -> float:
    """Share of null groups whose evidence reaches 20 at any of many looks (Ville: at most 1 in 20)."""
    domains = 1.0 / np.arange(1, 41) ** 1.1
    domains /= domains.sum()
    crossed = 0
    for share in shares:
        values: list[int] = []
        for place in range(150):
            repeat = place and rng.random() < share
            values.append(values[rng.integers(place)] if repeat else int(rng.choice(40, p=domains)))
        codes = np.array(values)
        base = domains[codes]
        looks = [evidence.repeat_log_e(codes[:n], base[:n], benign) for n in range(10, 151, 10)]
        crossed += max(looks) >= math.log(20)
    return crossed / len(shares)


def test_false_alarms_stay_below_alpha_for_every_benign_share_and_all_looks() -> None:
    rng = np.random.default_rng(2)
    rate = ever_crossed(rng, rng.uniform(0.0, 0.02, 600), benign=0.02)
    assert rate <= stats.binom.ppf(0.999, 600, 1 / 20) / 600


def test_false_alarms_rise_where_the_null_is_a_lie() -> None:
    rng = np.random.default_rng(3)
    assert ever_crossed(rng, np.full(60, 0.6), benign=0.02) > 0.9


def test_rate_equals_the_integrated_mixture() -> None:
    for hits, trials, null in ((0, 10, 0.1), (3, 10, 0.1), (10, 10, 0.5), (40, 900, 0.015)):
        mixture = integrate.quad(lambda p, h=hits, t=trials: p**h * (1 - p) ** (t - h), null, 1, epsabs=0)[0] / (
            1 - null
        )
        rate = min(null, hits / trials)
        best = rate**hits * (1 - rate) ** (trials - hits)
        assert evidence.rate_log_e(hits, trials, null) == pytest.approx(math.log(mixture / best), rel=1e-4)


def test_rate_false_alarms_stay_below_alpha_at_every_look() -> None:
    rng = np.random.default_rng(4)
    crossed = 0
    for null in rng.uniform(0.001, 0.015, 500):
        hits = np.cumsum(rng.random(600) < null)
        crossed += any(evidence.rate_log_e(int(hits[n - 1]), n, 0.015) >= math.log(20) for n in range(20, 601, 20))
    assert crossed <= stats.binom.ppf(0.999, 500, 1 / 20)


def test_steady_arrivals_are_told_from_sleepers_and_sleepers_are_not() -> None:
    rng = np.random.default_rng(5)
    rhythm = 1.0 + 0.9 * np.sin(np.arange(24) / 24 * 2 * np.pi)
    rhythm /= rhythm.mean()
    even = [evidence.steady_log_e(rhythm[rng.integers(0, 24, 300)], 0.3) for _ in range(20)]
    human = [evidence.steady_log_e(rhythm[rng.choice(24, 300, p=rhythm / 24)], 0.3) for _ in range(200)]
    assert min(even) > math.log(20)
    assert sum(value >= math.log(20) for value in human) <= stats.binom.ppf(0.999, 200, 1 / 20)


ALPHAS = (0.1, 0.01, 0.001)
GROUPS = 1_500


def largest_repeat(rng: np.random.Generator, share: float) -> float:
    """The largest log e-value of a group over its looks; each group has a base of its own."""
    base = rng.dirichlet(np.full(30, rng.uniform(0.1, 2.0)))
    values = rng.choice(30, 80, p=base)
    for place in np.flatnonzero(rng.random(80) < share):
        values[place] = values[rng.integers(place)] if place else values[0]
    return max(evidence.repeat_log_e(values[:n], base[values[:n]], 0.02) for n in (10, 20, 40, 80))


def largest_rate(rng: np.random.Generator, share: float) -> float:
    hits = np.cumsum(rng.random(1_000) < share)
    return max(evidence.rate_log_e(int(hits[n - 1]), n, 0.02) for n in (50, 100, 300, 1_000))


def largest_steady(rng: np.random.Generator, share: float) -> float:
    """Holders of a rhythm of their country's; ``share`` of them have none."""
    rhythm = 1.0 + rng.uniform(0.6, 0.95) * np.sin(np.arange(24) / 24 * 2 * np.pi)
    hours = np.where(rng.random(300) < share, rng.integers(0, 24, 300), rng.choice(24, 300, p=rhythm / 24))
    return max(evidence.steady_log_e(rhythm[hours[:n]], 0.3) for n in (10, 30, 100, 300))


@pytest.mark.parametrize(
    ("largest", "bound", "lie"),
    [(largest_repeat, 0.02, 0.5), (largest_rate, 0.02, 0.08), (largest_steady, 0.3, 1.0)],
)
def test_groups_of_every_benign_rate_cross_at_most_as_often_as_each_alpha_allows_and_operators_do(
    largest: Any, bound: float, lie: float
) -> None:
    rng = np.random.default_rng(6)
    benign = np.array([largest(rng, share) for share in rng.uniform(0.0, bound, GROUPS)])
    operators = np.array([largest(rng, rng.uniform(lie, 1.0) if lie < 1.0 else 1.0) for _ in range(60)])
    for alpha in ALPHAS:
        crossed = int((benign >= -math.log(alpha)).sum())
        assert crossed <= stats.binom.ppf(0.999, GROUPS, alpha)
        assert (operators >= -math.log(alpha)).mean() >= 0.5


@pytest.mark.parametrize(("log_e", "expected"), [(-1e9, 0.5), (0.0, 1.0), (math.log(9.0), 5.0), (1e9, 100.0)])
def test_hedge_keeps_half_and_caps(log_e: float, expected: float) -> None:
    assert evidence.hedge(log_e, 100.0) == pytest.approx(expected)


def test_combination_of_nothing_is_no_evidence() -> None:
    assert evidence.average([]) == evidence.product([]) == 1.0
