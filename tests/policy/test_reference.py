"""Access decided twice: by the policy set, and by a model that compares every pair of rules."""

from __future__ import annotations

import fnmatch
import random
from typing import Any

import pytest

from gateway.types import NO_STANDING
from tests.policy.helpers import BASE, asks, caller, policies_of

WHO = ("account", "organisation")
GROUP = ("plan", "country", "declared_use", "verified")
CHOICES: dict[str, list[Any]] = {
    "account": ["a1", "a2"],
    "organisation": ["o1", "o2"],
    "plan": ["free", "pro"],
    "country": ["DE", "FR"],
    "declared_use": ["evaluation", "research"],
    "verified": [True, False],
    "model": ["gpt-4o", "gpt-4o*", "gpt-*", "*", "claude-*"],
}


def random_rule(rng: random.Random) -> dict[str, Any]:
    keys = [key for key in CHOICES if rng.random() < 0.3]
    return {"refuse": rng.random() < 0.5, **{key: rng.choice(CHOICES[key]) for key in keys}}


def matches(rule: dict[str, Any], request: dict[str, Any]) -> bool:
    for key, wanted in rule.items():
        if key == "model" and not fnmatch.fnmatchcase(request["model"], wanted):
            return False
        if key not in {"model", "refuse"} and request[key] != wanted:
            return False
    return True


def beats(one: dict[str, Any], two: dict[str, Any]) -> bool:
    """Whether ``one`` is more specific than ``two``, as docs/policies.md says."""

    def letters(rule: dict[str, Any]) -> float:
        if "model" not in rule:
            return -1
        return len(rule["model"].replace("*", "")) + (0 if "*" in rule["model"] else 1)

    for measure in (
        lambda rule: sum(key in rule for key in WHO),
        letters,
        lambda rule: sum(key in rule for key in GROUP),
    ):
        if measure(one) != measure(two):
            return measure(one) > measure(two)
    return False


def refused(rules: list[dict[str, Any]], request: dict[str, Any]) -> bool:
    fitting = [rule for rule in rules if matches(rule, request)]
    best = [rule for rule in fitting if not any(beats(other, rule) for other in fitting)]
    return any(rule["refuse"] for rule in best)


def written(rules: list[dict[str, Any]]) -> str:
    lines = ["rules:"]
    for index, rule in enumerate(rules):
        match = ", ".join(
            f"{key}: {str(rule[key]).lower() if key == 'verified' else repr(rule[key])}"
            for key in rule
            if key != "refuse"
        )
        then = "refuse" if rule["refuse"] else "allow"
        lines.append(f"  - {{name: r{index}, match: {{{match}}}, then: {{{then}: true}}}}")
    return BASE + "\n".join(lines) + "\n"


@pytest.mark.parametrize("seed", range(40))
def test_access_is_decided_as_the_model_decides(seed: int) -> None:
    rng = random.Random(seed)
    rules = [random_rule(rng) for _ in range(rng.randint(1, 8))]
    policies = policies_of(written(rules))
    for _ in range(60):
        request = {key: rng.choice(values) for key, values in CHOICES.items()}
        request["model"] = rng.choice(["gpt-4o", "gpt-4o-mini", "gpt-5", "claude-5", "other"])
        who = caller(
            request["account"], org=request["organisation"], plan=request["plan"], country=request["country"],
            declared_use=request["declared_use"], verified=request["verified"],
        )  # fmt: skip
        decided = policies.decide(who, asks(request["model"]), NO_STANDING, 0.0)
        assert (decided.refusal is not None) == refused(rules, request), (rules, request)
