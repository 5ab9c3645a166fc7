"""The contract of ``gateway.upstream.interface`` as an ASGI app sees it: the fake is held to what the real one does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn

from gateway.errors import UpstreamBroken
from gateway.upstream import InProcessTransport, TranslatingTransport, UpstreamTimeouts, open_transport
from tests.upstream.scripted import chunks, read_all, read_until_failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    App = Callable[[Any, Any, Any], Awaitable[None]]

AT_ONCE_S = 0.5


class Upstream:
    """An app behind a transport of each kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    @asynccontextmanager
    async def around(self, app: App) -> AsyncIterator[tuple[httpx.AsyncBaseTransport, str]]:
        if self.kind == "in process":
            transport: httpx.AsyncBaseTransport = InProcessTransport(app)
            yield transport, "http://test"
            await transport.aclose()
            return
        options: dict[str, Any] = {"log_level": "critical", "lifespan": "off", "date_header": False}
        server = uvicorn.Server(uvicorn.Config(app, port=0, server_header=False, **options))
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        serving = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn offers no event
            await asyncio.sleep(0)
        transport = (
            open_transport(UpstreamTimeouts())
            if self.kind == "pooled"
            else TranslatingTransport(httpx.AsyncHTTPTransport())
        )
        yield transport, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        await transport.aclose()
        server.should_exit = True
        await serving


@pytest.fixture(params=["pooled", "httpx", "in process"])
def upstream(request: pytest.FixtureRequest) -> Upstream:
    return Upstream(request.param)


async def start(send: Any, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def body(send: Any, data: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": more})


async def read(receive: Any) -> bytes:
    got, more = b"", True
    while more:
        message = await receive()
        got += message.get("body", b"")
        more = message.get("more_body", False)
    return got


async def test_request_and_reply_arrive_as_they_were_sent(upstream: Upstream) -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope, body=await read(receive))
        await start(send, (b"x-a", b"1"), (b"x-b", b"\xe9"), (b"x-a", b"2"), (b"content-encoding", b"br"), status=202)
        await body(send, b"\x00\xff", more=False)

    async with upstream.around(app) as (transport, url):
        fields = [(b"host", b"h"), (b"x-a", b"1"), (b"x-a", b"2"), (b"x-b", b"\xe9"), (b"content-length", b"3")]
        request = httpx.Request("POST", url, headers=fields, stream=httpx.ByteStream(b"\x00\r\n"))
        request.extensions["target"] = b"/v1/a%2Fb?q=%20&r"
        response = await transport.handle_async_request(request)
        assert await read_all(response) == b"\x00\xff"
    assert response.status_code == 202
    framing = {b"transfer-encoding"}
    assert [field for field in response.headers.raw if field[0] not in framing] == [
        (b"x-a", b"1"),
        (b"x-b", b"\xe9"),
        (b"x-a", b"2"),
        (b"content-encoding", b"br"),
    ]
    assert sorted(seen["headers"]) == sorted(fields)
    assert (seen["method"], seen["raw_path"], seen["path"], seen["query_string"], seen["body"]) == (
        "POST",
        b"/v1/a%2Fb",
        "/v1/a/b",
        b"q=%20&r",
        b"\x00\r\n",
    )


async def test_head_comes_before_the_body_and_chunks_as_they_are_sent(upstream: Upstream) -> None:
    go = asyncio.Semaphore(0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read(receive)
        await start(send)
        for number in range(4):
            await body(send, b"%d" % number)
            await go.acquire()
        await body(send, b"", more=False)

    async with upstream.around(app) as (transport, url):
        response = await transport.handle_async_request(httpx.Request("POST", url, content=b"{}"))
        got = []
        async for chunk in chunks(response):
            got.append(chunk)
            go.release()
    assert got == [b"0", b"1", b"2", b"3"]


async def test_app_that_stops_before_its_reply_is_whole_breaks_it(upstream: Upstream) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await start(send)
        await body(send, b"ab")

    async with upstream.around(app) as (transport, url):
        response = await transport.handle_async_request(httpx.Request("POST", url, content=b"{}"))
        got, _ = await read_until_failure(response, UpstreamBroken)
    assert got == b"ab"


async def test_reader_that_leaves_is_seen_by_the_app_at_once(upstream: Upstream) -> None:
    gone = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read(receive)
        await start(send)
        await body(send, b"ab")
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    async with upstream.around(app) as (transport, url):
        response = await transport.handle_async_request(httpx.Request("POST", url, content=b"{}"))
        await response.aclose()
        await asyncio.wait_for(gone.wait(), AT_ONCE_S)


async def test_caller_that_gives_up_before_the_reply_is_seen_by_the_app_at_once(upstream: Upstream) -> None:
    there, gone = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read(receive)
        there.set()
        assert (await receive())["type"] == "http.disconnect"
        gone.set()

    async with upstream.around(app) as (transport, url):
        call = asyncio.create_task(transport.handle_async_request(httpx.Request("POST", url, content=b"{}")))
        await there.wait()
        call.cancel()
        await asyncio.wait_for(gone.wait(), AT_ONCE_S)
        assert (await asyncio.gather(call, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_app_that_is_faster_than_its_reader_is_held_back(upstream: Upstream) -> None:
    sent, size = 0, 65_536
    count = 1_000

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal sent
        await read(receive)
        await start(send)
        for _ in range(count):
            await body(send, bytes(size))
            sent += 1
        await body(send, b"", more=False)

    async with upstream.around(app) as (transport, url):
        response = await transport.handle_async_request(httpx.Request("POST", url, content=b"{}"))
        for _ in range(3_000):
            await asyncio.sleep(0)
        assert sent < count
        total = 0
        async for chunk in chunks(response):
            total += len(chunk)
    assert total == count * size


async def test_failure_of_the_requests_own_stream_is_raised_as_it_is(upstream: Upstream) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"abc"
        raise KeyError("the caller left")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read(receive)

    async with upstream.around(app) as (transport, url):
        with pytest.raises(KeyError, match="the caller left"):
            await transport.handle_async_request(httpx.Request("POST", url, content=pieces()))


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (httpx.ConnectTimeout(""), "UpstreamTimeout: test: ConnectTimeout"),
        (httpx.ReadTimeout("late"), "UpstreamTimeout: test: late"),
        (httpx.PoolTimeout("full"), "UpstreamTimeout: test: full"),
        (httpx.ConnectError("no"), "UpstreamUnreachable: test: no"),
        (httpx.UnsupportedProtocol("ftp"), "UpstreamUnreachable: test: ftp"),
        (httpx.ReadError("reset"), "UpstreamBroken: test: reset"),
        (httpx.RemoteProtocolError("cut"), "UpstreamBroken: test: cut"),
    ],
)
async def test_failures_of_httpx_are_told_in_our_words(error: httpx.TransportError, name: str) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise error

    transport = TranslatingTransport(httpx.MockTransport(fail))
    (failure,) = await asyncio.gather(
        transport.handle_async_request(httpx.Request("GET", "http://test/")), return_exceptions=True
    )
    assert f"{type(failure).__name__}: {failure}" == name
