"""A past request is explained to people with the token, and to nobody else; no secret is in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.console import build_admin
from gateway.rooms import Rooms
from gateway.settings import Settings
from tests.live import Live, live_admin, live_gateway
from tests.redis_server import running_redis

POLICY = """\
version: 1
plans:
  free:
    budgets: [{limit: 2/day}]
rules:
  - name: no-opus
    match: {model: "opus*"}
    then: {refuse: true}
"""
KEY = "key-free-0001"
TOKEN = {"authorization": "Bearer correct-horse"}
ACCOUNTS = [{"account": "a1", "plan": "free", "api_key": KEY}]


def ask(live: Live, model: str) -> tuple[int, str]:
    body = {"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "Kowalski"}]}
    answer = httpx.post(f"{live.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})
    return answer.status_code, answer.headers.get("x-distillguard-request-id", "") or answer.headers["x-request-id"]


def explained(admin: str, name: str) -> dict[str, Any]:
    answer = httpx.get(f"{admin}/api/explain/{name}", headers=TOKEN)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_each_decision_is_explained_with_its_rule_and_balances(tmp_path: Path) -> None:
    with live_gateway(tmp_path, policies=POLICY, accounts=ACCOUNTS, admin_token="correct-horse") as live:
        answered, first = ask(live, "m")
        refused, second = ask(live, "opus-1")
        with live_admin(live) as admin:
            allowed, denied = explained(admin, first), explained(admin, second)
            raw = httpx.get(f"{admin}/api/explain/{first}", headers=TOKEN).text
    assert (answered, refused) == (200, 403)
    assert allowed["same_policy"]
    assert allowed["recorded"]["outcome"] == "answered"
    assert allowed["explanation"]["decision"] == "allow"
    assert allowed["explanation"]["charges"][0]["remaining"] == 1
    assert denied["recorded"]["rule"] == denied["explanation"]["rule"] == "no-opus"
    assert denied["explanation"]["decision"] == "refuse"
    assert "rule no-opus refuses" in denied["words"]
    assert KEY not in raw
    assert "Kowalski" not in raw
    assert "traits" not in allowed["recorded"]


@pytest.mark.parametrize("name", ["req_000000000000000000000000", "x" * 200, '"id"', "..%2f..%2fhash.key"])
def test_an_id_that_is_not_there_is_not_found(tmp_path: Path, name: str) -> None:
    with live_gateway(tmp_path, policies=POLICY, accounts=ACCOUNTS, admin_token="correct-horse") as live:
        ask(live, "m")
        with live_admin(live) as admin:
            answer = httpx.get(f"{admin}/api/explain/{name}", headers=TOKEN)
    assert answer.status_code == 404
    assert answer.json()["error"]["status"] == 404


def test_without_the_token_nothing_is_explained(tmp_path: Path) -> None:
    with live_gateway(tmp_path, policies=POLICY, accounts=ACCOUNTS, admin_token="correct-horse") as live:
        _, name = ask(live, "m")
        with live_admin(live) as admin:
            assert httpx.get(f"{admin}/api/explain/{name}").status_code == 401
            wrong = httpx.get(f"{admin}/api/explain/{name}", headers={"authorization": "Bearer wrong"})
            assert wrong.status_code == 401
            assert "recorded" not in wrong.text


def described(admin: str, case: object, *, status: int = 200, **headers: str) -> dict[str, Any]:
    answer = httpx.post(f"{admin}/api/explain", json=case, headers={**TOKEN, **headers})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_described_request_is_explained_as_the_account_stands_and_charges_nothing(tmp_path: Path) -> None:
    case = {"subject": {"account": "a1"}, "request": {"model": "m"}}
    with live_gateway(tmp_path, policies=POLICY, accounts=ACCOUNTS, admin_token="correct-horse") as live:
        with live_admin(live) as admin:
            before = [described(admin, case)["explanation"] for _ in range(3)]
            assert [ask(live, "m")[0] for _ in range(3)] == [200, 200, 429]
            after = described(admin, case)
            opus = described(admin, {**case, "request": {"model": "opus-1"}})["explanation"]
    assert [told["charges"][0]["remaining"] for told in before] == [2, 2, 2]
    assert {told["decision"] for told in before} == {"allow"}
    assert (after["explanation"]["decision"], after["explanation"]["rule"]) == ("throttle", "free/requests-per-day")
    assert "0 left, 1 needed, refuses; more in " in after["words"]
    assert after["balances"] == "as of now"
    assert (opus["decision"], opus["rule"], opus["charges"]) == ("refuse", "no-opus", [])


def test_what_a_case_leaves_out_is_looked_up_and_what_it_says_counts(tmp_path: Path) -> None:
    policy = (
        POLICY
        + "  - {name: french, match: {country: FR}, then: {refuse: true}}\nstandings: {confirmed: {refuse: true}}\n"
    )
    accounts = [{"account": "a1", "plan": "free", "country": "FR", "api_key": KEY}]
    asked: dict[str, Any] = {"subject": {"account": "a1"}, "request": {"model": "m"}}
    with live_gateway(tmp_path, policies=policy, accounts=accounts, admin_token="correct-horse") as live:
        with live_admin(live) as admin:
            known = described(admin, asked)["explanation"]
            german = described(admin, {**asked, "subject": {"account": "a1", "country": "DE"}})["explanation"]
            sure = {"who": "ada", "why": "seen"}
            httpx.post(f"{admin}/api/accounts/a1/confirm", json=sure, headers=TOKEN).raise_for_status()
            case = {**asked, "subject": {"account": "a1", "country": "DE"}}
            held = described(admin, case)["explanation"]
            supposed = described(admin, {**case, "standing": {"level": "none"}})["explanation"]
    assert (known["rule"], german["decision"]) == ("french", "allow")
    assert (held["level"], held["rule"]) == ("confirmed", "standings/confirmed")
    assert (supposed["level"], supposed["decision"]) == ("none", "allow")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ({}, "got no 'request', expected one: it is required here"),
        ({"request": {}}, "request: got no 'model', expected one: it is required here"),
        ({"request": {"model": "m"}, "subjects": {}}, "got the unknown key 'subjects', did you mean 'subject'?"),
        ({"request": {"model": "m"}, "at": -1}, "at: got -1, expected at least 0"),
        ({"request": {"model": "m"}, "subject": {"age_days": 1e300}}, "subject.age_days: got 1e+300, expected at most 100000"),
        ([], "got an empty list, expected a mapping"),
    ],
)  # fmt: skip
def test_a_case_that_is_none_is_refused_with_its_place(tmp_path: Path, case: object, said: str) -> None:
    with live_gateway(tmp_path, policies=POLICY, accounts=ACCOUNTS, admin_token="correct-horse") as live:
        with live_admin(live) as admin:
            assert described(admin, case, status=400)["error"]["message"] == said


def test_a_case_is_json_of_a_bounded_size_and_asks_for_the_token(tmp_path: Path) -> None:
    with live_gateway(tmp_path, policies=POLICY, accounts=ACCOUNTS, admin_token="correct-horse") as live:
        with live_admin(live) as admin:
            url, json = f"{admin}/api/explain", {"content-type": "application/json"}
            assert httpx.post(url, content=b"{}", headers=json).status_code == 401
            assert httpx.post(url, content=b"{}", headers=TOKEN).status_code == 415
            assert httpx.post(url, content=b"{", headers={**TOKEN, **json}).status_code == 400
            assert httpx.post(url, content=b"[" * 60_000, headers={**TOKEN, **json}).status_code == 400
            assert httpx.post(url, content=b" " * 70_000, headers={**TOKEN, **json}).status_code == 413


@asynccontextmanager
async def beside(folder: Path, redis: str) -> AsyncIterator[httpx.AsyncClient]:
    """The admin port of a further gateway that shares state, in this event loop."""
    (folder / "policy.yaml").write_text(POLICY)
    rooms = Rooms(
        Settings.load({}, policies=folder / "policy.yaml", redis=redis, state_dir=folder / "state", analysis=False,
                      admin_token="correct-horse")
    )  # fmt: skip
    await rooms.start()
    transport = httpx.ASGITransport(build_admin(rooms))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=TOKEN) as client:
        yield client
    await rooms.stop()


CASE = {"subject": {"account": "a1"}, "request": {"model": "m"}}


async def test_where_state_is_shared_a_gateway_explains_what_another_one_answered(
    tmp_path: Path, redis_url: str
) -> None:
    given: dict[str, Any] = {"policies": POLICY, "accounts": ACCOUNTS, "redis": redis_url, "analysis": False}
    with live_gateway(tmp_path / "one", **given) as one:
        answered, name = ask(one, "m")
    async with beside(tmp_path, redis_url) as admin:
        told = (await admin.get(f"/api/explain/{name}")).json()
        later = (await admin.get(f"/api/explain/{name}?at={told['recorded']['ts']}")).json()
        first = (await admin.post("/api/explain", json=CASE)).json()["explanation"]
        with live_gateway(tmp_path / "one", **given) as one:
            assert ask(one, "m")[0] == 200
        second = (await admin.post("/api/explain", json=CASE)).json()["explanation"]
        gone = await admin.get(f"/api/explain/{name}?at=9e10")
        odd = await admin.get(f"/api/explain/{name}?at=nan")
    assert answered == 200
    assert told["recorded"]["id"] == later["recorded"]["id"] == name
    assert told["explanation"]["charges"][0]["remaining"] == first["charges"][0]["remaining"] == 1
    assert (second["charges"][0]["remaining"], second["decision"]) == (0, "throttle")
    assert gone.status_code == 404
    assert "among the first 20,000 events from 90000000000 on" in gone.json()["error"]["message"]
    assert odd.status_code == 400


async def test_a_store_that_is_away_is_told_and_the_rules_are_explained_all_the_same(tmp_path: Path) -> None:
    with running_redis() as redis:
        async with beside(tmp_path, redis.url) as admin:
            redis.kill()
            opus = {"subject": {"account": "a1"}, "request": {"model": "opus-1"}}
            told = (await admin.post("/api/explain", json=opus)).json()
            allowed = (await admin.post("/api/explain", json=CASE)).json()
            past = await admin.get("/api/explain/req_1")
    assert told["explanation"]["rule"] == "no-opus"
    assert allowed["balances"].startswith("the store of budgets cannot be asked: ")
    assert allowed["explanation"]["charges"][0]["remaining"] is None
    assert past.status_code == 503
