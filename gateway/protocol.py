"""uvicorn's HTTP/1.1 protocol with the manners of an API gateway.

What it adds: a request that cannot be parsed is answered with a JSON error that both dialects' clients
understand; a head that is too large or too slow is not read on; trailer fields never count as header fields;
an offer to upgrade is declined without losing the body; HTTP/1.0 gets no chunks; a closed connection is news
to the request that is being answered, also where more are queued behind it. Everything else is uvicorn's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from gateway.types import Headers

MAX_HEAD_BYTES = 64 * 1024
"""Request line and header fields together; nginx takes 32 kB, and long-lived tokens are some 8 kB."""

MAX_FIELDS = 200
"""Header fields of one request; SDKs send about 20."""

HEAD_TIMEOUT_S = 20.0
"""From connecting, or from the first byte after a reply, to the end of the head."""


class _BadHead(Exception):
    """A head over the limits; the parser turns it into its own error."""


class GatewayProtocol(HttpToolsProtocol):
    """One connection of a client."""

    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _status = b"400 Bad Request"
    _reason = "The request is not valid HTTP/1.1."
    _in_head = False
    _declines = False
    _answered: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_waiting()
        if self._answered is not None and not self._answered.response_complete:
            self._answered.disconnected = True
            self._answered.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; where it stops at an offer to upgrade, go on without the offer.

        Java's client offers ``h2c`` with its first request, and the parser takes what follows for the other
        protocol. RFC 9110, section 7.8: a server may ignore the offer, so the same head is read again without it.
        """
        self._unset_keepalive_if_required()
        left = memoryview(data)
        try:
            while left:
                left = self._feed(left)
        except httptools.HttpParserError:
            self.send_400_response(self._reason)

    def _feed(self, data: memoryview) -> memoryview:
        """Parse ``data``; what is left of it behind an offer to upgrade. Raises HttpParserError."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            self._declines = False
            head = _head_without_offer(self.parser, self.url, self.headers)
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            self.parser.feed_data(head)
            return data[stopped.args[0] :]
        return data[:0]

    def on_message_begin(self) -> None:
        """A head begins: count it anew."""
        self._head_bytes = 0
        self._in_head = True
        if self._head_timer is None:
            self._await_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the request line. Raises (to the parser) over the limit."""
        self._count(len(url), b"414 URI Too Long", "The request URL is too long.")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a field. Raises (to the parser) over the limits.

        A trailer field is dropped: it would pass for a header field that no proxy in front of us has seen, such
        as a credential or ``x-forwarded-for`` (RFC 9110, section 6.5.1).
        """
        if not self._in_head:
            return
        self._count(
            len(name) + len(value), b"431 Request Header Fields Too Large", "The request headers are too large."
        )
        super().on_header(name, value)
        if len(self.headers) > MAX_FIELDS:
            self._count(MAX_HEAD_BYTES, b"431 Request Header Fields Too Large", "The request has too many headers.")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._stop_waiting()
        self._in_head = False
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _BadHead
            self._declines = True
            return
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            self._reason = "The request must have one Host header."  # RFC 9112, section 3.2
            raise _BadHead
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0":
            self.cycle.send = _without_chunks(self.cycle)  # type: ignore[method-assign, assignment]

    def on_message_complete(self) -> None:
        """The body is whole; that of an offer to upgrade is still to come."""
        if not self._declines:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Say in JSON why the connection is closed; to a client in mid-reply nothing can be said."""
        self._stop_waiting()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(_answer(self._status, self._reason))
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def _count(self, size_bytes: int, status: bytes, reason: str) -> None:
        self._head_bytes += size_bytes
        if self._head_bytes > MAX_HEAD_BYTES:
            self._status, self._reason = status, reason
            raise _BadHead

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.write(_answer(b"408 Request Timeout", "The request was not received in time."))
            self.transport.close()


def _head_without_offer(parser: httptools.HttpRequestParser, url: bytes, headers: Headers) -> bytes:
    """The head as it was parsed, without its offer to upgrade."""
    lines = [b"%b %b HTTP/%b" % (parser.get_method(), url, parser.get_http_version().encode())]
    for name, value in headers:
        kept = value
        if name == b"connection":
            kept = b",".join(part for part in value.split(b",") if part.strip().lower() not in _OFFER)
        if name not in _OFFER and (kept or not value):
            lines.append(b"%b: %b" % (name, kept))
    return b"\r\n".join([*lines, b"", b""])


def _without_chunks(cycle: RequestResponseCycle) -> Callable[[Any], Awaitable[None]]:
    """``cycle.send`` for a client that knows no chunks: what has no length ends with the connection (RFC 9112, 6.3)."""
    send, framed = cycle.send, False

    async def to_1_0(message: Any) -> None:
        nonlocal framed
        if message["type"] == "http.response.start":
            framed = any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
            if not framed:
                cycle.chunked_encoding = False
        elif not framed:
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    return to_1_0


_OFFER = frozenset({b"upgrade", b"http2-settings"})


def _answer(status: bytes, message: str) -> bytes:
    """A whole reply in a shape that OpenAI's and Anthropic's clients both read."""
    error: dict[str, Any] = {"type": "invalid_request_error", "message": message, "param": None, "code": None}
    body = orjson.dumps({"type": "error", "error": error})
    return b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )
