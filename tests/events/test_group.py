from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import StoreError
from gateway.events.group import EventGroup
from gateway.events.redis_sink import STREAM, RedisSink
from tests.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from gateway.types import Event
    from tests.redis_server import RedisServer

    Fill = Callable[..., Awaitable[None]]


@pytest.fixture
async def fill(redis_url: str, make_event: Callable[..., Event]) -> AsyncIterator[Fill]:
    """Appends the events of these numbers to the stream."""
    sink = RedisSink(redis_url)

    async def append(*numbers: int) -> None:
        for number in numbers:
            sink.append(make_event(number))
        await sink.flush()

    yield append
    await sink.aclose()


@pytest.fixture
async def workers(redis_url: str) -> AsyncIterator[list[EventGroup]]:
    """Two workers of one group."""
    made = [EventGroup(redis_url, name) for name in ("one", "two")]
    for worker in made:
        await worker.open()
    yield made
    for worker in made:
        await worker.aclose()


def ids(got: list[tuple[bytes, Event]]) -> list[str]:
    return [event.id for _, event in got]


async def test_each_event_goes_to_one_worker(fill: Fill, workers: list[EventGroup]) -> None:
    await fill(0, 1, 2, 3)
    assert await workers[0].waiting() == 4
    first, second = await workers[0].read(3), await workers[1].read(3)
    assert (ids(first), ids(second)) == (["r0", "r1", "r2"], ["r3"])
    assert await workers[0].waiting() == 0


async def test_what_a_dead_worker_left_is_taken_over_until_it_is_acknowledged(
    fill: Fill, workers: list[EventGroup]
) -> None:
    await fill(0, 1)
    got = await workers[0].read()
    await workers[0].acknowledge([got[0][0]])
    assert await workers[1].take_over(idle_s=3600) == []
    taken = await workers[1].take_over(idle_s=0)
    assert ids(taken) == ["r1"]
    await workers[1].acknowledge([taken[0][0]])
    await workers[1].acknowledge([])
    assert await workers[1].take_over(idle_s=0) == []


async def test_a_restarted_worker_finds_what_it_had_not_finished(
    fill: Fill, workers: list[EventGroup], redis_url: str
) -> None:
    await fill(0)
    await workers[0].read()
    again = EventGroup(redis_url, "one")
    await again.open()
    assert ids(await again.take_over(idle_s=0)) == ["r0"]
    await again.aclose()


async def test_what_somebody_else_wrote_is_skipped_and_does_not_come_back(
    fill: Fill, workers: list[EventGroup], shared_redis: RedisServer
) -> None:
    with shared_redis.client() as client:
        client.xadd(STREAM, {"e": "hello"})
        client.xadd(STREAM, {"x": "hello"})
    await fill(1)
    assert ids(await workers[0].read()) == ["r1"]
    assert workers[0].unreadable == 2
    assert ids(await workers[0].take_over(idle_s=0)) == ["r1"]


async def test_an_emptied_redis_gets_its_group_again(
    fill: Fill, workers: list[EventGroup], shared_redis: RedisServer
) -> None:
    with shared_redis.client() as client:
        client.flushall()
    assert await workers[0].read() == []
    await fill(5)
    assert ids(await workers[0].read()) == ["r5"]


async def test_an_absent_redis_is_a_store_error() -> None:
    worker = EventGroup(f"redis://127.0.0.1:{free_port()}", "one")
    for call in (worker.open(), worker.read(), worker.take_over(), worker.acknowledge([b"1-0"]), worker.waiting()):
        with pytest.raises(StoreError, match=r"^redis: ConnectionError"):
            await call
    await worker.aclose()
