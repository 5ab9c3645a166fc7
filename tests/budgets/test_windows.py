"""The arithmetic of windows against the standard library, and the bounds that the documentation states."""

from __future__ import annotations

import calendar
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.budgets.months import month_bounds
from gateway.budgets.windows import SLICES, Bucket, Calendar, Sliding, revive, shape_of
from gateway.types import Unit
from tests.budgets.helpers import BUCKET, CALENDAR, DAY_S, LEASE, SLIDING, START_S, budget

US = 1_000_000


@given(st.datetimes(datetime(1970, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001 - the zone comes after
@settings(max_examples=300, derandomize=True)
def test_months_begin_and_end_where_the_calendar_says(moment: datetime) -> None:
    now_us = round(moment.timestamp()) * US + moment.microsecond
    moment = datetime.fromtimestamp(now_us // US, UTC)
    first = moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    length = calendar.monthrange(moment.year, moment.month)[1]
    start, end = month_bounds(now_us)
    assert start == calendar.timegm(first.timetuple()) * US
    assert end - start == length * DAY_S * US


@pytest.mark.parametrize("year", [1970, 1999, 2000, 2024, 2026, 2100])
@pytest.mark.parametrize("month", range(1, 13))
def test_the_last_and_the_first_instant_of_every_month(year: int, month: int) -> None:
    start = calendar.timegm((year, month, 1, 0, 0, 0)) * US
    end = start + calendar.monthrange(year, month)[1] * DAY_S * US
    assert month_bounds(start) == month_bounds(end - 1) == (start, end)
    assert month_bounds(end)[0] == end


@pytest.mark.parametrize("length_s", [1, 7, 60, 3600, DAY_S, 45 * DAY_S])
def test_the_adversary_of_two_window_counters_gains_nothing(length_s: int) -> None:
    """A counter that weighs the last window by its overlap takes nearly twice its limit from a caller who spends all
    at the end of one window and again as the weight falls. Slices take at most the limit, whenever they are asked.
    """
    shape, limit = Sliding(budget("b", 100, length_s=length_s)), 100
    state = shape.fresh()
    length = length_s * US
    start = 1_000 * length
    times: list[int] = []
    for now in [start + length - 1, *range(start + length, start + 3 * length, max(1, length // 500))]:
        while shape.wait_us(state, now, 1) == 0:
            shape.charge(state, now, 1)
            times.append(now)
    worst = max(sum(at <= other < at + length for other in times) for at in times)
    assert worst == limit


@given(
    st.lists(st.tuples(st.integers(0, 90 * US), st.integers(1, 40)), max_size=60),
    st.sampled_from([(60, 60), (100, 7), (1, 0)]),
)
@settings(max_examples=200, derandomize=True)
def test_gcra_takes_at_most_its_burst_and_its_rate_in_any_interval(
    steps: list[tuple[int, int]], of: tuple[int, int]
) -> None:
    limit, burst = of
    shape = Bucket(budget("b", limit, algorithm=BUCKET, burst=burst))
    state, now, taken = shape.fresh(), START_S * US, []
    for pause, amount in steps:
        now += pause
        if shape.wait_us(state, now, amount) == 0:
            shape.charge(state, now, amount)
            taken.append((now, amount))
    for index, (first, _) in enumerate(taken):
        total = 0
        for at, amount in taken[index:]:
            total += amount
            assert total <= (burst or limit) + (at - first) * limit / (60 * US) + 1e-5


@pytest.mark.parametrize(
    "shape",
    [
        Sliding(budget("b", 1000)),
        Bucket(budget("b", 1000, algorithm=BUCKET)),
        Calendar(budget("b", 1000, algorithm=CALENDAR, length_s=DAY_S)),
        Calendar(budget("b", 1000, algorithm=CALENDAR, length_s=31 * DAY_S)),
    ],
    ids=["sliding", "bucket", "day", "month"],
)
def test_a_clock_that_goes_back_makes_no_room(shape: Sliding | Bucket | Calendar) -> None:
    """Redis fails over to a host whose clock is behind."""
    state, now = shape.fresh(), START_S * US
    shape.charge(state, now, 600)
    for back_s in (1, 59, 3600, 40 * DAY_S):
        earlier = now - back_s * US
        assert shape.used(state, earlier) == 600
        assert shape.wait_us(state, earlier, 401) > 0
    mark = shape.charge(state, now - 90 * US, 100)
    assert shape.used(state, now) == 700
    shape.release(state, now, mark, 100)
    assert shape.used(state, now) == pytest.approx(600)


def test_a_long_window_is_as_small_as_a_short_one() -> None:
    shape, rng = Sliding(budget("b", 10**12, length_s=45 * DAY_S)), random.Random(1)
    state, now, largest = shape.fresh(), START_S * US, 0
    for _ in range(20_000):
        now += rng.randrange(3600 * US)
        shape.charge(state, now, rng.randrange(1, 1000))
        shape.used(state, now)
        largest = max(largest, len(state))
    assert largest == 1 + 2 * (SLICES + 1)


@pytest.mark.parametrize(
    "of",
    [
        budget("b", 7, length_s=7),
        budget("b", 7, length_s=45 * DAY_S),
        budget("b", 7, algorithm=BUCKET, length_s=61),
        budget("b", 7, algorithm=CALENDAR, length_s=DAY_S),
        budget("b", 7, algorithm=CALENDAR, length_s=31 * DAY_S),
    ],
)
def test_a_shape_read_from_the_journal_counts_as_the_one_that_was_written(of: object) -> None:
    shape = shape_of(of)  # type: ignore[arg-type] # a table
    again = revive(shape.code, shape.limit, shape.size_us)
    assert (again.code, again.limit, again.size_us, again.rate) == (shape.code, shape.limit, shape.size_us, shape.rate)


def test_concurrency_is_a_lease_whatever_window_it_names() -> None:
    for algorithm in (SLIDING, BUCKET, CALENDAR, LEASE):
        assert shape_of(budget("b", 1, algorithm=algorithm, unit=Unit.CONCURRENCY)).code == 5
