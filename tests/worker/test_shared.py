"""Workers behind Redis: one leads, another takes over, every event counts once."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from gateway.clock import ManualClock
from gateway.errors import StoreError
from gateway.events.redis_sink import RedisSink
from gateway.settings import Settings
from gateway.standing.verdicts import encode_verdict
from gateway.types import Event, Level, Verdict
from gateway.worker import shared
from gateway.worker.elsewhere import SharedAnalysis
from gateway.worker.loop import Session, run_worker
from gateway.worker.shared import LEASE, SNAPSHOT, STATUS, GroupSource, Lease
from tests.redis_server import RedisServer
from tests.worker.conftest import MakeSession
from tests.worker.scenario import BEGIN_S, DAY_S, Town

END_S = BEGIN_S + 4 * DAY_S


@pytest.fixture(autouse=True)
def take_over_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another worker left is idle enough without waiting."""
    monkeypatch.setattr(shared, "_IDLE_S", 0.0)


async def send(url: str, events: list[Event]) -> None:
    sink = RedisSink(url)
    for event in events:
        sink.append(event)
    await sink.aclose()


async def read_all(session: Session) -> None:
    """Step until there is nothing left to read; each empty look waits for a second."""
    while await session.step():
        continue


class Workers:
    """Worker processes on several machines, as far as Redis can tell: each has a folder of its own."""

    def __init__(self, url: str, folder: Path, make_session: MakeSession) -> None:
        self.url = url
        self.folder = folder
        self._make = make_session
        self._made: list[Any] = []

    async def lead(self, name: str) -> Session:
        """A worker that has the lease, whoever had it before."""
        with Redis.from_url(self.url) as client:
            client.delete(LEASE)
        lease = Lease(self.url, name, lease_s=60)
        assert await lease.take()
        source = GroupSource(self.url, name, limit=97)
        self._made += [lease, source]
        session: Session = await self._make(
            source=source,
            settings={"redis": self.url},
            snapshot=self.folder / name / "upload",
            held=lambda: lease.held,
        )
        return session

    async def aclose(self) -> None:
        for one in self._made:
            await one.aclose()


@pytest.fixture
async def workers(redis_url: str, folder: Path, make_session: MakeSession) -> AsyncIterator[Workers]:
    found = Workers(redis_url, folder, make_session)
    yield found
    await found.aclose()


def campaign_of(session: Session) -> Verdict:
    (view,) = [view for view in session.standing.clusters(END_S) if view.level is Level.SUSPECT]
    return view.verdict


async def test_a_standby_goes_on_where_a_dead_leader_was(
    redis_url: str, workers: Workers, events: list[Event], told: dict[str, Verdict]
) -> None:
    """The first leader keeps a snapshot once, reads on and dies; nothing that it read since is lost."""
    await send(redis_url, events)
    first = await workers.lead("one")
    for _ in range(2):
        await first.step()
    await first.keep()
    for _ in range(2):
        await first.step()
    assert first.worker.observed > 300
    second = await workers.lead("two")
    await read_all(second)
    assert second.worker.observed == len(events)
    found = campaign_of(second)
    assert dataclasses.replace(found, cluster="c1", version=told["c1"].version) == told["c1"]


async def test_events_are_acknowledged_only_with_a_snapshot_that_includes_them(
    redis_url: str, workers: Workers, events: list[Event], shared_redis: RedisServer
) -> None:
    await send(redis_url, events[:200])
    session = await workers.lead("one")
    await read_all(session)
    with shared_redis.client() as client:
        assert client.xpending("distillguard:events", "analysis")["pending"] == 200
        await session.keep()
        assert client.xpending("distillguard:events", "analysis")["pending"] == 0


async def test_what_is_read_while_a_snapshot_is_written_waits_for_the_next_one(
    redis_url: str, workers: Workers, events: list[Event], shared_redis: RedisServer
) -> None:
    await send(redis_url, events[:97])
    session = await workers.lead("one")
    assert await session.step()
    await session.begin_to_keep()
    await send(redis_url, events[97:150])
    assert await session.step()
    await session.keeper.settle()
    with shared_redis.client() as client:
        assert client.xpending("distillguard:events", "analysis")["pending"] == 53
    second = await workers.lead("two")
    assert second.worker.observed == 97
    await read_all(second)
    assert second.worker.observed == 150


