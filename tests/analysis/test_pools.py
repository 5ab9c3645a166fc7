from __future__ import annotations

from random import Random

import pytest

from gateway.analysis.analyzer import Analyzer
from tests.analysis.crowd import DAY, HOUR, START, Crowd
from tests.analysis.population import enforced


def groups(analyzer: Analyzer) -> list[set[str]]:
    return [
        set(one["members"])
        for one in analyzer.clusters()
        if one["first_enforced_at"] is not None and one["merged_into"] is None
    ]


def town(seed: int, days: int = 8) -> Crowd:
    crowd = Crowd(seed, days)
    crowd.people(500)
    crowd.machines(50)
    return crowd


def test_a_relay_of_other_peoples_prompts_is_found_by_what_its_accounts_share() -> None:
    crowd = town(1)
    pool = crowd.pool(200, since=2.0)
    found = enforced(crowd.run())
    assert len(found & pool) >= 0.2 * len(pool)
    assert not found - pool


def test_two_relays_at_once_are_two_clusters() -> None:
    crowd = town(2)
    first, second = crowd.pool(160, 2.0, signs=Random(11)), crowd.pool(160, 2.0, signs=Random(12))
    found = groups(crowd.run())
    assert found
    assert all(max(len(group & first), len(group & second)) == len(group) for group in found)
    assert any(group & first for group in found)
    assert any(group & second for group in found)


def test_a_pool_that_replaces_a_stopped_one_keeps_the_campaigns_name() -> None:
    crowd = town(3, days=12)
    first = crowd.pool(200, 2.0, until=7.0, signs=Random(11))
    second = crowd.pool(200, 7.0, signs=Random(11))
    analyzer = crowd.run()
    large = [group for group in groups(analyzer) if group & first]
    assert len(large) == 1
    assert len(large[0] & second) >= 0.2 * len(second)
    told = next(cluster for cluster in analyzer.found.enforced() if cluster.change)
    assert told.change.startswith("fail-over: ")


@pytest.mark.parametrize("seed", range(4))
def test_people_and_machines_who_share_as_much_as_they_do_are_left_alone(seed: int) -> None:
    crowd = Crowd(seed + 20, days=5)
    rng = crowd.rng
    crowd.people(200)
    for _ in range(6):  # carriers and VPNs: many accounts, few addresses
        exits = [crowd.value() for _ in range(3)]
        for _ in range(15):
            crowd.add(crowd.some_days(), {"net": rng.choice(exits)})
    cloud = [crowd.value() for _ in range(5)]
    for _ in range(60):  # build farms: every day, from one cloud's addresses, with one library's fingerprint
        crowd.add(crowd.every_day(), {"net": rng.choice(cloud), "ja4": 7, "prog": 99}, mail=crowd.value())
    for _ in range(8):  # a family: one card, one address, one evening to sign up
        card, address, hour = crowd.value(), crowd.value(), START - rng.uniform(1, 90) * DAY
        for _ in range(3):
            crowd.add(crowd.some_days(), {"net": address}, pay=card, sip=address, snet=address, created=hour)
    assert enforced(crowd.run()) == set()


def test_a_launch_that_brings_many_machines_in_an_hour_is_left_alone() -> None:
    crowd = town(5)
    launch = {crowd.add(crowd.every_day(2.0), created=START - 10 * HOUR + place) for place in range(80)}
    assert not enforced(crowd.run()) & launch


def test_a_privacy_gateway_that_gives_all_its_users_one_address_and_fingerprint_is_left_alone() -> None:
    crowd = town(6)
    exits = [crowd.value() for _ in range(2)]
    users = {
        crowd.add(crowd.every_day(1.0), {"net": exits[place % 2], "ja4": 5, "prog": place % 9}, mail=77)
        for place in range(60)
    }
    assert not enforced(crowd.run()) & users


def test_a_launch_and_a_privacy_service_in_one_log_do_not_add_up_to_an_operator() -> None:
    crowd = town(11)
    exits = [crowd.value() for _ in range(2)]
    for place in range(40):
        crowd.add(crowd.every_day(1.0), created=START - 10 * HOUR + place)
        crowd.add(crowd.every_day(1.0), {"net": exits[place % 2], "ja4": 5, "prog": place % 9}, mail=77)
    assert enforced(crowd.run()) == set()


def test_a_customer_whose_address_and_mail_domain_a_relay_copies_is_not_a_member() -> None:
    crowd = town(7)
    signs = Random(11)
    pool = crowd.pool(200, 2.0, signs=signs)
    copied = Random(11)
    mails = [copied.randint(10**5, 10**6) for _ in range(13)]
    hours = [copied.randint(10**5, 10**6) for _ in range(13)]
    victim = crowd.add(crowd.some_days(), mail=mails[0], created=START - HOUR * (hours[0] % 2_000))
    found = enforced(crowd.run())
    assert found & pool
    assert victim not in found


def test_a_machine_that_shares_one_value_with_a_relay_is_not_a_member() -> None:
    crowd = town(8)
    pool = crowd.pool(200, 2.0, signs=Random(11))
    mail = Random(11).randint(10**5, 10**6)
    victim = crowd.add(crowd.every_day(), mail=mail)
    found = enforced(crowd.run())
    assert found & pool
    assert victim not in found


def test_a_licensed_customer_is_never_a_member() -> None:
    crowd = town(9)
    pool = sorted(crowd.pool(200, 2.0))
    for name in pool[:20]:
        crowd.known[name]["use"] = "synthetic-data"
    found = enforced(crowd.run())
    assert found & set(pool[20:])
    assert not found & set(pool[:20])


@pytest.mark.parametrize("batches", [2, 7])
def test_the_same_requests_in_other_batches_give_the_same_clusters(batches: int) -> None:
    crowd = town(10, days=6)
    crowd.pool(160, 2.0)
    whole = crowd.run()
    assert enforced(whole)
    assert crowd.run(handed_on=batches).clusters() == whole.clusters()
