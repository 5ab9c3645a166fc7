"""The short way between guard and proxy and the one through ASGI are one: same request upstream, same reply."""

from __future__ import annotations

import asyncio
import random
import re
from pathlib import Path

import httptools
import pytest

from gateway.app import build_app
from gateway.events import list_segments, read_events
from gateway.forwarding import end_to_end
from gateway.guard import Guard
from gateway.protocol import _path_and_query
from gateway.proxy import ReverseProxy
from gateway.rooms import Rooms
from gateway.settings import Settings
from gateway.types import Outcome, Usage
from gateway.upstream import UpstreamTimeouts, open_transport
from tests.test_protocol import connect
from tests.upstream.scripted import Peer, serve

BODY = b'{"model":"m","messages":[{"role":"user","content":"Why does bread rise?"}]}'
STREAM = BODY.replace(b'"m",', b'"m","stream":true,')
REPLY = b'{"choices":[{"index":0,"message":{"content":"Yeast."}}],"usage":{"prompt_tokens":11,"completion_tokens":7}}'
EVENTS = b'data: {"choices":[{"index":0,"delta":{"content":"Yeast"}}]}\n\ndata: [DONE]\n\n'
JSON = b"Content-Type: application/json\r\n"
SSE = b"Content-Type: text/event-stream\r\n"
CHANGING = re.compile(rb"(?:[a-z-]*request-id: |;t=|reset-(?:requests|tokens): |\"id\":\")[\w-]*")


def asked(body: bytes = BODY, *fields: bytes) -> bytes:
    head = [b"POST /v1/chat/completions?a=b HTTP/1.1", b"Host: here", b"Authorization: Bearer sk-mine", *fields]
    return b"\r\n".join([*head, b"Content-Length: %d" % len(body), b"", b""]) + body


def whole(body: bytes, fields: bytes = JSON, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, fields, len(body), body)


def in_chunks(body: bytes, fields: bytes = SSE) -> bytes:
    return b"HTTP/1.1 200 OK\r\n%bTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (fields, len(body), body)


CASES = [
    (asked(), whole(REPLY)),
    (asked(BODY, b"Connection: keep-alive, X-Hop", b"X-Hop: 1", b"TE: trailers", b"X-Real-IP: 1.2.3.4"), whole(REPLY)),
    (asked(BODY, b"Accept-Encoding: gzip, zstd, br", b"Accept: */*"), whole(REPLY)),
    (asked(), whole(REPLY, JSON + b"Connection: X-Hop\r\nX-Hop: 1\r\nX-Request-Id: theirs\r\n")),
    (asked(), whole(REPLY, JSON + b"X-RateLimit-Limit-Requests: 9\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n")),
    (asked(), whole(b'{"error":{"message":"no"}}', JSON, b"500 Internal Server Error")),
    (asked(), whole(b"", JSON, b"429 Too Many Requests")),
    (asked(), b"HTTP/1.1 204 No Content\r\n\r\n"),
    (asked(), in_chunks(REPLY, JSON)),
    (asked(STREAM), in_chunks(EVENTS)),
    (asked(STREAM), in_chunks(EVENTS.partition(b"data: [")[0])),
    (asked(), b"HTTP/1.1 200 OK\r\n" + JSON + b"Content-Length: 500\r\n\r\n" + REPLY),
    (asked(), b"nonsense\r\n\r\n"),
]
"""Requests, and what the upstream says to them."""


async def exchanged(folder: Path, *, short: bool) -> list[tuple[bytes, bytes, Outcome]]:
    """For each case what the upstream got, what the caller got, and how the request ended."""
    got: list[bytes] = []
    replies = iter([reply for _, reply in CASES])

    async def script(peer: Peer) -> None:
        got.append(await peer.request())
        await peer.send(next(replies))
        peer.close()

    found: list[tuple[bytes, bytes]] = []
    async with serve(script) as server:
        settings = Settings(upstream=server.url, state_dir=folder, log_level="error")
        rooms, transport = Rooms(settings), open_transport(UpstreamTimeouts())
        proxy = ReverseProxy(lambda _: transport)
        guard = build_app(settings, rooms=rooms, transport_for=lambda _: transport) if short else Guard(proxy, rooms)
        await rooms.start()
        for request, _ in CASES:
            protocol, wire = connect(guard)
            protocol.data_received(request)
            await asyncio.gather(*protocol.tasks)
            protocol.connection_lost(None)
            came = got[-1].replace(server.url.removeprefix("http://").encode(), b"HOST")
            found.append((came, CHANGING.sub(b"", wire.text)))
        await rooms.stop()
        await transport.aclose()
    events = [event for path in list_segments(folder / "events") for event in read_events(path)]
    return [(*texts, event.outcome) for texts, event in zip(found, events, strict=True)]


async def test_both_ways_send_the_same_and_answer_the_same(tmp_path: Path) -> None:
    one, other = [await exchanged(tmp_path / str(short), short=short) for short in (True, False)]
    for case, short, long in zip(CASES, one, other, strict=True):
        assert short == long, case
        assert short[0].startswith(b"POST /v1/chat/completions?a=b HTTP/1.1\r\nhost: HOST\r\n")
        assert short[1].startswith(b"HTTP/1.1 ")
    failed = [case for case, (_, _, outcome) in zip(CASES, one, strict=True) if outcome is Outcome.UPSTREAM_FAILED]
    assert failed == [CASES[5], *CASES[10:]]


def test_fields_that_the_connection_names_stay_on_it() -> None:
    fields = [(b"connection", b"close, X-Secret"), (b"x-secret", b"1"), (b"accept", b"*/*"), (b"te", b"trailers")]
    assert end_to_end(fields) == [(b"accept", b"*/*")]
    twice = [(b"connection", b"x-one"), (b"x-one", b"1"), (b"connection", b"keep-alive"), (b"x-two", b"2")]
    assert end_to_end(twice) == [(b"x-two", b"2")]


def test_a_path_that_is_taken_as_it_is_means_what_the_parser_says() -> None:
    rng = random.Random(5)
    for _ in range(5_000):
        url = b"/" + bytes(rng.choice(b"/a%2.-_?#;@:") for _ in range(rng.randrange(6)))
        parsed = None
        try:
            parsed = httptools.parse_url(url)
        except httptools.HttpParserInvalidURLError:
            with pytest.raises(httptools.HttpParserInvalidURLError):
                _path_and_query(url)
            continue
        assert _path_and_query(url) == (parsed.path, parsed.query or b"")


def test_a_value_that_is_made_often_is_still_a_value() -> None:
    one = Usage(input_tokens=3)
    assert one == Usage(input_tokens=3, output_tokens=0)
    assert hash(one) == hash(Usage(input_tokens=3))
    assert one != Usage(input_tokens=4)
    assert repr(one).startswith("Usage(input_tokens=3, output_tokens=0,")
    with pytest.raises(TypeError):
        Usage(3)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        one.tokens = 1  # type: ignore[attr-defined]
