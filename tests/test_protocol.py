"""Our HTTP server on a transport that only remembers: what is written, when, and what a lost caller sets off."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from gateway.asgi import BODY_FOLLOWS, CALLER_KEY
from gateway.protocol import GatewayProtocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.asgi import ASGIApp, Caller, Receive, Scope, Send

GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /v1/x?y=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabcdef"
LENGTH_2 = [(b"content-length", b"2")]


class Wire(asyncio.Transport):
    """The client's side."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False
        self.reads = True

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else default

    @property
    def text(self) -> bytes:
        return b"".join(self.writes)


def connect(app: ASGIApp, state: ServerState | None = None, **more: Any) -> tuple[GatewayProtocol, Wire]:
    options: dict[str, Any] = {"lifespan": "off", "ws": "none", "server_header": False, "date_header": False, **more}
    config = uvicorn.Config(app, log_config=None, **options)
    state = state or ServerState()
    protocol, wire = GatewayProtocol(config, state, {}, asyncio.get_running_loop()), Wire()
    protocol.connection_made(wire)
    return protocol, wire


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def answering(*messages: dict[str, Any]) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        for message in messages:
            await send(message)

    return app


def start(headers: list[tuple[bytes, bytes]], status: int = 200, **more: Any) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers, **more}


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


async def sent(request: bytes, *messages: dict[str, Any]) -> Wire:
    protocol, wire = connect(answering(*messages))
    protocol.data_received(request)
    await turns()
    protocol.connection_lost(ConnectionResetError())
    return wire


async def test_a_reply_whose_body_follows_is_one_write() -> None:
    wire = await sent(GET, start(LENGTH_2, **{BODY_FOLLOWS: True}), body(b"ok"))
    assert wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"]


