"""A past request is explained to people with the token, and to nobody else; no secret is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live import Live, live_admin, live_gateway

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
