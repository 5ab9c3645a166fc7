"""``policy explain`` beside gateways that ran: what is left, what is held of an account, who it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from gateway.cli import main
from tests.live import live_gateway
from tests.redis_server import free_port

POLICY = """\
version: 1
plans:
  free: {budgets: [{limit: 2/day}]}
  pro: {budgets: [{limit: 5000 output_tokens/day}, {limit: 100/day, shadow: true}]}
standings: {suspect: {mark: true, cluster_budgets: [{limit: 9/day}]}, confirmed: {refuse: true}}
"""
KEY = "key-free-0001"
ACCOUNTS = [{"account": "a1", "plan": "free", "api_key": KEY}]


@pytest.fixture
def explain(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.yaml").write_text(POLICY)

    def call(*arguments: str) -> tuple[dict[str, Any], str]:
        shown = ""
        for more in ((), ("--json",)):
            with pytest.raises(SystemExit) as caught:
                main(["policy", "explain", "policy.yaml", *arguments, *more])
            out, err = capsys.readouterr()
            assert caught.value.code == 0, err
            shown = shown or out
        found: dict[str, Any] = json.loads(out)
        return found, shown

    return call


def ask(url: str) -> tuple[int, str]:
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Kowalski"}]}
    answer = httpx.post(f"{url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})
    headers = answer.headers
    return answer.status_code, headers.get("x-distillguard-request-id") or headers["x-request-id"]


@pytest.mark.parametrize("shared", [False, True])
def test_what_is_left_and_held_is_looked_up_and_nothing_is_charged(
    tmp_path: Path, explain: Any, shared: bool, request: pytest.FixtureRequest
) -> None:
    more: dict[str, Any] = {"redis": request.getfixturevalue("redis_url")} if shared else {}
    with live_gateway(tmp_path, policies=POLICY, accounts=ACCOUNTS, analysis=False, **more) as live:
        (first, name), (second, _), (third, refused) = (ask(live.url) for _ in range(3))
    where = ["--redis", more["redis"]] if shared else ["--state-dir", "state"]
    with pytest.raises(SystemExit):
        main(["clusters", "confirm", "a2", "--account", "--reason", "seen", *where])
    assert (first, second, third) == (200, 200, 429)
    for _ in range(2):
        told, text = explain("--account", "a1", "--model", "m", *where)
        assert (told["decision"], told["rule"], told["charges"][0]["remaining"]) == (
            "throttle",
            "free/requests-per-day",
            0,
        )
        assert "throttle: the budget free/requests-per-day has too little left (account:a1:free/" in text
    assert explain("--account", "a2", "--model", "m", *where)[0]["level"] == "confirmed"
    assert explain("--account", "a2", "--model", "m", "--level", "none", *where)[0]["level"] == "none"
    past, text = explain("--event", name, *where)
    assert past["recorded"]["outcome"] == "answered"
    assert text.startswith("recorded: outcome answered, status 200, policy ")
    assert explain("--event", refused, *where)[0]["recorded"]["rule"] == "free/requests-per-day"


def test_a_request_that_reserves_more_than_is_allowed_is_told_what_it_needs(tmp_path: Path, explain: Any) -> None:
    with live_gateway(tmp_path, policies=POLICY, accounts=ACCOUNTS, analysis=False) as live:
        ask(live.url)
    asked = ["--state-dir", "state", "--account", "b", "--plan", "pro", "--model", "m", "--max-output-tokens"]
    within, over = explain(*asked, "5000")[0], explain(*asked, "5001")[0]
    assert (within["decision"], over["decision"], over["rule"]) == ("allow", "throttle", "pro/output-tokens-per-day")
    assert [charge["refuses"] for charge in over["charges"]] == [True, False]
    assert over["charges"][0]["needs"] == 5001


def test_a_store_that_is_away_is_a_note(tmp_path: Path, explain: Any) -> None:
    told, text = explain("--account", "a1", "--model", "m", "--redis", f"redis://127.0.0.1:{free_port()}")
    assert told["decision"] == "allow"
    assert told["charges"][0]["remaining"] is None
    assert "the standing cannot be looked up: " in text
    assert "what is left cannot be looked up: " in text


def test_without_state_there_are_no_balances_and_no_folder_is_made(tmp_path: Path, explain: Any) -> None:
    told, text = explain("--account", "a1", "--model", "m")
    assert told["notes"] == []
    assert "left" not in text
    assert not (tmp_path / ".distillguard").exists()


def test_the_directory_says_who_an_account_is_and_options_go_over_it(tmp_path: Path, explain: Any) -> None:
    rows = [{"account": "a9", "plan": "pro", "org": "o1", "country": "DE", "verified": True}]
    (tmp_path / "accounts.ndjson").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    asked = ["--accounts", "accounts.ndjson", "--account", "a9", "--model", "m"]
    assert explain(*asked)[0]["plan"] == "pro"
    assert explain(*asked, "--plan", "free")[0]["plan"] == "free"
    with pytest.raises(SystemExit) as caught:
        main(["policy", "explain", "policy.yaml", "--accounts", "accounts.ndjson", "--account", "a8", "--model", "m"])
    assert caught.value.code == 2


def test_the_newest_good_key_says_who_an_account_is_where_no_directory_does(
    tmp_path: Path, explain: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--state-dir", "state")

    def make(*options: str) -> str:
        with pytest.raises(SystemExit):
            main(["keys", "create", "--json", *options, *where])
        name: str = json.loads(capsys.readouterr().out)["public_id"]
        return name

    make("--account", "a1", "--plan", "free", "--org", "o1")
    newest = make("--account", "a1", "--plan", "pro")
    make("--account", "a2", "--plan", "free")
    asked = ["--model", "m", *where]
    assert explain("--account", "a1", *asked)[0]["plan"] == "pro"
    assert explain("--account", "a1", "--plan", "free", *asked)[0]["plan"] == "free"
    with pytest.raises(SystemExit):
        main(["keys", "revoke", newest, *where])
    capsys.readouterr()
    assert explain("--account", "a1", *asked)[0]["plan"] == "free"
    (tmp_path / "accounts.ndjson").write_text('{"account":"a2","plan":"pro"}\n')
    told = [explain("--accounts", "accounts.ndjson", "--account", name, *asked)[0]["plan"] for name in ("a1", "a2")]
    assert told == ["free", "pro"]
