"""One HTTP/1.1 connection: an asyncio protocol that carries one exchange at a time.

It knows whether it can be used again and how to be closed at once; it parses nothing and keeps no pool.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, cast

from gateway.upstream.exchange import Exchange
from gateway.upstream.wire import CHUNKED, LAST_CHUNK, chunk

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import AsyncIterable, AsyncIterator, Callable

    from gateway.upstream.interface import UpstreamTimeouts

_JOIN_BELOW_BYTES = 64 * 1024
"""Bodies up to this size go out in one write with their head: a copy is cheaper than a second packet."""


class Connection(asyncio.Protocol):
    """An open connection. ``on_free`` is told when an exchange left it usable, ``on_lost`` when it is gone.

    ``free`` is where those of the same origin wait for their next request.
    """

    def __init__(
        self,
        where: str,
        free: deque[Connection],
        on_free: Callable[[Connection], None],
        on_lost: Callable[[Connection], None],
    ) -> None:
        self.where = where
        self.free = free
        self.free_since_s = 0.0
        self._on_free = on_free
        self._on_lost = on_lost
        self._exchange: Exchange | None = None
        self._sender: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._look_at_s = 0.0
        self._transport: asyncio.Transport
        self._loop: asyncio.AbstractEventLoop
        self._poll: select.poll

    # What the pool does.

    def is_usable(self, keep_s: float) -> bool:
        """Whether a request may be sent: open, free for at most ``keep_s``, and nothing (an end, stray bytes) waits
        in the socket.

        The event loop learns of a close only when it next polls; asking the socket itself closes that gap,
        because a request that went out on a dying connection must not be sent again.
        """
        if self._transport.is_closing() or self._loop.time() - self.free_since_s > keep_s:
            return False
        return not self._poll.poll(0)

    def close(self) -> None:
        """Close at once, whatever is under way."""
        self._transport.abort()

    @property
    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._transport.is_closing()

    def begin(
        self, method: str, head: bytes, body: bytes | AsyncIterable[bytes], length: int, timeouts: UpstreamTimeouts
    ) -> Exchange:
        """Send ``head`` and ``body`` (of ``length`` bytes, or ``CHUNKED``); await the exchange's head next."""
        exchange = self._exchange = Exchange(self, method, timeouts, self._loop)
        if isinstance(body, bytes):
            self._write_whole(head, body)
        else:
            self._transport.write(head)
            self._sender = self._loop.create_task(self._send_stream(exchange, body, length))
        return exchange

    def _write_whole(self, head: bytes, body: bytes) -> None:
        """Head and body, in as few writes as is cheap."""
        if len(body) <= _JOIN_BELOW_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
        if self._drained is None and self._exchange is not None:
            self._exchange.request_sent()

    async def _send_stream(self, exchange: Exchange, body: AsyncIterable[bytes], length: int) -> None:
        """Send the body as it comes, no faster than the upstream takes it."""
        try:
            async for piece in _framed(body, length):
                self._transport.write(piece)
                if self._drained is not None:
                    await self._drained
        except Exception as error:  # noqa: BLE001 - whatever the caller's stream raises is raised to the caller
            exchange.fail(error)
        else:
            exchange.request_sent()

    # What the exchange does.

    def hold(self) -> None:
        """Stop reading."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def unsent_bytes(self) -> int:
        """What waits in the socket's buffer."""
        return self._transport.get_write_buffer_size()

    def done(self, *, keep: bool) -> None:
        """The exchange ended."""
        self._exchange = None
        if self._sender is not None:
            if not self._sender.done() and self._sender is not asyncio.current_task(self._loop):
                self._sender.cancel()
            self._sender = None
        if keep and not self._transport.is_closing():
            self.free_since_s = self._loop.time()
            self._on_free(self)
        else:
            self._transport.abort()

    def look_at(self, when_s: float) -> None:
        """One timer serves all exchanges of this connection; it is set anew only where it would come too late."""
        if self._timer is not None:
            if self._look_at_s <= when_s:
                return
            self._timer.cancel()
        self._look_at_s = when_s
        self._timer = self._loop.call_at(when_s, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._exchange is not None:
            self._exchange.look_at_clock()

    # What the event loop does.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once, before anything else."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop does not inherit from it
        self._loop = asyncio.get_running_loop()
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Bytes belong to the exchange; without one they are nobody's, and the connection is unsafe."""
        if self._exchange is not None:
            self._exchange.feed(data)
        else:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called once, after everything else."""
        if self._timer is not None:
            self._timer.cancel()
        self.resume_writing()
        if self._exchange is not None:
            self._exchange.lost(exc)
        self._on_lost(self)

    def pause_writing(self) -> None:
        """The upstream takes no more for now."""
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        """It takes more."""
        if self._drained is not None:
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None
            if self._exchange is not None and self._sender is None:
                self._exchange.request_sent()


async def _framed(body: AsyncIterable[bytes], length: int) -> AsyncIterator[bytes]:
    """The body's bytes as they go over the wire. Raises ValueError where they are not as many as declared."""
    left = length
    async for piece in body:
        if not piece:
            continue
        left -= len(piece)
        if length != CHUNKED and left < 0:
            raise ValueError(f"got more than the declared {length} bytes of body, expected as many")
        yield chunk(piece) if length == CHUNKED else piece
    if length == CHUNKED:
        yield LAST_CHUNK
    elif left:
        raise ValueError(f"got {length - left} bytes of body, expected the declared {length}")
