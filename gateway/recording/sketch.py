"""A request's body without its texts: the same facts for plans and budgets, nothing that was said.

Every text becomes as many signs of a keyed hash of it, so that equal texts stay equal and, without the key, a
guess cannot be tested; signs that JSON writes as several are kept in number, so that whatever counts characters
or bytes of ASCII counts the same. What is no known field of a model API is left out; tool definitions and the
arguments of calls become one text each; token ids become zeros; images, sounds and files lose their data.
Of names only models, roles, types and the like stay, as far as they look like names.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from gateway.types import JSON

_NAME = re.compile(r"[A-Za-z0-9_.:/@+-]{1,128}")
_NAMED = frozenset(("model", "role", "type", "effort", "reasoning_effort", "service_tier", "tool_choice", "include"))
"""Fields whose texts decide how a request is read; anything in them that is no name is a text all the same."""
_WHOLE = frozenset(("tools", "functions"))
"""Lists whose items are counted as they are written."""
_FIELDS = _NAMED | frozenset(
    (
        "arguments", "background", "best_of", "budget_tokens", "content", "context", "data", "document", "dimensions",
        "encrypted_content", "frequency_penalty", "function", "function_call", "include_usage", "input",
        "instructions", "logprobs", "max_completion_tokens", "max_output_tokens", "max_tokens", "messages", "metadata",
        "n", "output", "parallel_tool_calls", "presence_penalty", "prompt", "prompt_logprobs", "reasoning",
        "reasoning_content", "refusal", "safety_identifier", "seed", "signature", "source", "store", "stream",
        "stream_options", "suffix", "summary", "system", "temperature", "text", "thinking", "title", "tool_calls",
        "top_k", "top_logprobs", "top_p", "user", "user_id", "variables",
    )
)  # fmt: skip
_DATA_KINDS = frozenset(
    ("image", "image_url", "input_image", "input_audio", "audio", "file", "input_file", "video", "base64")
)
_SHORT_ESCAPES = re.compile(r'["\\\n\r\t\x08\x0c]')
_LONG_ESCAPES = re.compile(r"[\x00-\x07\x0b\x0e-\x1f]")
_MAX_DEPTH = 64


class Sketcher:
    """Sketches under one key of at most 64 bytes."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def body(self, body: dict[str, JSON]) -> dict[str, JSON]:
        """The sketch of a request's body; ``body`` stays as it is."""
        return self._object(body, 0)

    def text(self, text: str) -> str:
        """As many signs as ``text``, and as many once it is written as JSON (but for lone surrogates)."""
        short = len(_SHORT_ESCAPES.findall(text))
        long = len(_LONG_ESCAPES.findall(text))
        plain = len(text) - short - long
        hashed = blake2b(text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=32).hexdigest()
        return (hashed * (plain // len(hashed) + 1))[:plain] + "\n" * short + "\x01" * long

    def _object(self, value: dict[str, JSON], depth: int) -> dict[str, JSON]:
        kind = value.get("type")
        if depth and type(kind) is str and kind in _DATA_KINDS:
            return {"type": kind}
        return {name: self._field(name, item, depth) for name, item in value.items() if name in _FIELDS} | {
            name: [self._written(item) for item in value[name]] for name in _WHOLE if type(value.get(name)) is list
        }

    def _field(self, name: str, value: JSON, depth: int) -> JSON:
        if name in _NAMED:
            return self._name(value, depth)
        if name == "variables" and type(value) is dict:
            return {f"v{index}": self._value(item, depth + 1) for index, item in enumerate(value.values())}
        if name == "input" and type(value) is dict:  # what a tool was called with
            return self._written(value) if value else value
        return self._value(value, depth + 1)

    def _name(self, value: JSON, depth: int) -> JSON:
        if type(value) is str and _NAME.fullmatch(value):
            return value
        if type(value) is list and depth <= _MAX_DEPTH:
            return [self._name(item, depth + 1) for item in value]
        return self._value(value, depth + 1)

    def _value(self, value: JSON, depth: int) -> JSON:
        if type(value) is str:
            return self.text(value)
        if depth > _MAX_DEPTH:
            return None
        if type(value) is dict:
            return self._object(value, depth)
        if type(value) is list:
            return [0 if type(item) is int else self._value(item, depth + 1) for item in value]
        return value

    def _written(self, value: JSON) -> str:
        """A text as long as ``value`` is counted: itself, or as JSON."""
        return self.text(value if type(value) is str else orjson.dumps(value).decode())
