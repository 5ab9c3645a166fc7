"""Add a system text to a request, in the shape of its dialect, and nothing else to it.

Owns: where each shape keeps its system text, and which requests take none. As in ``edit.py`` the body is spliced.
The text goes behind the caller's own, which keeps the upper hand and its place in the upstream's prompt cache.
Leaves out: what the text says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from gateway.dialects.prose import may_write
from gateway.dialects.routes import Shape
from gateway.dialects.spans import replace, span_of

if TYPE_CHECKING:
    from gateway.dialects.routes import Route
    from gateway.types import JSON, RequestFacts

_FREE_CHOICES = (None, "auto", "none")


def may_instruct(route: Route, facts: RequestFacts) -> bool:
    """Whether the reply is free prose: no structured output, and no tool that must be called."""
    choice = facts.body.get("tool_choice")
    kind = choice.get("type") if isinstance(choice, dict) else choice
    return kind in _FREE_CHOICES and may_write(route, facts)


def instructed(route: Route, facts: RequestFacts, body: bytes, text: str) -> dict[str, bytes]:
    """The top-level members of ``body`` that change when ``text`` is added; empty where it cannot be."""
    if not may_instruct(route, facts):
        return {}
    if route.shape is Shape.CHAT:
        return _in_messages(facts, body, text)
    if route.shape is Shape.MESSAGES:
        return {"system": _behind(facts.body.get("system"), text, {"type": "text", "text": text})}
    if route.shape is Shape.RESPONSES:
        message = {"type": "message", "role": "system", "content": text}
        return {"instructions": _behind(facts.body.get("instructions"), text, message)}
    return {}


def _behind(own: JSON, text: str, part: JSON) -> bytes:
    """A system text that is a string or a list, with ``text`` or ``part`` behind it."""
    if isinstance(own, list):
        return orjson.dumps([*own, part])
    return orjson.dumps(f"{own}\n\n{text}" if own else text)


def _in_messages(facts: RequestFacts, body: bytes, text: str) -> dict[str, bytes]:
    """Chat: into the first message where that is a system text, for many templates take one only; else before it."""
    span = span_of(body, ("messages",))
    messages = facts.body.get("messages")
    if span is None or not isinstance(messages, list) or not messages:
        return {}
    whole = body[span[0] : span[1]]
    first = messages[0] if isinstance(messages[0], dict) else {}
    own = first.get("content")
    place = span_of(whole, (0, "content"))
    if first.get("role") in {"system", "developer"} and isinstance(own, str | list) and place is not None:
        return {"messages": replace(whole, [(place, _behind(own, text, {"type": "text", "text": text}))])}
    message = orjson.dumps({"role": "system", "content": text})
    return {"messages": replace(whole, [((1, 1), message + b",")])}
