"""Framing that is legal and rare: what a strict server gets wrong, and what a lax one lets through."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.abuse.raw import PATIENCE_S, connect, post, read_answer, send
from tests.live import live_gateway

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live import Live

BODY = b'{"model":"gpt-4o","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}'
STREAM = BODY[:-1] + b',"stream":true}'
KEY = b"authorization: Bearer sk-mine"
OFFER = (b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAMAAABkAAQCAAAAAAIAAAAA")


def chunked(body: bytes, *trailers: bytes, key: bytes = KEY) -> bytes:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + key + b"\r\ntransfer-encoding: chunked\r\n\r\n"
    end = b"".join(field + b"\r\n" for field in trailers)
    return head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n" + end + b"\r\n"


def until_closed(live: Live, data: bytes) -> bytes:
    with connect(live) as connection:
        connection.sendall(data)
        seen = b""
        while chunk := connection.recv(65_536):
            seen += chunk
        return seen


def test_a_credential_in_a_trailer_is_none(live: Live) -> None:
    """A proxy in front checks header fields; what comes after the body must not pass for one."""
    assert send(live, chunked(BODY, KEY, key=b"x-nothing: 1")).status == 401
    assert send(live, chunked(BODY, b"authorization: Bearer sk-other")).status == 200
    (received,) = live.model.requests
    assert received.header("authorization") == "Bearer sk-mine"


def test_a_trailer_names_no_address_even_behind_a_trusted_proxy(tmp_path: Path) -> None:
    with live_gateway(tmp_path, trusted_proxies="127.0.0.1/32") as live:
        for trailer in (b"x-forwarded-for: 198.51.100.7", b"x-other: 1"):
            assert send(live, chunked(BODY, trailer)).status == 200
    first, second = live.events()
    assert first.address == second.address


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_an_offer_of_http2_is_declined_and_the_body_is_read(live: Live, step: int) -> None:
    """Java's HTTP client sends it with every first request."""
    data = post(BODY, *OFFER) + post(BODY)
    with connect(live) as connection:
        for start in range(0, len(data), step):
            connection.sendall(data[start : start + step])
        for _ in range(2):
            assert read_answer(connection).json["choices"]
    for received in live.model.requests:
        assert received.body == BODY
        assert received.header("upgrade") is None
        assert received.header("http2-settings") is None


def test_a_thousand_offers_in_one_packet_are_requests_like_others(live: Live) -> None:
    count = 1_000
    data = b"GET /x HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n" * count
    with connect(live) as connection:
        connection.sendall(data)
        seen, deadline = b"", time.monotonic() + PATIENCE_S
        while seen.count(b"HTTP/1.1 404") < count and time.monotonic() < deadline:
            seen += connection.recv(1 << 20)
    assert seen.count(b"HTTP/1.1 404") == count


@pytest.mark.parametrize("target", [b"evil.example:443", b"/v1/models"])
def test_a_tunnel_is_refused(live: Live, target: bytes) -> None:
    assert send(live, b"CONNECT " + target + b" HTTP/1.1\r\nhost: x\r\n" + KEY + b"\r\n\r\n").status in {400, 404, 405}


def test_a_client_of_http_1_0_gets_a_stream_without_chunks(live: Live) -> None:
    head = b"POST /v1/chat/completions HTTP/1.0\r\n" + KEY + b"\r\ncontent-length: %d\r\n\r\n" % len(STREAM)
    head_seen, _, body = until_closed(live, head + STREAM).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head_seen.lower()
    assert body.startswith(b"data: {")
    assert body.endswith(b"data: [DONE]\n\n")


def test_a_client_of_http_1_0_gets_a_plain_reply_with_its_length(live: Live) -> None:
    data = b"POST /v1/chat/completions HTTP/1.0\r\n" + KEY + b"\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
    head, _, body = until_closed(live, data).partition(b"\r\n\r\n")
    assert b"content-length: %d" % len(body) in head.lower()
    assert until_closed(live, b"HEAD /v1/models HTTP/1.0\r\n" + KEY + b"\r\n\r\n").endswith(b"\r\n\r\n")


def test_requests_in_a_row_on_one_connection_are_answered_in_order(live: Live) -> None:
    refused = post(BODY, key=b"")
    with connect(live) as connection:
        connection.sendall((refused + post(BODY)) * 3)
        statuses = [read_answer_exactly(connection) for _ in range(6)]
    assert statuses == [401, 200] * 3


def read_answer_exactly(connection: object) -> int:
    """One answer and not a byte of the next."""
    seen = b""
    while not seen.endswith(b"\r\n\r\n"):
        seen += connection.recv(1)  # type: ignore[attr-defined]
    length = next(int(line.split(b":")[1]) for line in seen.split(b"\r\n") if line.startswith(b"content-length"))
    while length:
        length -= len(connection.recv(length))  # type: ignore[attr-defined]
    return int(seen.split(b" ", 2)[1])


def test_leaving_cancels_the_upstream_also_with_a_request_queued_behind(live: Live) -> None:
    hanging = BODY.replace(b"gpt-4o", b"fault-hang-first-byte")
    with connect(live) as connection:
        connection.sendall(post(hanging) + post(BODY))
        deadline = time.monotonic() + PATIENCE_S
        while not live.model.requests:
            assert time.monotonic() < deadline
    assert live.model.requests[0].ended.wait(1.0)
    assert live.model.requests[0].disconnected


@pytest.mark.parametrize(
    "framing", [b"content-length: 5\r\n\r\nhello", b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"]
)
def test_a_body_where_none_belongs_is_dropped(live: Live, framing: bytes) -> None:
    request = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n" + KEY + b"\r\n" + framing
    with connect(live) as connection:
        for _ in range(2):
            connection.sendall(request)
            assert read_answer(connection).status == 200
    assert [received.body for received in live.model.requests] == [b"", b""]
    assert live.model.requests[0].header("content-length") in {None, "0"}


def test_expect_100_gets_its_invitation_and_then_the_answer(live: Live) -> None:
    data = post(BODY, b"expect: 100-continue")
    with connect(live) as connection:
        connection.sendall(data[: -len(BODY)])
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert read_answer(connection).status == 200


def test_a_body_that_comes_byte_by_byte(live: Live) -> None:
    for data in (post(BODY), chunked(BODY)):
        with connect(live) as connection:
            for at in range(len(data)):
                connection.sendall(data[at : at + 1])
            assert read_answer(connection).status == 200
    assert [received.body for received in live.model.requests] == [BODY, BODY]


@pytest.mark.parametrize(
    ("path", "allowed"), [(b"/v1/models", "GET"), (b"/v1/messages", "POST"), (b"/v1/models/a/b", "GET")]
)
def test_a_method_that_a_path_does_not_have_is_told_which_it_has(live: Live, path: bytes, allowed: str) -> None:
    answer = send(live, b"PUT " + path + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n" + KEY + b"\r\n\r\n")
    assert answer.status == 405
    assert answer.headers["allow"] == allowed
