"""Model servers (and what stands before them) that do what HTTP allows and few expect, seen by the caller."""

from __future__ import annotations

import asyncio
import gzip
import importlib
import json
import socket
import threading
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard

from gateway.types import Outcome
from tests.live import Live, live_gateway
from tests.upstream.scripted import Peer, serve

KEY = {"authorization": "Bearer sk-mine"}
ASK: Any = {"model": "m", "messages": [{"role": "user", "content": "Why does bread rise?"}]}
STREAM = {**ASK, "stream": True, "stream_options": {"include_usage": True}}
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
REPLY = json.dumps({"choices": [{"index": 0, "message": {"content": "Yeast."}}], "usage": USAGE}).encode()
DELTA = b'data: {"choices":[{"index":0,"delta":{"content":"Yeast"}}]}\n\n'
TOLD = b'data: {"choices":[],"usage":' + json.dumps(USAGE).encode() + b"}\n\n"
DONE = b"data: [DONE]\n\n"
POLICY = """\
version: 1
plans:
  free:
    budgets:
      - limit: 100_000/day
      - limit: 5 concurrent
pass_through:
  - {path: /files/*, methods: [GET, POST, HEAD]}
"""


@asynccontextmanager
async def behind(
    folder: Path, script: Callable[[Peer], Awaitable[None]], **settings: Any
) -> AsyncIterator[tuple[Live, httpx.AsyncClient]]:
    """A gateway before a scripted server, and a client of it. Events can be read after the block."""
    async with serve(script) as server:
        gateway = live_gateway(folder, policies=POLICY, upstream=server.url, **settings)
        live = await asyncio.to_thread(gateway.__enter__)
        try:
            async with httpx.AsyncClient(base_url=live.url, headers=KEY, timeout=10) as client:
                yield live, client
        finally:
            await asyncio.to_thread(gateway.__exit__, None, None, None)


