from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.clock import SystemClock
from gateway.events import decode, open_events
from gateway.events.redis_sink import STREAM, RedisSink
from gateway.redis_url import connect
from gateway.settings import Settings
from tests.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from redis import Redis

    from gateway.types import Event
    from tests.redis_server import RedisServer


def kept(server: RedisServer) -> list[Event]:
    with server.client() as client:
        return stream(client)


def stream(client: Redis) -> list[Event]:
    entries: list[tuple[bytes, dict[bytes, bytes]]] = client.xrange(STREAM)  # type: ignore[assignment]
    return [decode(fields[b"e"]) for _, fields in entries]


async def test_events_arrive_in_order_and_whole(
    redis_url: str, shared_redis: RedisServer, make_event: Callable[..., Event]
) -> None:
    sink = open_events(Settings(redis=redis_url), SystemClock())
    events = [make_event(number) for number in range(2_500)]
    for event in events:
        sink.append(event)
    await sink.flush()
    assert kept(shared_redis) == events
    assert sink.status() == {"store": "redis", "ok": True, "error": None, "appended": 2_500, "dropped": 0, "waiting": 0}
    await sink.aclose()


async def test_the_sender_sends_without_being_told(
    redis_url: str, shared_redis: RedisServer, make_event: Callable[..., Event]
) -> None:
    sink = RedisSink(redis_url)
    reader = connect(redis_url, timeout_s=10)
    sink.append(make_event(1))
    assert await reader.xread({STREAM: "0-0"}, block=9_000)  # returns when the event arrives
    assert kept(shared_redis) == [make_event(1)]
    await reader.aclose()
    await sink.aclose()


async def test_the_stream_does_not_grow_without_end(
    redis_url: str, shared_redis: RedisServer, make_event: Callable[..., Event]
) -> None:
    sink = RedisSink(redis_url, keep_events=100)
    for number in range(1_000):
        sink.append(make_event(number))
    await sink.flush()
    with shared_redis.client() as client:
        assert 100 <= client.xlen(STREAM) <= 300  # whole nodes of 100 entries are cut
    assert kept(shared_redis)[-1] == make_event(999)
    await sink.aclose()


async def test_a_redis_that_comes_back_gets_what_waited_and_the_rest_is_counted(
    make_event: Callable[..., Event],
) -> None:
    with running_redis() as server:
        sink = RedisSink(server.url, buffer_events=5)
        sink.append(make_event(0))
        await sink.flush()
        server.kill()
        for number in range(1, 4):
            sink.append(make_event(number))
        assert await sink._send() is False
        status = sink.status()
        assert (status["ok"], status["waiting"], status["dropped"]) == (False, 3, 0)
        for number in range(4, 12):  # three are taken out of the buffer and wait beside it
            sink.append(make_event(number))
        assert sink.status()["dropped"] == 3
        server.start()
        await sink.flush()
        assert [event.id for event in kept(server)] == [f"r{number}" for number in range(1, 9)]
        assert sink.status() == {
            "store": "redis",
            "ok": True,
            "error": None,
            "appended": 9,
            "dropped": 3,
            "waiting": 0,
        }
        await sink.aclose()


async def test_closing_while_redis_is_away_ends_and_counts_the_loss(
    make_event: Callable[..., Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.events.redis_sink._FLUSH_TIMEOUT_S", 0.2)
    with running_redis() as server:
        sink = RedisSink(server.url)
        server.kill()
        sink.append(make_event(1))
        await sink.aclose()
        assert sink.status()["dropped"] == 1
        sink.append(make_event(2))
        assert sink.status()["dropped"] == 2


async def test_an_event_that_json_cannot_say_costs_itself_alone(
    redis_url: str, shared_redis: RedisServer, make_event: Callable[..., Event]
) -> None:
    sink = RedisSink(redis_url)
    sink.append(make_event(1, traits={"bad": object()}))
    sink.append(make_event(2))
    await sink.flush()
    assert [event.id for event in kept(shared_redis)] == ["r2"]
    assert sink.status()["dropped"] == 1
    await sink.aclose()
