"""What every store keeps, memory and Redis alike: limits, releases, states of a reservation, leases, moves."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from gateway.budgets.core import Move, Renewal
from gateway.budgets.recent import Recent
from gateway.budgets.redis_store import RedisStore
from gateway.types import Amounts, Subject, Unit
from tests.budgets.helpers import BUCKET, CALENDAR, DAY_S, LEASE, SLIDING, START_S, budget, charge, lines, requests

if TYPE_CHECKING:
    from gateway.types import Budget
    from tests.budgets.conftest import World

KINDS = [
    budget("sliding", 5),
    budget("bucket", 5, algorithm=BUCKET),
    budget("day", 5, algorithm=CALENDAR, length_s=DAY_S),
    budget("month", 5, algorithm=CALENDAR, length_s=31 * DAY_S),
    budget("long", 5, length_s=45 * DAY_S),
]
kinds = pytest.mark.parametrize("of", KINDS, ids=lambda of: of.name)


async def reserve(world: World, name: str, *of: Budget, count: int = 1, floor: int = 1) -> bool:
    wanted = lines([charge(each) for each in of], requests(count), requests(floor))
    return (await world.store.reserve(name, wanted)).granted


async def settle(world: World, name: str, *of: Budget, count: int) -> None:
    await world.store.settle(name, lines([charge(each) for each in of], requests(count)))


async def left(world: World, of: Budget) -> int:
    (view,) = await world.store.peek(lines([charge(of)], Amounts()))
    return view.remaining


@kinds
async def test_a_limit_takes_exactly_its_limit(world: World, of: Budget) -> None:
    answers = [await reserve(world, f"r{n}", of) for n in range(7)]
    assert answers == [True] * 5 + [False] * 2
    assert await left(world, of) == 0


@kinds
@pytest.mark.parametrize(("count", "fits"), [(0, True), (1, True), (4, True), (5, True), (6, False)])
async def test_one_request_at_the_boundary(world: World, of: Budget, count: int, fits: bool) -> None:
    assert await reserve(world, "r", of, count=count) is fits
    assert await left(world, of) == (5 - count if fits else 5)


@pytest.mark.parametrize("algorithm", [SLIDING, BUCKET, CALENDAR, LEASE])
async def test_a_limit_of_zero_takes_nothing(world: World, algorithm: object) -> None:
    of = budget("none", 0, algorithm=algorithm, length_s=DAY_S)  # type: ignore[arg-type] # a table
    decision = await world.store.reserve("r", lines([charge(of)], requests(1)))
    assert not decision.granted
    assert decision.views[0].wait_us == -1
    assert await left(world, of) == 0


@kinds
async def test_waiting_as_long_as_told_is_enough_and_less_is_not(world: World, of: Budget) -> None:
    assert await reserve(world, "r1", of, count=3)
    world.advance(7)
    assert await reserve(world, "r2", of, count=2)
    decision = await world.store.reserve("r3", lines([charge(of)], requests(2)))
    wait_us = decision.views[0].wait_us
    assert wait_us > 0
    world.advance(wait_us / 1e6 - 0.001)
    assert not await reserve(world, "r4", of, count=2)
    world.advance(0.001001)
    assert await reserve(world, "r5", of, count=2)


@kinds
async def test_a_refusal_costs_nothing_in_any_bucket(world: World, of: Budget) -> None:
    small = budget("small", 1)
    assert await reserve(world, "r1", of, small)
    assert not await reserve(world, "r2", of, small)
    assert not await reserve(world, "r3", small, of)
    assert await left(world, of) == 4


@kinds
async def test_a_refund_gives_back_all_and_only_once(world: World, of: Budget) -> None:
    assert await reserve(world, "r1", of, count=2)
    assert await reserve(world, "r2", of, count=2)
    for _ in range(3):
        await settle(world, "r1", of, count=0)
    assert await left(world, of) == 3


@kinds
async def test_the_same_reservation_sent_twice_is_charged_once(world: World, of: Budget) -> None:
    assert await reserve(world, "r1", of, count=4)
    assert await reserve(world, "r1", of, count=4)
    assert await left(world, of) == 1
    await settle(world, "r1", of, count=3)
    assert await reserve(world, "r1", of, count=4)
    assert await left(world, of) == 2


@kinds
async def test_only_the_first_settlement_counts(world: World, of: Budget) -> None:
    assert await reserve(world, "r1", of, count=4)
    await settle(world, "r1", of, count=2)
    await settle(world, "r1", of, count=0)
    await settle(world, "r1", of, count=5)
    assert await left(world, of) == 3


@kinds
async def test_more_spent_than_reserved_is_charged_and_blocks(world: World, of: Budget) -> None:
    assert await reserve(world, "r1", of)
    await settle(world, "r1", of, count=9)
    assert await left(world, of) == 0
    assert not await reserve(world, "r2", of)


@kinds
async def test_a_reservation_that_the_store_never_saw_is_settled_in_full(world: World, of: Budget) -> None:
    await settle(world, "made-while-the-store-was-away", of, count=3)
    await settle(world, "made-while-the-store-was-away", of, count=3)
    assert await left(world, of) == 2


@pytest.mark.parametrize("of", KINDS[2:4], ids=lambda of: of.name)
async def test_a_refund_after_midnight_makes_no_room_in_the_new_day(world: World, of: Budget) -> None:
    assert await reserve(world, "old", of, count=5)
    world.advance(4 * DAY_S)  # 2026-02-25 -> 2026-03-01
    assert await reserve(world, "new", of, count=4)
    await settle(world, "old", of, count=0)
    assert await left(world, of) == 1


@pytest.mark.parametrize("of", KINDS[:2], ids=lambda of: of.name)
async def test_a_refund_after_the_window_makes_no_room_in_the_next(world: World, of: Budget) -> None:
    assert await reserve(world, "old", of, count=5)
    world.advance(66)
    assert await reserve(world, "new", of, count=4)
    await settle(world, "old", of, count=0)
    assert await left(world, of) == 1


async def test_a_sliding_window_holds_its_limit_in_every_interval_and_forgets_within_a_twelfth(world: World) -> None:
    """Every interval of one window length, however placed, has at most the limit; a greedy caller gets 12/13."""
    of = budget("sliding", 20)
    rng = random.Random(5)
    times: list[float] = []
    for attempt in range(600):
        world.advance(rng.choice([0.0, 0.05, 0.7, 1.1, 4.9]))
        if await reserve(world, f"r{attempt}", of):
            times.append(world.clock.now())
    for start in times:
        assert sum(start <= each < start + 60 for each in times) <= 20
    assert len(times) >= (times[-1] - START_S) / 60 * 20 * 12 / 13 * 0.95


async def test_an_amount_stays_in_a_sliding_window_between_one_length_and_a_twelfth_more(world: World) -> None:
    of = budget("sliding", 1)
    world.advance(3.0)
    assert await reserve(world, "r", of)
    world.advance(59.999)
    assert await left(world, of) == 0
    world.advance(5.0)
    assert await left(world, of) == 1


async def test_a_bucket_takes_its_burst_then_its_rate(world: World) -> None:
    of = budget("bucket", 60, algorithm=BUCKET, burst=5)
    assert [await reserve(world, f"a{n}", of) for n in range(6)] == [True] * 5 + [False]
    world.advance(0.999)
    assert not await reserve(world, "b", of)
    world.advance(0.001)
    assert await reserve(world, "c", of)
    world.advance(1000)
    assert [await reserve(world, f"d{n}", of) for n in range(6)] == [True] * 5 + [False]


async def test_a_changed_limit_keeps_what_was_spent_and_a_changed_window_starts_anew(world: World) -> None:
    assert await reserve(world, "r1", budget("plan", 5), count=4)
    assert await left(world, budget("plan", 10)) == 6
    assert await left(world, budget("plan", 3)) == 0
    assert await left(world, budget("plan", 5, length_s=3600)) == 5
    assert await left(world, budget("plan", 5, unit=Unit.INPUT_TOKENS)) == 5


async def test_a_shadow_budget_is_counted_and_never_refuses(world: World) -> None:
    of, real = budget("shadow", 1, shadow=True), budget("real", 3)
    for n in range(3):
        decision = await world.store.reserve(f"r{n}", lines([charge(of), charge(real)], requests(1)))
        assert decision.granted
        assert (decision.views[0].wait_us != 0) is (n > 0)
    assert not await reserve(world, "r4", of, real)


@pytest.mark.parametrize("amount", [10**15, 2**63, 2**64 + 1, 10**30])
async def test_an_absurd_cap_is_refused_and_cannot_blur_what_a_shadow_budget_counts(world: World, amount: int) -> None:
    real = charge(budget("real", 100, unit=Unit.OUTPUT_TOKENS))
    shadow = charge(budget("shadow", 100, unit=Unit.OUTPUT_TOKENS, shadow=True))
    assert (await world.store.reserve("sane", lines([real, shadow], Amounts(output_tokens=30)))).granted
    absurd = Amounts(output_tokens=amount)
    assert not (await world.store.reserve("absurd", lines([real, shadow], absurd))).granted
    assert (await world.store.reserve("unseen", lines([shadow], absurd))).granted
    await world.store.renew([Renewal("unseen", lines([shadow], absurd))])
    await world.store.settle("unseen", lines([shadow], Amounts(output_tokens=1)))
    views = await world.store.peek(lines([real, shadow], Amounts()))
    assert [view.remaining for view in views] == [70, 69]


async def test_subjects_and_budgets_do_not_share_buckets(world: World) -> None:
    of = budget("b", 1)
    other = budget("b", 1, subject=Subject.ORGANISATION)
    assert await reserve(world, "r1", of)
    for wanted in ([charge(of, "a2")], [charge(other, "a1")], [charge(budget("c", 1))]):
        assert (await world.store.reserve(f"r-{wanted[0].key}", lines(wanted, requests(1)))).granted


# -- leases and abandoned reservations -------------------------------------------------------------------


async def test_concurrency_counts_what_is_held_now(world: World) -> None:
    of = budget("concurrency", 2, algorithm=LEASE)
    assert [await reserve(world, f"r{n}", of) for n in range(3)] == [True, True, False]
    await settle(world, "r0", of, count=1)
    assert await reserve(world, "r3", of)
    assert not await reserve(world, "r4", of)


async def test_refused_for_concurrency_is_not_charged(world: World) -> None:
    of, count = budget("concurrency", 1, algorithm=LEASE), budget("count", 5)
    assert await reserve(world, "r1", of, count)
    assert not await reserve(world, "r2", of, count)
    assert await left(world, count) == 4


async def test_refused_for_requests_holds_no_slot(world: World) -> None:
    of, count = budget("concurrency", 2, algorithm=LEASE), budget("count", 1)
    assert await reserve(world, "r1", of, count)
    assert not await reserve(world, "r2", of, count)
    assert await left(world, of) == 1


async def test_a_killed_workers_leases_expire_and_a_living_ones_do_not(world: World) -> None:
    of = budget("concurrency", 2, algorithm=LEASE)
    assert await reserve(world, "dead", of)
    assert await reserve(world, "alive", of)
    world.advance(20)
    await world.store.renew([Renewal("alive", lines([charge(of)], requests(1)))])
    world.advance(9.9)
    assert not await reserve(world, "r", of)
    world.advance(0.2)
    assert await left(world, of) == 1
    assert await reserve(world, "r", of)
    assert not await reserve(world, "s", of)


async def test_a_killed_workers_reservation_is_settled_at_what_was_seen_to_flow(world: World) -> None:
    of = budget("tokens", 100, unit=Unit.TOTAL_TOKENS)
    wanted = lines([charge(of)], Amounts(output_tokens=90), Amounts(input_tokens=3))
    assert (await world.store.reserve("silent", wanted)).granted
    assert await left(world, of) == 10
    world.advance(29.9)
    assert await world.store.reap() == 0
    assert await left(world, of) == 10
    world.advance(0.2)
    assert await world.store.reap() == 1
    assert await left(world, of) == 97


async def test_the_heartbeat_carries_what_was_seen_and_a_late_settlement_replaces_it(world: World) -> None:
    of = budget("tokens", 100, unit=Unit.TOTAL_TOKENS)
    assert (await world.store.reserve("r", lines([charge(of)], Amounts(output_tokens=90)))).granted
    world.advance(10)
    await world.store.renew([Renewal("r", lines([charge(of)], Amounts(output_tokens=90), Amounts(output_tokens=40)))])
    world.advance(31)
    assert await world.store.reap() == 1
    assert await left(world, of) == 60
    await world.store.settle("r", lines([charge(of)], Amounts(output_tokens=55)))
    await world.store.settle("r", lines([charge(of)], Amounts(output_tokens=1)))
    assert await left(world, of) == 45
    assert await world.store.reap() == 0


async def test_a_settled_reservation_is_not_brought_back_by_a_late_heartbeat(world: World) -> None:
    of = budget("concurrency", 1, algorithm=LEASE)
    assert await reserve(world, "r", of)
    await settle(world, "r", of, count=1)
    await world.store.renew([Renewal("r", lines([charge(of)], requests(1)))])
    assert await left(world, of) == 1


# -- moves -------------------------------------------------------------------------------------------------


@kinds
async def test_what_members_spent_moves_with_them_once(world: World, of: Budget) -> None:
    mine, cluster = of, budget(f"cluster-{of.name}", 9, algorithm=of.window.algorithm, length_s=of.window.length_s)
    assert await reserve(world, "r", mine, count=4)
    for member, fresh in (("m1", True), ("m1", False)):
        move = Move(charge(mine), charge(cluster, "c7"))
        assert await world.store.move(member, [move]) is fresh
    assert await left(world, mine) == 1
    (view,) = await world.store.peek(lines([charge(cluster, "c7")], Amounts()))
    assert view.remaining == 5


async def test_a_merge_empties_the_source_and_a_split_takes_from_the_old_cluster(world: World) -> None:
    account, cluster = budget("account", 9), budget("cluster", 9, subject=Subject.CLUSTER)
    assert (await world.store.reserve("r", lines([charge(account), charge(cluster, "c1")], requests(4)))).granted
    assert (await world.store.reserve("s", lines([charge(cluster, "c1")], requests(2)))).granted
    split = Move(charge(account), charge(cluster, "c2"), deduct=charge(cluster, "c1"))
    assert await world.store.move("split", [split])
    c1, c2 = charge(cluster, "c1"), charge(cluster, "c2")
    assert [view.remaining for view in await world.store.peek(lines([c1, c2], Amounts()))] == [7, 5]
    assert await world.store.move("merge", [Move(c2, c1, keep=False)])
    assert [view.remaining for view in await world.store.peek(lines([c1, c2], Amounts()))] == [3, 9]


async def test_what_moved_leaves_the_window_when_it_would_have_left_the_old_one(world: World) -> None:
    account, cluster = budget("account", 9), budget("cluster", 9, subject=Subject.CLUSTER)
    assert await reserve(world, "r", account, count=9)
    world.advance(40)
    assert await world.store.move("join", [Move(charge(account), charge(cluster, "c1"))])
    world.advance(26)
    (view,) = await world.store.peek(lines([charge(cluster, "c1")], Amounts()))
    assert view.remaining == 9


async def test_leases_move_with_their_account(world: World) -> None:
    account, cluster = budget("account", 9, algorithm=LEASE), budget("cluster", 3, algorithm=LEASE)
    assert await reserve(world, "r", account)
    assert await world.store.move("join", [Move(charge(account), charge(cluster, "c1"))])
    (view,) = await world.store.peek(lines([charge(cluster, "c1")], Amounts()))
    assert view.remaining == 2


async def test_workers_are_counted_only_while_they_live(world: World) -> None:
    if not isinstance(world.store, RedisStore):
        assert await world.store.workers("w1") == 1
        return
    assert [await world.store.workers(name) for name in ("w1", "w2", "w1", "w3")] == [1, 2, 2, 3]
    world.advance(36)
    assert await world.store.workers("w2") == 1


@pytest.mark.parametrize("settled_after_s", [0.0, 0.001, 9.999, 10.0])
@pytest.mark.parametrize("again_after_s", [0.0, 9.999, 10.0, 59.999, 60.0])
def test_a_settled_id_is_known_for_a_minute_and_soon_after_that_it_is_not(
    settled_after_s: float, again_after_s: float
) -> None:
    recent, start_us = Recent(), START_S * 1_000_000
    settled_us = start_us + round(settled_after_s * 1e6)
    recent.add("before", start_us)
    recent.add("r", settled_us)
    recent.turn(settled_us + round(again_after_s * 1e6))
    assert ("r" in recent) or again_after_s > 60
    assert "other" not in recent
    recent.turn(settled_us + 70_000_001)
    assert "r" not in recent
    assert len(recent) == 0


def test_a_clock_that_goes_back_forgets_nothing_and_a_leap_forgets_all() -> None:
    recent, now_us = Recent(), START_S * 1_000_000
    recent.add("a", now_us)
    recent.add("b", now_us - 3_600_000_000)
    assert "a" in recent
    assert "b" in recent
    recent.add("c", now_us + 86_400_000_000)
    assert ("a" in recent, "b" in recent, "c" in recent) == (False, False, True)
