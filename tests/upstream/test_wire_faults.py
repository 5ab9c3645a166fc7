"""The contract of ``gateway.upstream.interface`` on the wire, against a socket that follows a script.

Run over the real transport, on both event loops' rules, and over httpx's own as a reference where it applies.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import httpx
import pytest
import trustme

from gateway.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from gateway.upstream import TranslatingTransport, UpstreamTimeouts, open_transport
from gateway.upstream.exchange import HIGH_WATER_BYTES, MAX_HEAD_BYTES
from gateway.upstream.transport import KEEP_ALIVE_S
from tests.upstream.scripted import Peer, chunks, read_all, read_until_failure, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SHORT = UpstreamTimeouts(connect_s=0.05, first_byte_s=0.05, idle_s=0.05)
AT_ONCE_S = 0.5


@pytest.fixture(params=["pooled", "httpx"])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncBaseTransport]:
    """Each transport that talks to sockets."""
    made = (
        open_transport(UpstreamTimeouts())
        if request.param == "pooled"
        else TranslatingTransport(httpx.AsyncHTTPTransport())
    )
    yield made
    await made.aclose()


@pytest.fixture
async def pooled() -> AsyncIterator[httpx.AsyncBaseTransport]:
    """The real one, for what httpx's does not promise."""
    made = open_transport(UpstreamTimeouts())
    yield made
    await made.aclose()


def post(url: str, body: bytes = b"{}", **headers: str) -> httpx.Request:
    return httpx.Request("POST", url + "/v1/x", content=body, headers=headers)


async def answer(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> tuple[int, bytes]:
    response = await transport.handle_async_request(request)
    return response.status_code, await read_all(response)


async def always(peer: Peer, reply: bytes = OK) -> None:
    while True:
        await peer.request()
        await peer.send(reply)


# 1. Nothing is changed.


async def test_request_goes_out_byte_for_byte_and_nothing_is_invented(transport: httpx.AsyncBaseTransport) -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        seen.append(await peer.request())
        await peer.send(OK)

    body = b'{"a": 1.0, "\xff": \r\n}'
    fields = [(b"host", b"h"), (b"X-Dup", b"1"), (b"x-dup", b"2"), (b"X-Raw", b"caf\xe9"), (b"content-length", b"19")]
    async with serve(script) as server:
        request = httpx.Request("POST", server.url, headers=fields, stream=httpx.ByteStream(body))
        request.extensions["target"] = b"/v1//x%2f?a=%7E&b"
        await answer(transport, request)
    head, _, got = seen[0].partition(b"\r\n\r\n")
    start, *lines = head.split(b"\r\n")
    assert got == body
    assert start == b"POST /v1//x%2f?a=%7E&b HTTP/1.1"
    assert sorted(line.lower() for line in lines) == [
        b"content-length: 19",
        b"host: h",
        b"x-dup: 1",
        b"x-dup: 2",
        b"x-raw: caf\xe9",
    ]
    assert lines.index(b"X-Dup: 1") < lines.index(b"x-dup: 2")


async def test_compressed_reply_and_duplicate_headers_come_raw_and_in_order(
    transport: httpx.AsyncBaseTransport,
) -> None:
    reply = (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Encoding: gzip\r\nX-B: \xe9\r\nset-cookie: b=2\r\n"
        b"Content-Length: 4\r\n\r\n\x1f\x8b\x00\xff"
    )
    async with serve(lambda peer: always(peer, reply)) as server:
        response = await transport.handle_async_request(post(server.url))
        assert await read_all(response) == b"\x1f\x8b\x00\xff"
        assert response.headers.raw == [
            (b"Set-Cookie", b"a=1"),
            (b"Content-Encoding", b"gzip"),
            (b"X-B", b"\xe9"),
            (b"set-cookie", b"b=2"),
            (b"Content-Length", b"4"),
        ]


async def test_redirect_is_a_reply_like_any_other(transport: httpx.AsyncBaseTransport) -> None:
    reply = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\r\n"
    async with serve(lambda peer: always(peer, reply)) as server:
        assert await answer(transport, post(server.url)) == (302, b"")
        assert await answer(transport, post(server.url)) == (302, b"")
        assert server.connections == 1


@pytest.mark.parametrize(
    ("reply", "status", "body"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, b""),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\nX-T: 1\r\n\r\n",
            200,
            b"abc",
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK, 200, b"ok"),
        (b"HTTP/1.1 529 \r\nContent-Length: 1\r\n\r\nx", 529, b"x"),
    ],
)
async def test_reply_of_any_framing_is_read_whole_in_any_split_and_the_connection_is_kept(
    pooled: httpx.AsyncBaseTransport, reply: bytes, status: int, body: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply)
        await peer.request()
        for at in range(len(reply)):
            await peer.send(reply[at : at + 1])
            await asyncio.sleep(0)
        await peer.request()
        await peer.send(OK)

    async with serve(script) as server:
        assert await answer(pooled, post(server.url)) == (status, body)
        assert await answer(pooled, post(server.url)) == (status, body)
        assert await answer(pooled, post(server.url)) == (200, b"ok")
        assert server.connections == 1


