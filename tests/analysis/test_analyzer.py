from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.analysis.analyzer import Analyzer
from gateway.analysis.signatures import Signatures
from gateway.analysis.traits import TraitExtractor
from gateway.types import Level, Verdict
from tests.analysis.population import DAY, KEY, SMALL, START, Population, enforced, pass_round, words

Town = tuple[Population, set[str], set[str]]
Seen = tuple[Analyzer, list[Verdict]]


@pytest.fixture(scope="module")
def town() -> Town:
    people = Population(seed=5)
    people.benign(300)
    people.harness(60)
    people.classroom(30, day=2.5)
    campaign = people.campaign(90, day=2.5)
    return people, campaign, {customer.name for customer in people.customers} - campaign


@pytest.fixture(scope="module")
def seen(town: Town) -> Seen:
    return town[0].run()


def test_a_fixed_prompt_over_many_accounts_is_found_and_nobody_else_is_touched(town: Town, seen: Seen) -> None:
    _, campaign, benign = town
    analyzer, verdicts = seen
    caught = enforced(analyzer)
    assert len(caught & campaign) >= 0.98 * len(campaign)
    assert not caught & benign
    assert {verdict.level for verdict in verdicts if verdict.signatures} == {Level.SUSPECT}
    assert all(verdict.expires_at > verdict.decided_at for verdict in verdicts)


def test_a_prompt_put_together_from_parts_is_one_campaign() -> None:
    people = Population(seed=6)
    benign = people.benign(300)
    campaign = people.campaign(120, day=2.2, parts=6)
    analyzer, _ = people.run()
    assert len(enforced(analyzer) & campaign) >= 0.95 * len(campaign)
    assert not enforced(analyzer) & benign
    assert len([one for one in analyzer.clusters() if one["first_enforced_at"] is not None]) == 1


@pytest.mark.parametrize("seed", range(2))
def test_a_viral_prompt_alone_is_not_enforced(seed: int) -> None:
    people = Population(seed=seed)
    people.benign(250)
    people.viral(120, day=2.2)
    analyzer, _ = people.run()
    assert enforced(analyzer) == set()


def test_the_same_events_give_the_same_verdicts(town: Town, seen: Seen) -> None:
    assert town[0].run()[1] == seen[1]


def test_two_campaigns_at_once_are_two_clusters() -> None:
    people = Population(seed=8)
    benign = people.benign(300)
    first = people.campaign(90, day=2.2)
    people.seed = 9
    second = people.campaign(90, day=2.6)
    analyzer, _ = people.run()
    groups = [set(one["members"]) for one in analyzer.clusters() if one["first_enforced_at"] is not None]
    assert len(groups) == 2
    assert all(max(len(group & first), len(group & second)) >= 0.95 * len(group) for group in groups)
    assert not benign & set().union(*groups)


def test_a_replaced_pool_is_recognised_by_its_first_request(town: Town, seen: Seen) -> None:
    people, campaign, _ = town
    analyzer, verdicts = seen
    signatures = Signatures([verdict for verdict in verdicts if verdict.signatures][-1:])
    sender = next(iter(campaign))
    traits = next(traits for _, account, traits in reversed(people.events()) if account == sender)
    assert signatures.match({"ph": traits["ph"]}) is not None
    analyzer.know("fresh", TraitExtractor(KEY).account({"account": "fresh", "country": "FR"}))
    analyzer.observe(START + 5 * DAY, "fresh", traits)
    assert "fresh" in enforced(analyzer)


def test_a_licensed_customer_is_exempt_though_it_sends_the_same(town: Town, seen: Seen) -> None:
    people, campaign, _ = town
    analyzer, _ = seen
    sender = next(iter(campaign))
    traits = next(traits for _, account, traits in people.events() if account == sender)
    row = {"account": "licensed", "country": "FR", "declared_use": "synthetic-data"}
    analyzer.know("licensed", TraitExtractor(KEY).account(row))
    analyzer.observe(START + 5 * DAY, "licensed", traits)
    assert "licensed" not in enforced(analyzer)


