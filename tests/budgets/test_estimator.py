"""Estimates before the upstream is asked, and what they learn from what was settled."""

from __future__ import annotations

import pytest

from gateway.budgets import Estimator
from gateway.budgets.estimator import FIXED_TOKENS, HIGHEST, LOWEST, MARGIN, MODELS
from gateway.types import Amounts, Family, Plan, Price, RequestFacts, Usage


def facts(chars: int = 1000, model: str = "m", family: Family = Family.OPENAI, **more: object) -> RequestFacts:
    return RequestFacts(family=family, route="r", model=model, input_chars=chars, **more)  # type: ignore[arg-type] # a table


@pytest.mark.parametrize(
    ("asked", "plan", "output"),
    [
        ({}, {}, 4096),
        ({}, {"default_output_tokens": 100}, 100),
        ({"max_output_tokens": 50}, {"default_output_tokens": 100}, 50),
        ({"max_output_tokens": 128_000}, {}, 128_000),
        ({"max_output_tokens": 128_000}, {"max_output_tokens": 8_000}, 8_000),
        ({"max_output_tokens": 10}, {"max_output_tokens": 8_000}, 10),
        ({"max_output_tokens": 10, "choices": 4}, {}, 40),
        ({"max_output_tokens": 10, "choices": 4}, {"max_choices": 2}, 20),
        ({"max_output_tokens": 0}, {}, 0),
        ({"makes_output": False, "max_output_tokens": 10}, {}, 0),
    ],
)
def test_the_output_reserved_is_the_cap_the_reply_can_reach(
    asked: dict[str, int], plan: dict[str, int], output: int
) -> None:
    estimate = Estimator().estimate(facts(**asked), Plan(plan="p", **plan))  # type: ignore[arg-type] # a table
    assert estimate.output_tokens == output
    assert estimate.requests == 1


def test_the_cost_is_that_of_the_estimate() -> None:
    plan = Plan(plan="p", price=Price(input=3.0, output=15.0), default_output_tokens=100)
    estimate = Estimator().estimate(facts(0), plan)
    assert estimate == Amounts(
        requests=1, input_tokens=FIXED_TOKENS, output_tokens=100, cost_microusd=3 * FIXED_TOKENS + 1500
    )


def test_the_ratio_follows_what_is_reported_and_the_estimate_stays_above_it() -> None:
    estimator = Estimator()
    for _ in range(200):
        estimator.learn(facts(10_000), Usage(input_tokens=6_000, reported=True))
    assert estimator.ratio(Family.OPENAI, "m") == pytest.approx(0.6, rel=0.01)
    assert estimator.estimate(facts(10_000), Plan(plan="p")).input_tokens == pytest.approx(6_000 * MARGIN, rel=0.02)
    assert estimator.ratio(Family.ANTHROPIC, "m") == pytest.approx(0.33)
    assert 0.3 < estimator.ratio(Family.OPENAI, "unseen") < 0.6


@pytest.mark.parametrize(("tokens", "bound"), [(10**12, HIGHEST), (1, LOWEST)])
def test_a_lying_upstream_moves_the_ratio_no_further_than_its_bounds(tokens: int, bound: float) -> None:
    estimator = Estimator()
    for _ in range(1000):
        estimator.learn(facts(10_000), Usage(input_tokens=tokens, reported=True))
    assert estimator.ratio(Family.OPENAI, "m") == pytest.approx(bound, rel=0.01)


@pytest.mark.parametrize(
    ("chars", "usage"),
    [
        (10_000, Usage(input_tokens=9_999, reported=False)),
        (10_000, Usage(input_tokens=0, reported=True)),
        (100, Usage(input_tokens=90, reported=True)),
    ],
)
def test_what_was_not_reported_or_says_little_teaches_nothing(chars: int, usage: Usage) -> None:
    estimator = Estimator()
    estimator.learn(facts(chars), usage)
    assert estimator.ratio(Family.OPENAI, "m") == 0.3


def test_invented_model_names_cost_no_memory() -> None:
    estimator = Estimator()
    for number in range(3 * MODELS):
        estimator.learn(facts(1000, f"m{number}"), Usage(input_tokens=300, reported=True))
    assert len(estimator._ratios) == MODELS


def test_unknown_usage_is_neither_nothing_nor_the_worst_case() -> None:
    """BerriAI/litellm#34728, #35098: a settlement at 0 and at the whole cap."""
    asked = facts(10_000, max_output_tokens=100_000)
    settled = Estimator().amounts(asked, Usage(output_tokens=37, reported=False), Plan(plan="p"))
    assert settled.output_tokens == 37
    assert settled.input_tokens == FIXED_TOKENS + 3000
    reported = Estimator().amounts(asked, Usage(input_tokens=5, output_tokens=37, reported=True), Plan(plan="p"))
    assert reported.input_tokens == 5
