"""What the official SDKs do with a refusal: their own error types, and retries that make sense."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.live import Live, live_gateway

STRICT = """\
version: 1
plans:
  tiny:
    budgets:
      - {name: tiny-day, limit: 2/day}
  slow:
    budgets:
      - {name: slow-second, limit: 1/second, window: bucket}
  roomy:
    budgets:
      - limit: 1000/day
access:
  deny_countries: [KP]
  verified_only: ["secret-*"]
  kill: ["dead-*"]
"""
ASK: Any = [{"role": "user", "content": "Why does bread rise?"}]


def account(name: str, plan: str, **more: Any) -> dict[str, Any]:
    return {"account": name, "plan": plan, "api_key": f"sk-{name}-0123456789", **more}


ACCOUNTS = [
    account("tiny", "tiny"),
    account("tiny2", "tiny"),
    account("slow", "slow"),
    account("north", "roomy", country="KP"),
    account("good", "roomy"),
    account("known", "roomy", verified=True),
]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with live_gateway(tmp_path, policies=STRICT, accounts=ACCOUNTS, upstream_api_key="sk-upstream") as found:
        yield found


def openai_client(live: Live, name: str, retries: int = 0) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{live.url}/v1", api_key=f"sk-{name}-0123456789", max_retries=retries)


def anthropic_client(live: Live, name: str, retries: int = 0) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=live.url, api_key=f"sk-{name}-0123456789", max_retries=retries)


def test_an_exhausted_day_is_a_rate_limit_error_that_is_not_retried(live: Live) -> None:
    with openai_client(live, "tiny", retries=3) as client:
        for _ in range(2):
            client.chat.completions.create(model="gpt-4o", messages=ASK)
        with pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(model="gpt-4o", messages=ASK)
    headers = caught.value.response.headers
    assert headers["x-should-retry"] == "false"
    assert 3600 < int(headers["retry-after"]) <= 1.5 * 86_400
    assert headers["ratelimit-policy"].startswith('"tiny/tiny-day";q=2;w=86400')
    assert "r=0" in headers["ratelimit"]
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert len(live.model.requests) == 2


def test_the_same_in_anthropics_dialect(live: Live) -> None:
    with anthropic_client(live, "tiny2", retries=3) as client:
        for _ in range(2):
            client.messages.create(model="claude-test-1", max_tokens=20, messages=ASK)
        with pytest.raises(anthropic.RateLimitError) as caught:
            client.messages.create(model="claude-test-1", max_tokens=20, messages=ASK)
    assert caught.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert caught.value.body["error"]["type"] == "rate_limit_error"  # type: ignore[index]
    assert len(live.model.requests) == 2


def test_a_short_wait_is_retried_by_the_sdk_and_then_answered(live: Live) -> None:
    with openai_client(live, "slow", retries=3) as client:
        for _ in range(2):
            assert client.chat.completions.create(model="gpt-4o", messages=ASK).choices


def test_replies_tell_what_is_left(live: Live) -> None:
    with openai_client(live, "tiny") as client:
        raw = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=ASK)
    assert raw.headers["x-ratelimit-limit-requests"] == "2"
    assert raw.headers["x-ratelimit-remaining-requests"] == "1"
    assert raw.headers["ratelimit"].startswith('"tiny/tiny-day";r=1;t=')


def test_a_denied_country_is_a_permission_error_that_names_no_rule(live: Live) -> None:
    with openai_client(live, "north") as client, pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=ASK)
    assert "KP" not in str(caught.value)
    assert "countr" not in str(caught.value).lower()
    with anthropic_client(live, "north") as client, pytest.raises(anthropic.PermissionDeniedError):
        client.messages.create(model="claude-test-1", max_tokens=20, messages=ASK)
    assert not live.model.requests


def test_a_model_for_verified_customers_only(live: Live) -> None:
    with openai_client(live, "good") as client, pytest.raises(openai.PermissionDeniedError):
        client.chat.completions.create(model="secret-1", messages=ASK)
    with openai_client(live, "known") as client:
        assert client.chat.completions.create(model="secret-1", messages=ASK).choices


def test_an_unknown_key_is_an_authentication_error_in_both_dialects(live: Live) -> None:
    with openai_client(live, "nobody", retries=2) as client, pytest.raises(openai.AuthenticationError):
        client.models.list()
    with anthropic_client(live, "nobody") as client, pytest.raises(anthropic.AuthenticationError):
        client.messages.create(model="claude-test-1", max_tokens=20, messages=ASK)
    assert not live.model.requests


def test_callers_keys_never_reach_the_upstream_where_they_are_the_gateways_own(live: Live) -> None:
    with openai_client(live, "good") as client:
        client.chat.completions.create(model="gpt-4o", messages=ASK)
    with anthropic_client(live, "good") as client:
        client.messages.create(model="claude-test-1", max_tokens=20, messages=ASK)
    first, second = live.model.requests
    assert first.header("authorization") == "Bearer sk-upstream"
    assert second.header("x-api-key") == "sk-upstream"
    for received in live.model.requests:
        assert b"sk-good" not in b"".join(value for _, value in received.headers)


async def test_the_kill_switch_stops_a_model_when_the_file_is_read_again(live: Live) -> None:
    with openai_client(live, "good") as client:
        assert client.chat.completions.create(model="gpt-4o", messages=ASK).choices
        live.policies.write_text(STRICT.replace('kill: ["dead-*"]', 'kill: ["gpt-*"]'))
        live.rooms.policies.check_now()
        with pytest.raises(openai.PermissionDeniedError):
            client.chat.completions.create(model="gpt-4o", messages=ASK)
        assert client.chat.completions.create(model="llama-3", messages=ASK).choices
        live.policies.write_text(STRICT.replace('kill: ["dead-*"]', 'kil: ["*"]'))
        live.rooms.policies.check_now()
        assert "kil" in (live.rooms.policies.error or "")
        with pytest.raises(openai.PermissionDeniedError):  # the last good set stays in force
            client.chat.completions.create(model="gpt-4o", messages=ASK)


def test_unknown_routes_and_methods_are_refused_in_the_familys_dialect(live: Live) -> None:
    key = {"authorization": "Bearer sk-good-0123456789"}
    with httpx.Client(base_url=live.url, headers=key) as client:
        assert client.get("/v1/files").status_code == 404
        assert client.post("/v1/chat%2Fcompletions", json={}).status_code == 404
        assert client.delete("/v1/chat/completions").status_code == 405
        anthropic_style = client.get("/v1/messages/batches", headers={"anthropic-version": "2023-06-01"})
    assert anthropic_style.status_code == 404
    assert anthropic_style.json()["type"] == "error"
    assert not live.model.requests
