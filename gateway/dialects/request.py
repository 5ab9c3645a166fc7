"""Read a request body once: what is asked for, what it may cost, and its texts.

Invariants: a body that is read here means the same to every parser in what decides cost (no duplicate
deciding member, no number that rounds, no second spelling of a type), so the gateway and the upstream
cannot disagree about it. Everything else (unknown fields, parts, models, roles) passes.

Left out: whether a model exists, whether a value is allowed for it: the upstream knows.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NoReturn

import orjson

from gateway.dialects.texts import find_texts
from gateway.errors import RequestRefused
from gateway.types import JSON, Refusal, RefusalKind, RequestFacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.dialects.routes import Route

MAX_MODEL_CHARS = 256
MAX_COUNT = 2**31 - 1
"""Largest cap or count: more than any model makes, and products of two stay exact in a double."""

_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")
_BAD_IN_MODEL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]|\A\s|\s\Z")
_NAMES: dict[type, str] = {dict: "an object", list: "an array", str: "a string"}


def read_request(route: Route, body: bytes) -> RequestFacts:
    """The facts of ``body`` on ``route``.

    Raises:
        RequestRefused: (BAD_REQUEST) the body is not one JSON object in UTF-8, or a member that decides
            what the request costs or says is missing, doubled or of the wrong type.
    """
    if not route.has_body:
        return RequestFacts(family=route.family, route=route.name, model="", makes_output=False, body_bytes=len(body))
    value = _parse(body)
    _refuse_duplicates(route, value, body)
    return facts_of(route, value, len(body))


def facts_of(route: Route, value: dict[str, JSON], body_bytes: int) -> RequestFacts:
    """The facts of a body that is parsed already, as one of a recorded log. Raises as ``read_request``."""
    model = _model(value)
    for name, types in route.containers:
        if name in value and type(value[name]) not in types:
            _check_type(value, name, types)
    for name, why in route.refused_true:
        if name in value and _flag(value, name):
            _refuse(f"{name}: got true; {why}", name)
    stream = route.streams and "stream" in value and _flag(value, "stream")
    cap = _largest(value, route.caps)
    count = _largest(value, route.counts)
    texts, chars, prompts = find_texts(route.shape, value)
    return RequestFacts(
        family=route.family,
        route=route.name,
        model=model,
        stream=stream,
        usage_asked=not (stream and route.asks_usage) or _usage_asked(value),
        max_output_tokens=cap,
        choices=prompts if count is None else prompts * count,
        makes_output=route.makes_output,
        texts=texts,
        input_chars=chars,
        body_bytes=body_bytes,
        logprobs=_wants_logprobs(route, value),
        end_user=_end_user(route, value),
        body=value,
    )


def _refuse(message: str, param: str | None = None) -> NoReturn:
    raise RequestRefused(Refusal(kind=RefusalKind.BAD_REQUEST, message=message, param=param))


def _parse(body: bytes) -> dict[str, JSON]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}" if body else "the body is empty"
        _refuse(f"The body is not valid JSON in UTF-8 ({where}): expected one JSON object.")
    if type(value) is not dict:
        _refuse(f"The body is {_kind(value)}: expected one JSON object.")
    return value


def _refuse_duplicates(route: Route, value: Mapping[str, JSON], body: bytes) -> None:
    """Parsers differ in which of two equal members they keep, so a deciding member may stand once.

    Cheap unless suspicious: a member that is doubled shows its quoted name twice, or has a letter of its
    name written as an escape; only then are the top-level names read out exactly.
    """
    if b"\\u00" in body and _ESCAPED_LETTER.search(body):
        suspicious = True
    else:
        suspicious = False
        for name, quoted in route.quoted:
            if name in value and body.count(quoted) > 1:
                suspicious = True
    if not suspicious:
        return
    try:
        pairs = json.loads(body, object_pairs_hook=list)
    except (RecursionError, ValueError):  # ValueError: a number of thousands of digits
        _refuse("The body is nested too deeply, or has a number too long, to be read safely.")
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen and name in route.decides:
            _refuse(f"{name}: got it more than once, expected it once.", name)
        seen.add(name)


def _model(value: Mapping[str, JSON]) -> str:
    model = value.get("model")
    if type(model) is not str:
        got = _kind(model) if "model" in value else "nothing"
        _refuse(f"model: got {got}, expected the name of a model.", "model")
    if not 0 < len(model) <= MAX_MODEL_CHARS:
        _refuse(f"model: got {len(model)} characters, expected 1 to {MAX_MODEL_CHARS}.", "model")
    if _BAD_IN_MODEL.search(model):
        _refuse("model: got a control character or white space around it, expected a plain name.", "model")
    return model


def _flag(value: Mapping[str, JSON], name: str) -> bool:
    flag = value.get(name)
    if flag is None or type(flag) is bool:
        return bool(flag)
    _refuse(f"{name}: got {_kind(flag)}, expected true or false.", name)


def _count(value: Mapping[str, JSON], name: str) -> int | None:
    count = value.get(name)
    if count is None:
        return None
    if type(count) is not int:
        _refuse(f"{name}: got {_kind(count)}, expected a whole number >= 1.", name)
    if not 1 <= count <= MAX_COUNT:
        _refuse(f"{name}: got {count}, expected a whole number from 1 to {MAX_COUNT}.", name)
    return count


def _largest(value: Mapping[str, JSON], names: tuple[str, ...]) -> int | None:
    """The largest count of these members; None where there is none."""
    largest = None
    for name in names:
        if name in value and (count := _count(value, name)) is not None and (largest is None or count > largest):
            largest = count
    return largest


def _check_type(value: Mapping[str, JSON], name: str, types: tuple[type, ...]) -> None:
    member = value.get(name)
    if member is not None and type(member) not in types:
        expected = " or ".join(_NAMES[kind] for kind in types)
        _refuse(f"{name}: got {_kind(member)}, expected {expected}.", name)


def _usage_asked(value: Mapping[str, JSON]) -> bool:
    """Whether the caller of a stream will see usage in it without our asking."""
    options = value.get("stream_options")
    if options is None:
        return False
    if type(options) is not dict:
        _refuse(f"stream_options: got {_kind(options)}, expected an object.", "stream_options")
    asked = options.get("include_usage")
    if asked is not None and type(asked) is not bool:
        _refuse(
            f"stream_options.include_usage: got {_kind(asked)}, expected true or false.", "stream_options.include_usage"
        )
    return bool(asked)


def _wants_logprobs(route: Route, value: Mapping[str, JSON]) -> bool:
    for name in route.logprobs:
        # For completions 0 asks for the chosen token's own log probability; false never asks.
        if name in value and value[name] is not None and value[name] is not False:
            return True
    if "include" not in value:
        return False
    include = value["include"]
    return type(include) is list and "message.output_text.logprobs" in include


def _end_user(route: Route, value: Mapping[str, JSON]) -> str | None:
    for path in route.end_user:
        if path[0] not in value:
            continue
        found: JSON = value
        for name in path:
            found = found.get(name) if type(found) is dict else None
        if type(found) is str and found:
            return found
    return None


def _kind(value: JSON) -> str:
    """What a JSON value is, in words and without its content."""
    if value is None or type(value) is bool:
        return "null" if value is None else str(value).lower()
    if type(value) in {int, float}:
        return "a number with a fraction or exponent" if type(value) is float else "a number"
    return _NAMES[type(value)]
