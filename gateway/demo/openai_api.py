"""The embedded model in the shapes of OpenAI's API: chat completions, completions, embeddings. Pure.

``responses_api`` has ``/v1/responses``. A reply is a JSON value; a streamed one a list of server-sent events.
"""

from __future__ import annotations

import base64
import random
import struct
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.demo.ask import Ask, Said

DONE = b"data: [DONE]\n\n"
_FINISH = {"stop": "stop", "stop_sequence": "stop", "length": "length", "tool": "tool_calls"}
_DIMENSIONS = 256


def event(value: Any) -> bytes:
    """A server-sent event without a name."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


def usage(ask: Ask, said: list[Said]) -> dict[str, Any]:
    """What the reply cost; the prompt counts once, whatever ``n`` is."""
    output = sum(one.output_tokens for one in said)
    return {
        "prompt_tokens": ask.input_tokens,
        "completion_tokens": output,
        "total_tokens": ask.input_tokens + output,
        "prompt_tokens_details": {"cached_tokens": ask.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": sum(len(one.thought) for one in said),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def chat(ask: Ask, said: list[Said], now: float) -> dict[str, Any]:
    """A plain chat completion."""
    choices = []
    for index, one in enumerate(said):
        message: dict[str, Any] = {"role": "assistant", "content": one.text, "refusal": None, "annotations": []}
        if one.tool is not None:
            message |= {"content": None, "tool_calls": [_tool_call(ask, index, one, one.text)]}
        choices.append(
            {"index": index, "message": message, "logprobs": _logprobs(ask, one), "finish_reason": _FINISH[one.finish]}
        )
    return {**_frame(ask, "chatcmpl-", "chat.completion", now), "choices": choices, "usage": usage(ask, said)}


def chat_events(ask: Ask, said: list[Said], now: float) -> Iterator[bytes]:
    """A streamed chat completion; choices take turns."""
    frame = _frame(ask, "chatcmpl-", "chat.completion.chunk", now)

    def delta(index: int, part: dict[str, Any], finish: str | None = None, logprobs: Any = None) -> dict[str, Any]:
        return {"index": index, "delta": part, "logprobs": logprobs, "finish_reason": finish}

    def first(index: int, one: Said) -> dict[str, Any]:
        if one.tool is None:
            return delta(index, {"role": "assistant", "content": "", "refusal": None})
        call = {"index": 0, **_tool_call(ask, index, one, "")}
        return delta(index, {"role": "assistant", "content": None, "tool_calls": [call]})

    def piece(index: int, one: Said, text: str) -> dict[str, Any]:
        if one.tool is None:
            return delta(index, {"content": text}, logprobs=_logprobs_of(ask, [text]))
        return delta(index, {"tool_calls": [{"index": 0, "function": {"arguments": text}}]})

    def last(index: int, one: Said) -> dict[str, Any]:
        return delta(index, {}, _FINISH[one.finish])

    yield from _stream(ask, said, frame, (first, piece, last))


def completion(ask: Ask, said: list[Said], now: float) -> dict[str, Any]:
    """A plain completion."""
    choices = [
        {"index": index, "text": one.text, "logprobs": _old_logprobs(ask, one), "finish_reason": _FINISH[one.finish]}
        for index, one in enumerate(said)
    ]
    return {**_frame(ask, "cmpl-", "text_completion", now), "choices": choices, "usage": usage(ask, said)}


def completion_events(ask: Ask, said: list[Said], now: float) -> Iterator[bytes]:
    """A streamed completion."""
    frame = _frame(ask, "cmpl-", "text_completion", now)

    def piece(index: int, _one: Said, text: str) -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": None}

    def last(index: int, one: Said) -> dict[str, Any]:
        return {"index": index, "text": "", "logprobs": None, "finish_reason": _FINISH[one.finish]}

    yield from _stream(ask, said, frame, (None, piece, last))


def embeddings(ask: Ask) -> dict[str, Any]:
    """Unit vectors that follow from the texts; base64 of little-endian floats where asked, as the SDK does."""
    dimensions = ask.body.get("dimensions") or _DIMENSIONS
    as_base64 = ask.body.get("encoding_format") == "base64"
    data = []
    for index, prompt in enumerate(ask.prompts):
        rng = random.Random(f"{ask.model}/{prompt}")  # noqa: S311 - the same text must get the same vector
        raw = [rng.gauss(0.0, 1.0) for _ in range(dimensions)]
        length = sum(x * x for x in raw) ** 0.5
        vector = [x / length for x in raw]
        packed = base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode() if as_base64 else vector
        data.append({"object": "embedding", "index": index, "embedding": packed})
    tokens = {"prompt_tokens": ask.input_tokens, "total_tokens": ask.input_tokens}
    return {"object": "list", "data": data, "model": ask.model, "usage": tokens}


def model_card(name: str) -> dict[str, Any]:
    """An entry of ``/v1/models``."""
    return {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "distillguard-demo"}


def error(status: int, message: str, *, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error body."""
    kind = {401: "authentication_error", 429: "rate_limit_error"}.get(
        status,
        "invalid_request_error" if status < 500 else "server_error",  # noqa: PLR2004 - the class of the status
    )
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _stream(
    ask: Ask, said: list[Said], frame: dict[str, Any], makers: tuple[Callable[..., Any] | None, ...]
) -> Iterator[bytes]:
    """Events of all choices in turns, then the usage if it was asked for, then the end."""
    options = ask.body.get("stream_options")
    counted = isinstance(options, dict) and options.get("include_usage") is True
    extra = {"usage": None} if counted else {}
    first, piece, last = makers
    assert piece is not None
    assert last is not None
    if first is not None:
        for index, one in enumerate(said):
            yield event({**frame, "choices": [first(index, one)], **extra})
    for turn in range(max(len(one.pieces) for one in said) + 1):
        for index, one in enumerate(said):
            if turn < len(one.pieces):
                yield event({**frame, "choices": [piece(index, one, one.pieces[turn])], **extra})
            elif turn == len(one.pieces):
                yield event({**frame, "choices": [last(index, one)], **extra})
    if counted:
        yield event({**frame, "choices": [], "usage": usage(ask, said)})
    yield DONE


