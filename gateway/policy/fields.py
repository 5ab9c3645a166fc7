"""The kinds of values in policy files: how each is checked, turned into our own words, and shown to editors.

A parser raises ValueError with what was got and what was expected; its words reach the user as they are.
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from gateway.policy.conditions import MAX_CHARS, Condition, compile_condition
from gateway.policy.messages import show
from gateway.policy.notation import Rate, parse_duration, parse_limit, parse_retention, parse_share
from gateway.types import Level

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = r"[a-z0-9][a-z0-9._-]{0,63}"
"""Names of plans, rules, upstreams and budgets: they become keys in stores and labels in metrics."""

ROUTE_PATHS = {
    "openai.chat_completions": "/v1/chat/completions",
    "openai.completions": "/v1/completions",
    "openai.responses": "/v1/responses",
    "openai.embeddings": "/v1/embeddings",
    "openai.models": "/v1/models",
    "anthropic.messages": "/v1/messages",
    "anthropic.count_tokens": "/v1/messages/count_tokens",
    "anthropic.models": "/v1/models",
}
"""The metered routes and their paths."""


def _checked(parse: Callable[[object], Any]) -> PlainValidator:
    """A validator from a parser that raises ValueError; its words reach the user as they are."""

    def validate(value: object) -> Any:
        try:
            return parse(value)
        except ValueError as error:
            raise PydanticCustomError("policy", "{said}", {"said": str(error)}) from None

    return PlainValidator(validate)


def _texts(check: Callable[[str], str], expected: str) -> Callable[[object], tuple[str, ...]]:
    """A parser for one text or a list of them, each passed through ``check``."""

    def parse(value: object) -> tuple[str, ...]:
        items: list[Any] = value if isinstance(value, list) else [value]
        if not items:
            raise ValueError(f"got an empty list, expected {expected}: delete the key if it is not needed")
        for item in items:
            if not isinstance(item, str) or not item:
                raise ValueError(f"got {show(item)}, expected {expected}")
        return tuple(check(item) for item in items)

    return parse


def _name(text: object) -> str:
    if not isinstance(text, str) or not re.fullmatch(NAME, text):
        raise ValueError(f"got {text!r}, expected a name of small letters, digits, '.', '_' and '-' (64 at most)")
    return text


def _country(text: str) -> str:
    if not re.fullmatch(r"[A-Z]{2}", text):
        raise ValueError(f"got {text!r}, expected a country as two capital letters (ISO 3166-1), such as 'DE'")
    return text


def _pattern(text: str) -> str:
    if len(text) > 128 or text.count("*") > 8 or any(letter.isspace() for letter in text):  # noqa: PLR2004 - bounds of a pattern
        raise ValueError(f"got {text[:40]!r}, expected a pattern such as 'gpt-4o*' (128 characters, 8 stars at most)")
    return text


def _network(text: str) -> str:
    try:
        whole = str(ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"got {text!r}, expected an address range such as '203.0.113.0/24'") from None
    if "/" in text and str(ip_network(text, strict=False)) != text.lower():
        raise ValueError(f"got {text!r}, expected a range that begins at its first address: did you mean {whole!r}?")
    return whole


def _route(text: str) -> str:
    if text not in ROUTE_PATHS and text != "pass_through":
        raise ValueError(f"got {text!r}, expected one of {', '.join(ROUTE_PATHS)}, pass_through")
    return text


def _path(text: object) -> str:
    if not isinstance(text, str) or not re.fullmatch(r"/[^\s?#%\\]*", text):
        raise ValueError(f"got {show(text)}, expected a path that begins with '/', without spaces and any of ?#%\\")
    return text


def _secret(text: object) -> str:
    if not isinstance(text, str) or not re.fullmatch(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}", text):
        raise ValueError("got a value of its own, expected ${NAME}: secrets stand in the environment, not in files")
    return text


def _level(text: str) -> str:
    if text not in {level.value for level in Level}:
        raise ValueError(f"got {text!r}, expected one of none, watch, suspect, confirmed")
    return text


def _condition(text: object) -> Condition:
    if not isinstance(text, str):
        raise ValueError(f"got {show(text)}, expected a CEL expression as text")  # noqa: TRY004 - a mistake in a file
    return compile_condition(text)


def _one_or_many(pattern: str | None = None) -> WithJsonSchema:
    text: dict[str, Any] = {"type": "string", **({"pattern": pattern} if pattern else {})}
    return WithJsonSchema({"anyOf": [text, {"type": "array", "items": text, "minItems": 1}]})


def _text_schema(pattern: str | None = None, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **({"pattern": pattern} if pattern else {}), **more})


Name: TypeAlias = Annotated[str, _checked(_name), _text_schema(f"^{NAME}$")]
Texts: TypeAlias = Annotated[tuple[str, ...], _checked(_texts(str, "a text or a list of texts")), _one_or_many()]
Patterns: TypeAlias = Annotated[
    tuple[str, ...], _checked(_texts(_pattern, "a pattern or a list of patterns")), _one_or_many()
]
Countries: TypeAlias = Annotated[
    tuple[str, ...], _checked(_texts(_country, "a country such as 'DE', or a list")), _one_or_many("^[A-Z]{2}$")
]
Networks: TypeAlias = Annotated[tuple[str, ...], _checked(_texts(_network, "an address range")), _one_or_many()]
Routes: TypeAlias = Annotated[tuple[str, ...], _checked(_texts(_route, "a route")), _one_or_many()]
UrlPath: TypeAlias = Annotated[str, _checked(_path), _text_schema(r"^/[^\s?#%\\]*$")]
SecretRef: TypeAlias = Annotated[str, _checked(_secret), _text_schema(r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$")]
Limit: TypeAlias = Annotated[
    Rate,
    _checked(parse_limit),
    _text_schema(examples=["200/day", "100k output_tokens/hour", "$25/day", "8 concurrent"]),
]
Duration: TypeAlias = Annotated[
    float, _checked(parse_duration), _text_schema(r"^\s*[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)\s*$")
]
Retention: TypeAlias = Annotated[
    float, _checked(parse_retention), _text_schema(r"^\s*[0-9]+(\.[0-9]+)?\s*(h|d)\s*$", examples=["7d", "30d"])
]
Share: TypeAlias = Annotated[float, _checked(parse_share), _text_schema(r"^\s*[0-9.]+%$")]
If: TypeAlias = Annotated[Condition, _checked(_condition), _text_schema(maxLength=MAX_CHARS)]
Levels: TypeAlias = Annotated[
    tuple[str, ...], _checked(_texts(_level, "a level")), _one_or_many("^(none|watch|suspect|confirmed)$")
]
AtLeastOne: TypeAlias = Annotated[int, Field(ge=1)]
SubjectName: TypeAlias = Literal["account", "organisation", "model", "address", "global"]


class Strict(BaseModel):
    """Unknown keys and silent conversions are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True, populate_by_name=True)


REQUIRED: Any = ...


def entry(
    what: str,
    default: Any = None,
    *,
    by_default: str = "",
    why: str = "",
    unit: str = "",
    several: str = "",
    **more: Any,
) -> Any:
    """One key: ``what`` it is, in which ``unit``, what holds where it is left out (``by_default``) and ``why`` that;
    ``several``: what counts where several rules that match have it.

    The JSON Schema carries all of it, so that editors and the reference in the documentation say the same.
    """
    told = "required" if default is REQUIRED else by_default
    described = what + (f" Unit: {unit}." if unit else "") + (f" Default: {told}." if by_default else "")
    described += f" Why: {why}." if why else ""
    described += f" Of several rules: {several}." if several else ""
    extra: dict[str, Any] = {"x-what": what, "x-unit": unit, "x-default": told, "x-why": why, "x-several": several}
    factory = {"default_factory": default} if callable(default) else {"default": default}
    return Field(description=described, json_schema_extra=extra, **factory, **more)
