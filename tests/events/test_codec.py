from __future__ import annotations

import base64
import dataclasses
import json
import struct
import typing
from array import array
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.events import decode, encode
from gateway.types import Event, Outcome, Usage

if TYPE_CHECKING:
    from collections.abc import Callable

texts = st.text(st.characters(exclude_categories=["Cs"]))
numbers = st.floats(allow_nan=False, allow_infinity=False)
counts = st.integers(0, 2**53)
by_type: dict[str, st.SearchStrategy[object]] = {
    "str": texts,
    "str | None": st.none() | texts,
    "float": numbers,
    "float | None": st.none() | numbers,
    "int": counts,
    "bool": st.booleans(),
    "Outcome": st.sampled_from(Outcome),
    "tuple[str, ...]": st.lists(texts, max_size=3).map(tuple),
    "Usage | None": st.none() | st.builds(Usage, input_tokens=counts, output_tokens=counts, reported=st.booleans()),
    "Mapping[str, JSON] | None": st.none()
    | st.dictionaries(texts, st.lists(texts | counts | numbers, max_size=3), max_size=3),
}
fields = dataclasses.fields(Event)
events = st.fixed_dictionaries({spec.name: by_type[typing.cast("str", spec.type)] for spec in fields}).map(
    lambda values: Event(**values)  # type: ignore[arg-type]
)


@given(events)
def test_every_event_comes_back_as_it_was(event: Event) -> None:
    line = encode(event)
    assert b"\n" not in line
    assert decode(line) == event


def test_any_json_reader_understands_a_line(make_event: Callable[..., Event]) -> None:
    row = json.loads(encode(make_event(5)))
    assert next(iter(row)) == "v"
    assert row["v"] == 2
    assert row["outcome"] == "answered"
    assert row["usage"]["input_tokens"] == 5


def test_a_newer_release_may_add_fields_and_an_older_one_may_lack_them(make_event: Callable[..., Event]) -> None:
    row = json.loads(encode(make_event(1)))
    row["v"] = 3
    row["colour"] = "green"
    row["usage"]["audio_tokens"] = 9
    del row["traits"], row["shadowed"]
    assert decode(json.dumps(row).encode()) == make_event(1, traits=None, shadowed=())


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"v":"1"}',
        b'{"v":1}',
        b'{"v":1,"id":"r","ts":1,"outcome":"eaten","family":"openai","route":"r","status":200}',
        b'{"v":1,"id":"r","ts":1,"outcome":"answered","family":"openai","route":"r","status":200,"usage":[1]}',
        b'{"v":2,"id":"r","ts":1,"outcome":"answered","family":"openai","route":"r","status":200,"traits":{"ph":"AAAA"}}',
        b'{"v":2,"id":"r","ts":1,"outcome":"answered","family":"openai","route":"r","status":200,"traits":{"ph":"AAA!"}}',
        b'{"v":2,"id":"r","ts":1,"outcome":"answered","family":"openai","route":"r","status":200,"traits":[1]}',
    ],
)
def test_what_is_no_event_is_an_error_and_not_half_an_event(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(line)


@pytest.mark.parametrize("phrases", [[], [0], [(1 << 60) - 1, 0, 1 << 59], list(range(160))])
def test_phrases_come_back_packed_and_anybody_can_unpack_them(
    make_event: Callable[..., Event], phrases: list[int]
) -> None:
    line = encode(make_event(1, traits={"ph": array("Q", phrases), "model": 7}))
    assert decode(line).traits == {"ph": array("Q", phrases), "model": 7}
    packed = base64.b64decode(json.loads(line)["traits"]["ph"])
    assert list(struct.unpack(f"<{len(phrases)}Q", packed)) == phrases


def test_phrases_of_version_1_are_read_as_the_numbers_that_they_were(make_event: Callable[..., Event]) -> None:
    row = json.loads(encode(make_event(1, traits={"ph": [3, 1 << 59]})))
    row["v"] = 1
    assert decode(json.dumps(row).encode()).traits == {"ph": [3, 1 << 59]}


def test_an_array_that_is_no_phrases_is_not_guessed_at(make_event: Callable[..., Event]) -> None:
    with pytest.raises(TypeError):
        encode(make_event(1, traits={"ph": array("d", [1.0])}))