async def test_head_reply_has_no_body_whatever_its_length_says(transport: httpx.AsyncBaseTransport) -> None:
    async with serve(lambda peer: always(peer, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")) as server:
        assert await answer(transport, httpx.Request("HEAD", server.url)) == (200, b"")


async def test_reply_framed_by_the_end_of_the_connection_is_whole(transport: httpx.AsyncBaseTransport) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.0 200 OK\r\n\r\nab")
        await peer.send(b"cd")

    async with serve(script) as server:
        assert await answer(transport, post(server.url)) == (200, b"abcd")
        assert await answer(transport, post(server.url)) == (200, b"abcd")
        assert server.connections == 2


async def test_connection_close_of_the_upstream_is_obeyed(transport: httpx.AsyncBaseTransport) -> None:
    reply = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
    async with serve(lambda peer: always(peer, reply)) as server:
        assert await answer(transport, post(server.url)) == (200, b"ok")
        assert await answer(transport, post(server.url)) == (200, b"ok")
        assert server.connections == 2


# 2. The reply streams.


async def test_events_come_one_by_one_as_they_are_sent(transport: httpx.AsyncBaseTransport) -> None:
    taken = asyncio.Semaphore(0)

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            await peer.send(b"2\r\n%d\n\r\n" % number)
            await taken.acquire()
        await peer.send(b"0\r\n\r\n")

    async with serve(script) as server:
        response = await transport.handle_async_request(post(server.url))
        got = []
        async for chunk in chunks(response):
            got.append(chunk)
            taken.release()
    assert got == [b"0\n", b"1\n", b"2\n", b"3\n", b"4\n"]


async def test_a_reader_that_stops_reading_stops_the_upstream(pooled: httpx.AsyncBaseTransport) -> None:
    total = 64 * 1024 * 1024
    sent = 0
    stuck = asyncio.Event()

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            peer.writer.write(bytes(65_536))
            sent += 65_536
            try:
                await asyncio.wait_for(peer.writer.drain(), 0.2)
            except TimeoutError:
                stuck.set()
                await peer.writer.drain()

    async with serve(script) as server:
        response = await pooled.handle_async_request(post(server.url))
        await asyncio.wait_for(stuck.wait(), 10)
        assert sent < total / 2
        assert response.stream._waiting_bytes <= 8 * HIGH_WATER_BYTES  # type: ignore[union-attr]
        length = 0
        async for chunk in chunks(response):
            length += len(chunk)
        assert length == total


# 3. No silent end.


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n",
    ],
)
async def test_reply_that_breaks_raises_after_the_bytes_that_came(
    transport: httpx.AsyncBaseTransport, reply: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply)

    async with serve(script) as server:
        response = await transport.handle_async_request(post(server.url))
        got, _ = await read_until_failure(response, UpstreamBroken)
        assert got == b"ab"


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        b"<html>\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 Early\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 600 Late\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_reply_without_a_proper_head_raises(pooled: httpx.AsyncBaseTransport, reply: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply)

    async with serve(script) as server:
        with pytest.raises(UpstreamBroken):
            await pooled.handle_async_request(post(server.url))


async def test_endless_head_is_given_up(pooled: httpx.AsyncBaseTransport) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await peer.send(b"X-More: %s\r\n" % (b"x" * 8_000))

    async with serve(script) as server:
        with pytest.raises(UpstreamBroken, match=f"got a head over {MAX_HEAD_BYTES} bytes"):
            await pooled.handle_async_request(post(server.url))


