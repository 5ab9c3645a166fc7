"""uvicorn's HTTP/1.1 protocol with the manners of an API gateway.

What it adds: a request that cannot be parsed is answered with a JSON error that both dialects' clients
understand; a head that is too large or too slow is not read on; trailer fields never count as header fields;
an offer to upgrade is declined without losing the body; HTTP/1.0 gets no chunks; a closed connection is news
to the request that is being answered, also where more are queued behind it. One request and its reply are a
``Cycle``. Timers are set once a connection, not with every request. Everything else is uvicorn's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools
import orjson
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.cycle import Cycle

if TYPE_CHECKING:
    import asyncio

    from gateway.asgi import Scope
    from gateway.types import Headers

MAX_HEAD_BYTES = 64 * 1024
"""Request line and header fields together; nginx takes 32 kB, and long-lived tokens are some 8 kB."""

MAX_FIELDS = 200
"""Header fields of one request; SDKs send about 20."""

_IN_PATH = b"/-._%abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
"""Of what a path may hold, what most are made of."""

_LARGE = b"431 Request Header Fields Too Large"
_BUSY = "overloaded_error"
_VERSIONS = frozenset({"1.0", "1.1"})
_READ = frozenset({b"host", b"expect", b"transfer-encoding"})
"""Fields that say how the request is received."""

HEAD_TIMEOUT_S = 20.0
"""From connecting, or from the first byte after a reply, to the end of the head."""


class _BadHead(Exception):
    """A head over the limits; the parser turns it into its own error."""


class GatewayProtocol(HttpToolsProtocol):
    """One connection of a client."""

    _head_bytes = 0
    _hosts = 0
    _head_timer: asyncio.TimerHandle | None = None
    _idle_since_s = 0.0
    _status = b"400 Bad Request"
    _reason = "The request is not valid HTTP/1.1."
    _in_head = False
    _declines = False
    _answered: Cycle | None = None
    cycle: Cycle | None  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head; one connection too many is closed, so that upstreams can be reached."""
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency:
            transport.write(_answer(b"503 Service Unavailable", "There are too many connections; try again.", _BUSY))
            transport.close()
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more; whoever is being answered hears of it, and those that are queued behind."""
        self._stop_waiting()
        self._unset_keepalive_if_required()
        self.connections.discard(self)
        for cycle in (self._answered, self.cycle):
            if cycle is not None and not cycle.response_complete:
                cycle.lose()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        # These hold this object: only the garbage collector would free them.
        self.parser = None  # type: ignore[assignment]
        self.cycle = self._answered = None

    def data_received(self, data: bytes) -> None:
        """Feed the parser; where it stops at an offer to upgrade, go on without the offer.

        Java's client offers ``h2c`` with its first request, and the parser takes what follows for the other
        protocol. RFC 9110, section 7.8: a server may ignore the offer, so the same head is read again without it.
        """
        left: bytes | memoryview = data
        try:
            while left:
                left = self._feed(left)
        except httptools.HttpParserError:
            self.send_400_response(self._reason)
            return
        if self._in_head and self._head_timer is None:
            self._await_head()

    def _feed(self, data: bytes | memoryview) -> bytes | memoryview:
        """Parse ``data``; what is left of it behind an offer to upgrade. Raises HttpParserError."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            self._declines = False
            head = _head_without_offer(self.parser, self.url, self.headers)
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            self.parser.feed_data(head)
            return memoryview(data)[stopped.args[0] :]
        return b""

    # What the parser does.

    def on_message_begin(self) -> None:
        """A head begins: count it anew."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._head_bytes = 0
        self._hosts = 0
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        """Count the request line. Raises (to the parser) over the limit."""
        self._count(len(url), b"414 URI Too Long", "The request URL is too long.")
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a field. Raises (to the parser) over the limits.

        A trailer field is dropped: it would pass for a header field that no proxy in front of us has seen, such
        as a credential or ``x-forwarded-for`` (RFC 9110, section 6.5.1).
        """
        if not self._in_head:
            return
        self._head_bytes = size = self._head_bytes + len(name) + len(value)
        if size > MAX_HEAD_BYTES:
            self._count(0, _LARGE, "The request headers are too large.")
        name = name.lower()
        self.headers.append((name, value))
        if name in _READ:
            self._read_field(name, value)

    def _read_field(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
        elif name == b"expect":
            self.expect_100_continue = self.expect_100_continue or value.lower() == b"100-continue"
        elif value.strip().lower() != b"chunked":
            raise _BadHead  # the parser takes off the chunks and leaves the coding below them

    def on_headers_complete(self) -> None:
        """The head is whole: begin to answer, or queue behind the request that is being answered."""
        self._stop_waiting()
        self._in_head = False
        parser = self.parser
        if len(self.headers) > MAX_FIELDS:
            self._count(MAX_HEAD_BYTES, _LARGE, "The request has too many headers.")
        if parser.should_upgrade():
            if parser.get_method() == b"CONNECT":
                raise _BadHead
            self._declines = True
            return
        version = parser.get_http_version()
        if version not in _VERSIONS:
            raise _BadHead
        if self._hosts > 1 or (not self._hosts and version == "1.1"):
            self._reason = "The request must have one Host header."  # RFC 9112, section 3.2
            raise _BadHead
        before, self.cycle = (
            self.cycle,
            Cycle(
                self,
                self._scope(version),
                keep_alive=version != "1.0" and parser.should_keep_alive(),
                expects_100=self.expect_100_continue,
            ),
        )
        if before is None or before.response_complete:
            self._answered = self.cycle
            self.cycle.begin(self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _scope(self, version: str) -> Scope:
        raw_path, query = _path_and_query(self.url)
        path = raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state.copy(),
            "method": self.parser.get_method().decode("ascii"),
            "path": self.root_path + (unquote(path) if "%" in path else path),
            "raw_path": self.root_path.encode("ascii") + raw_path,
            "query_string": query,
        }

    def on_body(self, body: bytes) -> None:
        """A piece of the body, read no faster than it is wanted."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.feed(body)
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """The body is whole; that of an offer to upgrade is still to come."""
        cycle = self.cycle
        if cycle is not None and not self._declines and not cycle.response_complete:
            cycle.more_body = False
            cycle.wake()

    # What the cycle does.

    def on_response_complete(self) -> None:
        """Answer the next request, or wait for one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._answered = cycle  # type: ignore[assignment]
            self._answered.begin(app)  # type: ignore[union-attr, arg-type]
            return
        self._idle_since_s = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection if it was idle for so long. The timer is set once, not with every request."""
        self.timeout_keep_alive_task = None
        if self._in_head or (self.cycle and not self.cycle.response_complete) or self.transport.is_closing():
            return
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)
        else:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Say in JSON why the connection is closed; to a client in mid-reply nothing can be said."""
        self._stop_waiting()
        cycle = self.cycle
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
        if self.transport.is_closing():
            return
        if self._in_head:  # to a connection that was opened ahead of need nothing is said: it would pass for an answer
            self.transport.write(_answer(b"408 Request Timeout", "The request was not received in time."))
        self.transport.close()


def _path_and_query(url: bytes) -> tuple[bytes, bytes]:
    """Of a request's target; most are a path and nothing else."""
    if not url.translate(None, _IN_PATH) and url.startswith(b"/") and not url.startswith(b"//"):
        return url, b""
    parsed = httptools.parse_url(url)
    return parsed.path, parsed.query or b""


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


_OFFER = frozenset({b"upgrade", b"http2-settings"})


def _answer(status: bytes, message: str, kind: str = "invalid_request_error") -> bytes:
    """A whole reply in a shape that OpenAI's and Anthropic's clients both read."""
    error: dict[str, Any] = {"type": kind, "message": message, "param": None, "code": None}
    body = orjson.dumps({"type": "error", "error": error})
    return b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (
        status,
        len(body),
        body,
    )
