"""The worker around a fake analyzer: what it feeds, when it looks, and under which name and version it speaks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.analysis.known import Known
from gateway.standing import StandingTable
from gateway.types import Event, Level, Outcome, Verdict
from gateway.worker.core import SEEN_EVENTS, AnalysisWorker, State


class ScriptedAnalyzer:
    """Says what it is told to say at each pass, and remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, str]] = []
        self.passes: list[float] = []
        self.to_say: list[Verdict] = []
        self.known: dict[str, Mapping[str, Any]] = {}
        self.described: list[tuple[str, Mapping[str, Any]]] = []

    def know(self, account: str, traits: Mapping[str, Any]) -> None:
        self.known[account] = traits

    def knows(self, account: str) -> bool:
        return account in self.known

    def observe(
        self, ts: float, account: str, traits: Mapping[str, Any], described: Mapping[str, Any] | None = None
    ) -> None:
        self.seen.append((ts, account))
        if described is not None:
            self.described.append((account, described))

    def due(self, now_s: float) -> bool:
        return not self.passes or now_s >= self.passes[-1] + 10

    def tick(self, now_s: float) -> list[Verdict]:
        self.passes.append(now_s)
        said, self.to_say = self.to_say, []
        return said


def event(number: int, ts: float, **more: Any) -> Event:
    values: dict[str, Any] = {"account": "a", "traits": {"ph": [1]}, **more}
    return Event(id=f"r{number}", ts=ts, outcome=Outcome.ANSWERED, family="openai", route="x", status=200, **values)


def say(version: int = 1, **more: Any) -> Verdict:
    values: dict[str, Any] = {"members": ("a", "b"), "decided_at": 5.0, "expires_at": 1e9, **more}
    return Verdict(cluster="c1", level=Level.SUSPECT, version=version, **values)


@pytest.fixture
def analyzer() -> ScriptedAnalyzer:
    return ScriptedAnalyzer()


def worker_of(analyzer: ScriptedAnalyzer, table: StandingTable | None = None, **more: Any) -> AnalysisWorker:
    return AnalysisWorker(State(analyzer=analyzer, **more), table or StandingTable())  # type: ignore[arg-type]


def test_an_event_that_comes_twice_counts_once_also_over_a_restart(analyzer: ScriptedAnalyzer) -> None:
    worker = worker_of(analyzer)
    worker.take([event(1, 1.0), event(2, 2.0), event(1, 1.0)])
    again = worker_of(analyzer, seen=worker.state(None).seen)
    again.take([event(2, 2.0), event(3, 3.0)])
    assert [ts for ts, _ in analyzer.seen] == [1.0, 2.0, 3.0]
    assert (worker.observed, again.observed) == (2, 1)


def test_only_so_many_ids_are_remembered(analyzer: ScriptedAnalyzer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SEEN_EVENTS >= 100_000
    monkeypatch.setattr("gateway.worker.core.SEEN_EVENTS", 3)
    worker = worker_of(analyzer)
    worker.take([event(number, 1.0) for number in range(5)])
    assert worker.state(None).seen == ["r2", "r3", "r4"]


def test_what_was_refused_early_or_is_exempt_is_not_observed(analyzer: ScriptedAnalyzer) -> None:
    worker = worker_of(analyzer)
    worker.take([event(1, 1.0, account=None), event(2, 2.0, traits=None), event(3, 3.0, traits={})])
    assert analyzer.seen == [(3.0, "a")]


def test_passes_follow_the_events_time_and_come_before_the_event_that_makes_them_due(
    analyzer: ScriptedAnalyzer,
) -> None:
    worker = worker_of(analyzer)
    worker.take([event(1, 0.0), event(2, 9.9), event(3, 10.0), event(4, 19.9), event(5, 35.0)])
    assert analyzer.passes == [0.0, 10.0, 35.0]


def test_a_verdict_waits_for_publish_and_the_last_of_a_batch_counts(analyzer: ScriptedAnalyzer) -> None:
    table = StandingTable()
    worker = worker_of(analyzer, table)
    analyzer.to_say = [say(1)]
    worker.tick(0.0)
    analyzer.to_say = [say(2, members=("a", "b", "c"))]
    worker.tick(10.0)
    assert table.of("a", 20.0).level is Level.NONE
    (published,) = worker.publish(20.0)
    assert published.members == ("a", "b", "c")
    assert table.of("c", 20.0).level is Level.SUSPECT
    assert worker.publish(20.0) == []


def test_after_a_restart_a_verdict_still_wins_over_the_one_before_it(analyzer: ScriptedAnalyzer) -> None:
    """The analyzer that lost its memory begins with version 1 again; the table must not think that it is old."""
    table = StandingTable()
    before = worker_of(analyzer, table)
    analyzer.to_say = [say(40)]
    before.tick(0.0)
    (first,) = before.publish(1.0)
    after = worker_of(ScriptedAnalyzer(), table)
    after.analyzer.to_say = [say(1, members=("a", "b", "new"))]  # type: ignore[attr-defined]
    after.tick(0.0)
    (second,) = after.publish(1.0)
    assert (second.cluster, second.version) == (first.cluster, 41)
    assert table.of("new", 2.0).cluster == first.cluster


def test_a_log_that_is_read_again_says_nothing_new(analyzer: ScriptedAnalyzer) -> None:
    table = StandingTable()
    for _ in range(2):
        analyzer = ScriptedAnalyzer()
        worker = worker_of(analyzer, table)
        analyzer.to_say = [say(7)]
        worker.tick(0.0)
        worker.publish(1.0)
    (view,) = table.clusters(1.0)
    assert view.verdict.version == 7


def test_merged_clusters_are_named_as_the_table_knows_them(analyzer: ScriptedAnalyzer) -> None:
    table = StandingTable()
    worker = worker_of(analyzer, table, names={"c1": "cold", "c2": "cnew"})
    analyzer.to_say = [say(1, replaces=("c2", "c9"))]
    worker.tick(0.0)
    (published,) = worker.publish(1.0)
    assert (published.cluster, published.replaces) == ("cold", ("cnew",))


def test_an_account_of_the_key_store_is_described_by_its_events_one_of_the_directory_is_not(
    analyzer: ScriptedAnalyzer,
) -> None:
    worker = AnalysisWorker(
        State(analyzer=analyzer),  # type: ignore[arg-type]
        StandingTable(),
        lambda event: Known({"org": event.org}),
    )
    worker.know([("listed", {"org": "o1"})])
    worker.take([event(1, 1.0, account="listed", org="o9"), event(2, 2.0, org="o2"), event(3, 3.0, org="o3")])
    assert analyzer.known == {"listed": {"org": "o1"}}
    assert analyzer.described == [("a", Known({"org": "o2"})), ("a", Known({"org": "o3"}))]


def test_a_cluster_that_was_merged_before_either_was_told_is_known_as_merged(analyzer: ScriptedAnalyzer) -> None:
    """A log that is read from its beginning tells of both at once."""
    table = StandingTable()
    worker = worker_of(analyzer, table)
    first = dataclasses.replace(say(), replaces=("c2",))
    second = dataclasses.replace(say(members=("b", "c"), decided_at=4.0), cluster="c2")
    analyzer.to_say = [first, second]
    worker.tick(0.0)
    older, younger = worker.publish(9.0)
    assert older.replaces == (younger.cluster,)
    view = table.cluster(younger.cluster, 9.0)
    assert view is not None
    assert (view.replaced_by, view.level) == (older.cluster, Level.NONE)
