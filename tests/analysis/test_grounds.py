from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gateway.analysis import grounds
from gateway.analysis.cohort import Cohort
from gateway.analysis.config import AnalysisConfig
from gateway.analysis.grounds import Grounds

CONFIG = AnalysisConfig()
LOUD = {"protocol": 1e3, "provenance": 1e3, "content": 1e3, "intent": 1.0, "coordination": 1.0}


def found(*, tied: float = 1.0, is_text: bool = True, **families: float) -> Grounds:
    values = {**LOUD, **families}
    combined = float(np.prod(list(values.values())))
    return Grounds(families=values, combined=combined, details={}, tied=tied, is_text=is_text)


def town(count: int, pool: int) -> Cohort:
    """``count`` strangers, then ``pool`` accounts with two mail domains, networks and evenings of sign-up among them."""
    people = Cohort()
    for number in range(count):
        known = {"country": "DE", "mail": number % 7, "snet": 1_000 + number, "created": -86_400.0 * number}
        people.see(float(number), f"a{number}", known, {"net": 5_000 + number, "ja4": number % 5, "prog": number % 5})
    for number in range(pool):
        known = {
            "country": "DE",
            "mail": 100 + number % 2,
            "snet": 200 + number % 2,
            "created": -40.0 * 86_400.0 * (1 + number % 2),
        }
        people.see(float(count + number), f"p{number}", known, {"net": 300 + number, "ja4": 50, "prog": number % 5})
    return people


def weigh(people: Cohort, members: list[int], **given: float) -> Grounds:
    inside = np.zeros(len(people), bool)
    inside[members] = True
    return grounds.weigh(people, members, inside, CONFIG, **given)


def test_linked_accounts_that_send_a_popular_prompt_do_not_condemn_everybody_who_does() -> None:
    people = town(400, 40)
    crowd = [*range(100), *range(400, 440)]
    poisoned = weigh(people, crowd, content=1.0, intent=60.0, coordination=60.0)
    assert poisoned.combined >= 1.0 / CONFIG.alpha
    assert 0.25 < poisoned.tied < 0.35
    assert not poisoned.suffice(CONFIG)


def test_a_pool_that_is_tied_among_itself_suffices_though_its_prompt_is_old() -> None:
    people = town(400, 40)
    assert weigh(people, list(range(400, 440)), content=1.0, intent=60.0, coordination=60.0).suffice(CONFIG)


def test_a_new_prompt_that_many_programs_run_by_night_is_not_enough() -> None:
    assert not found(protocol=0.5, provenance=0.5, intent=1e3, coordination=1e3).suffice(CONFIG)


@pytest.mark.parametrize(
    ("family", "value", "enough"),
    [("provenance", 7.9, False), ("provenance", 8.0, True), ("protocol", 7.9, False), ("protocol", 8.0, True)],
)
def test_a_course_or_a_service_alone_does_not_condemn_the_senders_of_a_new_text(
    family: str, value: float, enough: bool
) -> None:
    families = {**LOUD, family: value, "intent": 1e3}
    loud = Grounds(families=families, combined=1e9, details={}, is_text=True)
    assert loud.suffice(CONFIG) is enough


def test_a_privacy_service_explains_mail_exits_and_client_together() -> None:
    people = Cohort()
    for number in range(400):
        known = {"country": "DE", "mail": number % 7, "snet": 1_000 + number, "created": -86_400.0 * number}
        if number >= 340:  # two domains, two blocks, two clients in front of every program
            known |= {"mail": 100 + number % 2, "snet": 200 + number % 2}
        shown = {"net": known["snet"], "ja4": 50 + number % 2 if number >= 340 else number % 5, "prog": number % 5}
        people.see(float(number), f"a{number}", known, shown)
    users = weigh(people, list(range(340, 400)), content=4e3, intent=10.0, coordination=4e3)
    assert users.families["protocol"] > CONFIG.family_e
    assert users.families["provenance"] < CONFIG.family_e
    assert not users.suffice(CONFIG)


def test_the_carriers_of_a_small_country_are_not_rare_among_its_people() -> None:
    people = Cohort()
    for number in range(2_000):
        country = "NZ" if number % 20 == 0 else "DE"
        net = 7 + number % 3 if country == "NZ" else 1_000 + number
        people.see(float(number), f"a{number}", {"country": country, "snet": net}, {"net": net})
    few = list(range(0, 800, 20))
    assert weigh(people, few, content=1.0).details["net"] < np.log10(CONFIG.family_e)


@pytest.mark.parametrize(("tied", "content", "enough"), [(0.74, 1.0, False), (0.75, 1.0, True), (0.0, 8.0, True)])
def test_a_text_condemns_only_where_it_is_new_or_its_senders_are_tied(
    tied: float, content: float, enough: bool
) -> None:
    assert found(tied=tied, content=content, intent=1e4).suffice(CONFIG) is enough


def test_a_group_that_no_text_formed_needs_no_tie() -> None:
    assert found(tied=0.0, content=1.0, intent=1e4, is_text=False).suffice(CONFIG)


def test_one_family_that_speaks_is_not_enough() -> None:
    loud = found(protocol=0.5, provenance=3e3, content=1.0, intent=7.0, coordination=7.0)
    assert not replace(loud, combined=1e9).suffice(CONFIG)


def test_one_office_explains_one_mail_domain_whoever_shows_it() -> None:
    people = Cohort()
    for number in range(300):
        known = {"country": "DE", "mail": number % 7 if number < 270 else 99, "created": -86_400.0 * number}
        people.see(float(number), f"a{number}", known, {})
    office = weigh(people, list(range(270, 300)), content=1.0)
    assert office.details["mail"] <= np.log10(3.0) + 1e-9


def test_nobody_is_tied_to_nobody() -> None:
    assert grounds.tied_share(town(20, 0), [], np.zeros(20, bool)) == 0.0
    assert grounds.tied_share(town(20, 0), [3], np.zeros(20, bool)) == 0.0
