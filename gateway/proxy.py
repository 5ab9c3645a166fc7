"""The built-in reverse proxy: the ASGI app that ``distillguard serve`` puts behind the guard.

It forwards what the guard admitted to the upstream that the policy chose, over any httpx transport, and
streams both ways. It watches the caller's connection all the while: a disconnect cancels the upstream.
It knows no dialect; failures are raised as UpstreamError for the guard to write.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gateway.asgi import CALLER_KEY, PUSH_KEY, UPSTREAM_KEY, whole_target
from gateway.errors import ClientDisconnected, UpstreamUnreachable
from gateway.forwarding import NOT_FORWARDED, Outgoing, end_to_end, send_on
from gateway.upstream import origin_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import httpx

    from gateway.asgi import Message, Receive, Scope, Send, Watch
    from gateway.policy import UpstreamSpec
    from gateway.upstream import Reply

_GONE = "the caller closed the connection before its request was forwarded"


class ReverseProxy:
    """ASGI app over httpx transports, one for each upstream, which it closes at lifespan shutdown.

    ``transport_for`` opens them; it is called once for each upstream that the policies ever named.
    """

    def __init__(self, transport_for: Callable[[UpstreamSpec], httpx.AsyncBaseTransport]) -> None:
        self._transport_for = transport_for
        self._origins: dict[UpstreamSpec, _Upstream] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request; answer lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        first = await receive()
        if first["type"] == "http.disconnect":
            raise ClientDisconnected(_GONE)
        piece: bytes = first.get("body", b"")
        body = _BodyStream(piece, receive) if first.get("more_body", False) else piece
        fields = end_to_end(scope["headers"], NOT_FORWARDED)
        request = Outgoing(scope.get(UPSTREAM_KEY), scope["method"], whole_target(scope), fields, body)
        watch: Watch = scope.get(CALLER_KEY) or _ReceiveWatch(receive, body)
        await self.forward(request, watch, lambda reply: send_on(reply, send, scope.get(PUSH_KEY)))

    async def forward(self, request: Outgoing, watch: Watch, deliver: Callable[[Reply], Awaitable[None]]) -> None:
        """See ``forwarding.Forward``."""
        origin = self._origin(request.upstream)
        if not watch.start():
            raise ClientDisconnected(_GONE)
        reply: Reply | None = None
        try:
            fields = [origin.host, *request.fields]
            reply = await origin.send(request.method, origin.target(request.target), fields, request.body)
            await deliver(reply)
        except asyncio.CancelledError:
            if watch.cancelled():
                raise ClientDisconnected("the caller closed the connection before its reply was whole") from None
            raise
        finally:
            watch.stop()
            if reply is not None:
                await reply.aclose()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                for origin in self._origins.values():
                    await origin.transport.aclose()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return

    def _origin(self, spec: UpstreamSpec | None) -> _Upstream:
        if spec is None or spec.url is None:
            raise UpstreamUnreachable("no upstream is configured: give --upstream, or upstreams in the policies")
        origin = self._origins.get(spec)
        if origin is None:
            origin = self._origins[spec] = _Upstream(spec.url, self._transport_for(spec))
        return origin


class _Upstream:
    """An upstream's address, taken apart once, and how to get there."""

    __slots__ = ("host", "prefix", "send", "transport")

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport) -> None:
        parts = urlsplit(url)
        self.host = (b"host", parts.netloc.encode())
        self.prefix = parts.path.rstrip("/").encode()
        self.transport = transport
        self.send = origin_of(transport, url).send

    def target(self, received: bytes) -> bytes:
        """The received path (below our root path) and query, below the upstream's own path.

        An upstream given as ``https://host/v1`` means the same as ``https://host``: operators write both.
        """
        prefix = self.prefix
        if prefix and prefix.endswith(b"/v1") and received.startswith(b"/v1/"):
            prefix = prefix.removesuffix(b"/v1")
        return prefix + received if prefix else received


class _BodyStream:
    """A request body as it comes from the caller."""

    def __init__(self, first: bytes, receive: Receive) -> None:
        self._first = first
        self._receive = receive
        self.finished = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._first:
            yield self._first
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected("the caller closed the connection while its request was forwarded")
            more = message.get("more_body", False)
            if chunk := message.get("body", b""):
                yield chunk
        self.finished.set()


class _ReceiveWatch:
    """The ``Watch`` under a server that has none: a task that receives until the disconnect comes."""

    def __init__(self, receive: Receive, body: bytes | _BodyStream) -> None:
        self._receive = receive
        self._body = body
        self._disconnected = False

    def start(self) -> bool:
        """See ``asgi.Watch``; a connection that is lost already is seen by the task."""
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._watch = asyncio.create_task(self._wait())
        return True

    def stop(self) -> None:
        """See ``asgi.Watch``."""
        self._watch.cancel()

    def cancelled(self) -> bool:
        """See ``asgi.Watch``."""
        return self._disconnected and self._task.uncancel() == 0

    async def _wait(self) -> None:
        if isinstance(self._body, _BodyStream):  # while the body is read, its reader sees the disconnect
            await self._body.finished.wait()
        message: Message = {"type": ""}
        while message["type"] != "http.disconnect":
            message = await self._receive()
        self._disconnected = True
        self._task.cancel()
