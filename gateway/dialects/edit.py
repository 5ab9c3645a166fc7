"""Change what a policy must change in a request body, and nothing else.

The edit is a splice: every byte outside the members that change stays as it was received, because a body
that is written anew would lose big integers, ``1.0``, key order and doubled members nobody looks at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from gateway.dialects.instruct import instructed
from gateway.dialects.routes import Shape
from gateway.dialects.spans import Span, members, replace, span_at
from gateway.types import made_often

if TYPE_CHECKING:
    from gateway.dialects.routes import Route
    from gateway.types import JSON, RequestFacts

MIN_THINKING_TOKENS = 1024
"""Smallest ``thinking.budget_tokens`` that the Messages API takes; it must stay below ``max_tokens``."""


@made_often
@dataclass(frozen=True, slots=True, kw_only=True)
class BodyEdit:
    """What must change. ``ask_usage`` asks for usage in a stream where that is an option;
    ``max_output_tokens`` and ``max_choices`` (>= 1) lower what is declared, and the former is declared where
    nothing was; ``drop_logprobs`` withdraws the wish for log probabilities, ``hide_reasoning`` the wish for
    readable reasoning, where the dialect has a field for it; ``instruction`` is put behind the system text of a
    request for free prose.
    """

    ask_usage: bool = False
    max_output_tokens: int | None = None
    max_choices: int | None = None
    drop_logprobs: bool = False
    hide_reasoning: bool = False
    instruction: str | None = None


def edit_body(route: Route, facts: RequestFacts, body: bytes, edit: BodyEdit) -> bytes:
    """``body`` (which ``facts`` were read from) with ``edit`` applied; the same object where nothing changes."""
    if not route.has_body:
        return body
    wanted: dict[str, bytes] = {}
    if edit.ask_usage and not facts.usage_asked:
        wanted["stream_options"] = b'{"include_usage":true}'
    if edit.max_output_tokens is not None and route.caps:
        _lower_caps(route, facts, edit.max_output_tokens, wanted)
    if edit.max_choices is not None:
        for name in route.counts:
            declared = facts.body.get(name)
            if declared is not None and declared > edit.max_choices:
                wanted[name] = str(edit.max_choices).encode()
    if edit.drop_logprobs and facts.logprobs:
        _drop_logprobs(route, facts, wanted)
    if edit.hide_reasoning:
        _hide_reasoning(route, facts, wanted)
    if edit.instruction is not None:
        wanted |= instructed(route, facts, body, edit.instruction)
    return _splice(body, facts, wanted) if wanted else body


def _lower_caps(route: Route, facts: RequestFacts, limit: int, wanted: dict[str, bytes]) -> None:
    new = str(limit).encode()
    declared = [name for name in route.caps if facts.body.get(name) is not None]
    for name in declared or route.caps[:1]:
        if not declared or facts.body[name] > limit:
            wanted[name] = new
    thinking = facts.body.get("thinking")
    if route.shape is Shape.MESSAGES and type(thinking) is dict and type(thinking.get("budget_tokens")) is int:
        budget = thinking["budget_tokens"]
        if budget >= limit > MIN_THINKING_TOKENS:
            wanted["thinking"] = _merged(thinking, {"budget_tokens": limit - 1})


def _drop_logprobs(route: Route, facts: RequestFacts, wanted: dict[str, bytes]) -> None:
    for name in route.logprobs:
        if facts.body.get(name) is not None:
            wanted[name] = b"null"
    include = facts.body.get("include")
    if type(include) is list and "message.output_text.logprobs" in include:
        wanted["include"] = orjson.dumps([item for item in include if item != "message.output_text.logprobs"])


def _hide_reasoning(route: Route, facts: RequestFacts, wanted: dict[str, bytes]) -> None:
    """Messages: ``thinking.display`` "omitted" (the signature still lets a conversation go on). Responses:
    no summary. Chat has no field that all upstreams take; there the reply's reader removes it.
    """
    if route.shape is Shape.MESSAGES:
        thinking = facts.body.get("thinking")
        if isinstance(thinking, dict) and thinking.get("type") != "disabled" and thinking.get("display") != "omitted":
            wanted["thinking"] = _merged(thinking, {"display": "omitted"}, wanted.get("thinking"))
    elif route.shape is Shape.RESPONSES:
        reasoning = facts.body.get("reasoning")
        if isinstance(reasoning, dict):
            shown = [name for name in ("summary", "generate_summary") if reasoning.get(name) is not None]
            if shown:
                wanted["reasoning"] = _merged(reasoning, dict.fromkeys(shown))


def _merged(old: dict[str, JSON], new: dict[str, JSON], edited: bytes | None = None) -> bytes:
    base = orjson.loads(edited) if edited is not None else old
    return orjson.dumps({**base, **new})


def _splice(body: bytes, facts: RequestFacts, wanted: dict[str, bytes]) -> bytes:
    """Replace the members that are there, insert the others right after the opening brace."""
    changes: list[tuple[Span, bytes]] = []
    absent = dict(wanted)
    if any(name in facts.body for name in wanted):
        for name, span in members(body):
            if name in wanted:
                new = absent.pop(name, wanted[name])
                options = body[span[0] : span[1]]
                changes.append((span, _with_usage(options) if name == "stream_options" else new))
    if absent:
        # A body that was accepted names a model, so a comma after the inserted members is always right.
        first = body.index(b"{") + 1
        inserted = b"".join(b'"%b":%b,' % (name.encode(), value) for name, value in absent.items())
        changes.append(((first, first), inserted))
    return replace(body, changes)


def _with_usage(options: bytes) -> bytes:
    """``stream_options`` as received (an object or null) with ``include_usage`` true."""
    if options[:1] != b"{":
        return b'{"include_usage":true}'
    spans = [(span, b"true") for name, span in members(options) if name == "include_usage"]
    if spans:
        return replace(options, spans)
    inserted = b'"include_usage":true' if span_at(options, 1)[0] == len(options) - 1 else b'"include_usage":true,'
    return replace(options, [((1, 1), inserted)])
