"""Policies where they matter: in a gateway that is serving, while somebody edits the files."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import gateway
from gateway.events import list_segments, read_events
from tests.policy.helpers import BASE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.requests import Request

KEY = {"authorization": "Bearer sk-mine"}
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Why does bread rise?"}]}
REPLY = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yeast."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


async def chat(_request: Request) -> JSONResponse:
    return JSONResponse(REPLY)


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(BASE, encoding="utf-8")
    monkeypatch.setenv("DISTILLGUARD_POLICIES", str(path))
    monkeypatch.setenv("DISTILLGUARD_STATE_DIR", str(tmp_path / "state"))
    return path


def guarded() -> TestClient:
    app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
    app.add_middleware(gateway.Guard)
    return TestClient(app)


def ask(client: TestClient) -> Any:
    return client.post("/v1/chat/completions", json=BODY, headers=KEY)


def within(limit_s: float, holds: Callable[[], bool]) -> bool:
    """Ask until it holds; whether it did before ``limit_s`` of real time were over."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        if holds():
            return True
    return False


def test_the_kill_switch_acts_on_a_gateway_that_serves_and_lets_go_again(policy: Path) -> None:
    with guarded() as client:
        assert ask(client).status_code == 200
        policy.write_text(BASE + "access: {kill: 'gpt-*'}\n", encoding="utf-8")
        assert within(5, lambda: ask(client).status_code == 403)
        assert "kill" not in ask(client).text
        policy.write_text(BASE, encoding="utf-8")
        assert within(5, lambda: ask(client).status_code == 200)


def test_a_broken_edit_leaves_the_last_good_set_in_force(policy: Path) -> None:
    policy.write_text(BASE + "access: {deny_countries: [KP], kill: 'gpt-*'}\n", encoding="utf-8")
    with guarded() as client:
        policy.write_text("version: 1\nplan: {}\n", encoding="utf-8")
        assert not within(1, lambda: ask(client).status_code != 403)


def test_what_a_rule_in_shadow_would_refuse_is_answered_and_in_the_event(policy: Path, tmp_path: Path) -> None:
    policy.write_text(
        BASE
        + "rules: [{name: tried, shadow: true, match: {model: 'gpt-*'}, then: {refuse: true, budgets: [{limit: 0/day}]}}]\n",
        encoding="utf-8",
    )
    with guarded() as client:
        answer = ask(client)
        assert answer.status_code == 200
        assert "tried" not in str(answer.headers)
    (event,) = [event for segment in list_segments(tmp_path / "state" / "events") for event in read_events(segment)]
    assert event.shadowed == ("tried", "rules/tried/requests-per-day")
