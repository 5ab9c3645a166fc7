"""Bodies that are malformed or mean harm: 4xx in the caller's dialect, and nothing reaches the upstream."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import pytest

from tests.abuse.raw import post, send

if TYPE_CHECKING:
    from tests.live import Live

OK_MESSAGES = b'"messages":[{"role":"user","content":"hi"}]'


def chat(rest: bytes) -> bytes:
    return b'{"model":"gpt-4o",' + OK_MESSAGES + b"," + rest + b"}"


BODIES = {
    "empty": b"",
    "white space": b"   \n",
    "not JSON": b"hello",
    "cut JSON": b'{"model":"gpt-4o","messages":[{"role":"us',
    "two values": b'{"model":"a"} {"model":"b"}',
    "an array": b"[]",
    "a string": b'"gpt-4o"',
    "null": b"null",
    "a number": b"1e999",
    "NaN": chat(b'"temperature":NaN'),
    "Infinity": chat(b'"temperature":Infinity'),
    "invalid UTF-8": b'{"model":"gpt-\xff\xfe","messages":[]}',
    "lone surrogate": b'{"model":"\\ud800","messages":[]}',
    "UTF-16": '{"model":"gpt-4o"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + chat(b'"n":1'),
    "a NUL after the end": chat(b'"n":1') + b"\x00",
    "comments": b'{/* hi */"model":"gpt-4o"}',
    "single quotes": b"{'model':'gpt-4o'}",
    "deep nesting": b'{"model":"gpt-4o","messages":' + b"[" * 50_000 + b"]" * 40_000,
    "deep nesting, closed": b'{"model":"gpt-4o","messages":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "no model": b"{" + OK_MESSAGES + b"}",
    "model null": b'{"model":null,' + OK_MESSAGES + b"}",
    "model empty": b'{"model":"",' + OK_MESSAGES + b"}",
    "model a list": b'{"model":["gpt-4o"],' + OK_MESSAGES + b"}",
    "model a number": b'{"model":4,' + OK_MESSAGES + b"}",
    "model with a newline": b'{"model":"gpt-4o\\n",' + OK_MESSAGES + b"}",
    "model with a NUL": b'{"model":"gpt-4o\\u0000",' + OK_MESSAGES + b"}",
    "model with spaces around": b'{"model":" dead-1 ",' + OK_MESSAGES + b"}",
    "model too long": b'{"model":"' + b"a" * 10_000 + b'",' + OK_MESSAGES + b"}",
    "messages a string": b'{"model":"gpt-4o","messages":"hi"}',
    "messages an object": b'{"model":"gpt-4o","messages":{"role":"user"}}',
    "stream a string": chat(b'"stream":"true"'),
    "stream a number": chat(b'"stream":1'),
    "cap negative": chat(b'"max_tokens":-1'),
    "cap zero": chat(b'"max_tokens":0'),
    "cap a float": chat(b'"max_tokens":1.5'),
    "cap a string": chat(b'"max_tokens":"10"'),
    "cap true": chat(b'"max_tokens":true'),
    "cap beyond 64 bits": chat(b'"max_tokens":99999999999999999999999'),
    "n zero": chat(b'"n":0'),
    "n negative": chat(b'"n":-5'),
    "n a list": chat(b'"n":[1]'),
    "two caps of one name": chat(b'"max_tokens":1,"max_tokens":100000'),
    "two models": b'{"model":"gpt-4o",' + OK_MESSAGES + b',"model":"dead-1"}',
    "two models, one escaped": b'{"model":"gpt-4o",' + OK_MESSAGES + b',"mod\\u0065l":"dead-1"}',
    "two streams": chat(b'"stream":false,"stream":true'),
}


@pytest.mark.parametrize("name", BODIES)
def test_openai_bodies(live: Live, name: str) -> None:
    answer = send(live, post(BODIES[name]))
    assert answer.status == 400, answer.body
    assert answer.headers["content-type"] == "application/json"
    error = answer.json["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]
    assert not live.model.requests


@pytest.mark.parametrize("name", [name for name in BODIES if not name.startswith(("n ", "two caps"))])
def test_anthropic_bodies(live: Live, name: str) -> None:
    answer = send(live, post(BODIES[name], b"anthropic-version: 2023-06-01", path=b"/v1/messages"))
    assert answer.status == 400, answer.body
    assert answer.json["type"] == "error"
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert not live.model.requests


def test_a_killed_model_is_not_reached_by_another_spelling(live: Live) -> None:
    for model in ("dead-1", "DEAD-1", "Dead-1", "dead-\\u0031"):
        answer = send(live, post(b'{"model":"' + model.encode() + b'",' + OK_MESSAGES + b"}"))
        assert answer.status == 403
    assert not live.model.requests


def test_a_body_over_the_limit_is_413_by_its_declared_length(live: Live) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer k\r\n"
    answer = send(live, head + b"content-length: 999999999999\r\n\r\n")
    assert answer.status == 413
    assert answer.headers["connection"] == "close"
    assert answer.json["error"]["message"]


def test_a_body_over_the_limit_is_413_when_it_comes_in_chunks(live: Live) -> None:
    head = b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: k\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = send(live, head + b"%x\r\n" % 60_000 + b"a" * 60_000 + b"\r\n" + b"%x\r\n" % 60_000 + b"a" * 60_000)
    assert answer.status == 413
    assert answer.json["error"]["type"] == "request_too_large"
    assert not live.model.requests


@pytest.mark.parametrize(("size", "status"), [(99_999, 200), (100_000, 200), (100_001, 413)])
def test_the_limit_is_exact(live: Live, size: int, status: int) -> None:
    frame = chat(b'"user":""')
    body = frame.replace(b'"user":""', b'"user":"' + b"u" * (size - len(frame)) + b'"')
    assert len(body) == size
    assert send(live, post(body)).status == status


def test_a_compressed_body_is_415_and_never_unpacked(live: Live) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    answer = send(live, post(bomb, b"content-encoding: gzip"))
    assert answer.status == 415
    assert not live.model.requests


def test_a_body_that_does_not_come_is_408(live: Live) -> None:
    data = post(chat(b'"n":1'))[:-5]
    answer = send(live, data)
    assert answer.status == 408
    assert answer.json["error"]["message"]
    assert not live.model.requests


def test_a_body_of_text_without_a_content_type_is_read_as_json(live: Live) -> None:
    assert send(live, post(chat(b'"n":1'), b"content-type: text/plain")).status == 200