async def test_a_worker_that_died_between_keeping_and_acknowledging_counts_nothing_twice(
    redis_url: str, workers: Workers, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(redis_url, events[:300])
    first = await workers.lead("one")
    await read_all(first)

    async def dies(ids: Any) -> None:
        raise StoreError("redis: killed")

    assert isinstance(first.source, GroupSource)
    monkeypatch.setattr(first.source._group, "acknowledge", dies)
    with pytest.raises(StoreError, match="killed"):
        await first.keep()
    second = await workers.lead("two")
    await read_all(second)
    assert second.worker.observed == 300
    assert len(second.worker.analyzer.cohort.names) == len({event.account for event in events[:300]})


async def test_an_event_that_was_sent_twice_counts_once(redis_url: str, workers: Workers, events: list[Event]) -> None:
    await send(redis_url, events[:50])
    await send(redis_url, events[:50])
    session = await workers.lead("one")
    await read_all(session)
    assert session.worker.observed == 50


async def test_a_lost_snapshot_is_made_again_from_what_the_stream_holds(
    redis_url: str, workers: Workers, events: list[Event], shared_redis: RedisServer
) -> None:
    await send(redis_url, events)
    first = await workers.lead("one")
    await read_all(first)
    await first.keep()
    before = campaign_of(first)
    with shared_redis.client() as client:
        client.delete(SNAPSHOT)
    second = await workers.lead("two")
    await read_all(second)
    assert second.worker.observed == len(events)
    assert encode_verdict(campaign_of(second)) == encode_verdict(before)


async def test_a_leader_that_slept_through_its_lease_changes_nothing(
    redis_url: str, workers: Workers, events: list[Event], shared_redis: RedisServer
) -> None:
    await send(redis_url, events)
    slept = await workers.lead("one")
    await read_all(slept)
    living = await workers.lead("two")
    await read_all(living)
    await living.keep()
    with shared_redis.client() as client:
        before = client.hgetall(SNAPSHOT)
        with pytest.raises(StoreError, match="another analysis worker leads"):
            await slept.keep()  # it does not know yet that its lease is another's
        assert client.hgetall(SNAPSHOT) == before
        assert len(client.keys(f"{SNAPSHOT}:*".replace("{", "\\{"))) == 1


async def test_snapshots_larger_than_one_value_come_back_whole(
    redis_url: str, workers: Workers, events: list[Event], monkeypatch: pytest.MonkeyPatch, shared_redis: RedisServer
) -> None:
    monkeypatch.setattr(shared, "_PART_BYTES", 1000)
    await send(redis_url, events[:300])
    first = await workers.lead("one")
    await read_all(first)
    await first.keep()
    first.keeper.changed = True
    await first.keep()
    second = await workers.lead("two")
    assert second.worker.observed == 300
    with shared_redis.client() as client:
        parts = int(client.hget(SNAPSHOT, "parts"))
        assert parts > 3
        keys = client.keys("*analysis*snapshot:*")
        assert len(keys) == parts
        assert all(client.ttl(key) == -1 for key in keys)


async def test_one_leads_and_the_lease_passes_on_when_it_is_given_back(redis_url: str) -> None:
    one, two = Lease(redis_url, "one"), Lease(redis_url, "two")
    assert await one.take()
    assert not await two.take()
    assert await one.take()
    await two.release()
    assert not await two.take()
    await one.release()
    assert not one.held
    assert await two.take()
    await two.release()
    await one.aclose()
    await two.aclose()


async def test_a_lease_ends_here_before_it_ends_in_redis(redis_url: str, shared_redis: RedisServer) -> None:
    lease = Lease(redis_url, "one", lease_s=1.0)
    assert not await lease.take()  # one second is all margin: such a lease is never held for certain
    with shared_redis.client() as client:
        assert client.get(LEASE) == b"one"
    await lease.aclose()


async def test_an_absent_redis_is_said(folder: Path) -> None:
    settings = Settings.load({}, redis="redis://127.0.0.1:1/0", state_dir=folder / "state")
    with pytest.raises(StoreError):
        await run_worker(settings, asyncio.Event(), once=True)


async def test_once_reads_the_stream_and_leaves_word(
    redis_url: str, folder: Path, events: list[Event], town: Town, shared_redis: RedisServer
) -> None:
    await send(redis_url, events)
    settings = Settings.load(
        {},
        redis=redis_url,
        state_dir=folder / "state",
        accounts=folder / "accounts.ndjson",
        hash_key="0123456789abcdef",
    )
    told: list[dict[str, Any]] = []
    await run_worker(settings, asyncio.Event(), once=True, tell=told.append, clock=ManualClock(END_S))
    assert told[-1]["observed"] == len(events)
    with shared_redis.client() as client:
        assert client.get(LEASE) is None
        assert client.get(STATUS)
        assert client.hget(SNAPSHOT, "parts") == b"1"
    assert not list((folder / "state" / "analysis").glob("upload*"))


async def test_a_gateway_tells_whether_a_worker_leads(redis_url: str, shared_redis: RedisServer) -> None:
    watch = SharedAnalysis(redis_url)
    await watch.look()
    assert watch.status() == {"ok": False, "state": "no worker leads", "error": None}
    source = GroupSource(redis_url, "one")
    await source.tell(b'{"ok":true,"observed":7}')
    await watch.look()
    assert watch.status() == {"ok": True, "observed": 7, "state": "running"}
    with shared_redis.client() as client:
        assert 0 < client.pttl(STATUS) <= 15_000
        client.set(STATUS, b"oops")
        await watch.look()
        assert watch.status()["ok"] is False
    await source.aclose()
    await watch.aclose()


async def test_a_redis_that_is_away_is_a_status_and_no_error() -> None:
    watch = SharedAnalysis("redis://127.0.0.1:1/0")
    watch.start()
    await watch.look()
    assert watch.status()["ok"] is False
    assert "redis" in str(watch.status()["error"])
    await watch.aclose()
