"""Let a writer rewrite the free prose of a whole reply, and say where a writer may write at all.

A fresh ``TextWriter`` is made for each choice, content block or output part. Edits are splices, so all other
bytes stay. How streams are rewritten is in ``stream_prose``.

Never touched: JSON mode, log probabilities (they repeat the tokens), texts with citations or annotations
(their offsets and quotes would be wrong), tool calls, reasoning, refusals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

import orjson

from gateway.dialects.routes import Shape
from gateway.dialects.spans import replace, span_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.dialects.routes import Route
    from gateway.types import JSON, RequestFacts


class TextWriter(Protocol):
    """Rewrites one piece of prose as it flows."""

    def feed(self, text: str) -> str:
        """What may be shown now for the text so far; may be empty while something is held back."""
        ...

    def finish(self) -> str:
        """What was held back. Nothing is fed afterwards."""
        ...


Path: TypeAlias = "tuple[str | int, ...]"
Changes: TypeAlias = "list[tuple[Path, JSON]]"

_BINDING = (
    *("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs"),
    *("suffix", "echo", "web_search_options"),
)
"""Fields of a request that bind its reply to a grammar, to the caller's own text or to citations by offset."""
REASONING = ("reasoning_content", "reasoning", "reasoning_details")


def may_write(route: Route, facts: RequestFacts) -> bool:
    """Whether the reply to ``facts`` is free prose: no JSON mode, no grammar, no text of the caller's own
    repeated or enclosed, no hosted tools (whose citations count characters).
    """
    body = facts.body
    if not route.makes_output or any(body.get(name) not in (None, False, "") for name in _BINDING):
        return False
    text = body.get("text")
    output = body.get("output_config")
    formats = (
        body.get("response_format"),
        body.get("output_format"),
        text.get("format") if isinstance(text, dict) else None,
        output.get("format") if isinstance(output, dict) else None,
    )
    if any(form is not None and not (isinstance(form, dict) and form.get("type") == "text") for form in formats):
        return False
    if route.shape is not Shape.RESPONSES:
        return True
    kinds = {tool.get("type") for tool in body.get("tools") or () if isinstance(tool, dict)}
    return kinds <= {"function", "custom"}


def splice(text: bytes, changes: Changes) -> bytes:
    """``text`` with the values at these paths replaced."""
    spans = [(span_of(text, path), orjson.dumps(value)) for path, value in changes]
    return replace(text, [(span, value) for span, value in spans if span is not None])


def hidden(turn: Mapping[str, JSON], path: Path) -> Changes:
    """Null in place of each readable reasoning of the delta or message at ``path``."""
    return [((*path, name), None) for name in REASONING if turn.get(name)]


def whole_prose(
    shape: Shape,
    obj: Mapping[str, JSON],
    body: bytes,
    make: Callable[[], TextWriter] | None,
    *,
    hide_reasoning: bool = False,
) -> bytes:
    """``body``, which parsed to ``obj``, with each piece of free prose as a fresh writer gives it."""
    changes: Changes = []
    if make is not None:
        for path, text in _prose_of(shape, obj):
            writer = make()
            new = writer.feed(text) + writer.finish()
            if new != text:
                changes.append((path, new))
    if hide_reasoning:
        for at, choice in enumerate(obj.get("choices") or ()):
            changes += hidden(choice.get("message") or {}, ("choices", at, "message"))
    return splice(body, changes) if changes else body


def _prose_of(shape: Shape, obj: Mapping[str, JSON]) -> list[tuple[Path, str]]:
    """Path and text of each piece of free prose in a whole reply."""
    walk = {Shape.MESSAGES: _messages_prose, Shape.RESPONSES: _responses_prose}.get(shape, _chat_prose)
    return [(path, text) for path, text in walk(obj) if isinstance(text, str) and text]


def _chat_prose(obj: Mapping[str, JSON]) -> Iterator[tuple[Path, JSON]]:
    for at, choice in enumerate(obj.get("choices") or ()):
        message = choice.get("message") or {}
        if not (choice.get("logprobs") or message.get("annotations")):
            yield ("choices", at, "message", "content"), message.get("content")
            yield ("choices", at, "text"), choice.get("text")


def _messages_prose(obj: Mapping[str, JSON]) -> Iterator[tuple[Path, JSON]]:
    for at, block in enumerate(obj.get("content") or ()):
        if block.get("type") == "text" and block.get("citations") is None:
            yield ("content", at, "text"), block.get("text")


def _responses_prose(obj: Mapping[str, JSON]) -> Iterator[tuple[Path, JSON]]:
    for output, item in enumerate(obj.get("output") or ()):
        for at, part in enumerate(item.get("content") or ()):
            if part.get("type") == "output_text" and not (part.get("annotations") or part.get("logprobs")):
                yield ("output", output, "content", at, "text"), part.get("text")
