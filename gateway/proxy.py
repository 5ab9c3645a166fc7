"""The built-in reverse proxy: the ASGI app that ``distillguard serve`` puts behind the guard.

It forwards what the guard admitted to the upstream that the policy chose, over any httpx transport, and
streams both ways. It watches the caller's connection all the while: a disconnect cancels the upstream.
It knows no dialect; failures are raised as UpstreamError for the guard to write.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import httpx

from gateway.asgi import declared_length, received_path
from gateway.errors import ClientDisconnected, UpstreamUnreachable
from gateway.guard import UPSTREAM_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    from gateway.asgi import Message, Receive, Scope, Send
    from gateway.policy import UpstreamSpec
    from gateway.types import Headers

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""RFC 9110, section 7.6.1: fields for one connection only; so are those that ``Connection`` names."""


class ReverseProxy:
    """ASGI app over httpx transports, one for each upstream, which it closes at lifespan shutdown.

    ``transport_for`` opens them; it is called once for each upstream that the policies ever named.
    """

    def __init__(self, transport_for: Callable[[UpstreamSpec], httpx.AsyncBaseTransport]) -> None:
        self._transport_for = transport_for
        self._origins: dict[UpstreamSpec, _Origin] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward one request; answer lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        first = await receive()
        if first["type"] == "http.disconnect":
            raise ClientDisconnected("the caller closed the connection before its request was forwarded")
        body = _BodyStream(first.get("body", b""), receive) if first.get("more_body", False) else None
        origin = self._origin(scope.get(UPSTREAM_KEY))
        request = _request(origin, scope, first.get("body", b"") if body is None else body)
        with _CancelOnDisconnect(receive, body) as watch:
            response = await origin.transport.handle_async_request(request)
            try:
                await _stream(response, send)
            finally:
                watch.stop()
                await response.aclose()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                for origin in self._origins.values():
                    await origin.transport.aclose()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return

    def _origin(self, spec: UpstreamSpec | None) -> _Origin:
        if spec is None or spec.url is None:
            raise UpstreamUnreachable("no upstream is configured: give --upstream, or upstreams in the policies")
        origin = self._origins.get(spec)
        if origin is None:
            origin = self._origins[spec] = _Origin.parse(spec.url, self._transport_for(spec))
        return origin


def _request(origin: _Origin, scope: Scope, body: bytes | _BodyStream) -> httpx.Request:
    headers = [(b"host", origin.host)]
    framed = False
    for field in end_to_end(scope["headers"]):
        if field[0] not in _REPLACED:
            headers.append(field)
            framed = framed or field[0] == b"content-length"
    if isinstance(body, bytes):
        stream: httpx.AsyncByteStream = httpx.ByteStream(body)
        if body and not framed:
            headers.append((b"content-length", b"%d" % len(body)))
    else:
        stream = body
        if not framed:
            headers.append((b"transfer-encoding", b"chunked"))
    return httpx.Request(
        scope["method"], origin.url, headers=headers, stream=stream, extensions={"target": origin.target(scope)}
    )


async def _stream(response: httpx.Response, send: Send) -> None:
    """Pass the reply on as it comes. Where its length is declared, its last bytes are sent as the last, so
    that the guard can settle before the caller has them all.
    """
    headers = end_to_end(response.headers.raw)
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    assert isinstance(response.stream, httpx.AsyncByteStream)
    left = declared_length(headers)
    async for chunk in response.stream:
        left = None if left is None else left - len(chunk)
        await send({"type": "http.response.body", "body": chunk, "more_body": left != 0})
    if left != 0:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """An upstream's address, taken apart once."""

    url: httpx.URL
    host: bytes
    prefix: bytes
    transport: httpx.AsyncBaseTransport

    @classmethod
    def parse(cls, url: str, transport: httpx.AsyncBaseTransport) -> _Origin:
        parts = urlsplit(url)
        prefix = parts.path.rstrip("/").encode()
        return cls(url=httpx.URL(url), host=parts.netloc.encode(), prefix=prefix, transport=transport)

    def target(self, scope: Scope) -> bytes:
        """The received path (below our root path) and query, below the upstream's own path.

        An upstream given as ``https://host/v1`` means the same as ``https://host``: operators write both.
        """
        raw = received_path(scope).encode("latin-1")
        prefix = self.prefix
        if prefix.endswith(b"/v1") and raw.startswith(b"/v1/"):
            prefix = prefix.removesuffix(b"/v1")
        query: bytes = scope.get("query_string", b"")
        return prefix + raw + b"?" + query if query else prefix + raw


class _BodyStream(httpx.AsyncByteStream):
    """A request body as it comes from the caller."""

    def __init__(self, first: bytes, receive: Receive) -> None:
        self._first = first
        self._receive = receive
        self.finished = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
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


class _CancelOnDisconnect:
    """Cancels the task that entered it when the caller's connection closes, as ``asyncio.timeout`` would.

    Raises ClientDisconnected from the ``with`` block then. A cancellation from elsewhere stays one.
    """

    def __init__(self, receive: Receive, body: _BodyStream | None) -> None:
        self._receive = receive
        self._body = body
        self._disconnected = False

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._watch = asyncio.create_task(self._wait())
        return self

    def stop(self) -> None:
        """From here on a closed connection is no news."""
        self._watch.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.cancel()
        if self._disconnected and kind is asyncio.CancelledError and self._task.uncancel() == 0:
            raise ClientDisconnected("the caller closed the connection before its reply was whole") from None

    async def _wait(self) -> None:
        if self._body is not None:  # while the body is read, its reader sees the disconnect
            await self._body.finished.wait()
        message: Message = {"type": ""}
        while message["type"] != "http.disconnect":
            message = await self._receive()
        self._disconnected = True
        self._task.cancel()


def end_to_end(headers: Headers) -> Headers:
    """The fields that are meant for the other end: without hop-by-hop fields and those they name.

    >>> end_to_end([(b"Connection", b"close, X-Secret"), (b"x-secret", b"1"), (b"accept", b"*/*")])
    [(b'accept', b'*/*')]
    """
    lowered = [(name.lower(), value) for name, value in headers]
    drop = HOP_BY_HOP
    for name, value in lowered:
        if name == b"connection":
            drop = drop | {part.strip().lower() for part in value.split(b",")}
    return [field for field in lowered if field[0] not in drop]


_REPLACED = frozenset(
    {b"host", b"expect", b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"}
)
