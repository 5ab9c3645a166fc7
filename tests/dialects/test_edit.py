from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects import BodyEdit, edit_body, find_route, read_request
from gateway.dialects.spans import elements, members, replace, span_at, span_of
from tests.dialects.samples import body_of, route_of

ODD = b'{"model": "m",\n "seed":12345678901234567890123, "temperature" :1.0, "x":{"max_tokens":7}, "messages":[] }'


def edited(name: str, body: bytes, **edit: Any) -> bytes:
    route = route_of(name)
    return edit_body(route, read_request(route, body), body, BodyEdit(**edit))


@pytest.mark.parametrize(
    ("name", "body", "edit", "expected"),
    [
        (
            "chat",
            b'{"model":"m","stream":true}',
            {"ask_usage": True},
            b'{"stream_options":{"include_usage":true},"model":"m","stream":true}',
        ),
        (
            "chat",
            b'{"model":"m","stream":true,"stream_options":null}',
            {"ask_usage": True},
            b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}',
        ),
        (
            "chat",
            b'{"model":"m","stream":true,"stream_options":{ "a":1.0 }}',
            {"ask_usage": True},
            b'{"model":"m","stream":true,"stream_options":{"include_usage":true, "a":1.0 }}',
        ),
        (
            "chat",
            b'{"model":"m","stream":true,"stream_options": {  } }',
            {"ask_usage": True},
            b'{"model":"m","stream":true,"stream_options": {"include_usage":true  } }',
        ),
        (
            "chat",
            b'{"model":"m","stream":true,"stream_options":{"include_usage":false,"include_obfuscation":false}}',
            {"ask_usage": True},
            b'{"model":"m","stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}}',
        ),
        (
            "chat",
            b'{"model":"m","max_tokens":100,"max_completion_tokens" : 5}',
            {"max_output_tokens": 50},
            b'{"model":"m","max_tokens":50,"max_completion_tokens" : 5}',
        ),
        ("chat", b'{"model":"m"}', {"max_output_tokens": 50}, b'{"max_completion_tokens":50,"model":"m"}'),
        ("completions", b'{"model":"m"}', {"max_output_tokens": 50}, b'{"max_tokens":50,"model":"m"}'),
        (
            "responses",
            b'{"model":"m","max_output_tokens":null}',
            {"max_output_tokens": 5},
            b'{"model":"m","max_output_tokens":5}',
        ),
        ("completions", b'{"model":"m","n":3,"best_of":9}', {"max_choices": 3}, b'{"model":"m","n":3,"best_of":3}'),
        (
            "chat",
            b'{"model":"m","logprobs":true,"top_logprobs":5}',
            {"drop_logprobs": True},
            b'{"model":"m","logprobs":null,"top_logprobs":null}',
        ),
        (
            "responses",
            b'{"model":"m","include":["a","message.output_text.logprobs"]}',
            {"drop_logprobs": True},
            b'{"model":"m","include":["a"]}',
        ),
        (
            "messages",
            b'{"model":"m","max_tokens":9000,"thinking":{"type":"enabled","budget_tokens":8000}}',
            {"max_output_tokens": 2000, "hide_reasoning": True},
            b'{"model":"m","max_tokens":2000,"thinking":{"type":"enabled","budget_tokens":1999,"display":"omitted"}}',
        ),
        (
            "responses",
            b'{"model":"m","reasoning":{"effort":"high","summary":"detailed"}}',
            {"hide_reasoning": True},
            b'{"model":"m","reasoning":{"effort":"high","summary":null}}',
        ),
    ],
)
def test_an_edit_changes_its_member_and_no_other_byte(
    name: str, body: bytes, edit: dict[str, Any], expected: bytes
) -> None:
    assert edited(name, body, **edit) == expected
    assert edited(name, expected, **edit) == expected


def test_big_integers_fractions_white_space_and_order_survive() -> None:
    assert edited("chat", ODD, max_output_tokens=9) == b'{"max_completion_tokens":9,' + ODD[1:]


@pytest.mark.parametrize(
    ("name", "body", "edit"),
    [
        ("chat", b'{"model":"m"}', {}),
        ("chat", b'{"model":"m"}', {"ask_usage": True}),
        ("chat", b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}', {"ask_usage": True}),
        ("responses", b'{"model":"m","stream":true}', {"ask_usage": True}),
        ("messages", b'{"model":"m","stream":true}', {"ask_usage": True}),
        ("embeddings", b'{"model":"m"}', {"ask_usage": True, "max_output_tokens": 5, "max_choices": 1}),
        ("chat", b'{"model":"m","max_tokens":50,"n":2}', {"max_output_tokens": 50, "max_choices": 2}),
        ("chat", b'{"model":"m"}', {"max_choices": 1, "drop_logprobs": True, "hide_reasoning": True}),
        ("messages", b'{"model":"m","thinking":{"type":"disabled"}}', {"hide_reasoning": True}),
    ],
)
def test_the_same_object_comes_back_where_nothing_changes(name: str, body: bytes, edit: dict[str, Any]) -> None:
    assert edited(name, body, **edit) is body