def whole(body: bytes, *fields: bytes, status: bytes = b"200 OK") -> bytes:
    head = [b"HTTP/1.1 " + status, b"content-type: application/json", b"content-length: %d" % len(body), *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def answering(reply: bytes) -> Callable[[Peer], Awaitable[None]]:
    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(reply)

    return script


def streaming(*pieces: bytes, coding: bytes = b"") -> Callable[[Peer], Awaitable[None]]:
    async def script(peer: Peer) -> None:
        await peer.request()
        fields = b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n" + coding
        await peer.send(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")
        for piece in pieces:
            await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await peer.send(b"0\r\n\r\n")

    return script


async def test_interim_replies_are_passed_over(tmp_path: Path) -> None:
    hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    async with behind(tmp_path, answering(hints + whole(REPLY))) as (_, client):
        answer = await client.post("/v1/chat/completions", json=ASK)
    assert answer.content == REPLY
    assert "link" not in answer.headers


async def test_a_redirect_is_passed_on_and_not_followed(tmp_path: Path) -> None:
    reply = whole(b"{}", b"location: http://169.254.169.254/", status=b"307 Temporary Redirect")
    async with behind(tmp_path, answering(reply)) as (live, client):
        answer = await client.post("/v1/chat/completions", json=ASK)
    assert answer.status_code == 307
    assert answer.headers["location"] == "http://169.254.169.254/"
    (event,) = live.events()
    assert event.cost_microusd == 0


async def test_fields_for_one_connection_stay_on_it_and_cookies_stay_apart(tmp_path: Path) -> None:
    fields = (
        b"connection: x-internal, keep-alive",
        b"x-internal: 1",
        b"keep-alive: timeout=5",
        b"proxy-authenticate: x",
    )
    reply = whole(REPLY, *fields, b"set-cookie: a=1", b"set-cookie: b=2", b"x-ratelimit-limit-requests: 9999999")
    async with behind(tmp_path, answering(reply)) as (_, client):
        answer = await client.post("/v1/chat/completions", json=ASK)
    assert not {"x-internal", "keep-alive", "proxy-authenticate"} & set(answer.headers)
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert answer.headers["x-ratelimit-limit-requests"] == "100000"


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "deflate": zlib.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
    "br": importlib.import_module("brotli").compress,
}


@pytest.mark.parametrize("coding", CODINGS)
async def test_compressed_replies_are_passed_on_as_they_are_and_metered(tmp_path: Path, coding: str) -> None:
    packed = CODINGS[coding](REPLY)
    reply = whole(packed, b"content-encoding: " + coding.encode())
    async with behind(tmp_path, answering(reply)) as (live, client):
        async with client.stream("POST", "/v1/chat/completions", json=ASK) as answer:
            assert b"".join([chunk async for chunk in answer.aiter_raw()]) == packed
            assert answer.headers["content-encoding"] == coding
    (event,) = live.events()
    assert event.usage is not None
    assert (event.usage.input_tokens, event.usage.output_tokens, event.usage.reported) == (11, 7, True)


@pytest.mark.parametrize("coding", CODINGS)
async def test_compressed_streams_are_passed_on_as_they_are_and_metered(tmp_path: Path, coding: str) -> None:
    packed = CODINGS[coding](DELTA * 7 + TOLD + DONE)
    script = streaming(packed[:20], packed[20:], coding=b"content-encoding: " + coding.encode() + b"\r\n")
    async with behind(tmp_path, script, ping_interval_s=0.01) as (live, client):
        async with client.stream("POST", "/v1/chat/completions", json=STREAM) as answer:
            assert b"".join([chunk async for chunk in answer.aiter_raw()]) == packed
    (event,) = live.events()
    assert event.outcome is Outcome.ANSWERED
    assert event.usage is not None
    assert (event.usage.input_tokens, event.usage.output_tokens, event.usage.reported) == (11, 7, True)


async def test_a_reply_in_a_coding_that_nobody_asked_for_is_passed_on_and_estimated(tmp_path: Path) -> None:
    packed = REPLY * 40  # not really packed: the gateway cannot know
    async with behind(tmp_path, answering(whole(packed, b"content-encoding: lzw"))) as (live, client):
        assert (await client.post("/v1/chat/completions", json=ASK)).content == packed
    (event,) = live.events()
    assert event.usage is not None
    assert event.usage.output_tokens > 100
    assert not event.usage.reported


async def test_ids_retries_comments_and_line_ends_of_a_stream_stay(tmp_path: Path) -> None:
    odd = b": welcome\r\n\r\nid: 7\r\nretry: 1000\r\nevent: x\r\n" + DELTA.replace(b"\n", b"\r\n") + b":\n\n" + DELTA
    whole_stream = odd + TOLD + DONE
    pieces = [whole_stream[at : at + 5] for at in range(0, len(whole_stream), 5)]
    async with behind(tmp_path, streaming(*pieces)) as (_, client):
        assert (await client.post("/v1/chat/completions", json=STREAM)).content == whole_stream


@pytest.mark.parametrize("stays", [True, False])
async def test_a_stream_that_fails_after_its_last_event_is_whole(tmp_path: Path, stays: bool) -> None:
    """The model server forgets to end its reply, or breaks off when all of it was there."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for event in (DELTA, TOLD, DONE):
            await peer.send(b"%x\r\n%b\r\n" % (len(event), event))
        if stays:
            await peer.gone()
        peer.reset()

    async with behind(tmp_path, script, idle_timeout_s=0.3) as (live, client):
        assert (await client.post("/v1/chat/completions", json=STREAM)).content == DELTA + TOLD + DONE
    (event,) = live.events()
    assert (event.outcome, event.refusal) == (Outcome.ANSWERED, None)


@pytest.mark.parametrize("size", [1_000_000, 9_000_000])
async def test_very_long_events_pass_unchanged(tmp_path: Path, size: int) -> None:
    """9 MB is over what is held of one event: it is passed on in pieces and counted roughly."""
    long = b'data: {"choices":[{"index":0,"delta":{"content":"' + b"word " * (size // 5) + b'"}}]}\n\n'
    stream = DELTA + long + DELTA + TOLD + DONE
    pieces = [stream[at : at + 60_000] for at in range(0, len(stream), 60_000)]
    async with behind(tmp_path, streaming(*pieces)) as (live, client):
        assert (await client.post("/v1/chat/completions", json=STREAM)).content == stream
    (event,) = live.events()
    assert event.usage is not None
    assert event.usage.output_tokens == 7


@pytest.mark.parametrize("body", [b"", b"x" * 300_000])
async def test_an_answer_before_the_body_was_sent_is_passed_on(tmp_path: Path, body: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(whole(b"{}", b"connection: close", status=b"413 Payload Too Large"))
        await peer.gone()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"begin"
        yield body
        await asyncio.sleep(0.05)
        yield b"end"

    async with behind(tmp_path, script) as (live, client):
        answer = await client.post("/files/a", content=slowly())
        assert answer.status_code == 413
        assert live.rooms.budgets.status()["open_reservations"] == 0


async def test_leaving_during_a_reply_that_began_before_the_body_ended_is_seen(tmp_path: Path) -> None:
    """Nobody reads the rest of the body any more; the caller's end must be noticed all the same."""
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await peer.gone()
        left.set()

    async with behind(tmp_path, script) as (live, _):
        host, port = live.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /files/a HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\ncontent-length: 100\r\n\r\nbegin")
        await reader.readuntil(b"hello")
        writer.close()
        async with asyncio.timeout(1):
            await left.wait()
        await _until(lambda: live.rooms.budgets.status()["open_reservations"] == 0)
    (event,) = live.events()
    assert event.outcome is Outcome.DISCONNECTED


async def test_head_of_a_passed_through_file_has_its_length_and_no_body(tmp_path: Path) -> None:
    reply = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
    async with behind(tmp_path, answering(reply)) as (_, client):
        answer = await client.head("/files/a")
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "1000", b"")


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_replies_without_a_body_end(tmp_path: Path, status: bytes) -> None:
    reply = b"HTTP/1.1 " + status + b'\r\netag: "a"\r\n\r\n'
    async with behind(tmp_path, answering(reply)) as (_, client):
        answer = await client.get("/files/a")
        assert answer.status_code == int(status[:3])
        assert (await client.get("/files/a")).headers["etag"] == '"a"'


