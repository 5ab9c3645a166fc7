"""Redis Cluster: a subject's keys share a slot, the subjects of a request are charged in parallel or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.budgets.core import Move, Renewal
from gateway.budgets.redis_link import open_link
from gateway.budgets.redis_store import RedisStore
from gateway.types import Amounts, Subject
from tests.budgets.helpers import LEASE, budget, charge, lines, requests
from tests.redis_server import free_port, running_redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gateway.types import Charge

MINE = budget("mine", 5, length_s=3600)
SLOTS = budget("slots", 2, algorithm=LEASE)
THEIRS = budget("theirs", 3, length_s=3600, subject=Subject.CLUSTER)
ALL = [charge(MINE), charge(SLOTS), charge(THEIRS, "c1"), charge(budget("all", 9, subject=Subject.GLOBAL), "all")]


@pytest.fixture(scope="module")
def cluster_url() -> Iterator[str]:
    """Two nodes, half of the slots each. Their bus would listen 10,000 ports higher, which may be no port at all."""
    on, bus = ("--cluster-enabled", "yes", "--cluster-port"), free_port()
    with running_redis(*on, str(free_port())) as first, running_redis(*on, str(bus)) as second:
        with first.client() as one, second.client() as two:
            one.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
            two.execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
            one.execute_command("CLUSTER", "MEET", "127.0.0.1", second.port, bus)
            for client in (one, two):
                while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
                    pass
        yield f"redis+cluster://127.0.0.1:{first.port}"


@pytest.fixture
async def store(cluster_url: str) -> AsyncIterator[RedisStore]:
    made = RedisStore(open_link(cluster_url, 5.0))
    yield made
    await made.aclose()


def named(name: str) -> list[Charge]:
    return [charge(each.budget, f"{name}-{each.value}") for each in ALL]


async def left(store: RedisStore, of: list[Charge]) -> list[int]:
    return [view.remaining for view in await store.peek(lines(of, Amounts()))]


async def test_all_subjects_are_charged_and_settled(store: RedisStore) -> None:
    of = named("charged")
    decision = await store.reserve("r1", lines(of, requests(2)))
    assert decision.granted
    assert [view.remaining for view in decision.views] == [3, 1, 1, 7]
    await store.settle("r1", lines(of, requests(1)))
    await store.settle("r1", lines(of, requests(0)))
    assert await left(store, of) == [4, 2, 2, 8]


@pytest.mark.parametrize("full", range(4))
async def test_if_one_subject_refuses_the_others_are_refunded(store: RedisStore, full: int) -> None:
    of = named(f"full{full}")
    limit = [5, 2, 3, 9][full]
    for n in range(limit if full == 1 else 1):
        amount = requests(1 if full == 1 else limit)
        assert (await store.reserve(f"fill-{full}-{n}", lines([of[full]], amount))).granted
    before = await left(store, of)
    decision = await store.reserve(f"refused-{full}", lines(of, requests(1)))
    assert not decision.granted
    assert decision.views[full].wait_us > 0
    assert await left(store, of) == before


async def test_heartbeats_reach_every_slot(store: RedisStore) -> None:
    of = named("alive")
    assert (await store.reserve("alive", lines(of, requests(1)))).granted
    await store.renew([Renewal("alive", lines(of, requests(1)))])
    assert await left(store, of) == [4, 1, 2, 8]
    assert await store.reap() == 0


async def test_what_was_spent_moves_between_slots_once(store: RedisStore) -> None:
    of = named("joins")
    assert (await store.reserve("joins", lines(of, requests(2)))).granted
    moves = [
        Move(of[0], charge(THEIRS, "joins-new"), deduct=of[2]),
        Move(of[1], charge(budget("slots-of-cluster", 9, algorithm=LEASE, subject=Subject.CLUSTER), "joins-new")),
    ]
    assert await store.move("joins", moves)
    assert not await store.move("joins", moves)
    assert await left(store, [of[0], of[2], *(move.target for move in moves)]) == [3, 3, 1, 8]
    assert await store.move("merge", [Move(moves[0].target, of[2], keep=False)])
    assert await left(store, [of[2], moves[0].target]) == [1, 3]


async def test_names_with_braces_stay_in_their_slot(store: RedisStore) -> None:
    of = [charge(MINE, "a}b{c"), charge(SLOTS, "a}b{c"), charge(MINE, "}"), charge(MINE, "{}")]
    for number, each in enumerate(of):
        wanted = lines([each], requests(1))
        assert (await store.reserve(f"braces-{number}", wanted)).granted
        await store.settle(f"braces-{number}", wanted)
