"""A campaign through a whole gateway: found, marked, overruled; and nothing for callers when the analysis is away."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from click.testing import CliRunner
from httpx import ASGITransport

from gateway.app import build_app
from gateway.cli.replay import replay
from gateway.clock import ManualClock
from gateway.demo.model import ModelServer
from gateway.events import EventTail
from gateway.identity import load_hash_key
from gateway.policy import PolicyWatcher
from gateway.rooms import Rooms
from gateway.settings import Settings
from gateway.standing import open_standing
from gateway.types import Event, Level
from gateway.upstream.inprocess import InProcessTransport
from gateway.worker import shared
from gateway.worker.directory import AccountTraits
from gateway.worker.loop import Session
from gateway.worker.shared import GroupSource, Lease
from gateway.worker.sources import Source, TailSource
from tests.test_admin import client_of
from tests.worker.conftest import read_all
from tests.worker.scenario import BEGIN_S, Call, Town
from tests.worker.test_shared import read_all as read_stream

POLICY = """\
version: 1
plans:
  pro:
    budgets:
      - limit: 100_000/day
standings:
  suspect: {mark: true}
  confirmed: {refuse: true}
exempt:
  - name: licensed
    match: {declared_use: [evaluation]}
    from: [analysis]
"""


class Gateway:
    """A gateway in this process, on a clock of its own, with a worker that the test drives."""

    def __init__(self, folder: Path, redis: str | None) -> None:
        (folder / "policy.yaml").write_text(POLICY)
        self.folder = folder
        self.clock = ManualClock(BEGIN_S)
        self.settings = Settings.load(
            {},
            policies=folder / "policy.yaml",
            upstream="http://model.test",
            accounts=folder / "accounts.ndjson",
            state_dir=folder / "state",
            trusted_proxies="127.0.0.1/32",
            redis=redis,
            store_timeout_s=5.0,
        )
        self.rooms = Rooms(self.settings, clock=self.clock)
        app = build_app(self.settings, rooms=self.rooms, transport_for=lambda _: InProcessTransport(ModelServer()))
        self._transport = ASGITransport(app=app, client=("127.0.0.1", 1))
        self.client = httpx.AsyncClient(transport=self._transport, base_url="http://gateway.test")
        self._closing: list[Any] = []

    async def ask(self, call: Call) -> int:
        self.clock.move_to(call.ts)
        answer = await self.client.post("/v1/chat/completions", json=call.body, headers=call.headers)
        return answer.status_code

    async def work(self, session: Session) -> None:
        """What has been asked becomes events on the disk, and the worker reads them all."""
        await self.rooms.flush()
        await (read_all(session) if not self.settings.redis else read_stream(session))
        await session.standing.flush()
        await self.rooms.standing.refresh()

    def events(self) -> list[Event]:
        """What is on the disk."""
        tail = EventTail(self.settings.state_dir / "events")
        return [event for _ in range(5) for event in tail.read(100_000)]

    async def worker(self, name: str = "one") -> Session:
        """A worker process as after its start."""
        source: Source
        held = lambda: True  # noqa: E731 - one of two
        if self.settings.redis:
            lease = Lease(self.settings.redis, name, lease_s=60)
            assert await lease.take()
            source, held = GroupSource(self.settings.redis, name), lambda: lease.held
            self._closing += [lease.release, lease.aclose, source.aclose]
        else:
            source = TailSource(self.settings.state_dir / "events")
        table = open_standing(self.settings, self.clock)
        await table.refresh()
        self._closing.append(table.stop)
        key = load_hash_key(self.settings)
        (self.folder / "state" / "analysis").mkdir(exist_ok=True, parents=True)
        session = Session(
            source=source,
            standing=table,
            directory=AccountTraits(self.settings.accounts, key),
            policies=PolicyWatcher(self.settings.policies),
            key=key,
            snapshot=self.folder / "state" / "analysis" / "snapshot",
            clock=self.clock,
            held=held,
        )
        await session.begin()
        return session

    async def aclose(self) -> None:
        await self.client.aclose()
        for close in self._closing:
            await close()
        await self.rooms.stop()


async def opened(folder: Path, url: str | None) -> AsyncIterator[Gateway]:
    made = Gateway(folder, url)
    await made.rooms.start()
    yield made
    await made.aclose()


@pytest.fixture
async def gateway(folder: Path) -> AsyncIterator[Gateway]:
    """One with everything embedded."""
    async for made in opened(folder, None):
        yield made


@pytest.fixture(params=["embedded", "redis"])
async def either(
    request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Gateway]:
    """One of each kind of state."""
    monkeypatch.setattr(shared, "_IDLE_S", 0.0)
    async for made in opened(folder, request.getfixturevalue("redis_url") if request.param == "redis" else None):
        yield made


def standings(gateway: Gateway, accounts: Any) -> Counter[Level]:
    return Counter(gateway.rooms.standing.of(account, gateway.clock.now()).level for account in accounts)


async def test_a_campaign_is_found_and_confirmed_and_dismissed_by_a_person(either: Gateway, town: Town) -> None:
    gateway = either
    session = await gateway.worker()
    everybody = {row["account"] for row in town.rows}
    first, last = town.calls[:-40], town.calls[-40:]
    assert {await gateway.ask(call) for call in first} == {200}
    await gateway.work(session)
    members = {account for account in everybody if gateway.rooms.standing.of(account, last[0].ts).level.rank}
    assert len(members) >= 10
    assert members <= town.campaign

    (view,) = gateway.rooms.standing.enforced(gateway.clock.now())
    async with client_of(gateway.rooms) as admin:
        path = f"/api/clusters/{view.verdict.cluster}"
        reason = {"who": "kim", "why": "seen their forum"}
        assert (await admin.get(path)).json()["level"] == "suspect"
        assert (await admin.post(f"{path}/confirm", json=reason)).status_code == 200
        answers = {call.account: await gateway.ask(call) for call in last}
        assert {account for account, status in answers.items() if status == 403} == answers.keys() & set(view.members)
        assert (await admin.post(f"{path}/dismiss", json=reason)).status_code == 200
    await gateway.work(session)
    assert standings(gateway, everybody) == {Level.NONE: len(everybody)}
    assert {await gateway.ask(call) for call in last[-5:]} == {200}


async def test_a_fresh_account_of_a_known_campaign_is_decided_as_marked_at_its_first_request(
    gateway: Gateway, town: Town
) -> None:
    session = await gateway.worker()
    fresh = "pool3"
    for call in town.calls:
        if call.account != fresh:
            await gateway.ask(call)
    await gateway.work(session)
    assert gateway.rooms.standing.of(fresh, gateway.clock.now()).level is Level.NONE
    own = next(call for call in town.calls if call.account == fresh)
    assert await gateway.ask(own) == 200
    await gateway.rooms.flush()
    (event,) = [event for event in gateway.events() if event.account == fresh]
    (view,) = gateway.rooms.standing.enforced(gateway.clock.now())
    assert (event.level, event.cluster) == ("suspect", view.verdict.cluster)


async def test_a_worker_that_is_killed_and_started_again_finds_the_same(either: Gateway, town: Town) -> None:
    gateway = either
    session = await gateway.worker("one")
    for number, call in enumerate(town.calls):
        await gateway.ask(call)
        if number in {150, 250, 350}:
            await gateway.work(session)
            if number != 350:
                await session.keep()
            session = await gateway.worker("one")
    await gateway.work(session)
    assert session.worker.observed == len(town.calls)
    (view,) = gateway.rooms.standing.enforced(gateway.clock.now())
    assert set(view.members) == town.campaign


async def test_without_an_analysis_callers_notice_nothing_and_standings_hold(gateway: Gateway, town: Town) -> None:
    """A verdict stands and the worker is gone: members go on as decided, others are answered."""
    session = await gateway.worker()
    for call in town.calls[:-60]:
        await gateway.ask(call)
    await gateway.work(session)
    before = standings(gateway, town.campaign)
    assert before[Level.SUSPECT] >= 10
    assert {await gateway.ask(call) for call in town.calls[-60:]} == {200}
    assert standings(gateway, town.campaign) == before
    await gateway.rooms.flush()
    decided = {(event.account, event.level) for event in gateway.events() if event.ts >= town.calls[-60].ts}
    assert {account for account, level in decided if level == "suspect"} <= town.campaign
    assert "suspect" in {level for _, level in decided}
    assert gateway.rooms.not_ready() == []


async def test_what_the_policy_exempts_never_reaches_the_analysis(folder: Path, town: Town) -> None:
    rows = [dict(row, declared_use="evaluation") if row["account"] in town.campaign else row for row in town.rows]
    (folder / "accounts.ndjson").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    gateway = Gateway(folder, None)
    await gateway.rooms.start()
    session = await gateway.worker()
    for call in town.calls[-200:]:
        await gateway.ask(call)
    await gateway.work(session)
    expected = [call for call in town.calls[-200:] if call.account not in town.campaign]
    assert session.worker.observed == len(expected)
    await gateway.aclose()


async def test_a_replay_gives_the_verdicts_of_the_live_run(
    gateway: Gateway, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under one key of the hashes: with another, equal counts are looked at in another order."""
    for module in ("engine", "source"):
        monkeypatch.setattr(f"gateway.replay.{module}.KEY", load_hash_key(gateway.settings))
    session = await gateway.worker()
    for number, call in enumerate(town.calls):
        await gateway.ask(call)
        if number % 97 == 0:  # the worker reads in pieces of its own
            await gateway.work(session)
    await gateway.work(session)
    gateway.clock.advance(session.worker.analyzer.config.tick_s)
    await gateway.work(session)
    live = {view.members: view.verdict for view in gateway.rooms.standing.enforced(gateway.clock.now())}

    folder = gateway.folder
    with (folder / "requests.ndjson").open("wb") as file:
        for call in town.calls:
            row = {"id": call.id, "ts": call.ts, "account": call.account, "ip": call.ip, "body": call.body}
            row |= {
                "headers": call.headers,
                "path": "/v1/chat/completions",
                "status": 200,
                "usage": {"output_tokens": 9},
            }
            file.write(orjson.dumps(row) + b"\n")
    inputs = {"policies": "policy.yaml", "accounts": "accounts.ndjson", "requests": "requests.ndjson", "out": "out"}
    arguments = [text for name, path in inputs.items() for text in (f"--{name}", str(folder / path))]
    done = await asyncio.to_thread(CliRunner().invoke, replay, arguments)
    assert done.exit_code == 0, done.output
    clusters = orjson.loads((folder / "out" / "clusters.json").read_bytes())
    replayed = {tuple(row["members"]): row for row in clusters if row["first_enforced_at"] is not None}

    assert set(map(frozenset, replayed)) == set(map(frozenset, live)) == {town.campaign}
    (row,), (verdict,) = replayed.values(), live.values()
    assert row["level"] == verdict.level.value
    assert orjson.loads(orjson.dumps(verdict.evidence)) == row["evidence"]
