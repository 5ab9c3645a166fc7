"""uvicorn's HTTP/1.1 protocol with the manners of an API gateway.

What it adds: a request that cannot be parsed is answered with a JSON error that both dialects' clients
understand; a head that is too large or too slow is not read on. Everything else is uvicorn's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

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

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A head begins: count it anew."""
        self._head_bytes = 0
        if self._head_timer is None:
            self._await_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Count the request line. Raises (to the parser) over the limit."""
        self._count(len(url), b"414 URI Too Long", "The request URL is too long.")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a field. Raises (to the parser) over the limits."""
        self._count(
            len(name) + len(value), b"431 Request Header Fields Too Large", "The request headers are too large."
        )
        super().on_header(name, value)
        if len(self.headers) > MAX_FIELDS:
            self._count(MAX_HEAD_BYTES, b"431 Request Header Fields Too Large", "The request has too many headers.")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._stop_waiting()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Say in JSON why the connection is closed; to a client in mid-reply nothing can be said."""
        self._stop_waiting()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(_answer(self._status, self._reason))
        self.transport.close()

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


def _answer(status: bytes, message: str) -> bytes:
    """A whole reply in a shape that OpenAI's and Anthropic's clients both read."""
    error: dict[str, Any] = {"type": "invalid_request_error", "message": message, "param": None, "code": None}
    body = orjson.dumps({"type": "error", "error": error})
    return b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )
