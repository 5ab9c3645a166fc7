from __future__ import annotations

import json
import re

import pytest

from gateway.policy.explain import explain
from gateway.types import NO_STANDING, Amounts, Balance
from tests.policy.helpers import BASE, asks, caller, policies_of, standing

TEXT = BASE + (
    "access: {deny_countries: [KP]}\n"
    "rules:\n  - {name: long, description: No novels., if: max_output_tokens > 1000, then: {refuse: true}}\n"
    "  - {name: opus, match: {model: 'claude-opus-*'}, then: {budgets: [{limit: 5/day}]}}\n"
    "standings: {suspect: {mark: true}}\nexempt: [{name: e, match: {declared_use: evaluation}}]\n"
)


@pytest.mark.parametrize("level", ["none", "watch", "suspect", "confirmed"])
@pytest.mark.parametrize("cap", [10, 2_000])
@pytest.mark.parametrize("country", ["KP", "DE"])
def test_an_explanation_is_of_the_decision_that_is_made(level: str, cap: int, country: str) -> None:
    policies = policies_of(TEXT)
    who, what, held = caller(country=country), asks("claude-opus-5", max_output_tokens=cap), standing(level)
    plan, told = policies.decide(who, what, held, 0.0), explain(policies, who, what, held, 0.0)
    assert told.decision == ("refuse" if plan.refusal else "mark" if plan.mark else "allow")
    assert told.rule == plan.rule
    assert [charge.key for charge in told.charges] == [charge.key for charge in plan.charges]
    assert [entry.rule for entry in told.considered if entry.decided] == ([plan.refusal.rule] if plan.refusal else [])
    meant = [f"standings/{level}"] if level == "suspect" else []
    assert [entry.rule for entry in told.considered] == ["access/deny_countries", "long", "opus", *meant, "e"]


def test_every_rule_says_why_it_did_not_match() -> None:
    told = explain(policies_of(TEXT), caller(country="DE"), asks("gpt-4o"), NO_STANDING, 0.0)
    text = told.to_text()
    assert "the country (DE) is not KP" in text
    assert "the condition 'max_output_tokens > 1000' does not hold" in text
    assert "the model (gpt-4o) is not claude-opus-*" in text
    assert text.startswith("allow: no rule says otherwise")


def test_what_is_said_to_match_is_what_matches_for_every_kind_of_condition() -> None:
    rules = {
        "cue": "match: {account: a1}",
        "bridge": "match: {address: 10.0.0.0/8}",
        "closing": "share: 50%",
        "order": "if: hour < 12",
        "number": "match: {route: openai.responses}",
        "synonym": "match: {organisation: o1, verified: true}",
    }
    lines = "".join(f"  - {{name: {name}, {rule}, then: {{carriers: [{name}]}}}}\n" for name, rule in rules.items())
    policies = policies_of(BASE + "rules:\n" + lines)
    matched_at_all = set()
    for n in range(40):
        who = caller(
            f"a{n % 5}", address=("10.0.0.1", "11.0.0.1", None)[n % 3], org=("o1", None)[n % 2], verified=n % 4 < 2
        )
        what = asks(route=("openai.responses", "openai.embeddings")[n % 2])
        now_s = n * 3_600.0
        told = explain(policies, who, what, NO_STANDING, now_s)
        matched = {entry.rule for entry in told.considered if entry.matched}
        assert matched == set(policies.decide(who, what, NO_STANDING, now_s).carriers)
        matched_at_all |= matched
    assert matched_at_all == set(rules)


def test_an_explanation_is_plain_json() -> None:
    told = explain(policies_of(TEXT), caller(declared_use="evaluation"), asks(), standing("suspect"), 0.0)
    found = json.loads(json.dumps(told.to_dict()))
    assert found["decision"] == "allow"
    assert found["exempt_from"] == ["analysis", "budgets", "caps", "delay", "marks", "refusal", "samples"]


def test_what_is_left_is_shown_where_a_store_was_asked() -> None:
    policies = policies_of(TEXT)
    plan = policies.decide(caller(), asks(), NO_STANDING, 0.0)
    balances = [Balance(budget=charge.budget, remaining=7, reset_s=60.0) for charge in plan.charges]
    told = explain(policies, caller(), asks(), NO_STANDING, 0.0).with_balances(balances, Amounts(requests=1))
    assert "200 requests per day (sliding); 7 left, 1 needed; more in 60 s" in told.to_text()
    assert told.decision == "allow"


CONTEST = """\
version: 1
plans:
  free: {budgets: [{limit: 2/day}, {limit: 1/day, name: trial, shadow: true}], models: ["gpt-*"]}
  pro: {budgets: [{limit: 2000/day}, {limit: $1/day}]}
access: {kill: ["dead-*"]}
prices: {"*": {input: 1, output: 10}}
rules:
  - {name: no-four, match: {model: "gpt-4*"}, then: {refuse: true}}
  - {name: acme, match: {organisation: o1}, then: {allow: true, delay: 250ms}}
  - {name: tried, shadow: true, match: {plan: free}, then: {refuse: true}}
standings: {confirmed: {refuse: true}, suspect: {mark: true, cluster_plan: pro}}
exempt: [{name: ev, match: {declared_use: evaluation}, from: [refusal]}]
"""


