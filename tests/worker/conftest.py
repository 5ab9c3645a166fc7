from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.analysis.analyzer import Analyzer
from gateway.clock import ManualClock
from gateway.observer import RequestObserver
from gateway.policy import PolicyWatcher
from gateway.settings import Settings
from gateway.standing import StandingTable, open_standing
from gateway.types import Event, Verdict
from gateway.worker.directory import AccountTraits
from gateway.worker.loop import Session
from gateway.worker.sources import TailSource
from tests.worker.scenario import BEGIN_S, DAY_S, Town, build_town, event_of

KEY = b"k" * 32


@pytest.fixture(scope="session")
def town() -> Town:
    return build_town()


@pytest.fixture(scope="session")
def observer() -> RequestObserver:
    return RequestObserver(KEY, StandingTable())


@pytest.fixture(scope="session")
def events(town: Town, observer: RequestObserver) -> list[Event]:
    """What a gateway would write down for the town, in order."""
    return [event_of(call, observer) for call in town.calls]


@pytest.fixture(scope="session")
def told(town: Town, observer: RequestObserver, events: list[Event]) -> dict[str, Verdict]:
    """What an analyzer says that is fed directly, in one go: the oracle of every test of a kill."""
    analyzer = Analyzer()
    for row in town.rows:
        analyzer.know(row["account"], observer.account(row))
    found: dict[str, Verdict] = {}
    for event in events:
        if analyzer.due(event.ts):
            found |= {verdict.cluster: verdict for verdict in analyzer.tick(event.ts)}
        assert event.account is not None
        assert event.traits is not None
        analyzer.observe(event.ts, event.account, event.traits)
    return found | {verdict.cluster: verdict for verdict in analyzer.tick(BEGIN_S + 4 * DAY_S)}


@pytest.fixture
def folder(tmp_path: Path, town: Town) -> Path:
    """A state folder's parent with the account directory."""
    (tmp_path / "accounts.ndjson").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in town.rows))
    (tmp_path / "policy.yaml").write_text("version: 1\nplans:\n  free:\n    budgets:\n      - limit: 1000/day\n")
    return tmp_path


MakeSession = Callable[..., Any]


@pytest.fixture
async def make_session(folder: Path) -> AsyncIterator[MakeSession]:
    """Sessions over one state folder (or a given source), each as a worker process would have it."""
    opened: list[StandingTable] = []

    async def make(**more: Any) -> Session:
        settings = Settings.load({}, state_dir=folder / "state", **more.pop("settings", {}))
        clock = more.pop("clock", ManualClock(BEGIN_S + 4 * DAY_S))
        table = open_standing(settings, clock)
        opened.append(table)
        await table.refresh()
        values: dict[str, Any] = {
            "source": TailSource(folder / "state" / "events", limit=97),
            "standing": table,
            "directory": AccountTraits(folder / "accounts.ndjson", KEY),
            "policies": PolicyWatcher(folder / "policy.yaml"),
            "key": KEY,
            "snapshot": folder / "state" / "analysis" / "snapshot",
            "clock": clock,
            **more,
        }
        session = Session(**values)
        session.snapshot.parent.mkdir(parents=True, exist_ok=True)
        await session.begin()
        return session

    yield make
    for table in opened:
        await table.stop()


async def read_all(session: Session) -> None:
    """Step until there is nothing left to read; a segment that is being packed is found at another look."""
    empty = 0
    while empty < 5:
        empty = 0 if await session.step() else empty + 1
