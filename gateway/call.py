"""One request through the guard: read, decide, let the app answer, meter, settle, write down.

What it holds to: no byte of a reply waits for another (except that a reply's last bytes wait until its
settlement is done or, with an idle Redis, written, so that the caller's next request finds its budget restored); nothing that the
pipeline refuses reaches the app; every way out of ``Call.run`` ends in ``Rooms.end``.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from gateway.asgi import (
    BODY_FOLLOWS,
    CALLER_KEY,
    PUSH_KEY,
    UPSTREAM_KEY,
    Pinger,
    declared_length,
    header,
    read_body,
    received_path,
    too_large,
    whole_target,
)
from gateway.dialects import PING, allowed_methods, error_event, write_refusal
from gateway.errors import ClientDisconnected, RequestRefused, StoreError, UpstreamBroken, UpstreamError
from gateway.fields import to_caller, to_upstream
from gateway.forwarding import Outgoing, end_to_end, send_on
from gateway.refusing import (
    BROKEN,
    CUT,
    INTERNAL,
    UNAVAILABLE,
    send_refusal,
    unsupported,
    upstream_failure,
)
from gateway.types import Outcome, RefusalKind

if TYPE_CHECKING:
    from gateway.asgi import ASGIApp, Caller, Message, Receive, Scope, Send
    from gateway.forwarding import Forward
    from gateway.pipeline import Exchange
    from gateway.rooms import Rooms
    from gateway.types import Headers, Refusal
    from gateway.upstream import Reply

log = logging.getLogger("gateway.call")

_SERVER_ERROR = 500


class Call:
    """One request through the guard."""

    __slots__ = (
        "app",
        "body",
        "caller",
        "exchange",
        "finished",
        "forward",
        "headers",
        "left",
        "pinger",
        "receive",
        "received_bytes",
        "rooms",
        "scope",
        "send",
        "started",
        "too_large",
        "whole",
    )

    def __init__(
        self, app: ASGIApp, rooms: Rooms, scope: Scope, receive: Receive, send: Send, forward: Forward | None = None
    ) -> None:
        self.app = app
        self.rooms = rooms
        self.scope = scope
        self.receive = receive
        self.send = send
        self.headers: Headers = list(scope["headers"])
        self.exchange: Exchange = rooms.pipeline.open(scope["method"], received_path(scope), self.headers)
        self.caller: Caller | None = scope.get(CALLER_KEY)
        self.forward = forward
        self.pinger: Pinger | None = None
        self.body: bytes | None = None
        """What the app is still to receive of the request."""
        self.received_bytes = 0
        self.started = False
        self.finished = False
        """The reply's last byte was given to the server."""
        self.left = False
        """The caller was seen to go before that."""
        self.too_large = False
        """A passed-through body grew over the limit; nothing that the app says of it counts."""
        self.whole = False
        """The request's body was read to its end."""

    async def run(self) -> None:
        """Answer, refuse or report a failure; then settle and write the event, whatever happened."""
        exchange = self.exchange
        self.rooms.begin(exchange)
        try:
            await self._answer()
        except RequestRefused as refused:
            exchange.outcome = Outcome.REFUSED
            await self._refuse(refused.refusal)
        except ClientDisconnected:
            exchange.outcome = Outcome.DISCONNECTED
        except UpstreamError as error:
            log.warning("upstream failed", extra={"request": exchange.id, "error": str(error)})
            exchange.outcome = Outcome.UPSTREAM_FAILED
            await self._refuse(upstream_failure(error))
        except StoreError as error:
            log.error("store failed", extra={"request": exchange.id, "error": str(error)})  # noqa: TRY400 - no trace wanted
            await self._refuse(UNAVAILABLE)
        except asyncio.CancelledError:  # the server shuts down, or watches the caller's connection itself
            await self._cut()
            raise
        except Exception as error:
            log.exception("request failed", extra={"request": exchange.id, "error": type(error).__name__})
            await self._fail()
        finally:
            if self.pinger is not None:
                self.pinger.stop()
                self.pinger = None  # they hold each other: only the garbage collector would free them
            await self.rooms.end(exchange)

    async def _cut(self) -> None:
        if self.finished:
            self._note_answered()
            return
        self.exchange.outcome = Outcome.DISCONNECTED
        if self.started:
            await self._refuse(CUT)

    async def _fail(self) -> None:
        if self.finished:  # what the app does after its reply (background tasks) is its own affair
            self._note_answered()
            return
        self.exchange.outcome = Outcome.FAILED
        await self._refuse(INTERNAL)

    async def _answer(self) -> None:
        pipeline, exchange = self.rooms.pipeline, self.exchange
        pipeline.recognise(exchange, self.headers, self.scope.get("client"))
        length: int | None = None
        if exchange.route is None:
            await pipeline.admit_passed_through(exchange)
            receive: Receive = self._limited_receive
        else:
            length = await self._admit()
            receive = self._receive_again
        exchange.sent_upstream = True
        if self.body is not None and self.forward is not None and self.caller is not None:
            request = Outgoing(
                self.rooms.upstream_of(exchange),
                exchange.method,
                whole_target(self.scope),
                to_upstream(exchange, self._key(), length, forwarded=True),
                self.body,
            )
            await self.forward(request, self.caller, self._deliver)
        else:
            await self.app(self._forwarded(length), receive, self._reply)
        if not self.finished:
            if self.left:
                raise ClientDisconnected("the caller closed the connection before its reply was whole")
            raise UpstreamBroken("the app returned before its reply was whole")
        self._note_answered()

    def _note_answered(self) -> None:
        """A whole reply went out: say how it was, unless that is known to be worse."""
        exchange = self.exchange
        if exchange.outcome is Outcome.FAILED:
            exchange.outcome = Outcome.UPSTREAM_FAILED if exchange.status >= _SERVER_ERROR else Outcome.ANSWERED

    async def _admit(self) -> int | None:
        """Read the request and decide; the length of the body that is forwarded, where it was changed."""
        exchange = self.exchange
        body = b""
        if exchange.route is not None and exchange.route.has_body:
            body = await self._read()
            self.whole = True
        self.body = forwarded = await self.rooms.pipeline.admit(exchange, body)
        if exchange.plan is not None and exchange.plan.delay_s > 0:
            await asyncio.sleep(exchange.plan.delay_s)
        return None if forwarded is body else len(forwarded)

    async def _read(self) -> bytes:
        """The body: at once where the server has all of it, else as it comes."""
        settings = self.rooms.settings
        if b"content-encoding" in dict(self.headers):
            encoding = header(self.headers, b"content-encoding")
            if encoding not in (None, b"", b"identity"):
                raise RequestRefused(unsupported(encoding or b""))
        if self.caller is not None and (body := self.caller.whole_body(settings.max_body_bytes)) is not None:
            return body
        if (declared_length(self.headers) or 0) > settings.max_body_bytes:
            raise RequestRefused(too_large(settings.max_body_bytes))
        return await read_body(self.receive, max_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s)

    async def _receive_again(self) -> Message:
        """The body again for the app, then whatever comes from the caller: its disconnect."""
        body, self.body = self.body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        message = await self.receive()
        self.left = message["type"] == "http.disconnect" and not self.finished
        return message

    async def _limited_receive(self) -> Message:
        """A passed-through body, unread, but not larger than any other."""
        message = await self.receive()
        if message["type"] == "http.request":
            self.received_bytes += len(message.get("body", b""))
            if self.received_bytes > self.rooms.settings.max_body_bytes:
                self.too_large = True
                raise RequestRefused(too_large(self.rooms.settings.max_body_bytes))
            self.whole = not message.get("more_body", False)
        else:
            self.left = not self.finished
        return message

    def _key(self) -> bytes | None:
        """What stands in for the caller's credential, empty for nothing; ``None``: the caller's own is passed on."""
        identity, rooms = self.exchange.identity, self.rooms
        if identity is None:
            return b"" if rooms.identities.strict else None
        return None if identity.own_credential else rooms.upstream_credential(self.exchange)

    def _forwarded(self, length: int | None) -> Scope:
        """The scope for the app: the caller's, with its credential replaced where it is ours."""
        scope = dict(self.scope)
        scope["headers"] = to_upstream(self.exchange, self._key(), length)
        scope["extensions"] = {}  # a reply sent by the server behind our back could not be metered
        scope[UPSTREAM_KEY] = self.rooms.upstream_of(self.exchange)
        scope[PUSH_KEY] = None if self.caller is None else self._push
        return scope

    async def _deliver(self, reply: Reply) -> None:
        """A reply of the reverse proxy: at once where all of it has come, else as any app's."""
        if not reply.whole:
            await send_on(reply, self._reply, self._push)
            return
        pipeline, exchange, caller = self.rooms.pipeline, self.exchange, self.caller
        fields = end_to_end(reply.fields)
        reader = pipeline.read_reply(exchange, reply.status, fields)
        assert reader is not None
        assert caller is not None
        fields = to_caller(exchange, fields, keep_length=reader.passes_bytes)
        body = self._ending(reader.feed(reply.take()))
        await pipeline.settle(exchange)
        pipeline.note_first_byte(exchange)
        self.started = True
        if not caller.answer(reply.status, fields, body):
            await self._pass({"type": "http.response.start", "status": reply.status, "headers": fields})
            await self._pass({"type": "http.response.body", "body": body, "more_body": False})
        self.finished = True

    async def _reply(self, message: Message) -> None:
        """What the app answers, metered on its way to the caller."""
        kind = message["type"]
        if kind == "http.response.body":
            more: bool = message.get("more_body", False)
            body: bytes = message.get("body", b"")
            reader = self.exchange.reader
            if reader is not None:
                body = reader.feed(body)
                if not more:
                    body = self._ending(body)
                if not more or reader.ended:
                    await self.rooms.pipeline.settle(self.exchange)
                if more and not body:
                    return
            if self.exchange.first_byte_s is None:
                self.rooms.pipeline.note_first_byte(self.exchange)
            await self._pass({"type": kind, "body": body, "more_body": more})
            self.finished = not more
            return
        if self.too_large and not self.started:
            raise RequestRefused(too_large(self.rooms.settings.max_body_bytes))
        if kind == "http.response.start":
            message = self._reply_head(message)
        await self._pass(message)

    def _reply_head(self, message: Message) -> Message:
        exchange = self.exchange
        headers: Headers = list(message.get("headers", ()))
        reader = self.rooms.pipeline.read_reply(exchange, message["status"], headers)
        if reader is not None:
            headers = to_caller(exchange, headers, keep_length=reader.passes_bytes)
            if reader.is_stream and (interval_s := self.rooms.settings.ping_interval_s) > 0:
                plain = header(headers, b"content-encoding") is None and header(headers, b"content-length") is None
                self.pinger = Pinger(self._ping, interval_s) if plain else None
        self.started = True
        follows = message.get(BODY_FOLLOWS, False)
        return {"type": message["type"], "status": message["status"], "headers": headers, BODY_FOLLOWS: follows}

    def _push(self, piece: bytes) -> bool:
        """An event like those before it, passed on at once: most of a stream is that. See ``asgi.Push``."""
        reader, caller = self.exchange.reader, self.caller
        if self.exchange.first_byte_s is None or caller is None or reader is None or not caller.is_free():
            return False
        if self.pinger is not None and not self.pinger.passed():
            return False
        given = reader.feed_alike(piece)
        if given:
            caller.write(given)
        return bool(given)

    def _ending(self, body: bytes) -> bytes:
        """The last bytes of a reply: with an error event where it was a stream that did not come to its end."""
        exchange = self.exchange
        reader = exchange.reader
        assert reader is not None
        body += reader.finish()
        if reader.is_stream and not reader.ended:
            exchange.outcome = Outcome.UPSTREAM_FAILED
            body += self._error_event(BROKEN)
        return body

    async def _pass(self, message: Message) -> None:
        """Send to the caller; a connection that is gone is a disconnect, whatever the server calls it."""
        try:
            if self.pinger is not None:
                await self.pinger.pass_on(self.send, message)
            else:
                await self.send(message)
        except OSError as error:
            raise ClientDisconnected("the caller closed the connection while its reply was sent") from error

    async def _ping(self) -> None:
        if self.exchange.reader is not None and self.exchange.reader.at_boundary:
            await self.send({"type": "http.response.body", "body": PING, "more_body": True})

    def _error_event(self, refusal: Refusal) -> bytes:
        exchange = self.exchange
        assert exchange.route is not None
        assert exchange.reader is not None
        return error_event(
            exchange.route, refusal, request_id=exchange.id, sequence_number=exchange.reader.next_sequence
        )

    async def _refuse(self, refusal: Refusal) -> None:
        """Write a refusal; into a stream that has begun, as the dialect's error event."""
        exchange = self.exchange
        exchange.refusal = refusal
        if self.started:
            await self._break_off(refusal)
            return
        status, headers, body = write_refusal(
            exchange.family, refusal, request_id=exchange.id, now_s=self.rooms.clock.now()
        )
        exchange.status = status
        if refusal.kind is RefusalKind.METHOD_NOT_ALLOWED:
            headers.append((b"allow", allowed_methods(exchange.path)))
        if self.scope["method"] == "HEAD":
            body = b""
        await self.rooms.pipeline.settle(exchange)
        try:
            await send_refusal(self.receive, self.send, self.headers, (status, headers, body), whole=self.whole)
        except (OSError, ClientDisconnected):
            return

    async def _break_off(self, refusal: Refusal) -> None:
        """End a reply that cannot be ended well: a stream says so, anything else is cut visibly."""
        reader = self.exchange.reader
        if reader is None or not reader.is_stream:
            return  # the server closes the connection before the reply's declared end: the caller sees it
        await self.rooms.pipeline.settle(self.exchange)
        if reader.ended:  # the dialect's last event went out before: nothing is missing
            self.exchange.outcome, self.exchange.refusal = Outcome.ANSWERED, None
            last = b""
        else:
            last = (reader.finish() if reader.at_boundary else b"\n\n") + self._error_event(refusal)
        try:
            await self._pass({"type": "http.response.body", "body": last, "more_body": False})
        except ClientDisconnected:
            return
