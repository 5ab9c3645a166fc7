"""Wrapped apps that do what apps may do, and some that they may not: the guard's word stays good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

import gateway
from gateway.app import build_app
from gateway.demo.live import serve_in_thread
from gateway.demo.model import ModelServer
from gateway.dialects import metered_encodings
from gateway.errors import StoreError
from gateway.events import list_segments, read_events
from gateway.rooms import Rooms
from gateway.settings import Settings
from gateway.types import Event, Outcome

POLICY = """\
version: 1
plans:
  free:
    budgets:
      - limit: 1 concurrent
      - limit: 1000/day
pass_through:
  - {path: /health, authenticate: false}
  - {path: /files/*, methods: [GET, POST]}
"""
KEY = {"authorization": "Bearer sk-mine"}
BODY: Any = {"model": "own", "messages": [{"role": "user", "content": "Hi"}]}
STREAM = {**BODY, "stream": True}
CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
SSE = [(b"content-type", b"text/event-stream")]


class Guarded:
    def __init__(self, folder: Path, app: Any, **settings: Any) -> None:
        (folder / "policy.yaml").write_text(POLICY)
        self.settings = Settings.load({}, policies=folder / "policy.yaml", state_dir=folder / "state", **settings)
        self.rooms = Rooms(self.settings)
        self.guard = gateway.Guard(app, rooms=self.rooms)

    @contextmanager
    def served(self, **config: Any) -> Iterator[str]:
        with serve_in_thread(self.guard, lifespan="on", **config) as url:
            yield url

    def events(self) -> list[Event]:
        return [event for path in list_segments(self.settings.state_dir / "events") for event in read_events(path)]


def chat_app(endpoint: Any, *, path: str = "/v1/chat/completions") -> Starlette:
    return Starlette(routes=[Route(path, endpoint, methods=["GET", "POST"])])


async def lifespan(receive: Any, send: Any) -> None:
    for _ in range(2):
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})


def post(url: str, body: Any = BODY) -> httpx.Response:
    return httpx.post(f"{url}/v1/chat/completions", json=body, headers=KEY)


def test_a_background_task_that_fails_after_the_reply_spoils_nothing(tmp_path: Path) -> None:
    ran: list[int] = []

    async def endpoint(request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            yield CHUNK
            yield b"data: [DONE]\n\n"

        def later() -> None:
            ran.append(1)
            raise RuntimeError("the audit log of the app is full")

        if (await request.json()).get("stream"):
            return StreamingResponse(parts(), media_type="text/event-stream", background=BackgroundTask(later))
        return JSONResponse({"choices": []}, background=BackgroundTask(later))

    guarded = Guarded(tmp_path, chat_app(endpoint))
    with guarded.served() as url:
        assert post(url).json() == {"choices": []}
        assert post(url, STREAM).content == CHUNK + b"data: [DONE]\n\n"
    assert ran == [1, 1]
    assert [event.outcome for event in guarded.events()] == [Outcome.ANSWERED, Outcome.ANSWERED]


async def _silent(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)


async def _half(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": SSE})
    await send({"type": "http.response.body", "body": CHUNK, "more_body": True})


def test_an_app_that_returns_without_a_reply_is_a_502_in_the_callers_dialect_and_free(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, _silent)
    with guarded.served() as url:
        answer = post(url)
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_error"
    (event,) = guarded.events()
    assert event.outcome is Outcome.UPSTREAM_FAILED
    assert event.cost_microusd == 0


def test_an_app_that_returns_in_mid_stream_is_broken_off_loudly(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, _half)
    with guarded.served() as url:
        answer = post(url, STREAM)
    assert answer.content.startswith(CHUNK)
    assert b'"code":"upstream_error"' in answer.content
    assert guarded.events()[0].outcome is Outcome.UPSTREAM_FAILED


@pytest.mark.parametrize("begun", [False, True])
def test_a_caller_who_leaves_an_app_that_notices_by_itself_is_a_disconnect(tmp_path: Path, begun: bool) -> None:
    """Starlette ends its own stream when the caller goes; what was worked on is spent all the same."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        if begun:
            await _half(scope, receive, send)
        waiting.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    import threading

    waiting = threading.Event()
    guarded = Guarded(tmp_path, app)
    with guarded.served() as url:
        host, port = url.removeprefix("http://").split(":")
        import socket

        body = b'{"model":"own","stream":true,"messages":[{"role":"user","content":"Hi there"}]}'
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\ncontent-length: %d\r\n\r\n"
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head % len(body) + body)
            assert waiting.wait(5)
    (event,) = guarded.events()
    assert event.outcome is Outcome.DISCONNECTED
    assert event.usage is not None or not begun


def test_a_passed_through_body_over_the_limit_is_413_whatever_the_app_makes_of_it(tmp_path: Path) -> None:
    """Starlette answers 500 by itself for an error in ``receive``; that is not what the caller must hear."""

    async def endpoint(request: Request) -> Response:
        return JSONResponse({"bytes": len(await request.body())})

    guarded = Guarded(tmp_path, chat_app(endpoint, path="/files/{name}"), max_body_bytes=1000)
    with guarded.served() as url:
        for size, status in ((1000, 200), (1001, 413), (500_000, 413)):
            answer = httpx.post(f"{url}/files/a", content=b"x" * size, headers=KEY)
            assert answer.status_code == status
    assert [event.outcome for event in guarded.events()] == [Outcome.ANSWERED, Outcome.REFUSED, Outcome.REFUSED]


def test_a_file_is_sent_as_the_app_says(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(range(256)) * 1000)
    app = chat_app(lambda _request: FileResponse(tmp_path / "weights.bin"), path="/files/{name}")
    with Guarded(tmp_path, app).served() as url:
        assert httpx.get(f"{url}/files/a", headers=KEY).content == (tmp_path / "weights.bin").read_bytes()
        part = httpx.get(f"{url}/files/a", headers={**KEY, "range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))


def test_two_cookies_stay_two(tmp_path: Path) -> None:
    def endpoint(_request: Request) -> Response:
        reply = JSONResponse({"choices": []})
        reply.set_cookie("a", "1")
        reply.set_cookie("b", "2")
        return reply

    with Guarded(tmp_path, chat_app(endpoint)).served() as url:
        assert len(post(url).headers.get_list("set-cookie")) == 2


def test_a_gateway_mounted_below_a_path_forwards_without_it(tmp_path: Path) -> None:
    model = ModelServer()
    with serve_in_thread(model) as upstream:
        settings = Settings.load({}, policies=_policy(tmp_path), upstream=upstream, state_dir=tmp_path / "state")
        rooms = Rooms(settings)
        mounted = Mount("/llm", build_app(settings, rooms=rooms))
        with serve_in_thread(_with_lifespan_of(mounted.app, Starlette(routes=[mounted])), lifespan="on") as url:
            answer = httpx.post(f"{url}/llm/v1/chat/completions", json=BODY, headers=KEY)
            assert httpx.post(f"{url}/llm/v1/nothing", json=BODY, headers=KEY).status_code == 404
    assert answer.status_code == 200
    assert [received.path for received in model.requests] == ["/v1/chat/completions"]


def _with_lifespan_of(inner: Any, outer: Any) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (inner if scope["type"] == "lifespan" else outer)(scope, receive, send)

    return app


async def test_a_server_that_tells_only_the_decoded_path_changes_no_target(tmp_path: Path) -> None:
    """``raw_path`` is optional in ASGI; a decoded path may hold what ends a request line."""
    seen: list[bytes] = []

    async def upstream(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions["target"])
        return httpx.Response(200, json={})

    settings = Settings.load({}, policies=_policy(tmp_path), upstream="http://model", state_dir=tmp_path / "state")
    app = build_app(settings, transport_for=lambda _spec: httpx.MockTransport(upstream))
    for path in ("/files/a b?c=d", "/files/ä\r\nx-evil: 1", "/files/plain.txt"):
        await _call(app, path)
    await app.rooms.stop()
    assert seen == [b"/files/plain.txt"]


async def _call(app: Any, path: str) -> None:
    scope = {"type": "http", "method": "GET", "path": path, "headers": [(b"x-api-key", b"k")], "query_string": b""}
    done = asyncio.Event()

    async def receive() -> Any:
        if done.is_set():
            await asyncio.Event().wait()
        done.set()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: Any) -> None:
        return

    await app(scope, receive, send)


def _policy(folder: Path) -> Path:
    (folder / "policy.yaml").write_text(POLICY)
    return folder / "policy.yaml"


def test_the_gateways_own_key_does_not_reach_a_route_without_authentication(tmp_path: Path) -> None:
    accounts = tmp_path / "accounts.ndjson"
    accounts.write_text('{"account":"a","plan":"free","api_key":"sk-gateway-0123456789"}\n')
    seen: list[str | None] = []

    def endpoint(request: Request) -> Response:
        seen.append(request.headers.get("authorization"))
        return JSONResponse({})

    with Guarded(tmp_path, chat_app(endpoint, path="/health"), accounts=accounts).served() as url:
        assert httpx.get(f"{url}/health", headers={"authorization": "Bearer sk-gateway-0123456789"}).status_code == 200
    assert seen == [None]


async def test_while_the_rooms_cannot_be_opened_callers_hear_so_and_then_they_can(tmp_path: Path) -> None:
    """No lifespan was sent, the store was away for the first request: the second finds it open."""
    guarded = Guarded(tmp_path, ModelServer())
    opening, failures = guarded.rooms._open, [StoreError("redis: connection refused")]

    async def fails_once() -> None:
        if failures:
            raise failures.pop()
        await opening()

    guarded.rooms._open = fails_once  # type: ignore[method-assign]
    transport = httpx.ASGITransport(app=guarded.guard)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=KEY) as client:
        first = await client.post("/v1/chat/completions", json=BODY)
        assert first.status_code == 503
        assert first.json()["error"]["code"] == "service_unavailable"
        assert first.headers["retry-after"]
        assert (await client.post("/v1/chat/completions", json=BODY)).status_code == 200
    await guarded.rooms.stop()


@pytest.mark.parametrize(
    ("accepted", "asked"),
    [
        (b"gzip, deflate", b"gzip, deflate"),
        (b"GZIP;q=0.5,  zstd", b"GZIP;q=0.5, zstd"),
        (b"compress, dcb", b"identity"),
        (b"*", b"identity"),
        (b"gzip;q=1.0, *;q=0", b"gzip;q=1.0"),
        (b"", b"identity"),
    ],
)
def test_the_upstream_is_asked_only_for_what_can_be_metered(accepted: bytes, asked: bytes) -> None:
    assert metered_encodings(accepted) == asked
