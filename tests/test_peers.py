"""Faults that users of other gateways reported, tried on a whole gateway over real sockets.

The numbers are issues of BerriAI/litellm unless another project is named. Those of budgets, stores and replicas are
in docs/budgets.md with their tests; here is what only shows from socket to socket.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from gateway.types import Outcome
from tests.live import live_gateway

if TYPE_CHECKING:
    from tests.live import Live

KEY = {"authorization": "Bearer sk-mine"}
ASK: Any = [{"role": "user", "content": "Why does bread rise?"}]
CAP = 60
LIMIT = 5 * CAP
TOKENS = f"""\
version: 1
plans:
  free:
    budgets:
      - limit: {LIMIT} output_tokens/day
"""
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": ASK, "max_completion_tokens": CAP},
    "/v1/completions": {"prompt": "Why does bread rise?", "max_tokens": CAP},
    "/v1/responses": {"input": "Why does bread rise?", "max_output_tokens": CAP},
    "/v1/messages": {"messages": ASK, "max_tokens": CAP},
}


def until_refused(live: Live, path: str, body: dict[str, Any], *, leave_after: int | None = None) -> int:
    """How many calls were answered before the first 429; ``leave_after``: chunks until the caller goes."""
    with httpx.Client(base_url=live.url, headers=KEY, timeout=10) as client:
        for number in range(100):
            with client.stream("POST", path, json=body) as answer:
                if answer.status_code == 429:
                    return number
                assert answer.status_code == 200
                for chunk, _ in enumerate(answer.iter_raw()):
                    if chunk == leave_after:
                        break
    raise AssertionError("got 100 answers, expected the budget to end them")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ROUTES)
def test_no_route_and_no_stream_evades_a_budget_of_tokens(tmp_path: Path, path: str, stream: bool) -> None:
    """#34728, LLMKube#1852, ferro-labs#281, langwatch#6141: settled at 0 for some route, or for streams."""
    with live_gateway(tmp_path, policies=TOKENS) as live:
        answered = until_refused(live, path, {"model": "gpt-4o", "stream": stream, **ROUTES[path]})
    spent = [event.usage for event in live.events() if event.outcome is Outcome.ANSWERED]
    assert len(spent) == answered
    assert all(usage is not None and usage.reported and usage.output_tokens > 0 for usage in spent)
    total = sum(usage.output_tokens for usage in spent if usage is not None)
    assert LIMIT - CAP < total <= LIMIT, "neither evaded nor held back for nothing (#31952)"


def test_leaving_before_the_usage_is_told_evades_nothing(tmp_path: Path) -> None:
    """#35098: a disconnect refunded everything; #30522: it held everything for ever."""
    body = {"model": "fault-hang-mid-stream", "stream": True, **ROUTES["/v1/chat/completions"]}
    with live_gateway(tmp_path, policies=TOKENS) as live:
        answered = until_refused(live, "/v1/chat/completions", body, leave_after=0)
        for received in live.model.requests:
            assert received.ended.wait(1.0), "#13774: the upstream ran on"
    assert answered > LIMIT // CAP, "what never flowed was given back"
    left = [event for event in live.events() if event.outcome is Outcome.DISCONNECTED]
    assert len(left) == answered
    assert all(event.usage is not None and 0 < event.usage.output_tokens < CAP for event in left)


@pytest.mark.parametrize("caps", [{"max_tokens": 1, "max_completion_tokens": LIMIT + 1}, {"max_tokens": CAP, "n": 6}])
def test_a_small_cap_beside_a_large_one_reserves_the_large_one(tmp_path: Path, caps: dict[str, int]) -> None:
    """#37001."""
    with live_gateway(tmp_path, policies=TOKENS) as live:
        answer = httpx.post(
            f"{live.url}/v1/chat/completions", json={"model": "m", "messages": ASK, **caps}, headers=KEY
        )
        assert answer.status_code == 429
        assert not live.model.requests


def test_a_new_end_user_each_time_is_the_same_customer(tmp_path: Path) -> None:
    """#32779: any caller may name a customer; a coding agent that names a new one each session had a new budget."""
    policy = "version: 1\nplans:\n  free:\n    budgets:\n      - limit: 3/day\n"
    statuses = []
    with live_gateway(tmp_path, policies=policy) as live:
        for number in range(4):
            name = f"session-{number}"
            body = {
                "model": "m",
                "messages": ASK,
                "user": name,
                "safety_identifier": name,
                "metadata": {"user_id": name},
            }
            headers = KEY | {"x-litellm-customer-id": name, "openai-organization": name, "x-end-user-id": name}
            statuses.append(httpx.post(f"{live.url}/v1/chat/completions", json=body, headers=headers).status_code)
    assert statuses == [200, 200, 200, 429]


QUOTES = ("' OR '1'='1", "x' UNION SELECT * FROM keys --", "dg_1_a_b'; DROP TABLE keys; --", '"; DELETE FROM keys; --')


def test_a_key_that_is_sql_is_a_wrong_key(tmp_path: Path) -> None:
    """CVE-2026-42208."""
    accounts = [{"account": "a", "api_key": "sk-a-0123456789"}]
    with live_gateway(tmp_path, accounts=accounts, upstream_api_key="sk-up") as live:
        before = _rows(tmp_path)
        for secret in QUOTES:
            for field in ({"authorization": f"Bearer {secret}"}, {"x-api-key": secret}, {"api-key": secret}):
                answer = httpx.post(
                    f"{live.url}/v1/chat/completions", json={"model": "m", "messages": ASK}, headers=field
                )
                assert answer.status_code == 401
        assert not live.model.requests
        assert _rows(tmp_path) == before


def _rows(folder: Path) -> list[str]:
    with sqlite3.connect(folder / "state" / "keys.db") as keys:
        return list(keys.iterdump())


def test_a_passed_through_route_spends_like_any_other(tmp_path: Path) -> None:
    """maximhq/bifrost#2873: they skipped every budget."""
    policy = (
        "version: 1\nplans:\n  free:\n    budgets:\n      - limit: 2/day\n"
        "pass_through:\n  - {path: /v1/models/*, methods: [POST]}\n"
    )
    with live_gateway(tmp_path, policies=policy) as live:
        passed = [httpx.post(f"{live.url}/v1/models/a", json={}, headers=KEY).status_code for _ in range(2)]
        assert 429 not in passed
        body = json.dumps({"model": "m", "messages": ASK})
        for path in ("/v1/models/a", "/v1/chat/completions"):
            assert httpx.post(f"{live.url}{path}", content=body, headers=KEY).status_code == 429