def test_forged_address_mail_domain_and_client_of_a_campaign_do_not_condemn_a_victim() -> None:
    people = Population(seed=10)
    people.benign(300)
    campaign = people.campaign(90, day=2.2)
    pool = next(one for one in people.customers if one.name in campaign and "pool" in one.row["email_domain"])
    victim = people.add(
        lambda rng: str(rng.random()), country="FR", address=pool.address, email_domain="victim.example", since=1.0
    )
    analyzer, _ = people.run()
    assert victim not in enforced(analyzer)


def test_a_stolen_key_does_not_condemn_its_owners_organisation() -> None:
    people = Population(seed=11)
    people.benign(250)
    office = {
        people.add(
            lambda rng: str(rng.random()) + " is my question today", org="o1", payment="pm-office", address="10.1.1.1"
        )
        for _ in range(30)
    }
    campaign = people.campaign(90, day=2.2)
    stolen = next(iter(office))
    sender = next(one for one in people.customers if one.name in campaign)
    thief = next(one for one in people.customers if one.name == stolen)
    own = thief.texts
    thief.texts = lambda rng: sender.texts(rng) if rng.random() < 0.3 else own(rng)
    analyzer, _ = people.run()
    assert enforced(analyzer) & office <= {stolen}


def test_one_family_alone_never_enforces(town: Town) -> None:
    people, _, _ = town
    analyzer, _ = people.run(replace(SMALL, families=6))
    assert enforced(analyzer) == set()


def test_an_empty_analyzer_gives_no_verdict() -> None:
    analyzer = Analyzer(SMALL)
    assert not analyzer.due(START)
    assert analyzer.due(START + SMALL.tick_s)
    assert analyzer.tick(START + SMALL.tick_s) == []
    assert analyzer.clusters() == []


def test_replayed_signatures_betray_a_pool_whose_texts_are_other_peoples() -> None:
    people = Population(seed=12)
    benign = people.benign(300)
    pool = people.campaign(70, day=2.2, share=0.0)
    analyzer, verdicts = people.run(events=pass_round(people, pool, codes=60))
    assert len(enforced(analyzer) & pool) >= 0.9 * len(pool)
    assert not enforced(analyzer) & benign
    code = next(verdict.signatures["codes"][0] for verdict in reversed(verdicts) if verdict.signatures)
    assert Signatures(verdicts).match({"sig": [code]}) is not None


def test_people_who_pass_a_conversation_round_are_not_enforced() -> None:
    people = Population(seed=13)
    people.benign(300)
    readers = people.viral(60, day=2.2)
    analyzer, _ = people.run(events=pass_round(people, readers, codes=1))
    assert enforced(analyzer) == set()


def test_a_victim_whose_conversation_a_pool_copies_is_not_enforced() -> None:
    people = Population(seed=14)
    people.benign(300)
    pool = people.campaign(70, day=2.2, share=0.0)
    victim = people.add(lambda rng: str(rng.random()), since=1.0)
    events = [
        (ts, account, {**traits, "sig": [*traits.get("sig", []), 77]} if account in {*pool, victim} else traits)
        for ts, account, traits in pass_round(people, pool, codes=60)
    ]
    analyzer, _ = people.run(events=events)
    assert enforced(analyzer) & pool
    assert victim not in enforced(analyzer)


@pytest.mark.parametrize("common", ["hour", "means"])
def test_strangers_of_one_course_or_of_one_country_who_send_a_new_text_are_left_alone(common: str) -> None:
    people = Population(seed=31)
    people.benign(250)
    prompt = words(people.rng, 30)
    for number in range(50):
        shared: dict[str, Any] = {"created_at": START + 1.5 * DAY + 3_600.0 * (number % 3)}
        if common == "means":
            shared = {"address": f"10.1.{number % 4}.{number}", "ja4": f"ja4-service-{number % 3}"}
        people.add(lambda rng: f"{prompt} {words(rng, 8)}", since=2.2, per_day=4.0, **shared)
    assert enforced(people.run()[0]) == set()
