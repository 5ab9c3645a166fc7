"""The results: formats, order, what each request gets, and that nothing half done looks done."""

from __future__ import annotations

import asyncio
from html.parser import HTMLParser
from pathlib import Path

import orjson
import pytest

from gateway.errors import FileErrors
from gateway.replay.output import finished, run_replay
from tests.replay.logs import START_S, account, job_of, replay, request


def test_each_action_has_its_rule_and_lines_keep_the_order(tmp_path: Path) -> None:
    rows = [
        request(1),
        request(2, "marked"),
        request(3, model="opus-9"),
        request(4, path="/v1/unknown"),
        request(5, body={"model": 5}),
        request(6),
        request(7),
        request(8),
    ]
    found = replay(tmp_path, rows)
    assert [(d["id"], d["action"], d["rule"], d["cluster"]) for d in found.decisions] == [
        ("r1", "allow", None, None),
        ("r2", "mark", "watermark", None),
        ("r3", "refuse", "no-opus", None),
        ("r4", "refuse", "unknown_route", None),
        ("r5", "refuse", "invalid_request", None),
        ("r6", "allow", None, None),
        ("r7", "allow", None, None),
        ("r8", "throttle", "free/requests-per-day", None),
    ]
    assert all(list(decision) == ["id", "action", "rule", "cluster"] for decision in found.decisions)


@pytest.mark.parametrize(("sent", "allowed"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 3)])
def test_a_budget_of_three_lets_three_through(tmp_path: Path, sent: int, allowed: int) -> None:
    found = replay(tmp_path, [request(number) for number in range(sent)])
    assert found.actions == ["allow"] * allowed + ["throttle"] * (sent - allowed)


def test_an_id_that_stands_twice_is_charged_twice(tmp_path: Path) -> None:
    found = replay(tmp_path, [{**request(number), "id": "same"} for number in range(4)])
    assert found.actions == ["allow", "allow", "allow", "throttle"]


def test_the_clock_is_the_logs(tmp_path: Path) -> None:
    day_s = 86_400.0
    times = [0.0, 1.0, 2.0, 3.0, 2 * day_s, 2 * day_s + 1]
    found = replay(tmp_path, [request(number, after_s=at) for number, at in enumerate(times)])
    assert found.actions == ["allow", "allow", "allow", "throttle", "allow", "allow"]


def test_an_account_that_nobody_knows_has_the_default_plan(tmp_path: Path) -> None:
    found = replay(tmp_path, [request(number, "stranger") for number in range(4)])
    assert found.actions == ["allow", "allow", "allow", "throttle"]
    assert found.summary["by_plan"] == {"free": {"allow": 3, "mark": 0, "throttle": 1, "refuse": 0}}


def test_a_listed_route_passes_and_an_unlisted_one_does_not(tmp_path: Path) -> None:
    policy = "version: 1\nplans:\n  free: {budgets: [{limit: 1/day}]}\npass_through:\n  - {path: /v1/files/*, methods: [POST]}\n"
    rows = [request(1, path="/v1/files/x"), request(2, path="/v1/filez"), request(3, path="/v1/files/y")]
    assert replay(tmp_path, rows, policy=policy).actions == ["allow", "refuse", "throttle"]


def test_a_condition_on_the_size_of_a_body_holds(tmp_path: Path) -> None:
    policy = "version: 1\nplans: {free: {budgets: [{limit: 9/day}]}}\nrules:\n  - {name: large, if: body_bytes > 500, then: {refuse: true}}\n"
    found = replay(tmp_path, [request(1), request(2, text="x" * 500)], policy=policy)
    assert found.actions == ["allow", "refuse"]


def test_both_ways_of_reading_give_the_same(tmp_path: Path) -> None:
    rows = [request(number, f"a{number % 7}") for number in range(600)]
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    alone = replay(tmp_path / "one", rows)
    apart = replay(tmp_path / "two", rows, apart=True)
    assert alone.decisions == apart.decisions
    assert len(apart.decisions) == 600
    timed = {"seconds", "requests_per_s", "peak_memory_bytes"}
    assert {k: v for k, v in alone.summary.items() if k not in timed} == {
        k: v for k, v in apart.summary.items() if k not in timed
    }


