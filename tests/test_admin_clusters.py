"""Clusters on the admin port: see, overrule, read who decided what; and who may not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.errors import StoreError
from gateway.rooms import Rooms
from gateway.types import Level, Verdict
from tests.test_admin import client_of, rooms_with

WHY = {"who": "kim", "why": "a class of a university"}


@pytest.fixture
async def rooms(tmp_path: Path) -> AsyncIterator[Rooms]:
    found = rooms_with(tmp_path)
    await found.start()
    now_s = found.clock.now()
    found.standing.apply(
        [
            Verdict(
                cluster=name,
                level=level,
                members=members,
                decided_at=now_s,
                expires_at=now_s + 1000,
                reasons=("content: e-value 3e+03",),
                evidence=({"family": "content", "e_value": 3e3},),
                signatures={"ph": [[1, 2.0]]},
            )
            for name, level, members in (
                ("c1", Level.SUSPECT, ("a1", "a2")),
                ("c2", Level.WATCH, ("b1",)),
            )
        ]
    )
    yield found
    await found.stop()


@pytest.fixture
async def client(rooms: Rooms) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(rooms) as found:
        yield found


async def test_clusters_are_listed_by_the_level_that_holds_now(client: httpx.AsyncClient) -> None:
    rows = (await client.get("/api/clusters")).json()["clusters"]
    assert [(row["cluster"], row["level"], row["accounts"]) for row in rows] == [
        ("c1", "suspect", 2),
        ("c2", "watch", 1),
    ]
    only = (await client.get("/api/clusters", params={"level": "watch"})).json()["clusters"]
    assert [row["cluster"] for row in only] == ["c2"]
    assert (await client.get("/api/clusters", params={"level": "guilty"})).status_code == 400


async def test_one_cluster_tells_its_accounts_and_evidence_and_no_signature(client: httpx.AsyncClient) -> None:
    row = (await client.get("/api/clusters/c1")).json()
    assert row["members"] == ["a1", "a2"]
    assert row["evidence"] == [{"family": "content", "e_value": 3000.0}]
    assert row["audit"] == []
    assert "signatures" not in row


@pytest.mark.parametrize(
    ("verb", "level"), [("confirm", Level.CONFIRMED), ("dismiss", Level.NONE), ("exempt", Level.NONE)]
)
async def test_a_decision_is_in_force_at_once_and_kept(
    client: httpx.AsyncClient, rooms: Rooms, verb: str, level: Level
) -> None:
    done = await client.post(f"/api/clusters/c1/{verb}", json=WHY)
    assert done.status_code == 200
    assert (done.json()["verb"], done.json()["who"], done.json()["accounts"]) == (verb, "kim", 2)
    assert rooms.standing.of("a1", rooms.clock.now()).level is level
    (kept,) = (await client.get("/api/audit")).json()["audit"]
    assert kept == done.json()
    assert (await client.get("/api/clusters/c1")).json()["audit"] == [kept]


async def test_what_was_decided_can_be_taken_back_and_both_stay_in_the_log(
    client: httpx.AsyncClient, rooms: Rooms
) -> None:
    await client.post("/api/clusters/c1/dismiss", json=WHY)
    await client.post("/api/clusters/c1/release", json=WHY)
    assert rooms.standing.of("a1", rooms.clock.now()).level is Level.SUSPECT
    assert [row["verb"] for row in (await client.get("/api/audit")).json()["audit"]] == ["release", "dismiss"]
    assert len((await client.get("/api/audit", params={"limit": "1"})).json()["audit"]) == 1


async def test_one_account_can_be_exempted_also_with_a_slash_in_its_name(
    client: httpx.AsyncClient, rooms: Rooms
) -> None:
    assert (await client.post("/api/accounts/a1/exempt", json=WHY)).status_code == 200
    assert (await client.post("/api/accounts/team/a9/confirm", json=WHY)).status_code == 200
    now_s = rooms.clock.now()
    assert rooms.standing.of("a1", now_s).level is Level.NONE
    assert rooms.standing.of("a2", now_s).level is Level.SUSPECT
    assert rooms.standing.of("team/a9", now_s).level is Level.CONFIRMED


async def test_until_is_a_time_to_come(client: httpx.AsyncClient, rooms: Rooms) -> None:
    now_s = rooms.clock.now()
    done = await client.post("/api/clusters/c1/confirm", json={**WHY, "until": now_s + 100})
    assert done.status_code == 200
    assert rooms.standing.of("a1", now_s + 99).level is Level.CONFIRMED
    assert rooms.standing.of("a1", now_s + 101).level is Level.SUSPECT
    done = await client.post("/api/clusters/c1/confirm", json={**WHY, "until": "2999-01-01T00:00:00+01:00"})
    assert done.json()["until"] == "2998-12-31T23:00:00Z"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("clusters/c9/confirm", WHY, 404),
        ("clusters/c1/forgive", WHY, 404),
        ("clusters/c1/confirm", {"who": "kim"}, 400),
        ("clusters/c1/confirm", {"who": " ", "why": "x"}, 400),
        ("clusters/c1/confirm", {"who": "kim", "why": "x" * 2001}, 400),
        ("clusters/c1/confirm", {"who": 7, "why": "x"}, 400),
        ("clusters/c1/confirm", {**WHY, "level": "none"}, 400),
        ("clusters/c1/confirm", [1], 400),
        ("clusters/c1/confirm", {**WHY, "until": "tomorrow"}, 400),
        ("clusters/c1/confirm", {**WHY, "until": "2999-01-01T00:00:00"}, 400),
        ("clusters/c1/confirm", {**WHY, "until": True}, 400),
        ("clusters/c1/confirm", {**WHY, "until": 1e300}, 400),
        ("clusters/c1/confirm", {**WHY, "until": 1.0}, 400),
    ],
)
async def test_what_cannot_be_done_says_so_and_changes_nothing(
    client: httpx.AsyncClient, rooms: Rooms, path: str, body: Any, status: int
) -> None:
    answer = await client.post(f"/api/{path}", json=body)
    assert answer.status_code == status
    assert answer.json()["error"]["status"] == status
    assert answer.json()["error"]["message"]
    assert (await client.get("/api/audit")).json()["audit"] == []
    assert rooms.standing.of("a1", rooms.clock.now()).level is Level.SUSPECT


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"who":"kim","why":"x"}', "text/plain", 415),
        (b'{"who":"kim","why":"x"}', "application/x-www-form-urlencoded", 415),
        (b"{" * 5, "application/json", 400),
        (b"[" * 60_000, "application/json", 400),
        (b" " * 70_000, "application/json", 413),
        (b"\xff", "application/json", 400),
    ],
)
async def test_a_form_of_a_foreign_page_or_a_hostile_body_decides_nothing(
    client: httpx.AsyncClient, content: bytes, kind: str, status: int
) -> None:
    answer = await client.post("/api/clusters/c1/exempt", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert (await client.get("/api/audit")).json()["audit"] == []


@pytest.mark.parametrize("limit", ["0", "10001", "-1", "x", "²"])
async def test_the_audit_has_a_limit(client: httpx.AsyncClient, limit: str) -> None:
    assert (await client.get("/api/audit", params={"limit": limit})).status_code == 400


async def test_nobody_decides_without_the_token(tmp_path: Path) -> None:
    rooms = rooms_with(tmp_path, admin_token="correct-horse")
    await rooms.start()
    async with client_of(rooms) as client:
        for method, path in (
            ("GET", "/api/clusters"),
            ("GET", "/api/clusters/c1"),
            ("GET", "/api/audit"),
            ("POST", "/api/clusters/c1/exempt"),
            ("POST", "/api/accounts/a1/exempt"),
        ):
            assert (await client.request(method, path, json=WHY)).status_code == 401
            held = {"authorization": "Bearer correct-horse"}
            assert (await client.request(method, path, json=WHY, headers=held)).status_code in {200, 404}
    await rooms.stop()


async def test_before_the_rooms_are_open_it_says_so(tmp_path: Path) -> None:
    async with client_of(rooms_with(tmp_path)) as client:
        assert (await client.get("/api/clusters")).status_code == 503


async def test_a_store_that_is_away_is_a_503_and_nothing_is_in_force(
    client: httpx.AsyncClient, rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise StoreError("redis: away")

    monkeypatch.setattr(rooms.standing._store, "record", away)
    answer = await client.post("/api/clusters/c1/confirm", json=WHY)
    assert answer.status_code == 503
    assert rooms.standing.of("a1", rooms.clock.now()).level is Level.SUSPECT
