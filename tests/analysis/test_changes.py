from __future__ import annotations

from random import Random

import numpy as np
import pytest

from gateway.analysis import changes, grounds
from gateway.analysis.changes import ReleaseBook
from gateway.analysis.cohort import Cohort
from gateway.analysis.config import AnalysisConfig

DAY, HOUR = 86_400.0, 3_600.0
CAP = 4_000.0
OLD, NEW = 1, 2


def crowd(lives: list[tuple[float, float]]) -> Cohort:
    """Accounts by their first and last request; the order is that of the first."""
    cohort = Cohort()
    for place, (begun, ended) in enumerate(sorted(lives)):
        cohort.see(begun, f"a{place}", {}, {})
        cohort.see(ended, f"a{place}", {}, {})
    return cohort


def released(moved: set[int], size: int, at_s: float = 3 * DAY) -> tuple[ReleaseBook, Cohort]:
    """A model appears at ``at_s``; ``moved`` ask for it within the day, everybody is there before and after."""
    cohort, book = crowd([(place * 60.0, 5 * DAY) for place in range(size)]), ReleaseBook()
    book.note(0.0, 0, OLD, warm=False)
    for place, number in enumerate(sorted(moved)):
        book.note(at_s + place * 60.0, number, NEW, warm=True)
    return book, cohort


def pivots(moved: set[int], members: range, size: int = 400, now_s: float = 5 * DAY) -> changes.Change:
    book, cohort = released(moved, size)
    inside = np.zeros(size, bool)
    inside[list(members)] = True
    return changes.pivot(book, cohort, list(members), inside, now_s, CAP)


def test_a_pool_that_moves_on_release_day_is_seen_to_pivot() -> None:
    found = pivots({*range(60), *range(100, 110)}, range(100))
    assert found.e_value > 100
    assert found.words == "pivot: 60 of 100 moved to a model on its first day, 4% of others"


def test_everybody_moves_is_no_pivot() -> None:
    assert pivots({*range(60), *range(100, 300)}, range(100)).e_value < 1.0


def test_benchmarkers_who_come_with_a_release_are_no_pivot() -> None:
    book, cohort = released(set(range(30)), 400, at_s=-1.0)
    inside = np.arange(400) < 30
    assert changes.pivot(book, cohort, list(range(30)), inside, 5 * DAY, CAP).e_value <= 1.0


def test_a_pivot_alone_never_suffices() -> None:
    config = AnalysisConfig()
    found = grounds.combine(dict.fromkeys((*grounds.PROVENANCE, "ja4"), 0.0), {"coordination": 1e9}, config)
    assert not found.suffice(config)


@pytest.mark.parametrize(("now_s", "bet"), [(4 * DAY - 1.0, False), (4 * DAY, True)])
def test_nothing_is_bet_on_a_release_before_its_day_is_over(now_s: float, *, bet: bool) -> None:
    assert (pivots(set(range(80)), range(100), now_s=now_s).e_value > 1.0) == bet


@pytest.mark.parametrize(("later_s", "counted"), [(DAY - 1.0, 2), (DAY, 1), (DAY + 1.0, 1)])
def test_the_first_day_of_a_model_ends_after_a_day(later_s: float, counted: int) -> None:
    book = ReleaseBook()
    book.note(10.0, 0, NEW, warm=True)
    book.note(10.0 + later_s, 1, NEW, warm=True)
    assert [asked.size for _, asked in book.releases()] == [counted]


def test_models_of_a_young_log_are_not_new() -> None:
    book = ReleaseBook()
    book.note(10.0, 0, OLD, warm=False)
    book.note(20.0, 1, OLD, warm=True)
    assert book.releases() == []


def test_a_caller_that_makes_up_models_costs_bounded_memory() -> None:
    book = ReleaseBook()
    for model in range(20_000):
        book.note(float(model), 0, model, warm=True)
    assert len(book.releases()) <= 64


def fails_over(group: list[tuple[float, float]], others: list[tuple[float, float]]) -> changes.Change:
    lives = sorted([*group, *others])
    cohort = crowd(lives)
    mine = [place for place, life in enumerate(lives) if life in set(group)]
    inside = np.zeros(len(lives), bool)
    inside[mine] = True
    return changes.failover(cohort, mine, inside, 12 * DAY, CAP)


def lives(rng: Random, count: int) -> list[tuple[float, float]]:
    """Customers who come at any time and stay for some days."""
    return [(begun := rng.uniform(0, 8 * DAY), begun + rng.uniform(0.1, 6) * DAY) for _ in range(count)]


def test_a_pool_replaced_within_the_hour_is_a_fail_over() -> None:
    rng = Random(1)
    first = [(rng.uniform(0, 2 * DAY), 6 * DAY + rng.uniform(0, HOUR - 1)) for _ in range(30)]
    second = [(6 * DAY + rng.uniform(HOUR, 5 * HOUR), 11.9 * DAY + rng.uniform(0, 600)) for _ in range(30)]
    found = fails_over([*first, *second], lives(rng, 300))
    assert found.e_value > 1_000
    assert found.words == "fail-over: 30 accounts stopped within an hour, 30 began by six hours later"


def test_an_outage_that_stops_everybody_is_no_fail_over() -> None:
    rng = Random(2)
    group, others = (
        [(rng.uniform(0, 2 * DAY), 6 * DAY + rng.uniform(0, HOUR - 1)) for _ in range(count)] for count in (40, 400)
    )
    assert fails_over(group, others).e_value < 1.0


@pytest.mark.parametrize("count", [0, 1])
def test_a_rotated_key_is_no_fail_over(count: int) -> None:
    rng = Random(3)
    group = [(0.0, 6 * DAY), (6 * DAY + 60.0, 11.9 * DAY)][: 2 * count]
    assert fails_over(group, lives(rng, 200)).e_value < 100


def test_benign_groups_pass_ten_and_a_hundred_no_more_often_than_e_values_may() -> None:
    rng, values = Random(4), []
    for _ in range(300):
        size = rng.randint(8, 60)
        group = lives(rng, size)
        if rng.random() < 0.5:
            clump = rng.randint(0, size // 8)
            group = [
                *group[clump:],
                *(
                    (begun, 5 * DAY + 100.0 + place)
                    for place, (begun, _) in enumerate(lives(rng, clump))
                    if begun < 5 * DAY
                ),
            ]
        values.append(fails_over(group, lives(rng, 150)).e_value)
    assert sum(value >= 10 for value in values) / 300 <= 0.1
    assert sum(value >= 100 for value in values) / 300 <= 0.01
    assert max(values) > 0.5
