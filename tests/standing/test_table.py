from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from gateway.clock import ManualClock
from gateway.errors import StoreError
from gateway.settings import Settings
from gateway.standing import MemoryStore, StandingTable, SubjectKind, Verb, open_standing
from gateway.standing.redis_store import OVERRIDES, VERDICTS
from gateway.types import Level
from tests.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gateway.standing import Override, StandingStore
    from gateway.standing.store import Changes
    from gateway.types import Verdict

NOW_S = 1_800_000_000.0


async def becomes(holds: Callable[[], bool]) -> None:
    """Wait until something that other tasks do has been done."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is waited for is done by another process's task
            await asyncio.sleep(0.005)


async def test_a_verdict_reaches_every_gateway_and_a_persons_word_too(
    new_store: Callable[[], StandingStore], verdict: Callable[..., Verdict]
) -> None:
    analysis, gateway = StandingTable(new_store()), StandingTable(new_store())
    await analysis.start()
    await gateway.start()
    analysis.apply([verdict()])
    assert analysis.of("a1", NOW_S).level is Level.SUSPECT
    await becomes(lambda: gateway.of("a1", NOW_S).level is Level.SUSPECT)
    await gateway.override(Verb.DISMISS, SubjectKind.CLUSTER, "c1", who="eve", why="a class", now_s=NOW_S)
    assert gateway.of("a1", NOW_S).level is Level.NONE
    await becomes(lambda: analysis.of("a1", NOW_S).level is Level.NONE)
    assert [one.why for one in await analysis.audit()] == ["a class"]
    assert gateway.enforced(NOW_S) == []
    await analysis.stop()
    await gateway.stop()


async def test_standings_survive_a_restart(
    new_store: Callable[[], StandingStore], verdict: Callable[..., Verdict]
) -> None:
    before = StandingTable(new_store())
    await before.start()
    before.apply([verdict()])
    await before.stop()
    after = StandingTable(new_store())
    await after.start()
    assert after.of("a1", NOW_S).cluster == "c1"
    await after.stop()


class Broken(MemoryStore):
    """A store that can be taken away."""

    away = False

    async def read(self) -> Changes:
        self._check()
        return await super().read()

    async def save(self, verdicts: Sequence[Verdict]) -> None:
        self._check()
        await super().save(verdicts)

    async def record(self, override: Override) -> None:
        self._check()
        await super().record(override)

    def _check(self) -> None:
        if self.away:
            raise StoreError("the store is away")


async def test_the_last_standings_hold_while_the_store_is_away_and_nothing_is_lost(
    verdict: Callable[..., Verdict],
) -> None:
    store = Broken()
    table = StandingTable(store)
    table.apply([verdict("c1")])
    await table.flush()
    store.away = True
    table.apply([verdict("c2", "a9")])
    with pytest.raises(StoreError):
        await table.flush()
    assert table.status() == {
        "store": "memory",
        "ok": False,
        "error": "the store is away",
        "clusters": 2,
        "overrides": 0,
        "unsaved": 1,
    }
    assert [table.of(account, NOW_S).cluster for account in ("a1", "a9")] == ["c1", "c2"]
    store.away = False
    await table.flush()
    await table.refresh()
    assert (table.status()["ok"], table.status()["unsaved"]) == (True, 0)
    assert len((await MemoryStore.read(store)).verdicts) == 2


async def test_a_persons_word_that_could_not_be_recorded_is_not_in_force(verdict: Callable[..., Verdict]) -> None:
    store = Broken()
    table = StandingTable(store)
    table.apply([verdict()])
    store.away = True
    with pytest.raises(StoreError):
        await table.override(Verb.EXEMPT, SubjectKind.ACCOUNT, "a1", who="eve", why="seen", now_s=NOW_S)
    assert table.of("a1", NOW_S).level is Level.SUSPECT
    assert table.overrides() == []


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"who": " "}, ValueError, "got an empty name or reason, expected who decides and why"),
        ({"why": ""}, ValueError, "got an empty name or reason, expected who decides and why"),
        ({"until": NOW_S}, ValueError, "got an end that has passed, expected a time to come"),
        ({"subject": "c9"}, KeyError, "'c9'"),
    ],
)
async def test_a_word_without_a_name_a_reason_or_a_subject_is_refused(
    verdict: Callable[..., Verdict], change: dict[str, object], error: type[Exception], words: str
) -> None:
    table = StandingTable()
    table.apply([verdict()])
    given: dict[str, object] = {"subject": "c1", "who": "eve", "why": "seen", "now_s": NOW_S, **change}
    with pytest.raises(error) as caught:
        await table.override(Verb.CONFIRM, SubjectKind.CLUSTER, **given)  # type: ignore[arg-type]
    assert str(caught.value) == words
    assert table.overrides() == []


async def test_a_clock_set_back_does_not_make_the_last_word_lose(verdict: Callable[..., Verdict]) -> None:
    table = StandingTable()
    table.apply([verdict()])
    for verb, now_s in ((Verb.CONFIRM, NOW_S), (Verb.DISMISS, NOW_S - 3600)):
        await table.override(verb, SubjectKind.CLUSTER, "c1", who="eve", why="seen", now_s=now_s)
    assert table.of("a1", NOW_S).level is Level.NONE


async def test_what_ended_long_ago_is_forgotten_in_the_store_too(
    verdict: Callable[..., Verdict], tmp_path: Path
) -> None:
    clock = ManualClock(NOW_S)
    settings = Settings(state_dir=tmp_path)
    table = open_standing(settings, clock)
    await table.start()
    table.apply([verdict("c1")])
    await table.flush()
    clock.advance(86_400 + 90 * 86_400 + 1)
    table.apply([verdict("c2", "a9", decided_at=clock.now(), expires_at=clock.now() + 1)])
    kept = tmp_path / "standing" / "verdicts.json"
    await becomes(lambda: b'"c1"' not in (rows := kept.read_bytes()) and b'"c2"' in rows)
    await table.stop()
    again = open_standing(settings, clock)
    await again.refresh()
    assert [view.verdict.cluster for view in again.clusters(clock.now())] == ["c2"]
    await again.stop()


async def test_a_gateway_without_redis_starts_and_catches_up(verdict: Callable[..., Verdict]) -> None:
    with running_redis() as server:
        writer = open_standing(Settings(redis=server.url), ManualClock(NOW_S))
        server.kill()
        gateway = open_standing(Settings(redis=server.url), ManualClock(NOW_S))
        await gateway.start()
        assert not gateway.status()["ok"]
        server.start()
        await writer.start()
        writer.apply([verdict()])
        await becomes(lambda: gateway.of("a1", NOW_S).level is Level.SUSPECT)
        assert gateway.status()["ok"]
        await gateway.stop()
        await writer.stop()


async def test_a_redis_that_lost_everything_takes_no_standing_away_and_is_filled_again(
    verdict: Callable[..., Verdict],
) -> None:
    with running_redis() as server:
        writer, gateway = (open_standing(Settings(redis=server.url), ManualClock(NOW_S)) for _ in range(2))
        await writer.start()
        await gateway.start()
        writer.apply([verdict()])
        await becomes(lambda: gateway.of("a1", NOW_S).level is Level.SUSPECT)
        server.kill()
        server.start()
        with server.client() as client:
            await becomes(lambda: client.hlen(VERDICTS) == 1)
        assert gateway.of("a1", NOW_S).level is Level.SUSPECT
        await writer.stop()
        await gateway.stop()


async def test_what_somebody_else_wrote_into_redis_is_an_error_or_skipped_but_never_believed(
    redis_url: str, verdict: Callable[..., Verdict]
) -> None:
    table = open_standing(Settings(redis=redis_url), ManualClock(NOW_S))
    table.apply([verdict()])
    await table.flush()
    with Redis.from_url(redis_url) as client:
        client.xadd(OVERRIDES, {"o": "hello"})
        client.xadd(OVERRIDES, {"x": "hello"})
        await table.refresh()
        assert table.overrides() == []
        client.hset(VERDICTS, "c9", "1 2 []")
    with pytest.raises(StoreError, match=r"got a verdict on b'c9' that cannot be read"):
        await table.refresh()
    assert table.of("a1", NOW_S).level is Level.SUSPECT
    await table.stop()