async def _until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(2):
        while not true():  # noqa: ASYNC110 - the gateway is in another thread and sets no event of ours
            await asyncio.sleep(0)


def test_leaving_while_the_upstream_does_not_accept_gives_the_slot_back(tmp_path: Path) -> None:
    """A full backlog: connections hang in the kernel, neither refused nor made."""
    with socket.socket() as full, socket.socket() as first:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        first.connect(full.getsockname())
        fillers = [socket.socket() for _ in range(3)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            upstream = f"http://127.0.0.1:{full.getsockname()[1]}"
            with live_gateway(tmp_path, policies=POLICY, upstream=upstream, connect_timeout_s=1.0) as live:
                host, port = live.url.removeprefix("http://").split(":")
                body = json.dumps(ASK).encode()
                head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\ncontent-length: %d\r\n\r\n"
                budgets = live.rooms.budgets
                with socket.create_connection((host, int(port))) as caller:
                    caller.sendall(head % len(body) + body)
                    _wait(lambda: budgets.status()["open_reservations"] == 1)
                _wait(lambda: budgets.status()["open_reservations"] == 0, within_s=0.8)
                answer = httpx.post(f"{live.url}/v1/chat/completions", json=ASK, headers=KEY)
                assert answer.status_code == 504
            left, timed_out = live.events()
            assert (left.outcome, timed_out.outcome) == (Outcome.DISCONNECTED, Outcome.UPSTREAM_FAILED)
            assert timed_out.cost_microusd == 0
        finally:
            for filler in fillers:
                filler.close()


def _wait(true: Callable[[], bool], within_s: float = 2.0) -> None:
    ticks, deadline = threading.Event(), time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        ticks.wait(0.005)