def test_a_route_without_a_body_is_left_alone() -> None:
    route = find_route("GET", "/v1/models", [])
    assert route is not None
    body = b""
    assert edit_body(route, read_request(route, body), body, BodyEdit(max_output_tokens=1)) is body


def test_a_member_named_with_escapes_is_found() -> None:
    assert (
        edited("chat", b'{"model":"m","max\\u005ftokens":100}', max_output_tokens=9)
        == b'{"model":"m","max\\u005ftokens":9}'
    )


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=12,
)
STYLES = st.sampled_from(
    [{"separators": (",", ":")}, {"indent": 2}, {"ensure_ascii": False}, {"separators": (" , ", "\t: ")}]
)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    extra=st.dictionaries(st.text(max_size=8), JSONS, max_size=6), style=STYLES, seed=st.randoms(use_true_random=False)
)
def test_a_splice_parses_to_what_was_meant_and_keeps_all_other_bytes(
    extra: dict[str, Any], style: dict[str, Any], seed: Any
) -> None:
    wanted = {**extra, "model": "m", "stream": True, "max_tokens": 500, "n": 9, "messages": []}
    for name in ("stream_options", "max_completion_tokens", "best_of", "tools", "functions", "logprobs", "user"):
        wanted.pop(name, None)
    keys = list(wanted)
    seed.shuffle(keys)
    body = json.dumps({key: wanted[key] for key in keys}, **style).encode("utf-8", "surrogatepass")
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return
    new = edited("chat", body, ask_usage=True, max_output_tokens=77, max_choices=1)
    expected = {
        "stream_options": {"include_usage": True},
        **{key: wanted[key] for key in keys},
        "max_tokens": 77,
        "n": 1,
    }
    assert list(json.loads(new).items()) == list(expected.items())
    undone = new.replace(b'"stream_options":{"include_usage":true},', b"", 1)
    assert undone == replace(
        body, [(span_of(body, ("max_tokens",)) or (0, 0), b"77"), (span_of(body, ("n",)) or (0, 0), b"1")]
    )


@settings(max_examples=80, deadline=None, derandomize=True)
@given(value=JSONS, style=STYLES, pad=st.sampled_from([b"", b" ", b"\n\t"]))
def test_spans_are_those_of_the_parser(value: Any, style: dict[str, Any], pad: bytes) -> None:
    try:
        text = pad + json.dumps(value, **style).encode() + pad
    except UnicodeEncodeError:
        return
    start, end = span_at(text, 0)
    assert (text[:start], text[end:]) == (pad, pad)
    if isinstance(value, dict) and all(key.isprintable() for key in value):
        assert [(name, json.loads(text[a:b])) for name, (a, b) in members(text)] == list(value.items())
    elif isinstance(value, list):
        assert [json.loads(text[a:b]) for a, b in elements(text)] == value


def test_the_last_of_doubled_members_counts_as_for_the_parser() -> None:
    text = b'{"a":1,"a":{"b":[0,{"c":2}]}}'
    span = span_of(text, ("a", "b", 1, "c"))
    assert span is not None
    assert text[slice(*span)] == b"2"
    for path in (("x",), ("a", "b", 2), ("a", 0), ("a", "b", "c"), ("a", "b", 0, "c")):
        assert span_of(text, path) is None


def test_a_megabyte_of_escapes_and_a_thousand_levels_are_no_trouble() -> None:
    long = orjson.dumps({"model": "m", "x": '\\"' * 500_000, "max_tokens": 5, "messages": []})
    assert edited("chat", long, max_output_tokens=3) == long.replace(b'"max_tokens":5', b'"max_tokens":3')
    deep = body_of("chat", max_tokens=5)[:-1] + b',"x":' + b"[" * 900 + b"]" * 900 + b"}"
    assert edited("chat", deep, max_output_tokens=3) == deep.replace(b'"max_tokens":5', b'"max_tokens":3')


@pytest.mark.parametrize(
    ("budget", "limit", "expected"),
    [
        (1999, 2000, 1999),
        (2000, 2000, 1999),
        (2001, 2000, 1999),
        (1024, 1025, 1024),
        (1025, 1025, 1024),
        (1024, 1024, 1024),
    ],
)
def test_a_thinking_budget_stays_below_a_lowered_cap_and_at_its_own_least(
    budget: int, limit: int, expected: int
) -> None:
    thinking = {"type": "enabled", "budget_tokens": budget}
    new = edited("messages", body_of("messages", max_tokens=9000, thinking=thinking), max_output_tokens=limit)
    assert (json.loads(new)["max_tokens"], json.loads(new)["thinking"]["budget_tokens"]) == (limit, expected)
