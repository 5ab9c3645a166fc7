"""What is no log is an error at its place; what a caller may have sent is replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.errors import FileErrors
from gateway.replay.log import Recorded, read_requests
from tests.replay.logs import START_S, request, write_rows


def read(path: Path, texts: Path | None = None) -> list[Recorded]:
    return list(read_requests(path, texts))


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_plain_and_packed_logs_say_the_same(tmp_path: Path, ending: str) -> None:
    path = write_rows(tmp_path / f"requests.ndjson{ending}", [request(1), b"", request(2)])
    found = read(path)
    assert [recorded.id for recorded in found] == ["r1", "r2"]
    assert found[0].headers == [(b"user-agent", b"tests")]
    assert found[0].usage is not None
    assert (found[0].usage.input_tokens, found[0].usage.output_tokens) == (10, 20)


def test_a_text_that_recurs_stands_wherever_a_string_could(tmp_path: Path) -> None:
    body = {
        "system": {"$text": "s"},
        "messages": [{"role": "user", "content": [{"type": "text", "text": {"$text": "u"}}, {"$text": "u"}]}],
        "max_tokens": 5,
    }
    write_rows(tmp_path / "texts.ndjson", [{"key": "s", "text": "Be brief."}, {"key": "u", "text": "Hello"}])
    found = read(write_rows(tmp_path / "requests.ndjson", [request(1, body=body)]))
    assert found[0].body == {
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}, "Hello"]}],
        "max_tokens": 5,
    }


def test_texts_are_found_where_they_are_given(tmp_path: Path) -> None:
    texts = write_rows(tmp_path / "elsewhere.ndjson.gz", [{"key": "k", "text": "found"}])
    path = write_rows(tmp_path / "requests.ndjson", [request(1, text={"$text": "k"})])
    assert read(path, texts)[0].body["messages"][0]["content"] == "found"


def test_a_callers_own_object_with_that_name_and_more_is_left_alone(tmp_path: Path) -> None:
    body = {"model": "m", "messages": [], "metadata": {"$text": "k", "other": 1}}
    assert read(write_rows(tmp_path / "requests.ndjson", [request(1, body=body)]))[0].body == body


def test_a_folder_is_read_in_the_order_of_its_files(tmp_path: Path) -> None:
    write_rows(tmp_path / "requests-2.ndjson.zst", [request(3)])
    write_rows(tmp_path / "requests-1.ndjson", [request(1), request(2)])
    write_rows(tmp_path / "accounts.ndjson", [{"account": "a"}])
    write_rows(tmp_path / "requests-1.ndjson.part", [request(0)])
    assert [recorded.id for recorded in read(tmp_path)] == ["r1", "r2", "r3"]


@pytest.mark.parametrize("skip", [0, 1, 2, 3, 4])
def test_what_was_read_before_is_left_out(tmp_path: Path, skip: int) -> None:
    one = write_rows(tmp_path / "one.ndjson", [request(number) for number in range(3)])
    assert [recorded.id for recorded in read_requests(one, skip=skip)] == ["r0", "r1", "r2"][skip:]
    folder = tmp_path / "recordings"
    folder.mkdir()
    write_rows(folder / "requests-20260101T000000-001-7.ndjson", [request(0), request(2)])
    write_rows(folder / "requests-20260101T000000-001-8.ndjson", [request(1), request(3)])
    assert [recorded.id for recorded in read_requests(folder, skip=skip)] == ["r0", "r1", "r2", "r3"][skip:]


def test_times_that_go_back_behind_what_was_read_before_are_told(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "requests.ndjson", [request(1, after_s=5), request(2, after_s=4)])
    with pytest.raises(FileErrors, match="sort the log by ts"):
        list(read_requests(path, skip=1))


def test_a_body_that_is_a_reference_is_no_body(tmp_path: Path) -> None:
    write_rows(tmp_path / "texts.ndjson", [{"key": "k", "text": "{}"}])
    (found,) = read(write_rows(tmp_path / "requests.ndjson", [request(1, body={"$text": "k"})]))
    assert found.body == {"$text": "k"}


def line_with(**fields: Any) -> bytes:
    return orjson.dumps({**request(1), **fields})


def without(name: str) -> bytes:
    return orjson.dumps({key: value for key, value in request(1).items() if key != name})


BAD = [
    (b"{", "1:1: got '{', expected one JSON object a line (unexpected end of data)"),
    (b"[1]", "1:1: got a list, expected one JSON object a line"),
    (without("id"), "1:1: id: got nothing, expected a text that names the request"),
    (b'{"ts":1,"id":7}', "1:9: id: got 7, expected a text that names the request"),
    (without("account"), "1:1: account: got nothing, expected the account's id"),
    (without("path"), "1:1: path: got nothing, expected the path of the request"),
    (b'{"id":"r","account":"a","path":"/","body":"x"}', '1:36: body: got "x", expected the request\'s JSON object'),
    (without("ts"), "1:1: ts: got nothing, expected seconds since the epoch"),
    (
        b'{"id":"r","ts":true,"account":"a","path":"/","body":{}}',
        "1:11: ts: got true, expected seconds since the epoch",
    ),
    (b'{"id":"r","ts":-1,"account":"a","path":"/","body":{}}', "1:11: ts: got -1, expected seconds since the epoch"),
    (b'{"id":"r","ts":1,"account":"a","path":"/","body":{},"ip":5}', "1:53: ip: got 5, expected an address or null"),
    (
        b'{"id":"r","ts":1,"account":"a","path":"/","body":{},"headers":{"x":1}}',
        "1:64: x: got 1, expected a header's text",
    ),
    (
        b'{"id":"r","ts":1,"account":"a","path":"/","body":{},"usage":{"output_tokens":-1}}',
        "1:62: output_tokens: got -1, expected a whole number >= 0",
    ),
    (
        b'{"id":"r","ts":1,"account":"a","path":"/","body":{},"status":"ok"}',
        '1:53: status: got "ok", expected a status code',
    ),
    (
        b'{"id":"r","ts":1,"account":"a","path":"/","body":{"m":{"$text":"gone"}}}',
        '1:64: $text: got "gone", expected a key of texts.ndjson beside the log',
    ),
    (
        b'{"id":"r","ts":1,"account":"a","path":"/","body":{"m":{"$text":5}}}',
        "1:64: $text: got 5, expected a key of texts.ndjson beside the log",
    ),
]


@pytest.mark.parametrize(("line", "message"), BAD)
def test_a_line_that_is_no_request_is_told_with_its_place(tmp_path: Path, line: bytes, message: str) -> None:
    path = write_rows(tmp_path / "requests.ndjson", [line])
    with pytest.raises(FileErrors) as raised:
        read(path)
    assert str(raised.value) == f"{path}:{message}"


def test_times_that_go_back_are_told_and_equal_ones_are_not(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "requests.ndjson", [request(1, after_s=5), request(2, after_s=5)])
    assert len(read(path)) == 2
    write_rows(path, [request(1, after_s=5), request(2, after_s=4.5)])
    with pytest.raises(FileErrors) as raised:
        read(path)
    problem = f"2:12: ts: got {START_S + 4.5}, expected at least {START_S + 5}: sort the log by ts"
    assert str(raised.value) == f"{path}:{problem}"


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_a_packed_log_that_was_cut_off_is_no_log(tmp_path: Path, ending: str) -> None:
    path = write_rows(tmp_path / f"requests.ndjson{ending}", [request(number) for number in range(50)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileErrors, match="damaged or cut off"):
        read(path)


def test_texts_without_a_key_are_told(tmp_path: Path) -> None:
    texts = write_rows(tmp_path / "texts.ndjson", [{"key": "a", "text": "b"}, {"key": "a"}])
    path = write_rows(tmp_path / "requests.ndjson", [request(1)])
    with pytest.raises(FileErrors) as raised:
        read(path)
    assert str(raised.value) == f"{texts}:2:1: text: got nothing, expected a text"
