"""Incident reports: what they count, what they may not hold, and that other programs can read them."""

from __future__ import annotations

import asyncio
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner

from gateway.cli.report import report
from gateway.clock import ManualClock
from gateway.events import FileSink
from gateway.events.redis_sink import RedisSink
from gateway.reports import Incident, gather, write_html, write_json, write_stix
from gateway.settings import Settings
from gateway.standing import StandingTable, SubjectKind, Verb, open_standing
from gateway.types import Event, Level, Outcome, Usage, Verdict

DAY_S = 86_400.0
NOW_S = 1_790_000_000.0
HOSTILE = "a<script>alert(1)</script>'\\\""


def event(number: int, account: str, **more: Any) -> Event:
    values: dict[str, Any] = {
        "ts": NOW_S - 3 * DAY_S + number * 3600.0,
        "outcome": Outcome.ANSWERED,
        "family": "openai",
        "route": "openai.chat_completions",
        "status": 200,
        "model": "gpt-4o",
        "country": "DE",
        "plan": "pro",
        "credential": "cred-secret",
        "address": "addr-secret",
        "usage": Usage(input_tokens=100, output_tokens=7, reported=True),
        "cost_microusd": 1_500,
        "traits": {"ph": [777777777]},
        **more,
    }
    return Event(id=f"r{number}", account=account, **values)


VERDICT = Verdict(
    cluster="c7x",
    level=Level.SUSPECT,
    members=("a1", HOSTILE, "quiet"),
    decided_at=NOW_S - DAY_S,
    expires_at=NOW_S + DAY_S,
    version=3,
    reasons=("provenance: e-value 2.4e+04",),
    evidence=({"family": "content", "e_value": 2512.5},),
    signatures={"ph": [[777777777, 3.0]]},
)
EVENTS = [
    event(0, "a1"),
    event(1, "a1", level="suspect", marked=True),
    event(1, "a1", level="suspect", marked=True),
    event(2, HOSTILE, outcome=Outcome.REFUSED, usage=None, cost_microusd=0, status=403),
    event(30, HOSTILE, model="claude", country="FR"),
    event(31, "stranger"),
    event(32, "fresh", cluster="c7x", level="suspect"),
    event(33, "other", cluster="c8"),
]


async def table_of(verdict: Verdict = VERDICT) -> StandingTable:
    table = StandingTable()
    table.apply([verdict])
    kind, why = SubjectKind.CLUSTER, "seen <b>their</b> forum"
    await table.override(Verb.CONFIRM, kind, verdict.cluster, who="kim", why=why, now_s=NOW_S - 100)
    await table.override(Verb.EXEMPT, SubjectKind.ACCOUNT, "a1", who="lee", why="ours", now_s=NOW_S - 50)
    await table.override(Verb.EXEMPT, SubjectKind.ACCOUNT, "stranger", who="lee", why="not here", now_s=NOW_S - 50)
    return table


@pytest.fixture
async def incident() -> Incident:
    table = await table_of()
    view = table.cluster("c7x", NOW_S)
    assert view is not None
    return gather(view, await table.audit(), EVENTS, NOW_S)


async def test_each_request_of_a_member_or_of_its_signature_counts_once(incident: Incident) -> None:
    assert incident.total.requests == 5
    assert (incident.total.answered, incident.total.refused, incident.total.marked) == (4, 1, 1)
    assert (incident.total.input_tokens, incident.total.output_tokens) == (400, 28)
    assert incident.total.cost_microusd == 6_000
    assert incident.by_signature == 1
    assert {name: volume.requests for name, volume in incident.accounts.items()} == {
        "a1": 2,
        HOSTILE: 2,
        "fresh": 1,
        "quiet": 0,
    }
    assert {name: volume.requests for name, volume in incident.models.items()} == {"gpt-4o": 4, "claude": 1}
    assert [volume.requests for volume in incident.days.values()] == [3, 2]
    assert incident.countries == {"DE": 3, "FR": 1}
    assert [one.subject for one in incident.audit] == ["c7x", "a1"]


async def test_a_cluster_without_kept_events_still_has_a_report(incident: Incident) -> None:
    empty = gather(incident.view, [], [], NOW_S)
    assert b"none kept" in write_html(empty)
    assert orjson.loads(write_json(empty))["total"]["first_seen"] is None
    kinds = [one["type"] for one in orjson.loads(write_stix(empty))["objects"]]
    assert "observed-data" not in kinds
    assert "campaign" in kinds


async def test_no_form_holds_a_credential_an_address_or_a_signature(incident: Incident) -> None:
    for write in (write_html, write_json, write_stix):
        for accounts in (True, False):
            text = write(incident, accounts=accounts)
            assert b"cred-secret" not in text
            assert b"addr-secret" not in text
            assert b"777777777" not in text


async def test_without_accounts_nobody_is_named(incident: Incident) -> None:
    for write in (write_html, write_json, write_stix):
        text = write(incident, accounts=False).decode()
        for name in ("a1", "quiet", "fresh", "script>alert"):
            assert not re.search(rf"\b{name}\b", re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "", text)), (write, name)


async def test_json_tells_numbers_words_and_decisions(incident: Incident) -> None:
    row = orjson.loads(write_json(incident))
    assert (row["cluster"], row["level"], row["verdict"]) == ("c7x", "confirmed", "suspect")
    assert row["evidence"] == ["provenance: e-value 2.4e+04", "family content, e value 2,512.5"]
    assert [(one["verb"], one["who"]) for one in row["decisions"]] == [("confirm", "kim"), ("exempt", "lee")]
    assert row["total"]["cost_usd"] == 0.006
    assert row["members"]["a1"]["requests"] == 2


