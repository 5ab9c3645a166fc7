"""A model server that streams at a steady pace; a program of its own, so that its cost is nobody else's.

    python -m loadtest.paced PORT EVENTS GAP_MS

Every POST is answered with ``EVENTS`` content events, one word each, one every ``GAP_MS``, in the shape of OpenAI's chat
completions, then usage (where the request asks for it) and ``[DONE]``. A ``GAP_MS`` of 0 sends one event and
then nothing, for as long as the caller stays: an idle stream.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

_EVENT = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini",'
    b'"choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n'
)
_PROSE = (
    "You should begin with a large bowl, because it is easier to mix everything that way. However, do not start too "
    "quickly: the dough needs roughly thirty minutes to rest. It is also important to use warm water, and you can usually "
    "tell by touch that it is right. For example, water that feels hot will often kill the yeast, so try to be careful. "
    "Afterwards, shape the loaf, let it rise, and bake it until the crust is brown. In addition, it helps to place a small "
    "pan of water in the oven, since steam keeps the surface soft. Perhaps you will need a little more flour than the "
    "recipe says. When the bread sounds hollow, it is done. "
)
"""Prose, so that marks find something to choose."""
_WORDS = [word.encode() + b" " for word in _PROSE.split()]
_LAST = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
)
_USAGE = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini",'
    b'"choices":[],"usage":{"prompt_tokens":400,"completion_tokens":%d,"total_tokens":%d}}\n\n'
)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Paced(asyncio.Protocol):
    """One connection; one reply at a time."""

    def __init__(self, events: int, gap_s: float) -> None:
        self._events = events
        self._gap_s = gap_s
        self._buffer = b""
        self._sent = 0
        self._usage = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it
        self._loop = asyncio.get_running_loop()

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller is gone."""
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Wait for a whole request; its body's length is always declared here."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or b"0")
        if len(body) < length:
            return
        self._usage = b'"include_usage":true' in body.replace(b" ", b"")
        self._buffer = b""
        self._sent = 0
        self._transport.write(_HEAD)
        self._next()

    def _next(self) -> None:
        self._sent += 1
        if self._sent <= self._events:
            self._transport.write(_chunk(_EVENT % _WORDS[self._sent % len(_WORDS)]))
            if self._gap_s:
                self._timer = self._loop.call_later(self._gap_s, self._next)
            return
        usage = _chunk(_USAGE % (self._events, 400 + self._events)) if self._usage else b""
        self._transport.write(_chunk(_LAST) + usage + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")


async def _serve(port: int, events: int, gap_s: float) -> None:
    server = await asyncio.get_running_loop().create_server(
        lambda: Paced(events, gap_s), "127.0.0.1", port, backlog=8192
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000))
