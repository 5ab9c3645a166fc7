from __future__ import annotations

from random import Random

import pytest

from gateway.analysis.rhythm import DAYS, MIN_HOURS, MIN_REQUESTS, Rhythm

DAY, HOUR = 86_400.0, 3_600.0


def seen(*times: float) -> Rhythm:
    rhythm = Rhythm()
    for ts in times:
        rhythm.note(ts, 0)
    return rhythm


@pytest.mark.parametrize("requests", [MIN_REQUESTS - 1, MIN_REQUESTS])
@pytest.mark.parametrize("hours", [MIN_HOURS - 1, MIN_HOURS])
def test_a_rhythm_is_known_from_enough_requests_in_enough_hours_on(requests: int, hours: int) -> None:
    rhythm = seen(*(min(place, hours - 1) * HOUR for place in range(requests)))
    assert bool(rhythm.known()[0]) == (requests >= MIN_REQUESTS and hours >= MIN_HOURS)


@pytest.mark.parametrize("missing", [None, 1, 2, 3])
def test_an_account_that_leaves_a_day_out_does_not_work_every_day(missing: int | None) -> None:
    rhythm = seen(*(day * DAY + hour * HOUR for day in range(5) if day != missing for hour in range(4)))
    assert bool(rhythm.working(5 * DAY)[0]) == (missing is None)


@pytest.mark.parametrize(("age_days", "kept"), [(6, True), (7, True), (8, False)])
def test_young_accounts_are_those_of_the_last_days(age_days: int, *, kept: bool) -> None:
    rhythm = seen(*(hour * HOUR for hour in range(8)))
    assert bool(rhythm.working(age_days * DAY + 1.0, 7)[0]) == kept


@pytest.mark.parametrize("days", [DAYS - 1, DAYS, DAYS + 1, DAYS + 30])
def test_days_beyond_those_kept_do_not_count_against_an_account(days: int) -> None:
    rhythm = seen(*(day * DAY + hour * HOUR for day in range(days) for hour in range(2)))
    assert rhythm.working(days * DAY)[0]


def test_working_days_are_those_that_a_plain_count_finds() -> None:
    rng, rhythm, times = Random(2), Rhythm(), []
    for number in range(60):
        mine = sorted(rng.uniform(0, 6 * DAY) for _ in range(rng.randint(1, 30)))
        times.append(mine)
        for ts in mine:
            rhythm.note(ts, number)
    for mine, working in zip(times, rhythm.working(6 * DAY).tolist(), strict=True):
        days, hours = {int(ts // DAY) for ts in mine}, {int(ts // HOUR) for ts in mine}
        whole = len(days) == max(days) - min(days) + 1
        assert working == (whole and len(mine) >= MIN_REQUESTS and len(hours) >= MIN_HOURS)
