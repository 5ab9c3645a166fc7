"""A worker on a state folder: nothing is lost or counted twice, whenever it dies."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from gateway.analysis.config import AnalysisConfig
from gateway.clock import ManualClock
from gateway.errors import ConfigError, StoreError
from gateway.events import FileSink
from gateway.settings import Settings
from gateway.standing import SubjectKind, Verb
from gateway.standing.verdicts import encode_verdict
from gateway.types import Event, Level, Verdict
from gateway.worker.loop import Session, run_worker
from gateway.worker.sources import FolderLock
from tests.worker.conftest import MakeSession, read_all
from tests.worker.scenario import BEGIN_S, DAY_S, Town

END_S = BEGIN_S + 4 * DAY_S


async def write(folder: Path, events: list[Event]) -> None:
    sink = FileSink(folder / "state" / "events", ManualClock(END_S))
    for event in events:
        sink.append(event)
    await sink.aclose()


def campaign_of(session: Session) -> Verdict:
    (view,) = [view for view in session.standing.clusters(END_S) if view.level is Level.SUSPECT]
    return view.verdict


def same(one: Verdict, other: Verdict) -> bool:
    """Equal but for what a worker adds: names and versions."""
    return dataclasses.replace(one, cluster=other.cluster, version=other.version) == other


async def test_the_campaign_is_found_and_nobody_else(
    folder: Path, make_session: MakeSession, town: Town, events: list[Event], told: dict[str, Verdict]
) -> None:
    await write(folder, events)
    session = await make_session()
    await read_all(session)
    found = campaign_of(session)
    assert set(found.members) == town.campaign
    assert same(found, told["c1"])


@pytest.mark.parametrize("every", [1, 3])
async def test_a_worker_that_is_killed_again_and_again_says_what_one_that_lived_says(
    folder: Path, make_session: MakeSession, events: list[Event], told: dict[str, Verdict], every: int
) -> None:
    """It dies after each ``every`` steps; a snapshot was kept in some of its lives, at some other step."""
    await write(folder, events)
    life = 0
    went_on = True
    while went_on and life < 50:
        session = await make_session()
        for step in range(every + life % 2):
            went_on = await session.step()
            if step == 0:
                await session.keep()
        life += 1
    assert 3 < life < 50
    await session.standing.flush()
    assert same(campaign_of(session), told["c1"])


async def test_without_any_snapshot_the_log_is_read_again_and_the_name_stays(
    folder: Path, make_session: MakeSession, events: list[Event]
) -> None:
    await write(folder, events)
    session = await make_session()
    await read_all(session)
    await session.keep()
    before = campaign_of(session)
    session.snapshot.unlink()
    again = await make_session()
    await read_all(again)
    assert again.worker.observed == session.worker.observed
    assert encode_verdict(campaign_of(again)) == encode_verdict(before)


async def test_a_damaged_snapshot_is_as_good_as_none(
    folder: Path, make_session: MakeSession, events: list[Event]
) -> None:
    await write(folder, events)
    session = await make_session()
    await read_all(session)
    await session.keep()
    session.snapshot.write_bytes(session.snapshot.read_bytes()[:-1])
    again = await make_session()
    await read_all(again)
    assert encode_verdict(campaign_of(again)) == encode_verdict(campaign_of(session))


async def test_verdicts_from_the_middle_of_an_old_log_are_held_back(
    folder: Path, make_session: MakeSession, town: Town, events: list[Event]
) -> None:
    await write(folder, events)
    session = await make_session()
    while len(session.worker._held) == 0:
        assert await session.step()
    assert session.standing.clusters(END_S) == []
    await read_all(session)
    (first,) = session.standing.clusters(END_S)
    assert set(first.verdict.members) == town.campaign


async def test_a_log_that_is_read_again_counts_from_the_horizon_on(
    folder: Path, make_session: MakeSession, events: list[Event]
) -> None:
    await write(folder, events)
    middle = events[100].ts
    session = await make_session(clock=ManualClock(middle + AnalysisConfig().horizon_s))
    await read_all(session)
    assert session.worker.observed == len(events) - 100


async def test_what_a_person_decided_wins_and_stays_when_the_state_is_lost(
    folder: Path, make_session: MakeSession, town: Town, events: list[Event]
) -> None:
    await write(folder, events[:-20])
    session = await make_session()
    await read_all(session)
    name = campaign_of(session).cluster
    await session.keep()
    await session.standing.override(Verb.DISMISS, SubjectKind.CLUSTER, name, who="kim", why="a class", now_s=END_S)
    session.snapshot.unlink()
    await write(folder, events[-20:])
    again = await make_session()
    await read_all(again)
    view = again.standing.cluster(name, END_S)
    assert view is not None
    assert view.level is Level.NONE
    assert set(view.verdict.members) == town.campaign
    assert all(again.standing.of(account, END_S).level is Level.NONE for account in town.campaign)


async def test_a_damaged_segment_costs_its_rest_and_no_other_segment(
    folder: Path, make_session: MakeSession, events: list[Event]
) -> None:
    await write(folder, events[:10])
    await write(folder, events[10:20])
    damaged = folder / "state" / "events" / "events-20200101T000000-1.ndjson"
    damaged.write_bytes(b'{"v":1,"id":"broken"}\n' + b"no event\n")
    session = await make_session()
    await read_all(session)
    assert session.worker.observed == 20


async def test_quiet_is_a_pass_by_the_clock(folder: Path, make_session: MakeSession, events: list[Event]) -> None:
    await write(folder, events[:10])
    clock = ManualClock(events[9].ts)
    session = await make_session(clock=clock)
    await read_all(session)
    before = session.worker.passes
    clock.advance(session.worker.analyzer.config.tick_s)
    assert not await session.step()
    assert session.worker.passes == before + 1


async def test_a_store_that_is_away_is_said_and_stops_nothing(
    folder: Path, make_session: MakeSession, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(folder, events[:10])
    session = await make_session()

    class Away(type(session.source)):  # type: ignore[misc]
        left = 1

        async def read(self) -> list[Event]:
            if self.left:
                self.left -= 1
                raise StoreError("redis: away")
            return list(await super().read())

    session.source.__class__ = Away
    monkeypatch.setattr("gateway.worker.loop._TRY_AGAIN_S", 0.0)
    told: list[dict[str, Any]] = []
    session.tell = told.append
    await session.run(asyncio.Event(), once=True)
    assert session.error is None
    assert session.worker.observed == 10
    assert told[-1]["ok"]


async def test_accounts_that_join_the_directory_later_are_known(folder: Path, make_session: MakeSession) -> None:
    accounts = folder / "accounts.ndjson"
    rows = accounts.read_bytes()
    session = await make_session()
    accounts.write_bytes(rows + b'{"account":"late","declared_use":"evaluation"}\n')
    await session.look_at_files()
    assert session.worker.analyzer._known["late"]["use"] == "evaluation"


async def test_a_policy_change_reaches_the_analysis_and_a_broken_one_does_not(
    folder: Path, make_session: MakeSession
) -> None:
    session = await make_session()
    policy = folder / "policy.yaml"
    good = policy.read_text()
    policy.write_text(good + "analysis: {alpha: 1.0e-3}\n")
    await session.look_at_files()
    assert session.worker.analyzer.config.alpha == session.worker.analyzer.found.config.alpha == 1e-3
    policy.write_text("version: 99\n")
    await session.look_at_files()
    assert session.worker.analyzer.config.alpha == 1e-3


def test_one_worker_reads_a_state_folder(tmp_path: Path) -> None:
    one, other = FolderLock(tmp_path / "lock"), FolderLock(tmp_path / "lock")
    assert one.take()
    assert not other.take()
    one.release()
    assert other.take()
    other.release()


async def test_once_reads_everything_keeps_it_and_says_where_another_worker_is(
    folder: Path, events: list[Event], town: Town
) -> None:
    await write(folder, events)
    settings = Settings.load(
        {}, state_dir=folder / "state", accounts=folder / "accounts.ndjson", hash_key="0123456789abcdef"
    )
    told: list[dict[str, Any]] = []
    await run_worker(settings, asyncio.Event(), once=True, tell=told.append, clock=ManualClock(END_S))
    assert told[-1]["observed"] == len(events)
    assert (folder / "state" / "analysis" / "snapshot").exists()
    lock = FolderLock(folder / "state" / "analysis" / "lock")
    assert lock.take()
    with pytest.raises(ConfigError, match="another worker reads this state folder"):
        await run_worker(settings, asyncio.Event(), once=True)
    lock.release()
