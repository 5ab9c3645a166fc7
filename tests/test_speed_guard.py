"""A doubling of the request path's cost fails here; noise does not.

Nothing is timed. What is counted is what the interpreter does: calls of functions (Python's and C's) by this
project's code for one request and for one streamed event, from the bytes of a connection to the bytes of a
connection, which is the same on every machine and every run. Bounds stand at some 1.2 of what was counted when they
were written; raise one only for a reason that is worth its price.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import FrameType
from typing import Any, Self, TypeAlias

import orjson
import pytest
import uvicorn
from uvicorn.server import ServerState

from gateway.analysis.phrases import PhraseHasher
from gateway.app import build_app
from gateway.protocol import GatewayProtocol
from gateway.rooms import Rooms
from gateway.settings import Settings
from gateway.upstream import UpstreamTimeouts
from gateway.upstream.connection import Connection
from gateway.upstream.transport import Key, PooledTransport

Ask: TypeAlias = Callable[..., Any]
OURS = f"{os.sep}gateway{os.sep}"

CALLS_PER_REQUEST = 680
CALLS_PER_EVENT = 24
CALLS_PER_TEXT = 35
EVENTS = 200
PROMPT = " ".join(f"word{index % 97}" for index in range(350))
REPLY = orjson.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 400, "completion_tokens": 2, "total_tokens": 402},
    }
)


def event(number: int) -> bytes:
    delta = {"index": 0, "delta": {"content": f" word{number}"}, "finish_reason": None}
    row = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [delta]}
    return b"data: " + orjson.dumps(row) + b"\n\n"


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Model(asyncio.Transport):
    """The model server at the other end of a connection: it answers at once, event by event where it is asked to."""

    def __init__(self, connection: Connection) -> None:
        own, self._other = socket.socketpair()
        super().__init__({"socket": own})
        self._connection = connection
        self._telling: asyncio.Task[None] | None = None

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        answer = self._stream() if b'"stream":true' in bytes(data) else self._plain()
        self._telling = asyncio.get_running_loop().create_task(answer)

    async def _plain(self) -> None:
        self._connection.data_received(
            b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(REPLY), REPLY)
        )

    async def _stream(self) -> None:
        self._connection.data_received(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for number in range(EVENTS):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self._connection.data_received(chunked(event(number)))
        self._connection.data_received(chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n")

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        self.get_extra_info("socket").close()
        self._other.close()
        self._connection.connection_lost(None)


class ToModel(PooledTransport):
    """The real pool and its connections, without a network."""

    async def _open_connection(self, key: Key, where: str) -> Connection:
        connection = Connection(where, self._free.setdefault(key, deque()), self._on_free, self._on_lost)
        connection.connection_made(Model(connection))
        self._open.add(connection)
        return connection


class Caller(asyncio.Transport):
    """The caller at the other end of a connection to our server."""

    def __init__(self, whole: bytes) -> None:
        super().__init__()
        self._whole = whole
        self.text = b""
        self.whole = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.text += data
        if self.text.endswith(self._whole):
            self.whole.set()

    def is_closing(self) -> bool:
        return False


class Calls:
    """Counts the calls that this project's code makes, and those of it, while it is entered."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        sys.setprofile(self._saw)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _saw(self, frame: FrameType, what: str, arg: object) -> None:
        self.count += what in ("call", "c_call") and OURS in frame.f_code.co_filename


@pytest.fixture
async def ask(tmp_path: Path) -> AsyncIterator[Ask]:
    """One chat completion through the whole of ``serve`` but the sockets, with the shipped policies; the reply's bytes."""
    settings = Settings(upstream="http://127.0.0.1:1", state_dir=tmp_path, log_level="error")
    rooms = Rooms(settings)
    transport = ToModel(UpstreamTimeouts(), None, 10)
    app = build_app(settings, rooms=rooms, transport_for=lambda _: transport)
    config = uvicorn.Config(app, lifespan="off", ws="none", server_header=False, date_header=False, log_config=None)
    await rooms.start()

    async def send_one(*, stream: bool) -> bytes:
        body = orjson.dumps(
            {"model": "gpt-4o-mini", "stream": stream, "messages": [{"role": "user", "content": PROMPT}]}
        )
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer sk-mine\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        server = GatewayProtocol(config, ServerState(), {}, asyncio.get_running_loop())
        caller = Caller(b"\r\n0\r\n\r\n" if stream else REPLY)
        server.connection_made(caller)
        server.data_received(head + body)
        await caller.whole.wait()
        await asyncio.gather(*server.tasks)
        server.connection_lost(ConnectionResetError())
        rooms.over.flush()
        assert caller.text.startswith(b"HTTP/1.1 200 ")
        return caller.text

    yield send_one
    await rooms.stop()
    await transport.aclose()


async def test_a_plain_request_costs_no_more_calls(ask: Ask) -> None:
    for _ in range(3):  # what is computed once and kept
        await ask(stream=False)
    with Calls() as calls:
        for _ in range(10):
            await ask(stream=False)
    assert 100 < calls.count / 10 < CALLS_PER_REQUEST


async def test_a_streamed_event_costs_no_more_calls(ask: Ask) -> None:
    await ask(stream=True)
    with Calls() as plain:
        await ask(stream=False)
    with Calls() as calls:
        came = await ask(stream=True)
    assert came.count(b"data: ") > EVENTS
    assert 5 < (calls.count - plain.count) / EVENTS < CALLS_PER_EVENT


async def test_a_request_leaves_nothing_to_the_garbage_collector(ask: Ask) -> None:
    """What refers to itself is freed only by a look at everything that lives, during which nobody is answered."""
    for stream in (False, True):
        await ask(stream=stream)
    gc.collect()
    gc.disable()
    try:
        for stream in (False, True):
            await ask(stream=stream)
        await asyncio.sleep(0)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert [one for one in gc.garbage if type(one).__module__.startswith("gateway.")] == []
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_a_text_is_looked_at_by_its_ends_whatever_its_length() -> None:
    costs = []
    for repeats in (1, 500):
        hasher, text = PhraseHasher(b"key"), PROMPT * repeats
        hasher.of(text)
        with Calls() as calls:
            hasher.of(text.upper())
        costs.append(calls.count)
    assert max(costs) < CALLS_PER_TEXT
    assert abs(costs[0] - costs[1]) < 20
