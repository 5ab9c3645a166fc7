"""One request on a connection of a client, and its reply: the ASGI of ``protocol``.

uvicorn's cycle with the manners of an API gateway and fewer steps: a reply whose body is at hand goes out in one
write with its head; HTTP/1.0 gets no chunks (RFC 9112, section 6.3); nothing waits where nothing is to be waited
for. It is the ``asgi.Caller`` too, so that a body that is there and a watch over the connection cost no task.

Invariants: a head and a body are written once, in that order; a reply is never longer or shorter than it declared;
no field can end its line early.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from gateway.asgi import BODY_FOLLOWS, CALLER_KEY

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable

    from uvicorn.protocols.http.flow_control import FlowControl

    from gateway.asgi import ASGIApp, Scope
    from gateway.types import Headers

_JOIN_BELOW_BYTES = 64 * 1024
"""Bodies up to this size go out in one write with their head: a copy is cheaper than a second packet."""
_BODILESS = frozenset({204, 304})


class Line(Protocol):
    """What a cycle needs of its connection."""

    transport: asyncio.Transport
    flow: FlowControl
    logger: logging.Logger
    loop: asyncio.AbstractEventLoop
    tasks: set[asyncio.Task[None]]

    def on_response_complete(self) -> None:
        """The reply was given to the transport, all of it."""


class Cycle(RequestResponseCycle):
    """Made when a request's head is whole; its ``Line`` feeds it."""

    def __init__(self, line: Line, scope: Scope, *, keep_alive: bool, expects_100: bool) -> None:
        # uvicorn's constructor is not called: half of what it sets is not used here.
        self.scope = scope  # type: ignore[assignment]
        self.line = line
        self.transport = line.transport
        self.flow = line.flow
        self.logger = line.logger
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = expects_100
        self.body: bytes = b""  # type: ignore[assignment]
        """What came of the body and was not received yet."""
        self.more_body = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self._task: asyncio.Task[None] | None = None
        self._head = b""
        """A head that waits for its body, where that is at hand."""
        self._chunked = False
        self._bodiless = False
        self._left: int | None = None
        """Bytes of the body that are still to be sent, where that is declared."""
        self._news = False
        self._event: asyncio.Event | None = None
        """Made when something has to be waited for."""
        self._watched = False
        self._cancelled = False
        scope[CALLER_KEY] = self

    def begin(self, app: ASGIApp) -> None:
        """Answer in a task of its own; the server waits for those that are open when it stops."""
        self._task = self.line.loop.create_task(self.run_asgi(app))
        self.line.tasks.add(self._task)

    async def run_asgi(self, app: Any) -> None:
        """Call the app; a reply that it leaves unfinished ends with the connection."""
        try:
            await app(self.scope, self.receive, self.send)
        except BaseException:
            self.logger.exception("Exception in ASGI application")
        finally:
            self.line.tasks.discard(self._task)
            del self.scope[CALLER_KEY]  # type: ignore[misc]  # else only the garbage collector would free the two
        if self.response_complete or self.disconnected:
            return
        if self.response_started:
            self.transport.close()
        else:
            await self.send_500_response()

    # What came from the caller.

    def feed(self, body: bytes) -> None:
        """A piece of the body."""
        self.body = self.body + body if self.body else body
        self.wake()

    def wake(self) -> None:
        """Something changed: let whoever receives look."""
        self._news = True
        if self._event is not None:
            self._event.set()

    def lose(self) -> None:
        """The connection is gone."""
        self.disconnected = True
        self.wake()
        if self._watched and self._task is not None:
            self._watched, self._cancelled = False, True
            self._task.cancel()

    async def receive(self) -> Any:
        """What ASGI says; every piece of the body once, then the disconnect when it comes."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            if not self._news:
                self._event = self._event or asyncio.Event()
                await self._event.wait()
                self._event.clear()
            self._news = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = self.body, b""
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    # What else is known of the caller: see ``asgi.Caller``.

    def whole_body(self, max_bytes: int) -> bytes | None:
        """The body, once, where all of it has come."""
        if self.more_body or self.disconnected or len(self.body) > max_bytes:
            return None
        body, self.body, self._news = self.body, b"", False
        self.waiting_for_100_continue = False
        self.flow.resume_reading()
        return body

    def start(self) -> bool:
        """Cancel the task from now on when the connection is lost; False where it is lost already."""
        self.flow.resume_reading()  # or its end would not be seen
        self._watched = not self.disconnected
        return self._watched

    def stop(self) -> None:
        """From here on a lost connection is no news."""
        self._watched = False

    def cancelled(self) -> bool:
        """Whether the cancellation that was just caught is the watch's own, and nobody else's as well."""
        return self._cancelled and self._task is not None and self._task.uncancel() == 0

    def is_free(self) -> bool:
        """Whether a piece of a chunked reply that has begun can be written now."""
        free = self._chunked and not self.flow.write_paused and not self._head
        return free and not self.disconnected and not self.response_complete

    def write(self, piece: bytes) -> None:
        """Write it as a chunk."""
        self.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def answer(self, status: int, fields: Headers, body: bytes) -> bool:
        """Write a whole reply, head and body; False where that has to wait or comes too late."""
        if self.flow.write_paused or self.disconnected or self.response_started:
            return False
        self._head = self._head_of(status, fields)
        self._send_body(body, more=False)
        return True

    # What goes to the caller.

    async def send(self, message: Any) -> None:
        """Raises RuntimeError for messages out of order and for a body that is not as long as declared."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.body" and self.response_started and not self.response_complete:
            self._send_body(message.get("body", b""), more=message.get("more_body", False))
        elif kind == "http.response.start" and not self.response_started:
            head = self._head_of(message["status"], message.get("headers", ()))
            if message.get(BODY_FOLLOWS):
                self._head = head
            else:
                self.transport.write(head)
        else:
            raise RuntimeError(f"got the ASGI message {kind!r} out of order")

    def _head_of(self, status: int, given: Iterable[tuple[bytes, bytes]]) -> bytes:
        """The head of the reply, which begins with it."""
        fields = list(given)
        named = dict(fields)
        length = named.get(b"content-length")
        self._left = None if length is None else int(length)
        if b"connection" in named and (closing := [field for field in fields if _closes(*field)]):
            self.keep_alive = False
            fields.remove(closing[0])
        if not self.keep_alive:
            fields.append((b"connection", b"close"))
        self._bodiless = self.scope["method"] == "HEAD" or status in _BODILESS
        self._chunked = self._left is None and not self._bodiless and self.scope["http_version"] != "1.0"
        if self._chunked:
            fields.append((b"transfer-encoding", b"chunked"))
        head = _written(status, fields)
        self.response_started = True
        self.waiting_for_100_continue = False
        return head

    def _send_body(self, body: bytes, *, more: bool) -> None:
        if self._bodiless:
            body = b""
        elif self._chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more else b"0\r\n\r\n")
        elif self._left is not None:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more):
                raise RuntimeError(f"got a body that is {abs(self._left)} bytes off its declared length")
        head, self._head = self._head, b""
        if head and len(body) <= _JOIN_BELOW_BYTES:
            self.transport.write(head + body)
        else:
            if head:
                self.transport.write(head)
            if body:
                self.transport.write(body)
        if not more:
            self.response_complete = True
            self.wake()
            if not self.keep_alive:
                self.transport.close()
            self.line.on_response_complete()


def _closes(name: bytes, value: bytes) -> bool:
    return name == b"connection" and b"close" in value.lower()


def _written(status: int, fields: Headers) -> bytes:
    """A head as bytes. Raises RuntimeError where a field would end its line early."""
    block = b"\r\n".join(map(b": ".join, fields))
    breaks = max(0, len(fields) - 1)
    if block.count(b"\n") != breaks or block.count(b"\r") != breaks or b"\0" in block:
        raise RuntimeError("got a header field that is not one line of HTTP/1.1; nothing was sent")
    return b"%b%b\r\n\r\n" % (STATUS_LINE[status], block) if fields else STATUS_LINE[status] + b"\r\n"