async def test_a_head_without_its_body_goes_out_at_once() -> None:
    wire = await sent(GET, start(LENGTH_2), body(b"o", more=True), body(b"k"))
    assert wire.writes == [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", b"o", b"k"]


async def test_a_body_of_unknown_length_comes_in_chunks_and_to_http_1_0_until_the_close() -> None:
    messages = start([]), body(b"ab", more=True), body(b"", more=True), body(b"c")
    wire = await sent(GET, *messages)
    assert wire.text == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    wire = await sent(GET.replace(b"1.1", b"1.0"), *messages)
    assert wire.text == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc"
    assert wire.closed


@pytest.mark.parametrize(("method", "status"), [(b"HEAD", 200), (b"GET", 304), (b"GET", 204)])
async def test_a_reply_that_has_no_body_gets_none(method: bytes, status: int) -> None:
    wire = await sent(GET.replace(b"GET", method), start(LENGTH_2, status), body(b"ok"))
    assert wire.text.endswith(b"content-length: 2\r\n\r\n")
    assert not wire.closed


@pytest.mark.parametrize("data", [b"o", b"okk"])
async def test_a_body_of_another_length_than_declared_ends_the_connection(data: bytes) -> None:
    wire = await sent(GET, start(LENGTH_2), body(data))
    assert wire.closed
    assert not wire.text.endswith(data)


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb", b"a\0b"])
@pytest.mark.parametrize("framing", [[], LENGTH_2])
async def test_a_field_that_would_end_its_line_early_is_not_sent(
    value: bytes, framing: list[tuple[bytes, bytes]]
) -> None:
    wire = await sent(GET, start([(b"x-a", value), *framing]), body(b"ok"))
    assert wire.text.startswith(b"HTTP/1.1 500 ")
    assert wire.text.endswith(b"\r\n\r\nInternal Server Error")
    assert b"x-a" not in wire.text


async def test_messages_out_of_order_are_an_error_and_end_the_connection() -> None:
    wire = await sent(GET, body(b"ok"))
    assert wire.text.startswith(b"HTTP/1.1 500 ")
    wire = await sent(GET, start([]), body(b"a", more=True), start([]))
    assert wire.closed


@pytest.mark.parametrize("step", [1, 3, 1000])
async def test_a_request_in_any_split_is_the_same_request(step: int) -> None:
    scopes: list[Scope] = []
    bodies: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(dict(scope))
        more = True
        while more:
            message = await receive()
            bodies.append(message["body"])
            more = message["more_body"]
        await send(start(LENGTH_2, **{BODY_FOLLOWS: True}))
        await send(body(b"ok"))

    protocol, wire = connect(app)
    for _ in range(2):
        for at in range(0, len(POST), step):
            protocol.data_received(POST[at : at + step])
            await turns()
    protocol.connection_lost(None)
    assert b"".join(bodies) == b"abcdef" * 2
    assert [(one["path"], one["query_string"], one["method"]) for one in scopes] == [("/v1/x", b"y=1", "POST")] * 2
    assert wire.text.count(b"\r\n\r\nok") == 2


async def test_a_request_that_was_sent_ahead_is_answered_after_the_first() -> None:
    going_on = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/first":
            await going_on.wait()
        await send(start(LENGTH_2))
        await send(body(scope["path"][1:3].encode()))

    protocol, wire = connect(app)
    protocol.data_received(b"".join(GET.replace(b"/v1/models", path) for path in (b"/first", b"/second", b"/third")))
    await turns()
    assert not wire.writes
    going_on.set()
    await turns(20)
    protocol.connection_lost(None)
    assert [one for one in wire.writes if len(one) == 2] == [b"fi", b"se", b"th"]


async def test_a_body_that_is_there_is_taken_once_and_not_when_it_is_too_large_or_still_coming() -> None:
    seen: list[bytes | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller = scope[CALLER_KEY]
        seen.extend([caller.whole_body(5), caller.whole_body(6)])
        await send(start(LENGTH_2))
        await send(body(b"ok"))

    protocol, _ = connect(app)
    protocol.data_received(POST)
    await turns()
    protocol.data_received(POST[:-1])
    await turns()
    protocol.connection_lost(None)
    assert seen == [None, b"abcdef", None, None]


class Held:
    """An app that watches its caller and waits."""

    def __init__(self, *, stopped: bool = False) -> None:
        self.stopped = stopped
        self.going_on = asyncio.Event()
        self.ended = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller = scope[CALLER_KEY]
        await asyncio.sleep(0)
        if not caller.start():
            self.ended = "lost before"
            return
        if self.stopped:
            caller.stop()
        try:
            await self.going_on.wait()
            self.ended = "whole"
        except asyncio.CancelledError:
            self.ended = "lost" if caller.cancelled() else "cancelled"


@pytest.mark.parametrize(("stopped", "ended"), [(False, "lost"), (True, "whole")])
async def test_a_lost_caller_ends_the_call_while_it_is_watched(stopped: bool, ended: str) -> None:
    app = Held(stopped=stopped)
    protocol, _ = connect(app)
    protocol.data_received(GET)
    await turns()
    protocol.connection_lost(None)
    await turns()
    app.going_on.set()
    await turns()
    assert app.ended == ended
    assert not protocol.tasks


async def test_a_caller_that_was_lost_before_it_was_watched_is_told_of() -> None:
    app = Held()
    protocol, _ = connect(app)
    protocol.data_received(GET)
    protocol.connection_lost(None)
    await turns()
    assert app.ended == "lost before"


async def test_a_cancellation_from_elsewhere_is_not_the_callers() -> None:
    app = Held()
    protocol, _ = connect(app)
    protocol.data_received(GET)
    await turns()
    (task,) = protocol.tasks
    task.cancel()
    await turns()
    assert app.ended == "cancelled"


async def test_pieces_are_pushed_only_into_a_chunked_reply_under_way() -> None:
    free: list[bool] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller = scope[CALLER_KEY]
        free.append(caller.is_free())
        await send(start([]))
        free.append(caller.is_free())
        caller.write(b"ab")
        protocol.pause_writing()
        free.append(caller.is_free())
        protocol.resume_writing()
        await send(body(b""))
        free.append(caller.is_free())

    protocol, wire = connect(app)
    protocol.data_received(GET)
    await turns()
    protocol.connection_lost(None)
    assert free == [False, True, False, False]
    assert wire.text.endswith(b"\r\n\r\n2\r\nab\r\n0\r\n\r\n")


@pytest.mark.parametrize(("idle_s", "closed"), [(4.0, False), (6.0, True)])
async def test_an_idle_connection_is_closed_after_its_time_and_not_before(idle_s: float, closed: bool) -> None:
    protocol, wire = connect(answering(start(LENGTH_2), body(b"ok")))
    protocol.timeout_keep_alive = 5
    protocol.data_received(GET)
    await turns()
    protocol._idle_since_s -= idle_s
    protocol.timeout_keep_alive_handler()
    assert wire.closed is closed
    protocol.connection_lost(None)


async def test_a_busy_connection_is_not_idle() -> None:
    app = Held()
    protocol, wire = connect(app)
    protocol.data_received(GET)
    await turns()
    protocol.timeout_keep_alive_handler()
    assert not wire.closed
    protocol.connection_lost(None)
    await turns()


async def test_one_connection_too_many_is_told_and_closed_and_the_others_are_served() -> None:
    state, app = ServerState(), answering(start(LENGTH_2), body(b"ok"))
    connections = [connect(app, state, limit_concurrency=2) for _ in range(3)]
    refused = connections[2][1]
    assert refused.closed
    assert refused.text.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"overloaded_error" in refused.text
    for protocol, wire in connections[:2]:
        protocol.data_received(GET)
        await turns()
        assert wire.text.endswith(b"ok")
    for protocol, _ in connections:
        protocol.connection_lost(None)
    protocol, wire = connect(app, state, limit_concurrency=2)
    assert not wire.closed
    protocol.connection_lost(None)
