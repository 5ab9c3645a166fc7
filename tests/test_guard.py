"""``gateway.Guard`` around apps that are not ours: Starlette, FastAPI, a model server's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

import gateway
from gateway.demo.live import serve_in_thread
from gateway.demo.model import ModelServer
from gateway.errors import ConfigError

POLICY = """\
version: 1
plans:
  free:
    budgets:
      - limit: 2/day
pass_through:
  - {path: /health, authenticate: false}
  - {path: /v1/files*, methods: [GET, POST]}
"""
ASK: Any = [{"role": "user", "content": "Why does bread rise?"}]
KEY = {"authorization": "Bearer sk-mine"}
BODY = {"model": "own-model", "messages": ASK}


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    monkeypatch.setenv("DISTILLGUARD_POLICIES", str(tmp_path / "policy.yaml"))
    monkeypatch.setenv("DISTILLGUARD_STATE_DIR", str(tmp_path / "state"))


def reply(text: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "own-model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }


async def chat(request: Request) -> JSONResponse | StreamingResponse:
    body = await request.json()
    if body.get("stream"):

        async def events() -> AsyncIterator[bytes]:
            yield b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
            yield b"data: [DONE]\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")
    return JSONResponse(reply("Because of yeast."))


def starlette_app(log: list[str]) -> Starlette:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[dict[str, str]]:
        log.append("started")
        yield {"weights": "loaded"}
        log.append("stopped")

    async def health(request: Request) -> JSONResponse:
        return JSONResponse({"weights": request.state.weights})

    async def files(request: Request) -> JSONResponse:
        return JSONResponse({"bytes": len(await request.body())})

    async def sockets(websocket: WebSocket) -> None:
        await websocket.accept()

    async def crash(_request: Request) -> JSONResponse:
        raise RuntimeError("the model server has a bug")

    routes = [
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/v1/embeddings", crash, methods=["POST"]),
        Route("/health", health),
        Route("/v1/files/{name}", files, methods=["GET", "POST"]),
        Route("/admin/shutdown", health),
        WebSocketRoute("/v1/realtime", sockets),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.add_middleware(gateway.Guard)
    return app


def test_starlette_is_guarded_and_its_lifespan_and_state_pass_through() -> None:
    log: list[str] = []
    with TestClient(starlette_app(log)) as client:
        assert log == ["started"]
        assert client.get("/health").json() == {"weights": "loaded"}
        assert client.post("/v1/chat/completions", json=BODY).status_code == 401
        answers = [client.post("/v1/chat/completions", json=BODY, headers=KEY) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[0].json() == reply("Because of yeast.")
        assert answers[2].json()["error"]["type"]
    assert log == ["started", "stopped"]


def test_websockets_and_routes_that_no_policy_lists_are_refused() -> None:
    with TestClient(starlette_app([])) as client:
        assert client.get("/admin/shutdown", headers=KEY).status_code == 404
        with pytest.raises((WebSocketDisconnect, WebSocketDenialResponse)), client.websocket_connect("/v1/realtime"):
            pass


def test_passed_through_routes_need_a_key_and_spend_requests() -> None:
    with TestClient(starlette_app([])) as client:
        assert client.post("/v1/files/a", content=b"x" * 10).status_code == 401
        sizes = [client.post("/v1/files/a", content=b"x" * 10, headers=KEY) for _ in range(3)]
        assert [answer.status_code for answer in sizes] == [200, 200, 429]
        assert sizes[0].json() == {"bytes": 10}


def test_a_bug_of_the_app_is_a_500_in_the_callers_dialect_and_costs_nothing() -> None:
    with TestClient(starlette_app([])) as client:
        for _ in range(3):
            answer = client.post("/v1/embeddings", json={"model": "m", "input": "x"}, headers=KEY)
            assert answer.status_code == 500
            assert answer.json()["error"]["message"] == "The gateway failed to process the request."


def test_fastapi_streams_to_a_real_sdk() -> None:
    app = FastAPI()
    app.add_api_route("/v1/chat/completions", chat, methods=["POST"], response_model=None)
    app.add_middleware(gateway.Guard)
    with serve_in_thread(app, lifespan="on") as url, openai.OpenAI(base_url=f"{url}/v1", api_key="k") as client:
        stream = client.chat.completions.create(model="own-model", messages=ASK, stream=True)
        assert [event.choices[0].delta.content for event in stream] == ["Hi"]
        assert client.chat.completions.create(model="own-model", messages=ASK).choices[0].message.content
        with pytest.raises(openai.RateLimitError):
            client.with_options(max_retries=0).chat.completions.create(model="own-model", messages=ASK)


async def test_a_server_that_sends_no_lifespan_gets_a_guard_all_the_same() -> None:
    """As httpx.ASGITransport and some launchers: the rooms open with the first requests, once."""
    guard = gateway.Guard(ModelServer())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=guard), base_url="http://test") as client:
        answers = await asyncio.gather(*(client.post("/v1/chat/completions", json=BODY, headers=KEY) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429]
    await guard.rooms.stop()


async def test_a_mistake_in_the_policies_is_said_at_start_up(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\nplan: {}\n")
    sent: list[Any] = []
    messages = iter([{"type": "lifespan.startup"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    await gateway.Guard(ModelServer())({"type": "lifespan"}, receive, send)
    assert sent[0]["type"] == "lifespan.startup.failed"
    assert "policy.yaml:2:1" in sent[0]["message"]
    assert "plans" in sent[0]["message"]


def test_settings_that_cannot_work_are_refused_when_the_guard_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILLGUARD_WORKERS", "three")
    with pytest.raises(ConfigError, match="DISTILLGUARD_WORKERS: got 'three', expected a whole number"):
        gateway.Guard(ModelServer())
