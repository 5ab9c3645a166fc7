"""What is asked of the embedded model, and what it says: the part that no API's shape touches. Pure.

The same request gets the same answer: the seed is a hash of the body without ``stream`` and ``stream_options``,
so that a streamed reply says what a plain one says.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from gateway.demo.prose import arguments_for, tokenise, write, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CAPS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_ASKS_FOR_TOOL = ("tool", "call", "look up", "function")
_CACHE_FROM_TOKENS = 1024
_CACHE_STEP_TOKENS = 128
_MAX_CHOICES = 128
ANSWER_OF_COMPLETIONS = 16
"""The default cap of ``/v1/completions``, as its documentation has it."""


class BadRequest(Exception):
    """A request that a model server refuses; ``param`` names the member."""

    def __init__(self, message: str, param: str | None = None) -> None:
        self.param = param
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request, read leniently. ``prompts`` has one text per prompt (one, but for completions and embeddings)."""

    body: dict[str, Any] = field(repr=False)
    seed: int
    model: str
    stream: bool
    prompts: tuple[str, ...]
    input_tokens: int
    max_tokens: int | None
    choices: int
    stops: tuple[str, ...]
    tools: tuple[tuple[str, Any], ...]
    wants_tool: bool
    json_mode: bool
    thinks: bool

    @property
    def cached_tokens(self) -> int:
        """How much of a long prompt was in the cache: nearly half of it, in steps of 128."""
        if self.input_tokens < _CACHE_FROM_TOKENS:
            return 0
        return self.input_tokens // 2 // _CACHE_STEP_TOKENS * _CACHE_STEP_TOKENS

    def id(self, prefix: str, salt: int = 0) -> str:
        """An id that follows from the request."""
        return prefix + hashlib.blake2b(f"{self.seed}/{salt}/{prefix}".encode(), digest_size=14).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One choice. ``pieces`` are its tokens: text, or a tool call's arguments where ``tool`` is set."""

    pieces: tuple[str, ...]
    thought: tuple[str, ...] = ()
    tool: str | None = None
    finish: str = "stop"
    """``stop``, ``stop_sequence``, ``length`` or ``tool``."""
    stopped_at: str | None = None

    @property
    def text(self) -> str:
        """The pieces, joined."""
        return "".join(self.pieces)

    @property
    def output_tokens(self) -> int:
        """What is billed: at least one token."""
        return max(1, len(self.pieces) + len(self.thought))


Writer: TypeAlias = "Callable[[Ask, int], str]"
"""Writes the text of choice ``int``; the default is the grammar."""


def write_prose(ask: Ask, choice: int) -> str:
    """The grammar's text for a choice, JSON where it was asked for."""
    return write_json(ask.seed + choice) if ask.json_mode else write(ask.seed + choice)


def read_ask(data: bytes) -> Ask:
    """A request's body. Raises BadRequest where it is not an object with a model and fitting numbers."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"We could not parse the JSON body of your request: {error}") from None
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise BadRequest("you must provide a model parameter", "model")
    prompts = tuple(_prompts(body))
    tools = tuple(_tools(body))
    last = _last_user_text(body, prompts).lower()
    return Ask(
        body=body,
        seed=_seed(body),
        model=body["model"],
        stream=body.get("stream") is True,
        prompts=prompts,
        input_tokens=sum(max(1, -(-len(prompt) // 4)) for prompt in prompts),
        max_tokens=_cap(body),
        choices=_whole(body, "n", 1, _MAX_CHOICES) or 1,
        stops=tuple(_stops(body)),
        tools=tools,
        wants_tool=bool(tools) and _wants_tool(body, tools, last),
        json_mode=_is_json_mode(body),
        thinks=_thinks(body),
    )


def answer(ask: Ask, writer: Writer = write_prose) -> list[Said]:
    """What the model says: one ``Said`` per prompt and choice."""
    return [_choice(ask, index, writer) for index in range(ask.choices * len(ask.prompts))]


def _choice(ask: Ask, index: int, writer: Writer) -> Said:
    """One choice, cut at a stop sequence or at the cap."""
    thought = tuple(tokenise(write(ask.seed + 7919 + index, tokens=30))) if ask.thinks else ()
    tool, text, finish, stopped_at = None, "", "stop", None
    if ask.wants_tool:
        tool, schema = _chosen_tool(ask)
        text, finish = orjson.dumps(arguments_for(schema, ask.seed + index)).decode(), "tool"
    else:
        text = writer(ask, index)
        for stop in ask.stops:
            if stop in text:
                text, finish, stopped_at = text[: text.index(stop)], "stop_sequence", stop
    pieces = tuple(tokenise(text))
    if ask.max_tokens is not None and len(thought) + len(pieces) > ask.max_tokens:
        thought = thought[: ask.max_tokens]
        pieces, finish, stopped_at = pieces[: ask.max_tokens - len(thought)], "length", None
    return Said(pieces=pieces, thought=thought, tool=tool, finish=finish, stopped_at=stopped_at)


def _seed(body: dict[str, Any]) -> int:
    """A hash of what was asked, however it is to be delivered."""
    asked = {name: value for name, value in body.items() if name not in {"stream", "stream_options"}}
    digest = hashlib.blake2b(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS), digest_size=6).digest()
    return int.from_bytes(digest, "big")


def _whole(body: dict[str, Any], name: str, least: int, most: int | None = None) -> int | None:
    """A whole number or nothing. Raises BadRequest."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        raise BadRequest(f"Invalid '{name}': got {value!r}, expected an integer of at least {least}", name)
    return value