class Page(HTMLParser):
    """Looks for what a page could load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [
            name for name, _ in attrs if name in {"src", "href", "srcset", "action"} or name.startswith("on")
        ]


async def test_the_page_loads_and_runs_nothing_whatever_an_account_is_called(incident: Incident) -> None:
    text = write_html(incident).decode()
    page = Page()
    page.feed(text)
    assert page.loads == []
    assert not page.tags & {"script", "img", "link", "iframe", "b", "object"}
    assert "default-src &#x27;none&#x27;" in text or "default-src 'none'" in text
    assert "http" not in text.replace("http-equiv", "")
    assert "url(" not in text
    assert "@import" not in text
    assert "a&lt;script&gt;" in text


async def test_the_page_says_why_when_and_by_whom(incident: Incident) -> None:
    text = write_html(incident).decode()
    for said in ("provenance: e-value 2.4e+04", "2,512.5", "kim", "lee", "confirmed", "2026-09-18", "claude"):
        assert said in text, said


ID = re.compile(r"[a-z-]+--[0-9a-f]{8}-[0-9a-f]{4}-[1-5][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
REQUIRED = {
    "identity": {"name"},
    "campaign": {"name"},
    "attack-pattern": {"name"},
    "relationship": {"relationship_type", "source_ref", "target_ref"},
    "user-account": {"user_id"},
    "observed-data": {"first_observed", "last_observed", "number_observed", "object_refs"},
    "indicator": {"pattern", "pattern_type", "valid_from"},
    "report": {"name", "published", "object_refs"},
    "marking-definition": {"definition_type", "definition", "created"},
}
"""What STIX 2.1 requires of each type, besides what is required of all."""


@pytest.mark.parametrize("accounts", [True, False])
async def test_the_bundle_keeps_the_rules_of_stix(incident: Incident, accounts: bool) -> None:
    bundle = orjson.loads(write_stix(incident, accounts=accounts))
    assert bundle["type"] == "bundle"
    assert ID.fullmatch(bundle["id"])
    objects = {one["id"]: one for one in bundle["objects"]}
    assert len(objects) == len(bundle["objects"])
    for name, one in objects.items():
        assert ID.fullmatch(name)
        assert name.startswith(one["type"] + "--")
        assert one["spec_version"] == "2.1"
        assert one.keys() >= REQUIRED[one["type"]]
        if one["type"] not in {"user-account", "marking-definition"}:
            assert one["created"] <= one["modified"]
        for key, value in one.items():
            if key in {"created", "modified", "published", "valid_from"} or key.endswith(("_seen", "_observed")):
                assert key == "number_observed" or TIME.fullmatch(value), key
            if key.endswith("_ref"):
                assert value in objects
            if key.endswith("_refs"):
                assert value
                assert set(value) <= objects.keys()
            assert value not in ("", [], None)
    campaign = next(one for one in objects.values() if one["type"] == "campaign")
    assert campaign["first_seen"] <= campaign["last_seen"]
    assert any(one["type"] == "user-account" for one in objects.values()) is accounts


async def test_a_second_export_of_one_verdict_updates_the_first(incident: Incident) -> None:
    later = gather(incident.view, [], EVENTS, NOW_S + 500)
    one, other = ({o["id"]: o for o in orjson.loads(write_stix(i))["objects"]} for i in (incident, later))
    assert one.keys() == other.keys()
    for name, before in one.items():
        assert before.get("created") == other[name].get("created")


async def test_a_name_cannot_leave_its_string_in_the_pattern(incident: Incident) -> None:
    objects = orjson.loads(write_stix(incident))["objects"]
    (pattern,) = [one["pattern"] for one in objects if one["type"] == "indicator"]
    inside = pattern.removeprefix("[user-account:user_id IN (").removesuffix(")]")
    strings = re.findall(r"'(?:[^'\\]|\\.)*'", inside)
    assert ", ".join(strings) == inside
    assert [re.sub(r"\\(.)", r"\1", text[1:-1]) for text in strings] == ["a1", HOSTILE, "quiet"]


async def fill(folder: Path, url: str | None) -> None:
    """Put the verdict and the events into a store."""
    table = open_standing(Settings.load({}, redis=url, state_dir=folder), ManualClock(NOW_S))
    table.apply([VERDICT])
    await table.stop()
    sink = RedisSink(url) if url else FileSink(folder / "events", ManualClock(NOW_S))
    for one in EVENTS:
        sink.append(one)
    await sink.aclose()


@pytest.fixture(params=["files", "redis"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Options that lead to such a store."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    asyncio.run(fill(tmp_path / "state", url))
    return ["--redis", url] if url else ["--state-dir", str(tmp_path / "state")]


def run(where: list[str], *more: str) -> Any:
    return CliRunner().invoke(report, ["c7x", *where, "--days", "100000", *more], catch_exceptions=True)


def test_the_command_writes_each_form(where: list[str], tmp_path: Path) -> None:
    assert orjson.loads(run(where, "--format", "json").stdout)["total"]["requests"] == 5
    assert orjson.loads(run(where, "--format", "stix").stdout)["type"] == "bundle"
    done = run(where, "--out", str(tmp_path / "out.html"))
    assert done.exit_code == 0
    assert (tmp_path / "out.html").read_text().startswith("<!doctype html>")
    assert "script>" not in run(where, "--without-accounts").stdout


def test_an_unknown_cluster_is_said_in_one_line(where: list[str]) -> None:
    done = CliRunner().invoke(report, ["c9", *where])
    assert str(done.exception) == ("c9: got a cluster that is not known, expected one of `distillguard clusters list`")
