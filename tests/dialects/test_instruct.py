"""A system text is added behind the caller's own, only to requests for free prose, and nothing else changes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.dialects import BodyEdit, edit_body, may_instruct, read_request
from tests.dialects.samples import body_of, route_of

USER = {"role": "user", "content": "Hi"}
PART = {"type": "text", "text": "X"}


def instructed(name: str, body: bytes) -> Any:
    route = route_of(name)
    return orjson.loads(edit_body(route, read_request(route, body), body, BodyEdit(instruction="X")))


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("chat", {"messages": [USER]}, {"messages": [{"role": "system", "content": "X"}, USER]}),
        (
            "chat",
            {"messages": [{"role": "system", "content": "Be kind."}, USER]},
            {"messages": [{"role": "system", "content": "Be kind.\n\nX"}, USER]},
        ),
        (
            "chat",
            {"messages": [{"role": "developer", "content": [{"type": "text", "text": "Own"}]}, USER]},
            {"messages": [{"role": "developer", "content": [{"type": "text", "text": "Own"}, PART]}, USER]},
        ),
        ("messages", {}, {"system": "X"}),
        ("messages", {"system": "Be kind."}, {"system": "Be kind.\n\nX"}),
        (
            "messages",
            {"system": [{"type": "text", "text": "Own"}]},
            {"system": [{"type": "text", "text": "Own"}, PART]},
        ),
        ("responses", {}, {"instructions": "X"}),
        ("responses", {"instructions": "Be kind."}, {"instructions": "Be kind.\n\nX"}),
        ("chat", {"messages": [USER], "tools": [], "tool_choice": "auto"}, None),
        ("completions", {}, {}),
    ],
)
def test_a_system_text_goes_behind_the_callers_own(
    name: str, given: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    before = orjson.loads(body_of(name, **given))
    if expected is None:
        expected = {"messages": [{"role": "system", "content": "X"}, USER]}
    assert instructed(name, body_of(name, **given)) == {**before, **expected}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("chat", {"response_format": {"type": "json_object"}}),
        ("chat", {"guided_json": {"type": "object"}}),
        ("chat", {"tools": [], "tool_choice": "required"}),
        ("chat", {"tool_choice": {"type": "function", "function": {"name": "f"}}}),
        ("messages", {"tool_choice": {"type": "any"}}),
        ("messages", {"tool_choice": {"type": "tool", "name": "f"}}),
        ("messages", {"output_config": {"format": {"type": "json_schema"}}}),
        ("responses", {"text": {"format": {"type": "json_schema"}}}),
        ("responses", {"tool_choice": {"type": "function", "name": "f"}}),
        ("embeddings", {}),
        ("count", {}),
    ],
)
def test_a_reply_that_is_no_free_prose_is_never_asked_for_phrases(name: str, more: dict[str, Any]) -> None:
    """Structured output and forced tools: a program reads the answer."""
    route, body = route_of(name), body_of(name, **more)
    facts = read_request(route, body)
    assert not may_instruct(route, facts)
    assert edit_body(route, facts, body, BodyEdit(instruction="X")) is body


def test_every_byte_outside_the_system_text_stays() -> None:
    body = (
        b'{"model": "m",\n "seed":12345678901234567890123, "messages":[ {"content":"Own","role":"system", "x":1.0},'
        b'\n {"role":"user","content":"Hi","y":1.50} ], "temperature" :1.0 }'
    )
    route = route_of("chat")
    edited = edit_body(route, read_request(route, body), body, BodyEdit(instruction="X"))
    assert edited == body.replace(b'"Own"', b'"Own\\n\\nX"')