def _frame(ask: Ask, prefix: str, kind: str, now: float) -> dict[str, Any]:
    """What every reply and event begins with."""
    return {
        "id": ask.id(prefix),
        "object": kind,
        "created": int(now),
        "model": ask.model,
        "service_tier": "default",
        "system_fingerprint": "fp_distillguard",
    }


def _tool_call(ask: Ask, index: int, one: Said, arguments: str) -> dict[str, Any]:
    """A call of a tool."""
    return {"id": ask.id("call_", index), "type": "function", "function": {"name": one.tool, "arguments": arguments}}


def _logprobs(ask: Ask, one: Said) -> dict[str, Any] | None:
    """Log probabilities of a whole text, where asked for."""
    return _logprobs_of(ask, list(one.pieces)) if one.tool is None else None


def _logprobs_of(ask: Ask, pieces: list[str]) -> dict[str, Any] | None:
    """Log probabilities of some tokens, where asked for."""
    if ask.body.get("logprobs") is not True:
        return None
    top = ask.body.get("top_logprobs") or 0
    content = []
    for text in pieces:
        entry = {"token": text, "logprob": _logprob(text), "bytes": list(text.encode())}
        others = [{"token": f"{text}{n}", "logprob": _logprob(text) - n, "bytes": None} for n in range(1, top)]
        content.append({**entry, "top_logprobs": [entry, *others] if top else []})
    return {"content": content, "refusal": None}


def _old_logprobs(ask: Ask, one: Said) -> dict[str, Any] | None:
    """Log probabilities in the shape of completions."""
    if not ask.body.get("logprobs"):
        return None
    offsets = [len("".join(one.pieces[:index])) for index in range(len(one.pieces))]
    values = [_logprob(text) for text in one.pieces]
    top = [{text: value} for text, value in zip(one.pieces, values, strict=True)]
    return {"tokens": list(one.pieces), "token_logprobs": values, "top_logprobs": top, "text_offset": offsets}


def _logprob(text: str) -> float:
    """Some log probability, below zero, that follows from the token."""
    return -0.01 - (sum(text.encode()) % 97) / 40
