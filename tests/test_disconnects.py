"""A caller that goes away, in every phase: the upstream is cancelled, and what was used is settled."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.types import Outcome
from tests.live import Live, live_gateway

WITHIN_S = 1.0
ONE_AT_A_TIME = """\
version: 1
plans:
  free:
    budgets:
      - limit: 1 concurrent
      - limit: 1000/day
"""


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with live_gateway(tmp_path, policies=ONE_AT_A_TIME) as found:
        yield found


@contextmanager
def raw_connection(live: Live) -> Iterator[socket.socket]:
    host, port = live.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        yield connection


def request_bytes(model: str, *, stream: bool, key: str = "sk-mine") -> bytes:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "Hello?"}], "stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
    return head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body


def received(live: Live, count: int) -> Any:
    """The ``count``-th request that reached the model server, once it is there."""
    deadline = time.monotonic() + WITHIN_S
    while len(live.model.requests) < count:
        assert time.monotonic() < deadline, "the request did not reach the model server"
    return live.model.requests[count - 1]


def test_before_the_first_byte(live: Live) -> None:
    with raw_connection(live) as connection:
        connection.sendall(request_bytes("fault-hang-first-byte", stream=False))
        upstream = received(live, 1)
    assert upstream.ended.wait(WITHIN_S)
    assert upstream.disconnected


def test_in_mid_stream(live: Live) -> None:
    with raw_connection(live) as connection:
        connection.sendall(request_bytes("fault-hang-mid-stream", stream=True))
        assert b"data: " in _until(connection, b"\n\n")
    upstream = received(live, 1)
    assert upstream.ended.wait(WITHIN_S)
    assert upstream.disconnected


def test_while_the_body_is_sent(live: Live) -> None:
    with raw_connection(live) as connection:
        connection.sendall(request_bytes("gpt-4o", stream=False)[:-10])
    assert answered(live) == 200
    assert len(live.model.requests) == 1


def test_a_slot_is_free_again_after_each(live: Live) -> None:
    for fault in ("hang-first-byte", "hang-mid-stream"):
        before = len(live.model.requests)
        with raw_connection(live) as connection:
            connection.sendall(request_bytes(f"fault-{fault}", stream=True))
            upstream = received(live, before + 1)
        assert upstream.ended.wait(WITHIN_S)
        assert answered(live) == 200


def answered(live: Live) -> int:
    """The status of a plain request, asked again while the slot of the last one is still being freed."""
    deadline = time.monotonic() + WITHIN_S
    status = 429
    while status == 429 and time.monotonic() < deadline:
        with raw_connection(live) as connection:
            connection.sendall(request_bytes("gpt-4o", stream=False))
            status = int(_until(connection, b"\r\n\r\n").split(b" ", 2)[1])
    return status


def test_what_flowed_is_written_down(tmp_path: Path) -> None:
    with live_gateway(tmp_path) as live:
        with raw_connection(live) as connection:
            connection.sendall(request_bytes("fault-hang-mid-stream", stream=True))
            _until(connection, b"\n\n")
        assert received(live, 1).ended.wait(WITHIN_S)
    (event,) = live.events()
    assert event.outcome is Outcome.DISCONNECTED
    assert event.usage is not None
    assert event.usage.input_tokens > 0
    assert event.usage.output_tokens > 0
    assert not event.usage.reported


def test_a_slow_reader_holds_the_upstream_back(tmp_path: Path) -> None:
    """Backpressure: 30 MB of events are not taken from the upstream for a reader that does not read."""
    model = _Endless()
    with live_gateway(tmp_path, model=model) as live:  # type: ignore[arg-type]
        with raw_connection(live) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(request_bytes("gpt-4o", stream=True))
            _until(connection, b"\n\n")
            before = -1
            while model.sent != before:  # until nothing more moves
                before = model.sent
                time.sleep(0.2)
            assert 0 < model.sent < _Endless.EVENTS
        assert model.gone.wait(WITHIN_S)


class _Endless:
    """Streams far more than any buffer between it and the caller."""

    EVENTS = 3_000

    def __init__(self) -> None:
        import threading

        self.sent = 0
        self.gone = threading.Event()
        self.requests: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        import asyncio

        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        while (await receive()).get("more_body"):
            continue
        event = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"x" * 10_000 + b'"}}]}\n\n'
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        leaving = asyncio.ensure_future(receive())
        for _ in range(self.EVENTS):
            sending = asyncio.ensure_future(send({"type": "http.response.body", "body": event, "more_body": True}))
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                sending.cancel()
                self.gone.set()
                return
            self.sent += 1


def _until(connection: socket.socket, mark: bytes) -> bytes:
    seen = b""
    while mark not in seen.partition(b"\r\n\r\n")[2] and (mark != b"\r\n\r\n" or mark not in seen):
        chunk = connection.recv(65_536)
        assert chunk, f"connection closed after {seen[:200]!r}"
        seen += chunk
    return seen
