"""Heads that are malformed or mean harm: credentials, headers, paths, framing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import gateway.protocol
from tests.abuse.raw import connect, post, read_answer, send

if TYPE_CHECKING:
    from tests.live import Live

BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'


def request(
    *fields: bytes, method: bytes = b"POST", path: bytes = b"/v1/chat/completions", body: bytes = BODY
) -> bytes:
    lines = [method + b" " + path + b" HTTP/1.1", b"host: x", b"content-length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


CREDENTIALS = {
    "none": ((), 401),
    "empty bearer": ((b"authorization: Bearer ",), 401),
    "only the scheme": ((b"authorization: Bearer",), 401),
    "basic": ((b"authorization: Basic dXNlcjpwYXNz",), 401),
    "no scheme": ((b"authorization: sk-mine",), 401),
    "not ASCII": ((b"authorization: Bearer sk-\xff\xfe",), 401),
    "spaces within": ((b"authorization: Bearer sk mine",), 401),
    "very long": ((b"authorization: Bearer " + b"a" * 20_000,), 401),
    "two that differ": ((b"authorization: Bearer sk-a", b"x-api-key: sk-b"), 400),
    "two of one header": ((b"x-api-key: sk-a", b"x-api-key: sk-b"), 400),
    "three": ((b"authorization: Bearer sk-a", b"x-api-key: sk-a", b"api-key: sk-b"), 400),
}


@pytest.mark.parametrize("name", CREDENTIALS)
def test_credentials(live: Live, name: str) -> None:
    fields, status = CREDENTIALS[name]
    answer = send(live, request(*fields))
    assert answer.status == status, answer.body
    assert answer.json["error"]["message"]
    assert not live.model.requests


def test_the_same_credential_twice_is_one(live: Live) -> None:
    assert send(live, request(b"authorization: Bearer sk-a", b"x-api-key: sk-a")).status == 200


PATHS = {
    b"/": 404,
    b"/v1": 404,
    b"/v1/chat/completions/": 404,
    b"//v1/chat/completions": 404,
    b"/v1//chat/completions": 404,
    b"/v1/chat/../chat/completions": 404,
    b"/v1/./chat/completions": 404,
    b"/v1/chat%2Fcompletions": 404,
    b"/v1/chat/completions%00": 404,
    b"/v1/chat/completions;a=b": 404,
    b"/V1/chat/completions": 404,
    b"/v1/chat/completions%20": 404,
    b"/%76%31/chat/completions": 404,
    b"http://evil.example/v1/chat/completions/x": 404,
    b"/v1/realtime": 404,
    b"/admin": 404,
    b"/metrics": 404,
    b"*": 404,
}


@pytest.mark.parametrize("path", PATHS)
def test_paths(live: Live, path: bytes) -> None:
    answer = send(live, request(b"authorization: Bearer k", path=path))
    assert answer.status in {PATHS[path], 400}, answer.body
    assert answer.json["error"]["message"]
    assert not live.model.requests


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"HEAD"])
def test_methods(live: Live, method: bytes) -> None:
    with connect(live) as connection:
        connection.sendall(request(b"authorization: Bearer k", method=method))
        head = connection.recv(65_536)
    assert head.startswith((b"HTTP/1.1 405", b"HTTP/1.1 400"))
    assert not live.model.requests


FRAMES = {
    "no host": b"GET /v1/models HTTP/1.1\r\nauthorization: Bearer k\r\n\r\n",
    "two hosts": b"GET /v1/models HTTP/1.1\r\nhost: a\r\nhost: b\r\nauthorization: Bearer k\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no version": b"GET /v1/models\r\n\r\n",
    "a bad version": b"GET /v1/models HTTP/9.9\r\nhost: x\r\n\r\n",
    "another version": b"GET /v1/models HTTP/2.0\r\nhost: x\r\nauthorization: Bearer k\r\n\r\n",
    "an unknown method": b"FROBNICATE /v1/models HTTP/1.1\r\nhost: x\r\n\r\n",
    "length and chunked": request(b"authorization: Bearer k", b"transfer-encoding: chunked"),
    "two lengths": request(b"authorization: Bearer k", b"content-length: 5"),
    "a negative length": b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
    "a length in hexadecimal": b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 0x10\r\n\r\n",
    "a length with a plus": b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: +10\r\n\r\n0123456789",
    "an odd transfer coding": b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a transfer coding below the chunks": b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\n"
    b"transfer-encoding: gzip, chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    "a bad chunk size": b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    "a space before the colon": b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization : Bearer k\r\n\r\n",
    "a folded header": b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer\r\n k\r\n\r\n",
    "a NUL in a header": b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-a: a\x00b\r\n\r\n",
    "bare line feeds in a value": b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx-a: a\rb\r\n\r\n",
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames(live: Live, name: str) -> None:
    answer = send(live, FRAMES[name])
    assert 400 <= answer.status < 500, answer.body
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["error"]["message"]
    assert not live.model.requests


def test_a_head_that_is_too_large(live: Live) -> None:
    for fields in ([b"x-a: " + b"a" * 70_000], [b"x-%d: 1" % number for number in range(500)]):
        answer = send(live, request(b"authorization: Bearer k", *fields))
        assert answer.status == 431
        assert answer.json["error"]["message"]
    assert send(live, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n").status == 414


def test_a_head_that_does_not_come_is_408(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.protocol, "HEAD_TIMEOUT_S", 0.2)
    with connect(live) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow")
        answer = read_answer(connection)
    assert answer.status == 408


def test_a_connection_that_asked_nothing_is_closed_without_an_answer(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients open connections ahead of need; a 408 on one would pass for the answer to its first request."""
    monkeypatch.setattr(gateway.protocol, "HEAD_TIMEOUT_S", 0.2)
    with connect(live) as connection:
        assert connection.recv(100) == b""


def test_a_refused_request_does_not_spoil_the_connection(live: Live) -> None:
    """The body that was not wanted is read off, so that the next request is not taken from its middle."""
    with connect(live) as connection:
        for key, status in ((b"", 401), (b"sk-mine", 200), (b"", 401), (b"sk-mine", 200)):
            connection.sendall(post(BODY, key=key))
            assert read_answer(connection).status == status


def test_a_smuggled_request_in_a_refused_body_is_not_served(live: Live) -> None:
    inner = post(BODY)
    with connect(live) as connection:
        connection.sendall(post(inner, key=b""))
        assert read_answer(connection).status == 401
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert not live.model.requests


def test_expect_100_is_answered_by_the_refusal_not_by_an_invitation(live: Live) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 50\r\n\r\n"
    answer = send(live, head)
    assert answer.status == 401


def test_the_host_header_decides_nothing(live: Live) -> None:
    answer = send(live, b"GET /admin HTTP/1.1\r\nhost: x/v1/models?\r\nauthorization: Bearer k\r\n\r\n")
    assert answer.status in {400, 404}
    assert not live.model.requests


def test_a_caller_cannot_name_its_address_country_or_fingerprint(live: Live) -> None:
    fields = (b"x-forwarded-for: 198.51.100.7", b"x-ja4: t13d", b"cf-ipcountry: US", b"forwarded: for=198.51.100.7")
    assert send(live, request(b"authorization: Bearer k", *fields)).status == 200
    (received,) = live.model.requests
    assert not {b"x-forwarded-for", b"x-ja4", b"cf-ipcountry", b"forwarded"} & {name for name, _ in received.headers}
