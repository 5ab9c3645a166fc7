"""What each event of a stream, and each whole reply, says about tokens, refusals and the end.

One observer per shape; it writes to a ``Tally`` and changes nothing. Upstreams differ, so a value of an
unexpected type may raise AttributeError or TypeError here; ``replies`` takes that as an event without news.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.dialects.routes import Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.dialects.tally import Tally
    from gateway.types import JSON


def _saw_turn(turn: Mapping[str, JSON], tally: Tally) -> None:
    """A chat delta or message: every string but the role, and the arguments of calls. Servers that send
    reasoning under both of its names are counted once.
    """
    for name, value in turn.items():
        if type(value) is str:
            if name != "role" and not (name == "reasoning" and turn.get("reasoning_content")):
                tally.saw(value)
        elif type(value) is list and name == "tool_calls":
            for call in value:
                tally.saw((call.get("function") or {}).get("arguments"))
        elif type(value) is dict and name == "function_call":
            tally.saw(value.get("arguments"))
    if turn.get("refusal"):
        tally.refused = True


def _chat_like(obj: Mapping[str, JSON], tally: Tally, turn_name: str) -> None:
    usage = obj.get("usage")
    if usage is not None:
        tally.report(usage)
    for choice in obj.get("choices") or ():
        turn = choice.get(turn_name)
        if turn:
            _saw_turn(turn, tally)
        elif "text" in choice:
            tally.saw(choice["text"])
        reason = choice.get("finish_reason")
        if reason is not None:
            tally.finished.add(choice.get("index", 0))
            tally.refused = tally.refused or reason == "content_filter"
    if obj.get("error"):
        tally.refused = tally.ended = True


def _chat_event(obj: Mapping[str, JSON], tally: Tally) -> None:
    _chat_like(obj, tally, "delta")


def _chat_whole(obj: Mapping[str, JSON], tally: Tally) -> None:
    _chat_like(obj, tally, "message")


_RESPONSES_END = frozenset({"response.completed", "response.incomplete", "response.failed"})


def _responses_event(obj: Mapping[str, JSON], tally: Tally) -> None:
    kind = obj.get("type") or ""
    if type(obj.get("sequence_number")) is int:
        tally.sequence = obj["sequence_number"] + 1
    if kind.endswith(".delta"):
        if kind != "response.audio.delta":
            tally.saw(obj.get("delta"))
        tally.refused = tally.refused or kind == "response.refusal.delta"
    elif kind in _RESPONSES_END:
        response = obj.get("response") or {}
        tally.report(response.get("usage"))
        reason = (response.get("incomplete_details") or {}).get("reason")
        tally.refused = tally.refused or kind == "response.failed" or reason == "content_filter"
        tally.ended = True
    elif kind == "error":
        tally.refused = tally.ended = True


def _responses_whole(obj: Mapping[str, JSON], tally: Tally) -> None:
    tally.report(obj.get("usage"))
    for item in obj.get("output") or ():
        tally.saw(item.get("arguments"))
        for part in (*(item.get("summary") or ()), *(item.get("content") or ())):
            tally.saw(part.get("text"))
            if part.get("refusal"):
                tally.saw(part["refusal"])
                tally.refused = True
    reason = (obj.get("incomplete_details") or {}).get("reason")
    if obj.get("error") or obj.get("status") == "failed" or reason == "content_filter":
        tally.refused = True


def _messages_event(obj: Mapping[str, JSON], tally: Tally) -> None:
    kind = obj.get("type")
    if kind == "content_block_delta":
        delta = obj["delta"]
        tally.saw(delta.get("text") or delta.get("thinking") or delta.get("partial_json"))
    elif kind == "content_block_start":
        block = obj["content_block"]
        tally.saw(block.get("text") or block.get("thinking"))
    elif kind == "message_start":
        # Output here is a first guess that message_delta replaces.
        tally.report((obj.get("message") or {}).get("usage"), final=False)
    elif kind == "message_delta":
        tally.report(obj.get("usage"))
        tally.refused = tally.refused or (obj.get("delta") or {}).get("stop_reason") == "refusal"
    elif kind == "message_stop":
        tally.ended = True
    elif kind == "error":
        tally.refused = tally.ended = True


def _messages_whole(obj: Mapping[str, JSON], tally: Tally) -> None:
    tally.report(obj.get("usage"))
    for block in obj.get("content") or ():
        tally.saw(block.get("text") or block.get("thinking"))
        if block.get("input"):
            tally.saw(str(block["input"]))
    if obj.get("stop_reason") == "refusal" or obj.get("type") == "error":
        tally.refused = True


def _embeddings_whole(obj: Mapping[str, JSON], tally: Tally) -> None:
    tally.report(obj.get("usage"))
    if obj.get("error"):
        tally.refused = True


EVENT_OBSERVERS: dict[Shape, Callable[[Mapping[str, JSON], Tally], None]] = {
    Shape.CHAT: _chat_event,
    Shape.COMPLETIONS: _chat_event,
    Shape.RESPONSES: _responses_event,
    Shape.MESSAGES: _messages_event,
}
WHOLE_OBSERVERS: dict[Shape, Callable[[Mapping[str, JSON], Tally], None]] = {
    Shape.CHAT: _chat_whole,
    Shape.COMPLETIONS: _chat_whole,
    Shape.RESPONSES: _responses_whole,
    Shape.MESSAGES: _messages_whole,
    Shape.EMBEDDINGS: _embeddings_whole,
}
