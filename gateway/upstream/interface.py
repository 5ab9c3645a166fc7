"""The contract of the one seam to the model server.

A transport is an ``httpx.AsyncBaseTransport``: ``handle_async_request(httpx.Request) -> httpx.Response`` whose
``stream`` is an async iterator of bytes. What this gateway relies on, and ``tests/upstream`` proves of each:

1. *Nothing is changed.* Bodies are the bytes of the wire after transfer coding: never decompressed, recoded or
   followed (no redirects, cookies, authentication). Header fields keep order, duplicates and bytes, in
   ``request.headers.raw`` and ``response.headers.raw``; none is invented except ``Host`` (where absent) and
   the framing of the body.
2. *The reply streams.* The response is returned once its head is there, chunks as they come; a reader
   that stops reading stops the upstream (memory stays bounded).
3. *No silent end.* A reply that ends before its framing says so raises UpstreamBroken after the bytes that came.
4. *Failures are of one family.* UpstreamUnreachable, UpstreamTimeout, UpstreamBroken; from the call until the head
   is there, from the iteration afterwards. A failure of the request's own stream is raised as it is.
5. *A cancelled call, and ``response.aclose()`` before the end, close the upstream connection at once.*
   Who got a response must ``aclose`` it, whatever happens.
6. *Never sent twice.* A request is tried again only where none of its bytes were sent.

The target is ``request.extensions["target"]`` (bytes, as received) where given, else the URL's path and query;
``request.extensions["timeout"]`` may override time limits (``UpstreamTimeouts.overridden``).
``open_transport`` makes the real one; ``TranslatingTransport`` holds any httpx transport to item 4.

The reverse proxy uses an ``Origin``: the same contract for one scheme, host and port, in bytes, which the real
transport offers without httpx's objects on the way; ``origin_of`` makes one of any transport.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import httpx

from gateway.errors import UpstreamBroken, UpstreamError, UpstreamTimeout, UpstreamUnreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator, Mapping

    from gateway.types import Headers


class Reply(Protocol):
    """A reply whose head has come; its bytes are what it iterates over. Who got it must ``aclose`` it."""

    status: int
    fields: Headers
    """Header fields in order, their names in lower case."""
    whole: bool
    """The reply's end was seen; what is left of it can be taken without waiting."""

    def take(self) -> bytes:
        """What has come and was not read, without waiting; empty where that is nothing."""

    def push_to(self, sink: Callable[[bytes], bool]) -> None:
        """Offer what comes, while its reader waits for it, to ``sink`` first; what that does not take (it says
        False) is left to the reader, as is the end. What ``sink`` raises is raised to the reader.
        """

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None:
        """Give up what is left."""


class Origin(Protocol):
    """Where requests go: one scheme, host and port."""

    async def send(self, method: str, target: bytes, fields: Headers, body: bytes | AsyncIterable[bytes]) -> Reply:
        """Send one request; ``fields`` name its host. The body's framing is written by the transport."""
        ...


def origin_of(transport: httpx.AsyncBaseTransport, url: str) -> Origin:
    """The origin of ``url`` over ``transport``: its own, where it offers one (``PooledTransport.origin``)."""
    own: Callable[[str], Origin] | None = getattr(transport, "origin", None)
    return _TransportOrigin(transport, url) if own is None else own(url)


class _TransportOrigin:
    """An ``Origin`` over any httpx transport."""

    def __init__(self, transport: httpx.AsyncBaseTransport, url: str) -> None:
        self._transport = transport
        self._url = httpx.URL(url)

    async def send(self, method: str, target: bytes, fields: Headers, body: bytes | AsyncIterable[bytes]) -> Reply:
        """As an ``httpx.Request``, framed as such."""
        framed = any(name in _FRAMING for name, _ in fields)
        if isinstance(body, bytes):
            stream: httpx.AsyncByteStream = httpx.ByteStream(body)
            added = [(b"content-length", b"%d" % len(body))] if body else []
        else:
            stream = _Stream(body)
            added = [(b"transfer-encoding", b"chunked")]
        request = httpx.Request(
            method,
            self._url,
            headers=fields if framed else [*fields, *added],
            stream=stream,
            extensions={"target": target},
        )
        return _TransportReply(await self._transport.handle_async_request(request))


class _Stream(httpx.AsyncByteStream):
    """A request's body as it comes."""

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._pieces)


class _TransportReply:
    """A ``Reply`` of any httpx transport."""

    whole = False

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.fields = [(name.lower(), value) for name, value in response.headers.raw]

    def take(self) -> bytes:
        """Nothing is known to have come."""
        return b""

    def push_to(self, sink: Callable[[bytes], bool]) -> None:
        """Everything is left to the reader."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._response.stream, httpx.AsyncByteStream)
        return aiter(self._response.stream)

    async def aclose(self) -> None:
        """Close the response."""
        await self._response.aclose()


_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamTimeouts:
    """How long an upstream may take; all > 0, in seconds. Raises ValueError otherwise.

    ``connect_s`` covers waiting for a free connection, name lookup, TCP and TLS. ``first_byte_s`` runs from the
    last byte sent to the whole head of the reply. ``idle_s`` is the longest silence within the reply, and the
    longest time without progress while the request is sent; a reader that holds the reply back is not silence.
    """

    connect_s: float = 5.0
    first_byte_s: float = 600.0
    idle_s: float = 300.0

    def __post_init__(self) -> None:
        for name in ("connect_s", "first_byte_s", "idle_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected seconds > 0")

    def overridden(self, given: Mapping[str, float | None]) -> UpstreamTimeouts:
        """With what ``given`` says in their place (``None`` and absent: as here).

        Keys: ``connect``, ``first_byte``, ``idle``; and httpx's ``read`` for the last two.
        """
        read = given.get("read")
        return UpstreamTimeouts(
            connect_s=given.get("connect") or self.connect_s,
            first_byte_s=given.get("first_byte") or read or self.first_byte_s,
            idle_s=given.get("idle") or read or self.idle_s,
        )


def to_upstream_error(error: httpx.TransportError, where: str) -> UpstreamError:
    """What ``error`` of an httpx transport is in our words; ``where`` is the upstream's host."""
    text = f"{where}: {str(error) or type(error).__name__}"
    if isinstance(error, httpx.TimeoutException):
        return UpstreamTimeout(text)
    if isinstance(error, httpx.ConnectError | httpx.UnsupportedProtocol | httpx.ProxyError):
        return UpstreamUnreachable(text)
    return UpstreamBroken(text)


class TranslatingTransport(httpx.AsyncBaseTransport):
    """Any httpx transport (MockTransport, ASGITransport, AsyncHTTPTransport) with failures in our words."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """As the inner transport; raises UpstreamError instead of httpx.TransportError."""
        where = request.url.netloc.decode("ascii", "replace")
        with _translated(where):
            response = await self._inner.handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _TranslatingStream(response.stream, where)
        return response

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()


class _TranslatingStream(httpx.AsyncByteStream):
    """A reply's bytes, with failures in our words."""

    def __init__(self, inner: httpx.AsyncByteStream, where: str) -> None:
        self._inner = inner
        self._where = where

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated(self._where):
            async for chunk in self._inner:
                yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """Raise UpstreamError for httpx's own failures."""
    try:
        yield
    except httpx.TransportError as error:
        raise to_upstream_error(error, where) from error
