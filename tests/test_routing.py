"""Several upstreams, silent streams, passed-through routes: what policies and settings do to a live gateway."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.demo.live import serve_in_thread
from gateway.demo.model import ModelServer
from tests.live import live_gateway

ASK: Any = [{"role": "user", "content": "Why does bread rise?"}]
KEY = {"authorization": "Bearer sk-good-0123456789"}
ACCOUNTS = [{"account": "good", "plan": "free", "api_key": "sk-good-0123456789"}]


def test_models_and_paths_choose_their_upstream_and_its_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLAUDE_KEY", "sk-claude-upstream")
    claude, embedder = ModelServer(), ModelServer()
    with serve_in_thread(claude) as claude_url, serve_in_thread(embedder) as embedder_url:
        policies = f"""\
version: 1
plans:
  free:
    budgets:
      - limit: 1000/day
upstreams:
  default: {{}}
  claude: {{url: "{claude_url}/v1", models: "claude-*", api_key: "${{CLAUDE_KEY}}"}}
  embedder: {{url: "{embedder_url}", path_prefix: /v1/embeddings}}
"""
        with live_gateway(tmp_path, policies=policies, accounts=ACCOUNTS, upstream_api_key="sk-default") as live:
            with httpx.Client(base_url=live.url, headers=KEY) as client:
                chat = client.post("/v1/chat/completions", json={"model": "gpt-4o", "messages": ASK})
                message = client.post("/v1/messages", json={"model": "claude-test-1", "max_tokens": 9, "messages": ASK})
                vector = client.post("/v1/embeddings", json={"model": "text-embedding-3-small", "input": "x"})
            assert [chat.status_code, message.status_code, vector.status_code] == [200, 200, 200]
            (to_default,), (to_claude,), (to_embedder,) = live.model.requests, claude.requests, embedder.requests
    assert to_default.header("authorization") == "Bearer sk-default"
    assert (to_claude.path, to_claude.header("x-api-key")) == ("/v1/messages", "sk-claude-upstream")
    assert to_embedder.header("authorization") == "Bearer sk-default"


def test_a_silent_stream_gets_comments_between_its_events(tmp_path: Path) -> None:
    with live_gateway(tmp_path, ping_interval_s=0.05) as live:
        host, port = live.url.removeprefix("http://").split(":")
        body = b'{"model":"fault-hang-mid-stream","messages":[{"role":"user","content":"hi"}],"stream":true}'
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\ncontent-length: %d\r\n\r\n"
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(head % len(body) + body)
            seen = b""
            while seen.count(b": ping\n\n") < 3:
                seen += connection.recv(65_536)
    events = b"".join(_chunks(seen.partition(b"\r\n\r\n")[2])).split(b"\n\n")
    assert all(event.startswith((b"data: {", b": ping")) for event in events if event)


def _chunks(body: bytes) -> list[bytes]:
    """The chunks of a chunked body that has not ended."""
    found = []
    while b"\r\n" in body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        if len(rest) < length:
            break
        found.append(rest[:length])
        body = rest[length + 2 :]
    return found


def test_a_compressed_or_counted_stream_gets_no_comments(tmp_path: Path) -> None:
    model = ModelServer(compress=True, token_delay_s=0.02)
    with live_gateway(tmp_path, model=model, ping_interval_s=0.005) as live:
        body = {"model": "claude-test-1", "max_tokens": 12, "messages": ASK, "stream": True}
        answer = httpx.post(f"{live.url}/v1/messages", json=body, headers={**KEY, "accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert "message_stop" in answer.text
    assert "\n: ping" not in answer.text


def test_compressed_replies_are_passed_on_and_metered(tmp_path: Path) -> None:
    with live_gateway(tmp_path, model=ModelServer(compress=True)) as live:
        for stream in (False, True):
            body = {"model": "claude-test-1", "max_tokens": 30, "messages": ASK, "stream": stream}
            answer = httpx.post(f"{live.url}/v1/messages", json=body, headers={**KEY, "accept-encoding": "gzip"})
            assert answer.headers["content-encoding"] == "gzip"
    for event in live.events():
        assert event.usage is not None
        assert event.usage.reported
        assert event.usage.output_tokens > 0


@pytest.mark.parametrize("authenticate", [True, False])
def test_passed_through_routes_reach_their_upstream_unread(tmp_path: Path, authenticate: bool) -> None:
    policies = f"""\
version: 1
plans:
  free:
    budgets:
      - limit: 2/day
pass_through:
  - {{path: /v1/files*, methods: [POST], authenticate: {str(authenticate).lower()}}}
"""
    with live_gateway(tmp_path, policies=policies, accounts=ACCOUNTS, max_body_bytes=1000) as live:
        url = f"{live.url}/v1/files/ab?purpose=x"
        statuses = [httpx.post(url, content=iter([b"x" * 400, b"y" * 400]), headers=KEY).status_code for _ in range(3)]
        assert httpx.post(url, content=b"").status_code == (401 if authenticate else 404)
        assert httpx.post(url, content=iter([b"x" * 600] * 2), headers=KEY).status_code in {413, 429}
    assert statuses == ([404, 404, 429] if authenticate else [404, 404, 404])
    received = live.model.requests[0]
    assert (received.path, received.body) == ("/v1/files/ab", b"x" * 400 + b"y" * 400)
