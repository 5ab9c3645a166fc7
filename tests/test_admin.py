"""The admin port: what needs no token says nothing of accounts; the rest needs one, or loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import build_app
from gateway.console import build_admin
from gateway.errors import ConfigError
from gateway.rooms import Rooms
from gateway.settings import Settings
from tests.live import ROOMY


def rooms_with(folder: Path, **settings: Any) -> Rooms:
    (folder / "policy.yaml").write_text(ROOMY)
    return Rooms(Settings.load({}, policies=folder / "policy.yaml", state_dir=folder / "state", **settings))


def client_of(rooms: Rooms, base_url: str = "http://127.0.0.1", client: str = "203.0.113.7") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=build_admin(rooms), client=(client, 1))
    return httpx.AsyncClient(transport=transport, base_url=base_url)


@pytest.fixture
async def rooms(tmp_path: Path) -> AsyncIterator[Rooms]:
    found = rooms_with(tmp_path)
    await found.start()
    yield found
    await found.stop()


async def test_it_is_live_before_it_is_ready_and_says_why(tmp_path: Path) -> None:
    rooms = rooms_with(tmp_path)
    async with client_of(rooms) as client:
        assert (await client.get("/livez")).status_code == 200
        before = await client.get("/readyz")
        await rooms.start()
        ready = await client.get("/readyz")
        rooms.draining = True
        after = await client.get("/readyz")
    await rooms.stop()
    assert (before.status_code, before.json()["reasons"]) == (503, ["starting: the rooms are not open yet"])
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "reasons": []})
    assert (after.status_code, after.json()["reasons"]) == (503, ["draining: the gateway is shutting down"])


async def test_status_names_the_policy_set_in_force(rooms: Rooms) -> None:
    async with client_of(rooms) as client:
        status = (await client.get("/api/status")).json()
    assert status["policy"]["hash"] == rooms.policies.current.hash
    assert status["identity"]
    assert status["upstreams"] == {}


async def test_without_a_token_a_browser_elsewhere_is_not_let_in(rooms: Rooms) -> None:
    async with client_of(rooms, base_url="http://rebound.example") as client:
        assert (await client.get("/api/status")).status_code == 403
    async with client_of(rooms) as client:
        answer = await client.get("/api/status", headers={"origin": "http://evil.example"})
        assert answer.status_code == 403


async def test_a_token_is_asked_for_and_guessing_it_is_stopped(tmp_path: Path) -> None:
    rooms = rooms_with(tmp_path, admin_token="correct-horse")
    await rooms.start()
    async with client_of(rooms) as client:
        assert (await client.get("/api/status", headers={"authorization": "Bearer correct-horse"})).status_code == 200
        statuses = [
            (await client.get("/api/status", headers={"authorization": f"Bearer {n}"})).status_code for n in range(31)
        ]
        assert statuses == [401] * 30 + [429]
        assert (await client.get("/metrics")).status_code == 200
    async with client_of(rooms, client="203.0.113.8") as other:
        assert (await other.get("/api/status", headers={"authorization": "Bearer correct-horse"})).status_code == 200
    await rooms.stop()


async def test_one_shape_for_what_is_not_there(rooms: Rooms) -> None:
    async with client_of(rooms) as client:
        for method, path, status in (("GET", "/nothing", 404), ("POST", "/livez", 405)):
            answer = await client.request(method, path)
            assert answer.status_code == status
            assert answer.json()["error"]["status"] == status


@pytest.mark.parametrize(
    ("given", "bound"),
    [
        ({}, "127.0.0.1"),
        ({"host": "0.0.0.0"}, "127.0.0.1"),
        ({"host": "0.0.0.0", "admin_token": "t"}, "0.0.0.0"),
        ({"admin_host": "0.0.0.0"}, "127.0.0.1"),
        ({"admin_host": "10.0.0.1", "admin_token": "t"}, "10.0.0.1"),
    ],
)
def test_without_a_token_the_port_is_bound_to_loopback(given: dict[str, str], bound: str) -> None:
    assert Settings.load({}, **given).admin_bind == bound


async def test_a_start_that_failed_closes_what_it_opened_and_can_be_tried_again(tmp_path: Path) -> None:
    (tmp_path / "accounts.ndjson").write_text("no JSON\n")
    rooms = rooms_with(tmp_path, accounts=tmp_path / "accounts.ndjson")
    with pytest.raises(ConfigError, match=r"accounts.ndjson:1:1"):
        await rooms.start()
    assert rooms.not_ready() == ["starting: the rooms are not open yet"]
    (tmp_path / "accounts.ndjson").write_text('{"account":"a1","plan":"free"}\n')
    await rooms.start()
    assert rooms.not_ready() == []
    await rooms.stop()


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:9090", 200),
        ("http://localhost", 200),
        ("http://[::1]:9090", 200),
        ("http://localhost.evil.example", 403),
        ("http://127.0.0.1.evil.example", 403),
        ("http://localhost@evil.example", 403),
        ("null", 403),
        ("http://[", 403),
    ],
)
async def test_an_origin_that_only_begins_like_this_machine_is_foreign(rooms: Rooms, origin: str, status: int) -> None:
    async with client_of(rooms) as client:
        assert (await client.get("/api/status", headers={"origin": origin})).status_code == status


async def test_keys_whose_store_is_away_for_too_long_are_a_reason(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(rooms.identities), "keys_outlived", True)
    async with client_of(rooms) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"][0].startswith("keys: ")


def test_settings_show_no_secret() -> None:
    given = {
        "redis": "redis://:hunter2@h/0",
        "admin_token": "hunter2",
        "hash_key": "hunter2",
        "upstream_api_key": "hunter2",
    }
    assert "hunter2" not in repr(Settings.load({}, **given))


async def test_a_page_of_metrics_counts_what_was_answered_a_moment_before(rooms: Rooms) -> None:
    gateway = httpx.ASGITransport(app=build_app(rooms.settings, rooms=rooms), client=("203.0.113.7", 1))
    async with client_of(rooms) as client, httpx.AsyncClient(transport=gateway, base_url="http://gateway") as caller:
        assert (await caller.get("/v2/nothing")).status_code == 404
        page = (await client.get("/metrics")).text
    counted = [line for line in page.splitlines() if line.startswith("distillguard_requests_total{")]
    assert [line.rpartition(" ")[2] for line in counted] == ["1.0"]
    assert "distillguard_active_requests 0.0" in page
