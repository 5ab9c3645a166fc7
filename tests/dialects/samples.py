"""Requests and streams in the shapes of the vendors' APIs, made of small words."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.dialects import Route, find_route, read_request
from gateway.types import Headers, RequestFacts

SSE: Headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
JSON: Headers = [(b"content-type", b"application/json")]
PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "embeddings": "/v1/embeddings",
    "messages": "/v1/messages",
    "count": "/v1/messages/count_tokens",
}
TEXTS: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "eight ch"}]},
    "completions": {"prompt": "eight ch"},
    "responses": {"input": "eight ch"},
    "embeddings": {"input": "eight ch"},
    "messages": {"messages": [{"role": "user", "content": "eight ch"}], "max_tokens": 100},
    "count": {"messages": [{"role": "user", "content": "eight ch"}]},
}
WORDS = ("Hel", "lo, ", "wor", "ld", "!")


def route_of(name: str) -> Route:
    route = find_route("POST", PATHS[name], [])
    assert route is not None
    return route


def body_of(name: str, **more: Any) -> bytes:
    return orjson.dumps({"model": "m-1", **TEXTS[name], **more})


def facts_of(name: str, **more: Any) -> RequestFacts:
    return read_request(route_of(name), body_of(name, **more))


def event(data: Any, name: str | None = None) -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + (data if isinstance(data, bytes) else orjson.dumps(data)) + b"\n\n"


def chat_event(choices: list[dict[str, Any]], **more: Any) -> bytes:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m-1"}
    return event({**base, "choices": choices, **more})


def chat_delta(index: int = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}


CHAT_USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
CHAT_USAGE_EVENT = chat_event([], usage=CHAT_USAGE)
CHAT = [
    chat_event([chat_delta(role="assistant", content="")], usage=None),
    *(chat_event([chat_delta(content=word)], usage=None) for word in WORDS),
    chat_event([chat_delta(finish="stop")], usage=None),
    CHAT_USAGE_EVENT,
    event(b"[DONE]"),
]


def completions_event(text: str, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    base = {"id": "cmpl-1", "object": "text_completion", "created": 1_700_000_000, "model": "m-1"}
    return event({**base, "choices": [choice], **more})


COMPLETIONS = [
    *(completions_event(word) for word in WORDS),
    completions_event("", "stop"),
    event(
        {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m", "choices": [], "usage": CHAT_USAGE}
    ),
    event(b"[DONE]"),
]

MESSAGES_USAGE = {"input_tokens": 3, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 4, "output_tokens": 1}


def messages_event(kind: str, **more: Any) -> bytes:
    return event({"type": kind, **more}, kind)


def text_block(index: int, words: tuple[str, ...]) -> list[bytes]:
    return [
        messages_event("content_block_start", index=index, content_block={"type": "text", "text": ""}),
        *(
            messages_event("content_block_delta", index=index, delta={"type": "text_delta", "text": word})
            for word in words
        ),
        messages_event("content_block_stop", index=index),
    ]


MESSAGE_START = messages_event(
    "message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m-1",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": MESSAGES_USAGE,
    },
)
MESSAGES = [
    MESSAGE_START,
    messages_event("ping"),
    *text_block(0, WORDS),
    messages_event(
        "message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 7}
    ),
    messages_event("message_stop"),
]

RESPONSES_USAGE = {
    "input_tokens": 11,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 18,
}


def response_object(status: str, text: str | None = None, **more: Any) -> dict[str, Any]:
    output = [] if text is None else [response_item("completed", text)]
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000.0,
        "status": status,
        "model": "m-1",
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        **more,
    }


def response_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def response_item(status: str, text: str | None = None) -> dict[str, Any]:
    content = [] if text is None else [response_part(text)]
    return {"id": "item_1", "type": "message", "status": status, "role": "assistant", "content": content}


def responses_stream(words: tuple[str, ...] = WORDS, end: str = "completed") -> list[bytes]:
    at = {"item_id": "item_1", "output_index": 0, "content_index": 0}
    text = "".join(words)
    rows: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": response_object("in_progress")}),
        ("response.in_progress", {"response": response_object("in_progress")}),
        ("response.output_item.added", {"output_index": 0, "item": response_item("in_progress")}),
        ("response.content_part.added", {**at, "part": response_part("")}),
        *(("response.output_text.delta", {**at, "delta": word, "logprobs": []}) for word in words),
        ("response.output_text.done", {**at, "text": text, "logprobs": []}),
        ("response.content_part.done", {**at, "part": response_part(text)}),
        ("response.output_item.done", {"output_index": 0, "item": response_item("completed", text)}),
        (f"response.{end}", {"response": response_object(end, text, usage=RESPONSES_USAGE)}),
    ]
    return [event({"type": kind, "sequence_number": at, **row}, kind) for at, (kind, row) in enumerate(rows)]


RESPONSES = responses_stream()
STREAMS = {"chat": CHAT, "completions": COMPLETIONS, "responses": RESPONSES, "messages": MESSAGES}
