"""One request and its reply on one connection: the parser's callbacks, the clock of silences, the byte stream.

States, in order: *sending* (bytes of the request still wait in the socket's buffer or in the caller's stream) →
*waiting* (for the whole head) → *replying* → done, failed or abandoned. An early reply goes from *sending* to
*replying* directly; the connection is then not used again.

Invariants: an exchange ends exactly once; bytes that came before a failure are handed out before it is raised; a
connection is kept only if request and reply were both whole and the upstream did not ask to close.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import httpx
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from gateway.errors import UpstreamBroken, UpstreamTimeout

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from gateway.types import Headers
    from gateway.upstream.interface import UpstreamTimeouts

HIGH_WATER_BYTES = 64 * 1024
"""How much of a reply may wait for its reader before the upstream is held back."""
MAX_HEAD_BYTES = 256 * 1024
"""Largest head of a reply, interim replies included; servers cap their own at 8 to 64 KiB."""
_HEAD_ONLY = "HEAD"
_STATUSES = range(100, 600)
"""All that have a meaning (RFC 9110 section 15)."""
_INTERIM = range(100, 200)
_BODILESS = frozenset((204, 304))


class Line(Protocol):
    """What an exchange needs of its connection."""

    where: str

    def hold(self) -> None:
        """Stop reading from the upstream."""

    def go_on(self) -> None:
        """Read again."""

    def unsent_bytes(self) -> int:
        """How much of the request is still in the socket's buffer."""

    def done(self, *, keep: bool) -> None:
        """The exchange ended; keep the connection for another, or close it at once."""

    def look_at(self, when_s: float) -> None:
        """Call ``look_at_clock`` then, or sooner; an exchange that is over is not called."""