def _cap(body: dict[str, Any]) -> int | None:
    """The smallest declared cap: that is where a reply ends."""
    return min((cap for name in _CAPS if (cap := _whole(body, name, 1)) is not None), default=None)


def _stops(body: dict[str, Any]) -> list[str]:
    """Stop sequences of either family."""
    stop = body.get("stop") or body.get("stop_sequences") or []
    return [stop] if isinstance(stop, str) else [text for text in stop if isinstance(text, str) and text]


def _prompts(body: dict[str, Any]) -> list[str]:
    """The texts asked about: several for completions and embeddings, else the whole conversation as one."""
    if "messages" in body:
        return ["\n".join(_texts([body.get("system"), body["messages"], body.get("tools")]))]
    given = body.get("prompt", body.get("input", ""))
    if isinstance(given, list) and given and all(isinstance(part, str) for part in given):
        return list(given)
    if isinstance(given, list) and given and all(isinstance(part, list) for part in given):
        return ["    " * len(part) for part in given]  # lists of token ids
    if isinstance(given, list) and given and all(isinstance(part, int) for part in given):
        return ["    " * len(given)]
    return ["\n".join(_texts([body.get("instructions"), given, body.get("tools")]))]


def _texts(value: Any) -> Iterator[str]:
    """Every text within ``value``, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _last_user_text(body: dict[str, Any], prompts: tuple[str, ...]) -> str:
    """What the user said last, or nothing where a tool's result came after it."""
    turns = body.get("messages", body.get("input"))
    if not isinstance(turns, list) or not turns or not isinstance(turns[-1], dict):
        return prompts[-1] if prompts else ""
    turn = turns[-1]
    content = turn.get("content")
    kinds = {part.get("type") for part in content if isinstance(part, dict)} if isinstance(content, list) else set()
    if turn.get("role", "user") != "user" or "tool_result" in kinds or turn.get("type") == "function_call_output":
        return ""
    return "\n".join(_texts(content))


def _tools(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Names and schemas of the offered tools, of any of the three shapes."""
    for tool in body.get("tools") or []:
        if isinstance(tool, dict):
            spec = tool.get("function", tool)
            if isinstance(spec, dict) and isinstance(spec.get("name"), str):
                yield spec["name"], spec.get("parameters", spec.get("input_schema"))


def _wants_tool(body: dict[str, Any], tools: tuple[tuple[str, Any], ...], last: str) -> bool:
    """Whether a tool must be called, or the prompt asks for it."""
    choice = body.get("tool_choice")
    kind = choice.get("type") if isinstance(choice, dict) else choice
    if kind in {"none", "auto", None}:
        named = any(name.lower() in last or name.lower().replace("_", " ") in last for name, _ in tools)
        return kind != "none" and (named or any(word in last for word in _ASKS_FOR_TOOL))
    return True


def _chosen_tool(ask: Ask) -> tuple[str, Any]:
    """The tool that was named by the caller, else the first."""
    choice = ask.body.get("tool_choice")
    named = choice.get("name") or (choice.get("function") or {}).get("name") if isinstance(choice, dict) else None
    return next((tool for tool in ask.tools if tool[0] == named), ask.tools[0])


def _is_json_mode(body: dict[str, Any]) -> bool:
    """Whether the reply must be JSON."""
    for spec in (body.get("response_format"), (body.get("text") or {}).get("format") if "text" in body else None):
        if isinstance(spec, dict) and spec.get("type") in {"json_object", "json_schema"}:
            return True
    return False


def _thinks(body: dict[str, Any]) -> bool:
    """Whether reasoning was asked for."""
    thinking = body.get("thinking")
    return (isinstance(thinking, dict) and thinking.get("type") in {"enabled", "adaptive"}) or bool(
        body.get("reasoning") or body.get("reasoning_effort")
    )
