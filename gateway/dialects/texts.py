"""Where the texts of a request lie: system, messages, tools, thinking, inputs.

``find_texts`` gives them in the order of the body with the roles of ``TextPart``. It is lenient: a part of
an unknown kind or a value of an unexpected type is passed over, because the upstream may know it. Images,
audio and files are not texts. Token ids are no text either, but count ``CHARS_PER_TOKEN`` each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from gateway.dialects.routes import Shape
from gateway.types import JSON, TextPart

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CHARS_PER_TOKEN = 4
"""Rule of thumb for English prose; used only until the upstream has reported real numbers."""

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_TEXT_KINDS = frozenset({"text", "input_text", "output_text", "summary_text", "reasoning_text", "refusal"})


def _role(role: JSON) -> str:
    """A role of ``TextPart``; what is not known is taken for the user's."""
    return _ROLES.get(role, "user") if type(role) is str else "user"


class _Found:
    """Texts so far and the characters that they and token ids count for."""

    __slots__ = ("chars", "parts")

    def __init__(self) -> None:
        self.parts: list[TextPart] = []
        self.chars = 0

    def add(self, role: str, text: JSON) -> None:
        if type(text) is str and text:
            self.parts.append(TextPart(role=role, text=text))
            self.chars += len(text)

    def add_json(self, role: str, value: JSON) -> None:
        self.add(role, value if type(value) is str else orjson.dumps(value).decode())

    def content(self, role: str, content: JSON) -> None:
        """A string, or a list of parts in any of the dialects."""
        if type(content) is str:
            self.add(role, content)
        elif type(content) is list:
            for part in content:
                if type(part) is dict:
                    self.part(role, part)
                else:
                    self.add(role, part)

    def part(self, role: str, part: Mapping[str, JSON]) -> None:
        kind = part.get("type")
        if kind is not None and type(kind) is not str:
            return
        if kind in _TEXT_KINDS or (kind is None and "text" in part):
            self.add(role, part.get("text"))
            self.add(role, part.get("refusal"))
        elif kind == "thinking":
            self.add("assistant", part.get("thinking"))
            self.add("signature", part.get("signature"))
        elif kind == "redacted_thinking":
            self.add("signature", part.get("data"))
        elif kind in {"tool_use", "server_tool_use", "mcp_tool_use"}:
            self.add_json("assistant", part.get("input") or "")
        elif kind == "document":
            self.document(role, part)
        elif kind is not None and kind.endswith("tool_result"):
            self.content("tool", part.get("content"))
        elif kind == "search_result":
            self.content(role, part.get("content"))

    def document(self, role: str, part: Mapping[str, JSON]) -> None:
        """Anthropic document: a plain text or content source; PDFs and URLs are files."""
        self.add(role, part.get("title"))
        self.add(role, part.get("context"))
        source = part.get("source")
        if type(source) is dict:
            if source.get("type") == "text":
                self.add(role, source.get("data"))
            self.content(role, source.get("content"))

    def tools(self, tools: JSON) -> None:
        if type(tools) is list:
            for tool in tools:
                self.add_json("tools", tool)

    def strings_or_ids(self, value: JSON) -> int:
        """A string, strings, token ids or lists of them; how many prompts these are."""
        if type(value) is str:
            self.add("input", value)
            return 1
        if type(value) is not list:
            return 1
        if set(map(type, value)) <= {int}:
            self.chars += CHARS_PER_TOKEN * len(value)
            return 1
        for item in value:
            if type(item) is list:
                self.chars += CHARS_PER_TOKEN * len(item)
            elif type(item) is dict:
                self.content("input", item.get("content"))
            else:
                self.add("input", item)
        return max(1, len(value))


def _chat(body: Mapping[str, JSON], found: _Found) -> int:
    if "tools" in body:
        found.tools(body["tools"])
    if "functions" in body:
        found.tools(body["functions"])
    for message in body.get("messages") or ():
        if type(message) is not dict:
            continue
        role = _role(message.get("role"))
        content = message.get("content")
        if type(content) is str:
            found.add(role, content)
        else:
            found.content(role, content)
        if role == "assistant":
            _chat_turn(message, found)
    return 1


def _chat_turn(message: Mapping[str, JSON], found: _Found) -> None:
    """What an assistant's turn has beside its content: reasoning (as open servers name it) and calls."""
    found.add("assistant", message.get("reasoning_content"))
    found.add("assistant", message.get("reasoning"))
    found.add("assistant", message.get("refusal"))
    calls = message.get("tool_calls")
    if type(calls) is list:
        for call in calls:
            function = call.get("function") if type(call) is dict else None
            if type(function) is dict:
                found.add("assistant", function.get("arguments"))
    legacy = message.get("function_call")
    if type(legacy) is dict:
        found.add("assistant", legacy.get("arguments"))


def _completions(body: Mapping[str, JSON], found: _Found) -> int:
    prompts = found.strings_or_ids(body.get("prompt"))
    found.add("input", body.get("suffix"))
    return prompts


def _embeddings(body: Mapping[str, JSON], found: _Found) -> int:
    found.strings_or_ids(body.get("input"))
    return 1


def _responses(body: Mapping[str, JSON], found: _Found) -> int:
    instructions = body.get("instructions")
    if type(instructions) is str:
        found.add("system", instructions)
    else:
        _items(instructions, found)
    found.tools(body.get("tools"))
    template = body.get("prompt")
    if type(template) is dict and type(template.get("variables")) is dict:
        for value in template["variables"].values():
            found.content("user", [value])
    if type(body.get("input")) is str:
        found.add("user", body["input"])
    else:
        _items(body.get("input"), found)
    return 1


def _items(items: JSON, found: _Found) -> None:
    """Items of the Responses API: messages, calls, outputs of calls, reasoning."""
    for item in items if type(items) is list else ():
        if type(item) is not dict:
            continue
        kind = item.get("type")
        if kind is None or kind == "message":
            found.content(_role(item.get("role")), item.get("content"))
        elif kind == "reasoning":
            found.content("assistant", item.get("summary"))
            found.content("assistant", item.get("content"))
            found.add("signature", item.get("encrypted_content"))
        elif type(kind) is str and kind.endswith("_output"):
            found.content("tool", item.get("output"))
        elif type(kind) is str and kind.endswith("_call"):
            found.add("assistant", item.get("arguments"))
            found.add("assistant", item.get("input"))
        else:
            found.part("user", item)


def _messages(body: Mapping[str, JSON], found: _Found) -> int:
    found.tools(body.get("tools"))
    found.content("system", body.get("system"))
    for message in body.get("messages") or ():
        if type(message) is dict:
            found.content(_role(message.get("role")), message.get("content"))
    return 1


_FINDERS: dict[Shape, Callable[[Mapping[str, JSON], _Found], int]] = {
    Shape.CHAT: _chat,
    Shape.COMPLETIONS: _completions,
    Shape.RESPONSES: _responses,
    Shape.EMBEDDINGS: _embeddings,
    Shape.MESSAGES: _messages,
}


def find_texts(shape: Shape, body: Mapping[str, JSON]) -> tuple[tuple[TextPart, ...], int, int]:
    """``(texts, characters, prompts)`` of a body whose containers were checked; ``prompts`` >= 1 is how
    many times the choices are made (only completions take several).
    """
    finder = _FINDERS.get(shape)
    if finder is None:
        return (), 0, 1
    found = _Found()
    prompts = finder(body, found)
    return tuple(found.parts), found.chars, prompts
