"""Origins, and replies that are pushed: nothing is lost, doubled or out of order, whoever takes it."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import httpx
import pytest

from gateway.errors import ClientDisconnected, UpstreamBroken
from gateway.upstream import TranslatingTransport, UpstreamTimeouts, open_transport, origin_of
from gateway.upstream.exchange import Exchange
from tests.upstream.scripted import Peer, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECES = [b"piece %d;" % number for number in range(60)]
WIRE = HEAD + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in PIECES) + b"0\r\n\r\n"


class Line:
    """A connection that keeps what it is told."""

    where = "test"

    def __init__(self) -> None:
        self.kept: list[bool] = []

    def hold(self) -> None: ...

    def go_on(self) -> None: ...

    def unsent_bytes(self) -> int:
        return 0

    def look_at(self, when_s: float) -> None: ...

    def done(self, *, keep: bool) -> None:
        self.kept.append(keep)


def exchange(line: Line) -> Exchange:
    begun = Exchange(line, "POST", UpstreamTimeouts(), asyncio.get_running_loop())
    begun.request_sent()
    return begun


class Taking:
    """A sink that takes everything."""

    def __init__(self) -> None:
        self.got: list[bytes] = []

    def __call__(self, piece: bytes) -> bool:
        self.got.append(piece)
        return True


async def turns(count: int = 3) -> None:
    """Let whoever is ready go on."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(20))
async def test_a_pushed_reply_is_whole_and_in_order_whatever_the_sink_takes(seed: int) -> None:
    rng = random.Random(seed)
    line = Line()
    reply = exchange(line)
    got: list[bytes] = []
    pushed = 0

    def sink(piece: bytes) -> bool:
        nonlocal pushed
        taken = rng.random() < 0.6
        if taken:
            got.append(piece)
            pushed += 1
        return taken

    async def read() -> None:
        await reply.wait_for_head()
        reply.push_to(sink)
        async for piece in reply:
            if rng.random() < 0.3:
                await turns()  # a reader that waits for its caller: nothing may overtake it
            got.append(piece)

    reading = asyncio.create_task(read())
    await turns()
    at = 0
    while at < len(WIRE):
        step = rng.choice((1, 3, 17, 90))
        reply.feed(WIRE[at : at + step])
        at += step
        await turns(rng.randrange(4))
    await reading
    assert b"".join(got) == b"".join(PIECES)
    assert pushed
    assert line.kept == [True]


async def test_the_last_piece_is_left_to_the_reader() -> None:
    reply = exchange(Line())
    sink = Taking()
    reply.push_to(sink)
    reading = asyncio.ensure_future(anext(reply))
    await turns()
    reply.feed(HEAD + b"1\r\na\r\n")
    await turns()
    assert sink.got == [b"a"]
    reply.feed(b"1\r\nb\r\n0\r\n\r\n")
    assert await reading == b"b"
    assert reply.whole
    assert sink.got == [b"a"]


async def test_what_a_sink_raises_is_raised_to_the_reader_and_closes_the_connection() -> None:
    line = Line()
    reply = exchange(line)

    def sink(piece: bytes) -> bool:
        raise ClientDisconnected(f"gone before {len(piece)} bytes")

    reply.push_to(sink)
    reading = asyncio.ensure_future(anext(reply))
    await turns()
    reply.feed(HEAD + b"1\r\na\r\n")
    with pytest.raises(ClientDisconnected, match="gone before 1 bytes"):
        await reading
    assert line.kept == [False]


async def test_a_break_after_pushed_pieces_is_raised() -> None:
    reply = exchange(Line())
    reply.push_to(lambda _: True)
    reading = asyncio.ensure_future(anext(reply))
    await turns()
    reply.feed(HEAD + b"1\r\na\r\n")
    reply.lost(None)
    with pytest.raises(UpstreamBroken, match="the connection ended within the reply"):
        await reading


async def test_a_reader_that_was_cancelled_finds_what_came_meanwhile() -> None:
    reply = exchange(Line())
    sink = Taking()
    reply.push_to(sink)
    reading = asyncio.ensure_future(anext(reply))
    await turns()
    reading.cancel()
    await turns()
    reply.feed(HEAD + b"1\r\na\r\n")
    assert sink.got == []
    assert await anext(reply) == b"a"


@pytest.mark.parametrize("kind", ["pooled", "httpx"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_origin_sends_what_it_is_given_and_frames_it(kind: str, streamed: bool) -> None:
    async def script(peer: Peer) -> None:
        came.append(await peer.request())
        await peer.send(b"HTTP/1.1 201 Created\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 2\r\n\r\nok")

    async def pieces() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"cd"

    came: list[bytes] = []
    async with serve(script) as server:
        plain = TranslatingTransport(httpx.AsyncHTTPTransport())
        transport = open_transport(UpstreamTimeouts()) if kind == "pooled" else plain
        body = pieces() if streamed else b"abcd"
        fields = [(b"host", b"model.test"), (b"x-twice", b"1"), (b"x-twice", b"2")]
        reply = await origin_of(transport, server.url + "/ignored").send("POST", b"/v1/%7Ex?y=1", fields, body)
        got = b"".join([piece async for piece in reply])
        await reply.aclose()
        await transport.aclose()
    assert (reply.status, got) == (201, b"ok")
    assert reply.fields == [(b"x-a", b"1"), (b"x-a", b"2"), (b"content-length", b"2")]
    head, _, sent = came[0].partition(b"\r\n\r\n")
    framing = b"transfer-encoding: chunked" if streamed else b"content-length: 4"
    assert head.lower().split(b"\r\n") == [
        b"post /v1/%7ex?y=1 http/1.1",
        b"host: model.test",
        b"x-twice: 1",
        b"x-twice: 2",
        framing,
    ]
    assert sent.replace(b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n", b"abcd") == b"abcd"
