"""The embedded model in the shape of Anthropic's API: messages, plain and streamed, and token counts. Pure."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.demo.ask import Ask, Said

_FINISH = {"stop": "end_turn", "stop_sequence": "stop_sequence", "length": "max_tokens", "tool": "tool_use"}
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


def event(kind: str, **members: Any) -> bytes:
    """A named server-sent event."""
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps({"type": kind, **members}) + b"\n\n"


def message(ask: Ask, said: Said) -> dict[str, Any]:
    """A plain message."""
    return {
        **_frame(ask),
        "content": [_whole_block(ask, kind, said) for kind in _kinds(said)],
        "stop_reason": _FINISH[said.finish],
        "stop_sequence": said.stopped_at,
        "usage": _usage(ask, said.output_tokens),
    }


def message_events(ask: Ask, said: Said) -> Iterator[bytes]:
    """A streamed message."""
    start = {**_frame(ask), "content": [], "stop_reason": None, "stop_sequence": None, "usage": _usage(ask, 1)}
    yield event("message_start", message=start)
    for index, kind in enumerate(_kinds(said)):
        yield event("content_block_start", index=index, content_block=_empty_block(ask, kind, said))
        if index == 0:
            yield event("ping")
        for delta in _deltas(ask, kind, said):
            yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    end = {"stop_reason": _FINISH[said.finish], "stop_sequence": said.stopped_at}
    yield event("message_delta", delta=end, usage={"output_tokens": said.output_tokens})
    yield event("message_stop")


def token_count(ask: Ask) -> dict[str, Any]:
    """The reply of ``count_tokens``."""
    return {"input_tokens": ask.input_tokens}


def model_card(name: str) -> dict[str, Any]:
    """An entry of ``/v1/models``."""
    return {"type": "model", "id": name, "display_name": name.title(), "created_at": "2025-01-01T00:00:00Z"}


def error(status: int, text: str, *, request_id: str | None = None) -> dict[str, Any]:
    """An error body."""
    return {
        "type": "error",
        "error": {"type": _KINDS.get(status, "api_error"), "message": text},
        "request_id": request_id,
    }


def _kinds(said: Said) -> list[str]:
    """The content blocks, in order."""
    return (["thinking"] if said.thought else []) + ["tool_use" if said.tool is not None else "text"]


def _whole_block(ask: Ask, kind: str, said: Said) -> dict[str, Any]:
    """A content block of a plain message; a tool call that was cut has no whole input."""
    if kind == "thinking":
        return {"type": kind, "thinking": "".join(said.thought), "signature": _signature(ask, said)}
    if kind == "tool_use":
        arguments = {} if said.finish == "length" else orjson.loads(said.text)
        return {"type": kind, "id": ask.id("toolu_"), "name": said.tool, "input": arguments}
    return {"type": kind, "text": said.text}


def _empty_block(ask: Ask, kind: str, said: Said) -> dict[str, Any]:
    """A content block as it begins in a stream."""
    if kind == "thinking":
        return {"type": kind, "thinking": "", "signature": ""}
    if kind == "tool_use":
        return {"type": kind, "id": ask.id("toolu_"), "name": said.tool, "input": {}}
    return {"type": kind, "text": ""}


def _deltas(ask: Ask, kind: str, said: Said) -> Iterator[dict[str, Any]]:
    """What a content block is made of in a stream."""
    if kind == "thinking":
        for piece in said.thought:
            yield {"type": "thinking_delta", "thinking": piece}
        yield {"type": "signature_delta", "signature": _signature(ask, said)}
        return
    name, member = ("input_json_delta", "partial_json") if kind == "tool_use" else ("text_delta", "text")
    for piece in said.pieces:
        yield {"type": name, member: piece}


def _signature(ask: Ask, said: Said) -> str:
    """An opaque signature that follows from the thought."""
    digest = hashlib.blake2b(f"{ask.seed}{said.thought}".encode(), digest_size=48).digest()
    return base64.b64encode(digest * 3).decode()


def _frame(ask: Ask) -> dict[str, Any]:
    """What every message begins with."""
    return {"id": ask.id("msg_"), "type": "message", "role": "assistant", "model": ask.model}


def _usage(ask: Ask, output_tokens: int) -> dict[str, Any]:
    """What the message cost; ``input_tokens`` does not include what was read from the cache."""
    return {
        "input_tokens": ask.input_tokens - ask.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": ask.cached_tokens,
        "output_tokens": output_tokens,
        "service_tier": "standard",
    }