@pytest.mark.parametrize(
    ("who", "model", "level", "decides", "beaten", "would_refuse"),
    [
        ({}, "gpt-4o", "none", "no-four", {}, ["tried"]),
        ({"org": "o1"}, "gpt-4o", "none", "acme", {"no-four": "acme"}, ["no-four", "tried"]),
        ({"org": "o1"}, "claude", "none", "acme", {"plans/free/models": "acme"}, ["tried", "plans/free/models"]),
        ({}, "claude", "none", "plans/free/models", {}, ["tried"]),
        ({}, "dead-1", "none", "access/kill", {"plans/free/models": "access/kill"}, ["tried", "plans/free/models"]),
        ({}, "gpt-3", "confirmed", "standings/confirmed", {}, ["tried"]),
        ({"org": "o1"}, "gpt-3", "confirmed", "standings/confirmed", {"acme": "standings/confirmed"}, ["tried"]),
        ({}, "gpt-4o", "confirmed", "no-four", {"standings/confirmed": "no-four"}, ["tried", "standings/confirmed"]),
        ({"declared_use": "evaluation"}, "gpt-3", "confirmed", None, {}, ["tried", "standings/confirmed"]),
        ({"plan": "pro"}, "gpt-3", "suspect", None, {}, []),
    ],
)  # fmt: skip
def test_what_decided_what_it_beat_and_what_else_would_refuse(
    who: dict[str, str], model: str, level: str, decides: str | None, beaten: dict[str, str], would_refuse: list[str]
) -> None:
    told = explain(policies_of(CONTEST), caller(**who), asks(model), standing(level), 0.0)
    assert [entry.rule for entry in told.considered if entry.decided] == ([decides] if decides else [])
    assert {entry.rule: entry.beaten_by for entry in told.considered if entry.beaten_by} == beaten
    assert list(told.would_refuse) == would_refuse
    assert all(not entry.decided for entry in told.considered if not entry.matched)


def test_every_line_says_what_would_follow() -> None:
    told = explain(policies_of(CONTEST), caller(org="o1"), asks("gpt-4o"), standing("suspect"), 0.0)
    text = re.sub(r"\(/\S*/policy", "(policy", told.to_text())
    for line in (
        "+ no-four (policy.yaml:8): the model (gpt-4o) is gpt-4* -> refuses (but acme decides)",
        "* acme (policy.yaml:9): the organisation (o1) is o1 -> allows, delays 0.25 s",
        "+ tried (policy.yaml:10): the plan (free) is free -> refuses, in shadow",
        "+ standings/suspect (policy.yaml:11): the standing (suspect) is suspect -> marks, budget cluster/pro/requests-per-day",
        "- ev (policy.yaml:12): the declared use (nothing) is not evaluation",
        "would refuse, but did not decide: no-four, tried",
    ):
        assert line in text


@pytest.mark.parametrize(
    ("left", "decision", "rule", "would_refuse"),
    [
        ((1, 1), "allow", None, []),
        ((1, 0), "allow", None, ["free/trial"]),
        ((0, 1), "throttle", "free/requests-per-day", []),
        ((0, 0), "throttle", "free/requests-per-day", ["free/trial"]),
    ],
)
def test_a_budget_with_less_left_than_is_needed_decides_unless_it_is_in_shadow(
    left: tuple[int, int], decision: str, rule: str | None, would_refuse: list[str]
) -> None:
    policies = policies_of(CONTEST.replace("- {name: tried", "- {name: tried, share: 0%"))
    plan = policies.decide(caller(), asks("gpt-3"), NO_STANDING, 0.0)
    balances = [
        Balance(budget=charge.budget, remaining=count, reset_s=9.0)
        for charge, count in zip(plan.charges, left, strict=True)
    ]
    told = explain(policies, caller(), asks("gpt-3"), NO_STANDING, 0.0).with_balances(balances, Amounts(requests=1))
    assert (told.decision, told.rule, list(told.would_refuse)) == (decision, rule, would_refuse)
    assert ("has too little left" in told.to_text()) == (decision == "throttle")


def test_money_is_explained_in_money() -> None:
    policies = policies_of(CONTEST)
    plan = policies.decide(caller(plan="pro"), asks("gpt-3"), NO_STANDING, 0.0)
    balances = [Balance(budget=charge.budget, remaining=500_000, reset_s=0.0) for charge in plan.charges]
    told = explain(policies, caller(plan="pro"), asks("gpt-3"), NO_STANDING, 0.0)
    text = told.with_balances(balances, Amounts(requests=1, cost_microusd=600_000)).to_text()
    assert "pro/usd-per-day: $1.00 per day (sliding); $0.50 left, $0.60 needed, refuses" in text
