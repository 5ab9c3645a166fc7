from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._streaming import SSEDecoder  # an independent reading of the same standard

from gateway.dialects import sse
from gateway.dialects.sse import PING, EventSplitter, Piece, data_of, with_data

if TYPE_CHECKING:
    from collections.abc import Iterable

LINES = st.sampled_from(
    [
        b"data: x",
        b"data:x",
        b"data:  x",
        b"data",
        b"data:",
        b"event: e",
        b":",
        b": ping",
        b"retry: 5",
        b"unknown: 1",
        b"data: \xc3\xa9",
        b"",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def datas_of(chunks: Iterable[bytes]) -> list[bytes]:
    splitter = EventSplitter()
    events = [event for chunk in chunks for event in splitter.feed(chunk)]
    return [data for data in map(data_of, events) if data is not None]


def expected_datas(stream: bytes) -> list[bytes]:
    return [event.data.encode() for event in SSEDecoder().iter_bytes(iter([stream]))]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.tuples(LINES, ENDS), max_size=12))
def test_events_are_read_as_the_sdk_reads_them_in_every_split(rows: list[tuple[bytes, bytes]]) -> None:
    stream = b"".join(line + end for line, end in rows)
    # The SDK also gives events without data (an event name or a retry alone); these say nothing here.
    expected = [data for data in expected_datas(stream) if data]
    for chunks in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
        assert [data for data in datas_of(chunks) if data] == expected
    for cut in range(len(stream)):
        assert [data for data in datas_of([stream[:cut], stream[cut:]]) if data] == expected


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.binary(max_size=6) | st.sampled_from([b"\n", b"\r", b"\n\n", b"\r\n\r\n"]), max_size=12))
def test_no_byte_is_lost_or_moved(chunks: list[bytes]) -> None:
    splitter = EventSplitter()
    out = b"".join(event for chunk in chunks for event in splitter.feed(chunk))
    assert out + splitter.rest() == b"".join(chunks)


def test_a_byte_order_mark_at_the_start_is_no_part_of_the_field() -> None:
    assert datas_of([b"\xef\xbb\xbfdata: x\n\n"]) == [b"x"]


def test_several_data_lines_are_joined() -> None:
    assert datas_of([b"data: a\ndata: b\r\ndata\n\n"]) == [b"a\nb\n"]


def test_a_comment_carries_no_data() -> None:
    assert datas_of([PING]) == []
    assert list(SSEDecoder().iter_bytes(iter([PING]))) == []


@pytest.mark.parametrize("size", [1, 7, 64])
def test_an_event_too_large_to_hold_comes_in_pieces(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 50)
    stream = b"data: small\n\n" + b"data: " + b"x" * 200 + b"\n\ndata: after\n\n"
    splitter = EventSplitter()
    events = [e for at in range(0, len(stream), size) for e in splitter.feed(stream[at : at + size])]
    assert b"".join(events) == stream
    assert [data_of(event) for event in events if not isinstance(event, Piece)] == [b"small", b"after"]
    assert splitter.at_boundary


def test_within_an_oversized_event_is_no_boundary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 50)
    splitter = EventSplitter()
    splitter.feed(b"data: " + b"x" * 100)
    assert not splitter.at_boundary
    splitter.feed(b"\n\n")
    assert splitter.at_boundary


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (b"data: old\n\n", b"data: new\n\n"),
        (b"event: e\r\nid: 7\r\ndata:old\r\n\r\n", b"event: e\r\nid: 7\r\ndata:new\r\n\r\n"),
        (b"event: e\ndata: o\ndata: ld\n\n", b"event: e\ndata: new\n\n"),
    ],
)
def test_new_data_leaves_the_other_lines(event: bytes, expected: bytes) -> None:
    old = data_of(event)
    assert old is not None
    assert with_data(event, old, b"new") == expected
