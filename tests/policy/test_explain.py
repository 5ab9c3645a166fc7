from __future__ import annotations

import json

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
        "who": "match: {account: a1}",
        "where": "match: {address: 10.0.0.0/8}",
        "half": "share: 50%",
        "when": "if: hour < 12",
        "what": "match: {route: openai.responses}",
        "whose": "match: {organisation: o1, verified: true}",
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
