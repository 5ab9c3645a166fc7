"""The embedded model in the shape of OpenAI's ``/v1/responses``, plain and streamed. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.demo.ask import Ask, Said


def response(ask: Ask, said: Said, now: float) -> dict[str, Any]:
    """A plain response."""
    cut = said.finish == "length"
    status = "incomplete" if cut else "completed"
    output = [_item(ask, kind, said, status) for kind in _kinds(said)]
    return {
        **_frame(ask, now),
        "status": status,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "output": output,
        "usage": _usage(ask, said),
    }


def response_events(ask: Ask, said: Said, now: float) -> Iterator[bytes]:
    """A streamed response: typed events, numbered."""
    number = 0

    def event(kind: str, **members: Any) -> bytes:
        nonlocal number
        data = orjson.dumps({"type": kind, "sequence_number": number, **members})
        number += 1
        return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"

    started = {**_frame(ask, now), "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    yield event("response.created", response=started)
    yield event("response.in_progress", response=started)
    whole = response(ask, said, now)
    for index, kind in enumerate(_kinds(said)):
        place = {"output_index": index, "item_id": whole["output"][index]["id"]}
        empty = _item(ask, kind, said, "in_progress")
        empty[{"message": "content", "reasoning": "summary"}.get(kind, "arguments")] = (
            "" if kind == "function_call" else []
        )
        yield event("response.output_item.added", output_index=index, item=empty)
        for name, members in _item_events(kind, said):
            yield event(name, **place, **members)
        yield event("response.output_item.done", output_index=index, item=whole["output"][index])
    yield event(f"response.{whole['status']}", response=whole)


def _item_events(kind: str, said: Said) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events within one output item."""
    if kind == "function_call":
        for piece in said.pieces:
            yield "response.function_call_arguments.delta", {"delta": piece}
        yield "response.function_call_arguments.done", {"arguments": said.text, "name": said.tool}
    elif kind == "reasoning":
        at = {"summary_index": 0}
        thought = "".join(said.thought)
        yield "response.reasoning_summary_part.added", {**at, "part": {"type": "summary_text", "text": ""}}
        for piece in said.thought:
            yield "response.reasoning_summary_text.delta", {**at, "delta": piece}
        yield "response.reasoning_summary_text.done", {**at, "text": thought}
        yield "response.reasoning_summary_part.done", {**at, "part": {"type": "summary_text", "text": thought}}
    else:
        at = {"content_index": 0}
        yield "response.content_part.added", {**at, "part": _text_part("")}
        for piece in said.pieces:
            yield "response.output_text.delta", {**at, "delta": piece, "logprobs": []}
        yield "response.output_text.done", {**at, "text": said.text, "logprobs": []}
        yield "response.content_part.done", {**at, "part": _text_part(said.text)}


def _kinds(said: Said) -> list[str]:
    """The output items, in order."""
    return (["reasoning"] if said.thought else []) + ["function_call" if said.tool is not None else "message"]


def _item(ask: Ask, kind: str, said: Said, status: str) -> dict[str, Any]:
    """One whole output item."""
    if kind == "reasoning":
        summary = [{"type": "summary_text", "text": "".join(said.thought)}]
        return {"id": ask.id("rs_"), "type": "reasoning", "summary": summary}
    if kind == "function_call":
        call = {"call_id": ask.id("call_"), "name": said.tool, "arguments": said.text}
        return {"id": ask.id("fc_"), "type": "function_call", "status": status, **call}
    message = {"role": "assistant", "content": [_text_part(said.text)]}
    return {"id": ask.id("msg_"), "type": "message", "status": status, **message}


def _text_part(text: str) -> dict[str, Any]:
    """A part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(ask: Ask, said: Said) -> dict[str, Any]:
    """What the response cost."""
    return {
        "input_tokens": ask.input_tokens,
        "input_tokens_details": {"cached_tokens": ask.cached_tokens},
        "output_tokens": said.output_tokens,
        "output_tokens_details": {"reasoning_tokens": len(said.thought)},
        "total_tokens": ask.input_tokens + said.output_tokens,
    }


def _frame(ask: Ask, now: float) -> dict[str, Any]:
    """What a response says of itself, whatever it holds."""
    body = ask.body
    return {
        "id": ask.id("resp_"),
        "object": "response",
        "created_at": int(now),
        "background": False,
        "error": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": ask.model,
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": body.get("reasoning") or {"effort": None, "summary": None},
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    }