async def test_reset_within_the_reply_raises(transport: httpx.AsyncBaseTransport) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\nab")
        peer.writer.get_extra_info("socket").setsockopt(1, 13, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # SO_LINGER 0
        peer.reset()

    async with serve(script) as server:
        response = await transport.handle_async_request(post(server.url))
        got, _ = await read_until_failure(response, UpstreamBroken)
        assert b"ab".startswith(got)


# 4. Time limits and connections.


async def test_nobody_listens() -> None:
    transport = open_transport(UpstreamTimeouts())
    async with serve(always) as server:
        url = server.url
    with pytest.raises(UpstreamUnreachable, match=r"^127\.0\.0\.1:\d+: no connection \("):
        await transport.handle_async_request(post(url))


async def test_upstream_that_accepts_but_never_shakes_hands_times_out() -> None:
    async with serve(Peer.gone) as server:
        transport = open_transport(SHORT)
        with pytest.raises(UpstreamTimeout, match=r"no connection within 0\.05 s$"):
            await transport.handle_async_request(post(server.url.replace("http:", "https:")))
        await transport.aclose()


async def test_silence_before_the_reply_times_out_and_closes_the_connection() -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n")  # a beginning is not a head
        await peer.gone()
        gone.set()

    async with serve(script) as server:
        transport = open_transport(UpstreamTimeouts(first_byte_s=0.05))
        with pytest.raises(UpstreamTimeout, match=r"no reply began within 0\.05 s$"):
            await transport.handle_async_request(post(server.url))
        await asyncio.wait_for(gone.wait(), AT_ONCE_S)


async def test_silence_within_the_reply_times_out_after_the_bytes_that_came() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
        await peer.gone()

    async with serve(script) as server:
        transport = open_transport(UpstreamTimeouts(idle_s=0.05))
        response = await transport.handle_async_request(post(server.url))
        got, text = await read_until_failure(response, UpstreamTimeout)
        assert got == b"ab"
        assert text.endswith(": nothing came for 0.05 s within the reply")


async def test_upstream_that_does_not_read_the_request_times_out() -> None:
    async def script(peer: Peer) -> None:
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with serve(script) as server:
        transport = open_transport(UpstreamTimeouts(idle_s=0.05))
        with pytest.raises(UpstreamTimeout, match=r"the request could not be sent on for 0\.05 s$"):
            await transport.handle_async_request(post(server.url, bytes(32 * 1024 * 1024)))


async def test_time_limits_of_a_request_override_those_of_the_transport(pooled: httpx.AsyncBaseTransport) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with serve(script) as server:
        request = post(server.url)
        request.extensions["timeout"] = {"connect": None, "first_byte": 0.05}
        with pytest.raises(UpstreamTimeout, match=r"no reply began within 0\.05 s$"):
            await pooled.handle_async_request(request)


async def test_slow_reader_is_not_silence() -> None:
    total = 4 * 1024 * 1024

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total + bytes(total))
        await peer.gone()

    async with serve(script) as server:
        transport = open_transport(UpstreamTimeouts(idle_s=0.05))
        response = await transport.handle_async_request(post(server.url))
        await asyncio.sleep(0.2)  # four times the limit, with the reply held back
        assert len(await read_all(response)) == total
        await transport.aclose()


