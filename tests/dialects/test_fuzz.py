"""Bodies and replies made of the APIs' own words in the wrong places: nothing may raise but a refusal."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialects import BodyEdit, edit_body, read_reply, read_request
from gateway.errors import RequestRefused
from tests.dialects.samples import JSON, PATHS, SSE, event, facts_of, route_of
from tests.dialects.test_prose import Shout

WORDS = [
    "messages",
    "content",
    "role",
    "type",
    "text",
    "system",
    "tools",
    "input",
    "prompt",
    "instructions",
    "thinking",
    "signature",
    "usage",
    "choices",
    "delta",
    "message",
    "index",
    "finish_reason",
    "logprobs",
    "reasoning",
    "reasoning_content",
    "tool_calls",
    "function",
    "arguments",
    "output",
    "item",
    "part",
    "item_id",
    "output_index",
    "content_index",
    "sequence_number",
    "response",
    "citations",
    "content_block",
    "model",
    "stream",
    "max_tokens",
    "n",
    "best_of",
    "max_completion_tokens",
    "max_output_tokens",
    "stream_options",
    "include_usage",
    "include",
    "metadata",
    "user_id",
    "error",
    "prompt_tokens",
    "completion_tokens",
    "input_tokens",
    "output_tokens",
    "summary",
    "variables",
    "source",
    "data",
    "annotations",
    "refusal",
]
VALUES = [
    "assistant",
    "user",
    "tool",
    "text",
    "thinking",
    "tool_use",
    "tool_result",
    "document",
    "message",
    "reasoning",
    "function_call",
    "output_text",
    "stop",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_start",
    "message_delta",
    "message_stop",
    "error",
    "text_delta",
    "citations_delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
    "response.failed",
    "content_filter",
    "refusal",
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(min_value=-3, max_value=3)
    | st.just(2**63)
    | st.just(1.5)
    | st.sampled_from(["", "a b", "é"])
    | st.sampled_from(VALUES)
)
JSONS = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=5),
    max_leaves=25,
)
OBJECTS = st.dictionaries(st.sampled_from(WORDS), JSONS, max_size=8)


@pytest.mark.parametrize("name", PATHS)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(body=OBJECTS, more=st.booleans())
def test_a_body_is_read_or_refused_and_edits_say_what_they_mean(name: str, body: dict[str, Any], more: bool) -> None:
    if more:
        body = {**body, "model": "m"}
    raw = json.dumps(body).encode()
    route = route_of(name)
    try:
        facts = read_request(route, raw)
    except RequestRefused as refused:
        assert refused.refusal.message  # noqa: PT017 - either outcome is right
        return
    edit = BodyEdit(ask_usage=True, max_output_tokens=2, max_choices=1, drop_logprobs=True, hide_reasoning=True)
    edited = read_request(route, edit_body(route, facts, raw, edit))
    assert edited.texts == facts.texts
    assert edited.usage_asked
    assert not edited.logprobs
    assert edited.max_output_tokens in ({1, 2} if route.caps else {None})
    untouched = set(body) - {
        *route.caps,
        *route.counts,
        *route.logprobs,
        "stream_options",
        "include",
        "thinking",
        "reasoning",
    }
    assert {key: edited.body[key] for key in untouched} == {key: facts.body[key] for key in untouched}


@pytest.mark.parametrize("name", [name for name in PATHS if name not in {"count", "embeddings"}])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(objects=st.lists(OBJECTS, max_size=4), cut=st.integers(min_value=1, max_value=60))
def test_a_reply_of_misplaced_words_is_metered_and_never_raises(
    name: str, objects: list[dict[str, Any]], cut: int
) -> None:
    stream = b"".join(event(obj) for obj in objects)
    for writers in (None, Shout):
        for headers, body in ((SSE, stream), (JSON, orjson.dumps(objects[0] if objects else {}))):
            facts = facts_of(name, stream=headers is SSE)
            reader = read_reply(
                route_of(name),
                facts,
                status=200,
                headers=headers,
                strip_usage=True,
                writers=writers,
                hide_reasoning=True,
            )
            given_ = b"".join(reader.feed(body[at : at + cut]) for at in range(0, len(body), cut)) + reader.finish()
            usage = reader.usage()
            assert usage.input_tokens >= 0
            assert usage.output_tokens >= 0
            if headers is SSE and name in {"responses", "messages"} and writers is None:
                assert given_ == body
