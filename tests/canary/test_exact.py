from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction

import pytest
from scipy.stats import binom

from gateway.canary.exact import Group, Null, tail


def brute_force(groups: list[Group], t: int) -> Fraction:
    """P(T >= t) by walking through every key."""
    trials = [scores for scores, count in groups for _ in range(count)]
    hits = total = 0
    for choice in itertools.product(*trials):
        total += 1
        hits += sum(choice) >= t
    return Fraction(hits, total)


def test_every_tail_of_small_sets_equals_counting_all_keys() -> None:
    rnd = random.Random(4)
    for _ in range(25):
        groups = [
            (tuple(rnd.randint(0, 6) for _ in range(rnd.randint(2, 4))), rnd.randint(1, 2))
            for _ in range(rnd.randint(1, 4))
        ]
        top = sum(max(scores) * count for scores, count in groups)
        for t in range(-1, top + 2):
            assert tail(groups, t) == pytest.approx(float(brute_force(groups, t)), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("hits", [500, 550, 600, 650, 700, 800, 950, 999, 1000])
def test_fair_coins_give_the_binomial_tail_down_to_1e_300(hits: int) -> None:
    expected = binom.logsf(hits - 1, 1000, 0.5)
    assert math.log(tail([((1, 0), 1000)], hits)) == pytest.approx(expected, rel=1e-7, abs=1e-7)


def test_many_forms_give_the_binomial_tail_of_one_in_m() -> None:
    vector = (3,) + (0,) * 31
    for hits in (1, 5, 20, 38, 40):
        assert tail([(vector, 40)], 3 * hits) == pytest.approx(float(binom.sf(hits - 1, 40, 1 / 32)), rel=1e-8)


def test_a_mixture_of_weights_equals_its_exact_convolution() -> None:
    groups: list[Group] = [((7, 0), 60), ((5, 2, 0), 40), ((11,) + (0,) * 23, 30)]
    pmf = {0: Fraction(1)}
    for scores, count in groups:
        for _ in range(count):
            step: dict[int, Fraction] = {}
            for value, weight in pmf.items():
                for score in scores:
                    step[value + score] = step.get(value + score, Fraction(0)) + weight / len(scores)
            pmf = step
    for t in (200, 300, 400, 500, 600, 700, 850, 949, 950):
        expected = sum((weight for value, weight in pmf.items() if value >= t), Fraction(0))
        assert tail(groups, t) == pytest.approx(float(expected), rel=1e-6)


def test_without_trials_there_is_no_evidence() -> None:
    assert tail([], 0) == 1.0
    assert tail([((2, 2), 5)], 10) == 1.0
    assert tail([((2, 2), 5)], 11) == 0.0


def test_the_tail_never_grows_and_what_cannot_be_reached_has_no_chance() -> None:
    null = Null([((9, 1, 0), 200), ((4, 0), 300)])
    values = [null.tail(t) for t in range(0, null.top + 1, 7)]
    assert all(a >= b for a, b in itertools.pairwise(values))
    assert values[0] == pytest.approx(1.0)
    assert null.tail(null.top + 1) == 0.0
    assert null.tail(null.top) == pytest.approx(3.0**-200 * 2.0**-300, rel=1e-6)