async def test_certificate_of_a_stranger_is_refused_and_a_trusted_one_is_not(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    async with serve(always, context) as server:
        stranger = open_transport(UpstreamTimeouts())
        with pytest.raises(UpstreamUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            await stranger.handle_async_request(post(server.url))
        trusting = open_transport(UpstreamTimeouts(), verify=str(tmp_path / "ca.pem"))
        assert await answer(trusting, post(server.url)) == (200, b"ok")
        assert await answer(trusting, post(server.url)) == (200, b"ok")
        with pytest.raises(UpstreamUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            await trusting.handle_async_request(post(server.url.replace("127.0.0.1", "localhost")))
        await trusting.aclose()


# 5. Cancelling and closing.


async def test_cancelled_call_closes_the_connection_at_once(transport: httpx.AsyncBaseTransport) -> None:
    there, gone = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        there.set()
        await peer.gone()
        gone.set()

    async with serve(script) as server:
        call = asyncio.create_task(transport.handle_async_request(post(server.url)))
        await there.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(gone.wait(), AT_ONCE_S)


async def test_reply_closed_before_its_end_closes_the_connection_at_once(transport: httpx.AsyncBaseTransport) -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
        await peer.gone()
        gone.set()

    async with serve(script) as server:
        response = await transport.handle_async_request(post(server.url))
        await response.aclose()
        await asyncio.wait_for(gone.wait(), AT_ONCE_S)


async def test_cancelled_read_loses_nothing(pooled: httpx.AsyncBaseTransport) -> None:
    more = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await more.wait()
        await peer.send(b"cd")

    async with serve(script) as server:
        response = await pooled.handle_async_request(post(server.url))
        reply = aiter(response.stream)  # type: ignore[arg-type]
        assert await anext(reply) == b"ab"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(reply), 0.01)
        more.set()
        assert await anext(reply) == b"cd"
        await response.aclose()


# 6. Never sent twice; kept connections.


async def test_connection_that_the_upstream_closed_in_between_is_not_used_again(
    transport: httpx.AsyncBaseTransport,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        peer.close()

    async with serve(script) as server:
        for count in range(1, 20):
            assert await answer(transport, post(server.url)) == (200, b"ok")
            assert server.connections == count


@pytest.mark.parametrize(("age_s", "connections"), [(KEEP_ALIVE_S - 1, 1), (KEEP_ALIVE_S + 1, 3)])
async def test_connection_that_was_free_for_too_long_is_not_used_again(
    pooled: httpx.AsyncBaseTransport, age_s: float, connections: int
) -> None:
    async with serve(always) as server:
        for _ in range(3):
            assert await answer(pooled, post(server.url)) == (200, b"ok")
            (free,) = pooled._free.values()  # type: ignore[attr-defined]
            free[-1].free_since_s -= age_s
        assert server.connections == connections


async def test_connection_that_spoke_while_it_was_free_is_not_used_again(pooled: httpx.AsyncBaseTransport) -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await spoken.wait()
        await peer.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await peer.gone()
        gone.set()

    spoken = asyncio.Event()
    async with serve(script) as server:
        assert await answer(pooled, post(server.url)) == (200, b"ok")
        spoken.set()
        await asyncio.wait_for(gone.wait(), AT_ONCE_S)
        assert await answer(pooled, post(server.url)) == (200, b"ok")
        assert server.connections == 2


async def test_request_that_was_sent_is_not_sent_again(transport: httpx.AsyncBaseTransport) -> None:
    requests = 0

    async def script(peer: Peer) -> None:
        nonlocal requests
        await peer.request()
        requests += 1
        await peer.send(OK)
        await peer.request()
        requests += 1

    async with serve(script) as server:
        assert await answer(transport, post(server.url)) == (200, b"ok")
        with pytest.raises(UpstreamBroken):
            await transport.handle_async_request(post(server.url))
    assert requests == 2


@pytest.mark.parametrize("stray", [b"x", OK])
async def test_stray_bytes_after_a_reply_do_not_become_the_next_reply(
    pooled: httpx.AsyncBaseTransport, stray: bytes
) -> None:
    served = 0

    async def script(peer: Peer) -> None:
        nonlocal served
        await peer.request()
        served += 1
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % served + stray)
        await peer.gone()

    async with serve(script) as server:
        assert await answer(pooled, post(server.url)) == (200, b"1")
        assert await answer(pooled, post(server.url)) == (200, b"2")
        assert server.connections == 2


@pytest.mark.parametrize(("room", "calls", "connections"), [(1, 3, 1), (2, 3, 2), (3, 3, 3), (4, 3, 3)])
async def test_connections_stay_within_their_limit(room: int, calls: int, connections: int) -> None:
    async with serve(always) as server:
        transport = open_transport(UpstreamTimeouts(), max_connections=room)
        got = await asyncio.gather(*(answer(transport, post(server.url)) for _ in range(calls)))
        assert got == [(200, b"ok")] * calls
        assert server.connections == connections
        await transport.aclose()


async def test_free_connection_of_another_origin_makes_room() -> None:
    async with serve(always) as one, serve(always) as two:
        transport = open_transport(UpstreamTimeouts(connect_s=1), max_connections=1)
        for url in (one.url, two.url, one.url):
            assert await answer(transport, post(url)) == (200, b"ok")
        await transport.aclose()


async def test_caller_that_leaves_when_it_is_its_turn_gives_its_turn_on() -> None:
    finish = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        await finish.wait()
        await peer.send(b"ok")
        await always(peer)

    async with serve(script) as server:
        transport = open_transport(UpstreamTimeouts(connect_s=2), max_connections=1)
        first = await transport.handle_async_request(post(server.url))
        second = asyncio.create_task(answer(transport, post(server.url)))
        third = asyncio.create_task(answer(transport, post(server.url)))
        await asyncio.sleep(0)
        finish.set()
        assert await anext(aiter(first.stream)) == b"ok"  # type: ignore[arg-type]
        second.cancel()  # it was told that there is room, and has not run yet
        assert await third == (200, b"ok")
        assert second.cancelled()
        await transport.aclose()


async def test_connections_that_are_free_for_too_long_are_closed(pooled: httpx.AsyncBaseTransport) -> None:
    gone = asyncio.Semaphore(0)

    async def script(peer: Peer) -> None:
        try:
            await always(peer)
        finally:
            gone.release()

    async with serve(script) as server:
        await asyncio.gather(*(answer(pooled, post(server.url)) for _ in range(2)))
        (free,) = pooled._free.values()  # type: ignore[attr-defined]
        free[0].free_since_s -= KEEP_ALIVE_S + 1
        assert await answer(pooled, post(server.url)) == (200, b"ok")
        await asyncio.wait_for(gone.acquire(), AT_ONCE_S)
        assert len(free) == 1


async def test_no_room_in_time_is_a_timeout() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with serve(script) as server:
        transport = open_transport(UpstreamTimeouts(connect_s=0.05), max_connections=1)
        first = asyncio.create_task(transport.handle_async_request(post(server.url)))
        await asyncio.sleep(0)
        with pytest.raises(UpstreamTimeout, match=r"no connection within 0\.05 s$"):
            await transport.handle_async_request(post(server.url))
        await transport.aclose()
        with pytest.raises(UpstreamBroken):
            await first


# The request's body.


async def test_streamed_body_goes_out_as_it_comes(transport: httpx.AsyncBaseTransport) -> None:
    arrived = asyncio.Event()
    seen: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"
        await asyncio.wait_for(arrived.wait(), 5)
        yield b""
        yield b"defg"

    async def script(peer: Peer) -> None:
        head = await peer.head()
        seen.append(head)
        assert await peer.reader.readexactly(8) == b"3\r\nabc\r\n"
        arrived.set()
        assert await peer.reader.readexactly(14) == b"4\r\ndefg\r\n0\r\n\r\n"
        await peer.send(OK)

    async with serve(script) as server:
        request = httpx.Request("POST", server.url, content=body())
        assert await answer(transport, request) == (200, b"ok")
    assert b"transfer-encoding: chunked" in seen[0].lower()


async def test_early_reply_to_a_body_that_is_still_sent_is_read_and_the_connection_closed(
    pooled: httpx.AsyncBaseTransport,
) -> None:
    stopped = asyncio.Semaphore(0)

    async def body() -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1_000)
                await asyncio.sleep(0)
        finally:
            stopped.release()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await peer.gone()

    async with serve(script) as server:
        for _ in range(2):
            assert await answer(pooled, httpx.Request("POST", server.url, content=body())) == (413, b"big")
            await asyncio.wait_for(stopped.acquire(), AT_ONCE_S)
        assert server.connections == 2


async def test_upstream_that_stops_reading_stops_the_body(pooled: httpx.AsyncBaseTransport) -> None:
    taken = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(1_000):
            taken += 1
            yield bytes(65_536)
            await asyncio.sleep(0)

    async def script(peer: Peer) -> None:
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with serve(script) as server:
        call = asyncio.create_task(pooled.handle_async_request(httpx.Request("POST", server.url, content=body())))
        for _ in range(5_000):
            await asyncio.sleep(0)
        assert 0 < taken < 500
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def test_failure_of_the_body_is_raised_as_it_is_and_closes_the_connection(
    pooled: httpx.AsyncBaseTransport,
) -> None:
    gone = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"abc"
        raise KeyError("caller left")

    async def script(peer: Peer) -> None:
        await peer.gone()
        gone.set()

    async with serve(script) as server:
        with pytest.raises(KeyError, match="caller left"):
            await pooled.handle_async_request(httpx.Request("POST", server.url, content=body()))
        await asyncio.wait_for(gone.wait(), AT_ONCE_S)


@pytest.mark.parametrize(("declared", "given"), [(4, b"abc"), (2, b"abc")])
async def test_streamed_body_of_another_length_than_declared_is_not_finished(
    pooled: httpx.AsyncBaseTransport, declared: int, given: bytes
) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield given

    async with serve(Peer.gone) as server:
        request = httpx.Request("POST", server.url, content=body(), headers={"content-length": str(declared)})
        with pytest.raises(ValueError, match=f"declared {declared}"):
            await pooled.handle_async_request(request)
