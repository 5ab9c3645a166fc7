"""The real transport: a pool of HTTP/1.1 connections on asyncio's own sockets and llhttp (``httptools``).

Why not a client library: docs/decisions/0002-upstream-transport.md. Left out on purpose: redirects, cookies,
decompression, proxies from the environment, HTTP/2 (model servers are reached over HTTP/1.1).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import httpx

from gateway.errors import UpstreamTimeout, UpstreamUnreachable
from gateway.upstream.connection import Connection
from gateway.upstream.wire import write_head

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from gateway.types import Headers
    from gateway.upstream.exchange import Exchange
    from gateway.upstream.interface import Origin, UpstreamTimeouts

Key: TypeAlias = tuple[str, str, int]
"""Scheme, host and port."""
KEEP_ALIVE_S = 30.0
"""How long a free connection is kept: under the 60 s after which common load balancers drop one silently."""
_PORTS = {"http": 80, "https": 443}


def open_transport(
    timeouts: UpstreamTimeouts, *, verify: bool | str = True, max_connections: int = 10_000
) -> httpx.AsyncBaseTransport:
    """A transport that keeps the contract of ``interface``; nothing is connected yet. Close it with ``aclose``.

    ``verify`` is True (the certificates that httpx trusts), the path of a file or folder of certificates, or
    False (nothing is verified: for tests only). ``max_connections`` >= 1 bounds connections over all origins.
    Raises ValueError, or OSError where the path cannot be read.
    """
    if max_connections < 1:
        raise ValueError(f"max_connections: got {max_connections}, expected at least 1")
    return PooledTransport(timeouts, _trust(verify), max_connections)


def _trust(verify: bool | str) -> ssl.SSLContext | None:  # noqa: FBT001 - httpx's own name and type
    """What TLS is checked against; ``None``: made when first needed (it takes 20 ms)."""
    if verify is True:
        return None
    if isinstance(verify, str):
        path = Path(verify)
        context = ssl.create_default_context(
            cafile=None if path.is_dir() else verify, capath=verify if path.is_dir() else None
        )
    else:
        context = httpx.create_ssl_context(verify=False)
    return context


class PooledTransport(httpx.AsyncBaseTransport):
    """Connections per origin, the freshest used first, so that idle ones age out."""

    def __init__(self, timeouts: UpstreamTimeouts, trust: ssl.SSLContext | None, max_connections: int) -> None:
        self._timeouts = timeouts
        self._trust = trust
        self._max_connections = max_connections
        self._free: dict[Key, deque[Connection]] = {}
        self._open: set[Connection] = set()
        self._connecting = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See ``interface``."""
        url = request.url
        body = request.read() if isinstance(request.stream, httpx.ByteStream) else request.stream
        assert not isinstance(body, httpx.SyncByteStream)
        exchange = await self.send(
            (url.scheme, url.host, url.port or _PORTS.get(url.scheme, 0)),
            request.method,
            request.extensions.get("target") or url.raw_path,
            request.headers.raw,
            body,
            host=url.netloc,
            timeouts=self._timeouts.overridden(request.extensions.get("timeout", _NOTHING)),
        )
        return httpx.Response(exchange.status, headers=exchange.headers, stream=exchange)

    def origin(self, url: str) -> Origin:
        """The origin of ``url`` without httpx's objects on the way: they were a fifth of a request's calls."""
        parts = httpx.URL(url)
        key = (parts.scheme, parts.host, parts.port or _PORTS.get(parts.scheme, 0))
        return _PooledOrigin(self, key)

    async def send(
        self,
        key: Key,
        method: str,
        target: bytes,
        fields: Headers,
        body: bytes | AsyncIterable[bytes],
        *,
        host: bytes = b"",
        timeouts: UpstreamTimeouts | None = None,
    ) -> Exchange:
        """Send one request; the reply, once its head is there. Raises what ``interface`` says, and ValueError."""
        head, length = write_head(method, target, fields, body if isinstance(body, bytes) else None, host=host)
        timeouts = timeouts or self._timeouts
        connection = self._take_free(key) or await self._connect(key, timeouts.connect_s)
        exchange = connection.begin(method, head, body, length, timeouts)
        await exchange.wait_for_head()
        return exchange

    async def aclose(self) -> None:
        """Close every connection at once; replies under way raise UpstreamBroken."""
        for connection in list(self._open):
            connection.close()

    def _take_free(self, key: Key) -> Connection | None:
        """The freshest connection that is usable and not too old; those that are not are closed."""
        free = self._free.get(key)
        while free:
            connection = free.pop()
            if connection.is_usable(KEEP_ALIVE_S):
                return connection
            connection.close()
        return None

    async def _connect(self, key: Key, connect_s: float) -> Connection:
        """A new connection, or one that became free while waiting for room."""
        where = f"{key[1]}:{key[2]}"
        try:
            async with asyncio.timeout(connect_s):
                while len(self._open) + self._connecting >= self._max_connections:
                    await self._wait_for_room()
                    if (connection := self._take_free(key)) is not None:
                        return connection
                return await self._open_connection(key, where)
        except TimeoutError:
            raise UpstreamTimeout(f"{where}: no connection within {connect_s:g} s") from None
        except (OSError, ssl.SSLError, UnicodeError) as error:
            raise UpstreamUnreachable(f"{where}: no connection ({error})") from error

    async def _open_connection(self, key: Key, where: str) -> Connection:
        """Name lookup, TCP and, for https, TLS. Raises OSError."""
        scheme, host, port = key
        if scheme not in _PORTS:
            raise UpstreamUnreachable(f"{where}: got scheme {scheme!r}, expected http or https")
        if scheme == "https" and self._trust is None:
            self._trust = httpx.create_ssl_context()
        free = self._free.setdefault(key, deque())
        self._connecting += 1
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(where, free, self._on_free, self._on_lost),
                host,
                port,
                ssl=self._trust if scheme == "https" else None,
            )
            if connection.is_closing:
                raise ConnectionResetError("closed as soon as it was made")
            self._open.add(connection)
        finally:
            self._connecting -= 1
            self._wake_one()
        return connection

    async def _wait_for_room(self) -> None:
        """Until a connection is freed or lost; free ones of other origins are given up first."""
        for free in self._free.values():
            if free:
                free.popleft().close()
                break
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._waiting.remove(waiter)
            else:
                self._wake_one()  # it was this one's turn, and it will not use it
            raise

    def _wake_one(self) -> None:
        """Let one waiter look again."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _on_free(self, connection: Connection) -> None:
        """Keep a connection, and close those that were free for too long."""
        free = connection.free
        free.append(connection)
        while connection.free_since_s - free[0].free_since_s > KEEP_ALIVE_S:
            free.popleft().close()
        if self._waiting:
            self._wake_one()

    def _on_lost(self, connection: Connection) -> None:
        """Forget a connection."""
        self._open.discard(connection)
        if connection in connection.free:
            connection.free.remove(connection)
        self._wake_one()


class _PooledOrigin:
    """An ``Origin`` of a pool."""

    __slots__ = ("_key", "_pool")

    def __init__(self, pool: PooledTransport, key: Key) -> None:
        self._pool = pool
        self._key = key

    async def send(self, method: str, target: bytes, fields: Headers, body: bytes | AsyncIterable[bytes]) -> Exchange:
        """See ``interface``."""
        return await self._pool.send(self._key, method, target, fields, body)


_NOTHING: dict[str, float | None] = {}