class Exchange(httpx.AsyncByteStream):
    """A ``Reply`` as it comes; made by ``Connection.begin``, which feeds it.

    Iterating is safe to cancel and to take up again: no byte is lost. Not for two readers at a time.
    """

    def __init__(self, line: Line, method: str, timeouts: UpstreamTimeouts, loop: asyncio.AbstractEventLoop) -> None:
        self._line = line
        self._method = method
        self._timeouts = timeouts
        self._loop = loop
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        self.status = 0
        self.headers: Headers = []
        self.fields: Headers = []
        self.whole = False
        self._head_bytes = 0
        self._head_seen = False
        self._interim = False
        self._until_close = False
        self._sent = False
        self._unsent_bytes = 0
        self._waiting_bytes = 0
        self._held = False
        self._ended = False
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._sink: Callable[[bytes], bool] | None = None
        self._chunks: list[bytes] = []
        self._deadline = loop.time() + timeouts.idle_s
        line.look_at(self._deadline)

    # What the reader does.

    async def wait_for_head(self) -> None:
        """Return when ``status`` and the header fields are there. Raises UpstreamBroken, UpstreamTimeout.

        Cancelled or failed, the connection is closed.
        """
        try:
            while not self._head_seen and self._error is None:
                self._waiter = self._loop.create_future()
                await self._waiter
        except BaseException:
            self.abandon()
            raise
        if self._error is not None and not self._head_seen:
            raise self._error

    def __aiter__(self) -> Exchange:
        return self

    async def __anext__(self) -> bytes:
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            self._waiter = self._loop.create_future()
            await self._waiter
        return self.take()

    def take(self) -> bytes:
        """What has come and was not read, without waiting; empty where that is nothing."""
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._waiting_bytes = 0
        if self._held:
            self._held = False
            self._deadline = self._loop.time() + self._timeouts.idle_s
            self._line.go_on()
        return data

    def push_to(self, sink: Callable[[bytes], bool]) -> None:
        """See ``Reply``."""
        self._sink = sink

    async def aclose(self) -> None:
        """Give up the rest of the reply: the connection is closed at once unless the reply was whole."""
        self.abandon()

    def abandon(self) -> None:
        """As ``aclose``, without a chance to wait."""
        self._chunks.clear()
        if not self._ended:
            self._end(UpstreamBroken(f"{self._line.where}: the reply was closed by its reader"), keep=False)

    # What the connection does.

    def request_sent(self) -> None:
        """The last byte of the request left for the socket."""
        self._sent = True
        if not self._head_seen:
            self._deadline = self._loop.time() + self._timeouts.first_byte_s
            self._line.look_at(self._deadline)

    def feed(self, data: bytes) -> None:
        """Bytes from the upstream, in any split."""
        if not self._head_seen:
            self._head_bytes += len(data)
        else:
            self._deadline = self._loop.time() + self._timeouts.idle_s
        parser = self._parser
        if parser is None:  # the reply is whole; the connection is being closed
            return
        try:
            parser.feed_data(data)
        except HttpParserUpgrade:
            self._reject("got a switch of protocols, expected a reply")
        except HttpParserError as error:
            self._reject(f"got a reply that is not HTTP/1.1: {error.__context__ or error}")
        if not self._head_seen and self._head_bytes > MAX_HEAD_BYTES:
            self._reject(f"got a head over {MAX_HEAD_BYTES} bytes")
        if self._waiting_bytes > HIGH_WATER_BYTES and not self._held and not self._ended:
            self._held = True
            self._line.hold()
        waiter = self._waiter
        if waiter is None or waiter.done() or (self._sink is not None and self._chunks and self._pushed(self._sink)):
            return
        waiter.set_result(None)

    def _pushed(self, sink: Callable[[bytes], bool]) -> bool:
        """Offer what has come to ``sink``, while its reader waits and the reply goes on; whether it was taken."""
        if self._ended:
            return False
        if self._held or len(self._chunks) > 1:
            data = self.take()
        else:
            data = self._chunks.pop()
            self._waiting_bytes = 0
        try:
            if sink(data):
                return True
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised to the reader
            self.fail(error)
            return True
        self._chunks.append(data)
        self._waiting_bytes = len(data)
        return False

    def lost(self, error: Exception | None) -> None:
        """The connection is gone: the end of a reply framed by it (RFC 9112 section 6.3, item 8), else a failure."""
        if self._until_close and error is None:
            self._end(None, keep=False)
        elif self._head_seen:
            self.fail(
                UpstreamBroken(f"{self._line.where}: the connection ended within the reply ({error or 'closed'})")
            )
        else:
            self.fail(UpstreamBroken(f"{self._line.where}: the connection ended before a reply ({error or 'closed'})"))

    def _reject(self, what: str) -> None:
        """Fail for bytes that make no sense; where the reply was already whole, only the connection is given up."""
        self.fail(UpstreamBroken(f"{self._line.where}: {what}"))
        self._line.done(keep=False)

    def fail(self, error: BaseException) -> None:
        """End with ``error``, once."""
        self._end(error, keep=False)

    def _end(self, error: BaseException | None, *, keep: bool) -> None:
        """Everything that an end means, once."""
        if self._ended:
            return
        self._ended = True
        self._error = error
        self.whole = error is None
        self._sink = None
        self._parser = None  # it holds this object: only the garbage collector would free them
        self._wake()
        self._line.done(keep=keep)

    def _wake(self) -> None:
        """Let the reader look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The clock of silences: the connection has one lazy timer, so that an event costs one assignment.

    def look_at_clock(self) -> None:
        """Fail where the deadline passed; else have it looked at when it will."""
        now = self._loop.time()
        if self._held or (not self._sent and not self._head_seen and self._is_being_sent()):
            self._deadline = now + self._timeouts.idle_s
        elif now >= self._deadline:
            self.fail(UpstreamTimeout(f"{self._line.where}: {self._silence()}"))
            return
        self._line.look_at(self._deadline)

    def _is_being_sent(self) -> bool:
        """Whether the upstream took some of the request since the last look, or waits for the caller's stream."""
        before, self._unsent_bytes = self._unsent_bytes, self._line.unsent_bytes()
        return self._unsent_bytes in range(before) or not self._unsent_bytes

    def _silence(self) -> str:
        """What was waited for, in words."""
        if self._head_seen:
            return f"nothing came for {self._timeouts.idle_s:g} s within the reply"
        if self._sent:
            return f"no reply began within {self._timeouts.first_byte_s:g} s"
        return f"the request could not be sent on for {self._timeouts.idle_s:g} s"

    # What the parser does.

    def on_message_begin(self) -> None:
        """A reply begins."""
        if self._ended:
            raise UpstreamBroken("bytes after the reply")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field; fields after the body (trailers) are dropped (RFC 9110 section 6.5.1 allows it)."""
        if not self._head_seen:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole: interim ones are passed over (RFC 9110 section 15.2), but no switch of protocols."""
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        if self.status not in _STATUSES:
            raise UpstreamBroken(f"got status {self.status}, expected {_STATUSES.start} to {_STATUSES.stop - 1}")
        self._interim = self.status in _INTERIM
        if self._interim:
            self.headers = []
            return
        self._until_close = self._is_framed_by_close()
        self._head_seen = True
        self._deadline = self._loop.time() + self._timeouts.idle_s
        self._line.look_at(self._deadline)
        if self._method == _HEAD_ONLY:
            # The parser does not know that no body follows, so its state is of no more use.
            self._end(None, keep=False)

    def _is_framed_by_close(self) -> bool:
        """Whether only the connection's end tells the body's. Raises UpstreamBroken on other transfer codings."""
        framed = self.status in _BODILESS
        self.fields = fields = [(name.lower(), value) for name, value in self.headers]
        named = dict(fields)
        if b"transfer-encoding" in named:
            for name, value in fields:
                if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                    raise UpstreamBroken(f"got transfer coding {value!r}, expected chunked")
            framed = True
        return not (framed or b"content-length" in named)

    def on_body(self, data: bytes) -> None:
        """Bytes of the body."""
        if not self._ended:
            self._chunks.append(data)
            self._waiting_bytes += len(data)

    def on_message_complete(self) -> None:
        """The reply is whole."""
        if self._interim:
            return
        assert self._parser is not None
        self._end(None, keep=self._sent and self._parser.should_keep_alive())
