from __future__ import annotations

import pytest

from gateway.policy import load_policies
from gateway.types import NO_STANDING, Family, Identity, Level, RequestFacts, Standing, Subject, Unit

FACTS = RequestFacts(family=Family.OPENAI, route="openai.chat_completions", model="gpt-4o")


@pytest.mark.parametrize(
    ("plan", "requests"), [("free", 200), ("pro", 2_000), ("team", 20_000), ("enterprise", 200_000)]
)
def test_each_plan_has_its_daily_requests(plan: str, requests: int) -> None:
    decided = load_policies().decide(Identity(account="a", plan=plan), FACTS, NO_STANDING, 0.0)
    assert decided.refusal is None
    assert [
        charge.budget.limit
        for charge in decided.charges
        if charge.budget.unit is Unit.REQUESTS and charge.budget.window.length_s == 86_400
    ] == [requests]
    assert all(charge.value == "a" for charge in decided.charges)


def test_a_suspect_is_marked_and_its_cluster_spends_like_one_pro_customer() -> None:
    standing = Standing(level=Level.SUSPECT, cluster="c1")
    decided = load_policies().decide(Identity(account="a", plan="free"), FACTS, standing, 0.0)
    assert decided.mark
    cluster = {c.budget.unit: c.budget.limit for c in decided.charges if c.budget.subject is Subject.CLUSTER}
    assert {c.value for c in decided.charges if c.budget.subject is Subject.CLUSTER} == {"c1"}
    assert cluster[Unit.CONCURRENCY] == 100


def test_a_confirmed_account_is_refused_without_a_word_on_why() -> None:
    standing = Standing(level=Level.CONFIRMED, cluster="c1", reasons=("content", "coordination"))
    decided = load_policies().decide(Identity(account="a", plan="free"), FACTS, standing, 0.0)
    assert decided.refusal is not None
    assert decided.refusal.rule == "standings/confirmed"
    for word in ("confirmed", "cluster", "c1", "content", "standing", "suspect"):
        assert word not in decided.refusal.message.lower()
