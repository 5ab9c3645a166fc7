"""A sketch costs what the request costs, and says nothing of what was said."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects import ROUTES, facts_of
from gateway.recording import Sketcher
from gateway.types import RequestFacts

SKETCHER = Sketcher(b"k" * 32)
BY_NAME = {route.name: route for route in ROUTES}
SECRET = 'Kowalski said: "never\ttell" \\ him\nabout Übermorgen \x01 漢字'


def cost(facts: RequestFacts) -> tuple[Any, ...]:
    return (
        facts.model, facts.stream, facts.usage_asked, facts.max_output_tokens, facts.choices, facts.makes_output,
        facts.input_chars, facts.logprobs, [part.role for part in facts.texts], [len(part.text) for part in facts.texts],
    )  # fmt: skip


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"properties": {SECRET: {"type": "string"}}}}}


BODIES = [
    (
        "openai.chat_completions",
        {
            "model": "gpt-9", "stream": True, "stream_options": {"include_usage": True}, "n": 3, "max_tokens": 7,
            "logprobs": True, "metadata": {SECRET: SECRET}, "user": SECRET, "unknown": {"x": SECRET}, "stop": [SECRET],
            "tools": [tool(SECRET), SECRET], "functions": [{"name": SECRET}],
            "messages": [
                {"role": "system", "content": SECRET},
                {"role": SECRET, "content": SECRET},
                {"role": "user", "content": [{"type": "text", "text": SECRET}, SECRET,
                                             {"type": "image_url", "image_url": {"url": SECRET}}]},
                {"role": "assistant", "content": None, "reasoning_content": SECRET, "refusal": SECRET,
                 "tool_calls": [{"id": SECRET, "type": "function", "function": {"name": SECRET, "arguments": SECRET}}]},
                {"role": "tool", "tool_call_id": SECRET, "content": SECRET},
            ],
        },
    ),
    ("openai.completions", {"model": "m", "prompt": [SECRET, SECRET], "suffix": SECRET, "best_of": 2, "logprobs": 0}),
    ("openai.completions", {"model": "m", "prompt": [[11, 12, 13], [14]]}),
    ("openai.embeddings", {"model": "m", "input": [5, 6, 7]}),
    (
        "openai.responses",
        {
            "model": "m", "instructions": SECRET, "max_output_tokens": 9, "reasoning": {"effort": "high"},
            "include": ["message.output_text.logprobs"],
            "prompt": {"id": SECRET, "variables": {SECRET: SECRET, "b": {"type": "input_text", "text": SECRET}}},
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": SECRET}]},
                {"type": "function_call", "name": SECRET, "call_id": SECRET, "arguments": SECRET},
                {"type": "function_call_output", "call_id": SECRET, "output": SECRET},
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": SECRET}], "encrypted_content": SECRET},
            ],
        },
    ),
    (
        "anthropic.messages",
        {
            "model": "claude-9", "max_tokens": 100, "system": [{"type": "text", "text": SECRET}], "tools": [{"name": SECRET}],
            "thinking": {"type": "enabled", "budget_tokens": 50}, "metadata": {"user_id": SECRET},
            "messages": [
                {"role": "user", "content": [
                    {"type": "document", "title": SECRET, "context": SECRET, "source": {"type": "text", "data": SECRET}},
                    {"type": "image", "source": {"type": "base64", "data": SECRET}},
                ]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": SECRET, "signature": SECRET},
                    {"type": "redacted_thinking", "data": SECRET},
                    {"type": "tool_use", "id": SECRET, "name": SECRET, "input": {SECRET: [SECRET, 5]}},
                    {"type": "tool_use", "id": SECRET, "name": SECRET, "input": {}},
                ]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": SECRET, "content": SECRET}]},
            ],
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("route", "body"), BODIES)
def test_a_sketch_costs_the_same_and_says_nothing(route: str, body: dict[str, Any]) -> None:
    before = orjson.dumps(body)
    sketch = SKETCHER.body(body)
    assert cost(facts_of(BY_NAME[route], sketch, 0)) == cost(facts_of(BY_NAME[route], body, 0))
    written = orjson.dumps(sketch).decode()
    for said in ("Kowalski", "never", "bermorgen", "漢"):
        assert said not in written
    assert not re.search(r"\b1[1-4]\b", written)
    assert orjson.dumps(body) == before


@given(st.text())
def test_a_text_keeps_its_length_however_it_is_written(text: str) -> None:
    sketch = SKETCHER.text(text)
    assert len(sketch) == len(text)
    try:
        written = orjson.dumps(text)
    except orjson.JSONEncodeError:  # a lone surrogate, which no JSON body can hold
        return
    assert len(orjson.dumps(sketch).decode()) == len(written.decode())


def test_equal_texts_stay_equal_and_others_differ_by_key() -> None:
    assert SKETCHER.text("the same prompt") == SKETCHER.text("the same prompt")
    assert SKETCHER.text("the same prompt") != SKETCHER.text("the same prompT")
    assert Sketcher(b"other key").text("the same prompt") != SKETCHER.text("the same prompt")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["user", "text", "image", SECRET]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "content", "role", "input", "tools", "variables", "text", "x"]), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(
    st.dictionaries(
        st.sampled_from(["messages", "model", "tools", "input", "prompt", "system", "include"]), JSON_VALUES
    )
)
def test_no_body_breaks_it_and_none_tells_a_text(body: dict[str, Any]) -> None:
    assert "Kowalski" not in orjson.dumps(SKETCHER.body(body)).decode()


def test_a_body_nested_without_end_is_cut() -> None:
    deep: Any = SECRET
    for _ in range(900):
        deep = {"content": [deep]}
    assert "Kowalski" not in orjson.dumps(SKETCHER.body({"messages": [deep]})).decode()
    for name in ("include", "tool_choice", "input", "prompt"):
        listed: Any = SECRET
        for _ in range(900):
            listed = [listed]
        assert "Kowalski" not in orjson.dumps(SKETCHER.body({name: listed})).decode()
