"""Policy files and CEL conditions made at random: from the published schema, and from the grammar with an oracle."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from hypothesis import strategies as st

from gateway.policy.conditions import VARIABLES
from gateway.policy.language import json_schema

# -- policy files, from the schema

TEXTS: dict[str, list[str]] = {
    "limit": ["200/day", "5/minute", "100k output_tokens/hour", "$25/day", "8 concurrent", "2M total_tokens/45 days",
              "0/day", "3/calendar month"],
    "plan": ["free", "pro"],
    "default_plan": ["free", "pro"],
    "cluster_plan": ["free", "pro"],
    "upstream": ["default", "u1"],
    "country": ["DE", "FR", "KP"],
    "deny_countries": ["DE", "KP"],
    "address": ["203.0.113.0/24", "10.0.0.0/8", "::1/128"],
    "route": ["openai.chat_completions", "anthropic.messages", "pass_through"],
    "level": ["none", "watch", "suspect", "confirmed"],
    "model": ["gpt-*", "m", "*-mini?", "*"],
    "models": ["gpt-*", "m", "*-mini?", "*"],
    "kill": ["m", "*"],
    "verified_only": ["m", "claude-*"],
    "share": ["0%", "0.1%", "50%", "100%"],
    "holdout": ["0%", "5%"],
    "if": ["stream", "hour < 6 && plan == 'free'", "max_output_tokens > 100 || !verified", "account in ['a1']"],
    "delay": ["0s", "250ms", "2s"],
    "horizon": ["1d", "45d"],
    "retention": ["1h", "30d"],
    "key": ["${SAMPLES_KEY}"],
    "api_key": ["${API_KEY}"],
    "url": ["http://127.0.0.1:9", "https://${HOST}/x"],
    "path": ["/v1/files/*", "/v2/x"],
    "path_prefix": ["/v1/messages"],
    "connect_timeout": ["1s"], "first_byte_timeout": ["1m"], "idle_timeout": ["2m"],
    "organisation": ["o1", "o2"], "account": ["a1", "a2"], "declared_use": ["evaluation"],
    "carriers": ["closing", "synonym"], "message": ["No."], "description": ["words"],
}  # fmt: skip
"""Good texts by the key that they stand under; names are drawn from ``NAMES``."""
NAMES = ["n1", "n2", "n3", "n4", "n5"]
KEYS = {"plans": ["free", "pro"], "upstreams": ["default", "u1"], "prices": ["gpt-*", "m"]}
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**40), 10**40), st.floats(allow_nan=False), st.text(max_size=20),
    st.just([]), st.just({}), st.just([[]]), st.just({"": {}}), st.sampled_from(["${X}", "~", "1e999", "\u2028", "0x10"]),
    st.lists(st.integers(), max_size=3),
)  # fmt: skip


def files() -> st.SearchStrategy[dict[str, Any]]:
    """Policy files that the schema takes: as they come, or with their parts made to fit each other."""
    schema = json_schema()
    whole = _of(schema, schema["$defs"], "").map(_begun)
    return st.one_of(whole, whole.map(_sound))


def _begun(file: dict[str, Any]) -> dict[str, Any]:
    """With a version and the plans that are named, and nothing included."""
    plans = {"free": {}, "pro": {}, **file.get("plans", {})}
    return {**{key: value for key, value in file.items() if key != "include"}, "version": 1, "plans": plans}


def _sound(file: dict[str, Any]) -> dict[str, Any]:
    """What one key asks of another, done."""
    number = 0
    for path in sorted(paths_of(file), key=len):
        at: Any = file
        for part in path:
            at = at[part] if not isinstance(at, dict) or part in at else {}
        if isinstance(at, dict) and "limit" in at:
            number += 1
            at.update(name=f"b{number}")
            at.pop("window", None)
            at.pop("burst", None)
    for index, rule in enumerate(file.get("rules", [])):
        then = rule["then"]
        rule.update(name=f"r{index}", shadow=False)
        then.pop("allow" if "refuse" in then else "", None)
        if "level" in rule.get("match", {}):
            then.pop("budgets", None)
        then["max_choices"] = 3
    for index, spared in enumerate(file.get("exempt", [])):
        spared.update(name=f"e{index}")
        spared["match"].setdefault("plan", "free")
    file.get("recording", {}).pop("samples", None)
    file.setdefault("recording", {})["samples"] = {"key": "${SAMPLES_KEY}", "retention": "7d"}
    file["upstreams"] = {"default": {}, "u1": {"url": "http://127.0.0.1:9"}}
    return file


def _of(  # noqa: PLR0911 - one return for each kind of schema
    schema: dict[str, Any], defs: dict[str, Any], key: str
) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return st.deferred(lambda: _of(defs[schema["$ref"].rsplit("/", 1)[-1]], defs, key))
    if "anyOf" in schema:
        kinds = [option for option in schema["anyOf"] if option.get("type") != "null"]
        return st.one_of([_of(option, defs, key) for option in kinds])
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema.get("type")
    if kind == "object" and "properties" in schema:
        parts = {name: _of(value, defs, name) for name, value in schema["properties"].items()}
        required = {name: parts.pop(name) for name in schema.get("required", [])}
        return st.fixed_dictionaries(required, optional=parts).map(_few)
    if kind == "object":
        inner = next(iter(schema.get("patternProperties", {}).values()), schema.get("additionalProperties", {}))
        return st.dictionaries(st.sampled_from(KEYS[key]), _of(inner, defs, key), max_size=2)
    if kind == "array":
        return st.lists(_of(schema["items"], defs, key), min_size=schema.get("minItems", 0), max_size=2)
    if kind == "boolean":
        return st.booleans()
    if kind in {"integer", "number"}:
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 0.001)
        high = min(schema.get("maximum", 10**6), 10**6)
        return st.integers(int(low), int(high)) if kind == "integer" else st.floats(low, high)
    return st.sampled_from(TEXTS.get(key, NAMES))


def _few(mapping: dict[str, Any]) -> dict[str, Any]:
    """Leave ``null`` out: a key that is not wanted is not written."""
    return {key: value for key, value in mapping.items() if value is not None}


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value stands."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, item in inner for found in paths_of(item, (*path, key)))]


def without(value: Any, path: tuple[Any, ...]) -> Any:
    """``value`` with nothing at ``path``."""
    copy = at = json.loads(json.dumps(value))
    for key in path[:-1]:
        at = at[key]
    del at[path[-1]]
    return copy


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """``value`` with ``new`` at ``path``."""
    copy = json.loads(json.dumps(value))
    if not path:
        return new
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = new
    return copy


# -- conditions, from the grammar, each with what it means in Python

Variables: TypeAlias = dict[str, Any]


class Expression(NamedTuple):
    """CEL, and the same as a Python function of the variables."""

    source: str
    value: Callable[[Variables], Any]


def _names(kind: type) -> list[str]:
    return [name for name, (known, _) in VARIABLES.items() if known is kind]


LITERALS = st.text(alphabet="abfreo-. é中", max_size=6)
NUMBERS = st.integers(0, 2**31)


def _literal(text: str) -> Expression:
    return Expression(f"'{text}'", lambda _: text)


def _number(number: int) -> Expression:
    return Expression(str(number), lambda _: number)


def _variable(name: str) -> Expression:
    return Expression(name, lambda given: given[name])


TEXT = st.one_of(LITERALS.map(_literal), st.sampled_from(_names(str)).map(_variable))
SIZE = TEXT.map(lambda text: Expression(f"size({text.source})", lambda given: len(text.value(given).encode())))
"""In bytes of UTF-8, as the library counts and docs/policies.md says."""
NUMBER = st.one_of(
    NUMBERS.map(_number),
    NUMBERS.map(lambda number: Expression(f"-{number}", lambda _: -number)),
    st.sampled_from(_names(int)).map(_variable),
    SIZE,
)
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b, "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip
METHODS: dict[str, Callable[[str, str], bool]] = {
    "startsWith": str.startswith, "endsWith": str.endswith, "contains": str.__contains__,
}  # fmt: skip


def _compared(sign: str, left: Expression, right: Expression) -> Expression:
    return Expression(
        f"{left.source} {sign} {right.source}", lambda given: COMPARE[sign](left.value(given), right.value(given))
    )


def _called(method: str, left: Expression, right: Expression) -> Expression:
    return Expression(
        f"{left.source}.{method}({right.source})", lambda given: METHODS[method](left.value(given), right.value(given))
    )


def _in(left: Expression, items: list[Expression]) -> Expression:
    listed = ", ".join(item.source for item in items)
    return Expression(
        f"{left.source} in [{listed}]", lambda given: left.value(given) in [item.value(given) for item in items]
    )


ATOM = st.one_of(
    st.sampled_from(["true", "false"]).map(lambda word: Expression(word, lambda _: word == "true")),
    st.sampled_from(_names(bool)).map(_variable),
    st.builds(_compared, st.sampled_from(list(COMPARE)), TEXT, TEXT),
    st.builds(_compared, st.sampled_from(list(COMPARE)), NUMBER, NUMBER),
    st.builds(_called, st.sampled_from(list(METHODS)), TEXT, TEXT),
    st.builds(_in, TEXT, st.lists(TEXT, max_size=3)),
    st.builds(_in, NUMBER, st.lists(NUMBER, max_size=3)),
)


def _either(sign: str, left: Expression, right: Expression) -> Expression:
    if sign == "||":
        return Expression(f"({left.source} || {right.source})", lambda g: left.value(g) or right.value(g))
    return Expression(f"({left.source} && {right.source})", lambda g: left.value(g) and right.value(g))


def _not(inner: Expression) -> Expression:
    return Expression(f"!({inner.source})", lambda given: not inner.value(given))


def _choice(test: Expression, one: Expression, two: Expression) -> Expression:
    return Expression(
        f"({test.source} ? {one.source} : {two.source})", lambda g: (one if test.value(g) else two).value(g)
    )


CONDITION: st.SearchStrategy[Expression] = st.recursive(
    ATOM,
    lambda inner: st.one_of(
        st.builds(_either, st.sampled_from(["||", "&&"]), inner, inner),
        st.builds(_not, inner),
        st.builds(_choice, inner, inner, inner),
    ),
    max_leaves=8,
)
"""Conditions that are true or false for every request."""