def test_the_summary_counts_what_happened(tmp_path: Path) -> None:
    rows = [
        *(request(number) for number in range(4)),
        *(request(10 + number, "p1", after_s=10) for number in range(3)),
        request(20, "marked", model="m-large"),
    ]
    summary = replay(tmp_path, rows).summary
    none = {"allow": 0, "mark": 0, "throttle": 0, "refuse": 0}
    assert summary["requests"] == 8
    assert summary["actions"] == none | {"allow": 6, "mark": 1, "throttle": 1}
    assert summary["accounts_hit"] == none | {"allow": 2, "mark": 1, "throttle": 1}
    assert summary["by_plan"] == {
        "free": none | {"allow": 3, "throttle": 1},
        "pro": none | {"allow": 3, "mark": 1},
    }
    assert summary["by_model"]["m-large"] == none | {"mark": 1}
    assert summary["by_rule"] == {"free/requests-per-day": none | {"throttle": 1}}
    assert summary["shadow_refusals"] == {"pro/trial": 1}
    assert [row["account"] for row in summary["top_accounts"]["throttled_or_refused"]] == ["a1"]
    assert summary["peak_concurrency"]["by_plan"] == {"free": 1, "pro": 3}
    assert sum(summary["hours"]["allow"]) == 6
    assert (summary["clusters"], summary["enforced_clusters"]) == (0, 0)


def test_concurrency_is_modelled_from_tokens_or_told_by_the_log(tmp_path: Path) -> None:
    """20 tokens last 0.5 + 0.4 s: at 0.8 s the first is open, at 0.9 s it is not; then the log's own 5 s."""
    times = [(0.0, None), (0.8, None), (10.0, None), (10.9, None), (20.0, 5.0), (24.9, 5.0), (29.9, 5.0)]
    rows = [
        request(index, "p1", after_s=at, **({} if lasts is None else {"duration_s": lasts}))
        for index, (at, lasts) in enumerate(times)
    ]
    first = replay(tmp_path, rows[:1] + rows[2:4]).summary["peak_concurrency"]
    assert (first["all"], first["at"]) == (1, START_S)
    assert replay(tmp_path, rows[:2]).summary["peak_concurrency"]["all"] == 2
    assert replay(tmp_path, rows[4:6]).summary["peak_concurrency"]["all"] == 2
    assert replay(tmp_path, rows[5:]).summary["peak_concurrency"]["all"] == 1


def test_an_empty_log_gives_empty_results(tmp_path: Path) -> None:
    found = replay(tmp_path, [])
    assert found.decisions == []
    assert found.summary["requests"] == 0
    assert (found.folder / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("apart", [False, True])
def test_a_replay_that_fails_leaves_no_decisions_and_keeps_the_old_ones(tmp_path: Path, apart: bool) -> None:
    before = replay(tmp_path, [request(1)])
    job = job_of(tmp_path, [*(request(number) for number in range(300)), b"no json"], apart=apart)
    with pytest.raises(FileErrors) as raised:
        asyncio.run(run_replay(job))
    assert str(raised.value).startswith(f"{tmp_path / 'requests.ndjson'}:301:1: got 'no json'")
    assert len(before.decisions) == 1
    assert sorted(path.name for path in job.out.iterdir()) == [
        "clusters.json",
        "decisions.ndjson.gz",
        "report.html",
        "summary.json",
    ]


def test_results_are_resumed_only_where_all_inputs_are_the_same(tmp_path: Path) -> None:
    job = job_of(tmp_path, [request(1)])
    assert finished(job) is None
    summary = asyncio.run(run_replay(job))
    assert finished(job) == orjson.loads(orjson.dumps(summary))
    assert finished(job_of(tmp_path, [request(1), request(2)])) is None
    assert finished(job_of(tmp_path, [request(1)], accounts=[account("a1", "pro")])) is None
    assert finished(job_of(tmp_path, [request(1)], policy="version: 1\nplans: {free: {}}\n")) is None
    assert finished(job_of(tmp_path, [request(1)])) is not None
    (job.out / "summary.json").write_text("{")
    assert finished(job) is None


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]
        if tag not in {"meta", "rect", "line", "polyline", "polygon"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"meta", "rect", "line", "polyline", "polygon"}:
            assert self.open.pop() == tag


def test_the_report_needs_nothing_else_and_believes_no_name(tmp_path: Path) -> None:
    rows = [request(number, "<script>alert(1)</script>", model="<b>m</b>") for number in range(5)]
    page = (replay(tmp_path, rows).folder / "report.html").read_text()
    tags = _Tags()
    tags.feed(page)
    assert (tags.links, tags.open) == ([], [])
    assert "<script" not in page
    assert "<b>m</b>" not in page
    assert "&lt;script&gt;" in page
    assert "url(" not in page
    assert page.count("<svg") == 3
