"""A model server in the same process: an ASGI app behind the transport contract, without sockets.

For the demonstration, for replay and for tests. Unlike ``httpx.ASGITransport`` it streams, holds an app back that
is faster than its reader, tells the app of a disconnect, and says when a reply ended before its end. It knows
no time limits: nothing of it can be slow but the app.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx

from gateway.errors import UpstreamBroken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_WHERE = "in-process upstream"
_HELD_CHUNKS = 16
"""How many chunks of a reply may wait for their reader before the app is held back."""


class InProcessTransport(httpx.AsyncBaseTransport):
    """Requests go to ``app``; lifespan is the caller's affair."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app
        self._calls: set[_Call] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See ``interface``."""
        call = _Call(request)
        self._calls.add(call)
        call.run(self._app, self._calls.discard)
        try:
            status, headers = await call.head()
        except BaseException:
            await call.aclose()
            raise
        return httpx.Response(status, headers=headers, stream=call)

    async def aclose(self) -> None:
        """Cancel the app's calls that are under way."""
        for call in list(self._calls):
            call.cancel()


class _Call(httpx.AsyncByteStream):
    """One call of the app, and its reply as it comes."""

    def __init__(self, request: httpx.Request) -> None:
        self._request = request
        self._chunks: asyncio.Queue[bytes | Exception | None] = asyncio.Queue(_HELD_CHUNKS)
        self._head: asyncio.Future[tuple[int, list[tuple[bytes, bytes]]]] = asyncio.get_running_loop().create_future()
        self._gone = asyncio.Event()
        self._body: AsyncIterator[bytes] | None = None
        self._whole = False
        self._over = False
        self._body_ended = False
        self._request_failure: Exception | None = None

    def run(self, app: Callable[..., Awaitable[None]], forget: Callable[[_Call], None]) -> None:
        """Start the app."""
        self._task = asyncio.create_task(self._run(app))
        self._task.add_done_callback(lambda _: forget(self))

    async def head(self) -> tuple[int, list[tuple[bytes, bytes]]]:
        """Status and headers. Raises UpstreamBroken, or what the request's stream raised."""
        return await asyncio.shield(self._head)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while not self._over:
            chunk = await self._chunks.get()
            if isinstance(chunk, bytes):
                yield chunk
                continue
            self._over = True
            if chunk is not None:
                raise chunk

    async def aclose(self) -> None:
        """Tell the app that the reader left; what it sends from now on goes nowhere."""
        self._over = True
        self._gone.set()
        while not self._chunks.empty():
            self._chunks.get_nowait()

    def cancel(self) -> None:
        """Stop the app."""
        self._task.cancel()

    async def _run(self, app: Callable[..., Awaitable[None]]) -> None:
        """Call the app, and end the reply as it ended."""
        error: Exception | None = None
        try:
            await app(self._scope(), self._receive, self._send)
            if not self._whole:
                error = UpstreamBroken(f"{_WHERE}: the reply ended before its end")
        except asyncio.CancelledError:
            error = UpstreamBroken(f"{_WHERE}: closed")
        except Exception as failure:  # noqa: BLE001 - an app may fail in any way; its caller sees a broken upstream
            error = failure if failure is self._request_failure else UpstreamBroken(f"{_WHERE}: {failure!r}")
        if not self._head.done():
            self._head.set_exception(error or UpstreamBroken(f"{_WHERE}: no reply"))
            self._head.exception()  # it is looked at here, in case nobody waits for it any more
        if not self._gone.is_set():
            await self._put(error)

    def _scope(self) -> dict[str, Any]:
        """The request as ASGI has it."""
        request = self._request
        target: bytes = request.extensions.get("target") or request.url.raw_path
        raw_path, _, query = target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": request.url.scheme,
            "path": httpx.URL(raw_path=raw_path).path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": ("127.0.0.1", 0),
            "server": (request.url.host, request.url.port),
        }

    async def _receive(self) -> dict[str, Any]:
        """A piece of the request, then the disconnect when it comes."""
        if self._body is None:
            assert isinstance(self._request.stream, httpx.AsyncByteStream)
            self._body = aiter(self._request.stream)
        if not self._gone.is_set():
            try:
                return {"type": "http.request", "body": await anext(self._body), "more_body": True}
            except StopAsyncIteration:
                if not self._body_ended:
                    self._body_ended = True
                    return {"type": "http.request", "body": b"", "more_body": False}
            except Exception as error:
                self._request_failure = error
                raise
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        """A piece of the reply."""
        if message["type"] == "http.response.start":
            if not self._head.done():
                self._head.set_result((message["status"], list(message.get("headers", ()))))
            return
        if message["type"] != "http.response.body" or self._gone.is_set() or self._whole:
            return
        if message.get("body"):
            await self._put(bytes(message["body"]))
        if not message.get("more_body"):
            self._whole = True
            await self._put(None)

    async def _put(self, chunk: bytes | Exception | None) -> None:
        """Hand on, as soon as the reader has room, unless the reader left."""
        if not self._chunks.full():
            self._chunks.put_nowait(chunk)
            return
        putting = asyncio.ensure_future(self._chunks.put(chunk))
        leaving = asyncio.ensure_future(self._gone.wait())
        await asyncio.wait({putting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        putting.cancel()
        leaving.cancel()
