"""Conditions of rules (``if:``) in the Common Expression Language, made total and cheap.

Only what cannot fail and cannot take long is let in: comparisons, logic, membership, ``size``,
``startsWith``, ``endsWith``, ``contains``, and variables of one fixed type each. No arithmetic (it can
overflow), no indexing, no macros over lists (they nest), no regular expressions. A condition is run at load
on values taken from its own text, so that a comparison of a text with a number is found before a request
finds it.
"""

from __future__ import annotations

import difflib
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.types import Identity, RequestFacts, Standing

MAX_CHARS = 1_000
_MAX_INT = 2**31 - 1
"""Facts are clamped to it: far beyond any real request, and inside CEL's 64-bit integers."""

VARIABLES: Final[Mapping[str, tuple[type, str]]] = {
    "account": (str, "the account's id"),
    "organisation": (str, "its organisation, '' for none"),
    "plan": (str, "its plan"),
    "country": (str, "its country, two letters, '' where unknown"),
    "verified": (bool, "whether the organisation was verified"),
    "declared_use": (str, "the declared use, '' for none"),
    "account_age_days": (int, "whole days since the account was made, -1 where unknown"),
    "model": (str, "the model asked for, in lower case"),
    "route": (str, "the route, such as 'openai.chat_completions'"),
    "family": (str, "'openai' or 'anthropic'"),
    "stream": (bool, "whether the reply is streamed"),
    "max_output_tokens": (int, "the larger declared cap of one choice, 0 for none"),
    "choices": (int, "how many replies are asked for"),
    "input_chars": (int, "characters of all texts of the request"),
    "body_bytes": (int, "size of the request's body"),
    "logprobs": (bool, "whether log-probabilities are asked for"),
    "level": (str, "the standing: 'none', 'watch', 'suspect' or 'confirmed'"),
    "hour": (int, "hour of the day in UTC, 0 to 23"),
    "weekday": (int, "day of the week in UTC, 0 (Monday) to 6"),
}
FUNCTIONS: Final = frozenset(
    [
        "_==_",
        "_!=_",
        "_<_",
        "_<=_",
        "_>_",
        "_>=_",
        "_&&_",
        "_||_",
        "!_",
        "_?_:_",
        "@in",
        "-_",
        "size",
        "startsWith",
        "endsWith",
        "contains",
    ]
)
_SAMPLES = 400
_KINDS = {str: "a text in quotes", int: "a whole number", bool: "true or false"}
_COMPARED = re.compile(r"\b([a-z_]+)\s*(?:==|!=)\s*(['\"]|true\b|false\b|null\b|\d+(?:\.\d+)?)")
_LITERALS = re.compile(r"\"([^\"\\]*)\"|'([^'\\]*)'|(?<![\w.])(\d{1,9})(?![\w.])")


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition; ``names`` are the variables that it reads."""

    source: str
    names: tuple[str, ...]
    program: cel.Program

    def holds(self, values: Mapping[str, Any]) -> bool:
        """Whether it holds for ``values``, which has every variable in ``names``."""
        return self.program.execute({name: values[name] for name in self.names}) is True


def compile_condition(source: str) -> Condition:
    """The condition that ``source`` writes.

    Raises ValueError (what was got, what was expected) for text that is too long or not CEL, unknown
    names, functions outside ``FUNCTIONS``, values of types that do not fit, a result that is no bool.
    """
    if len(source) > MAX_CHARS:
        raise ValueError(f"got a condition of {len(source)} characters, expected at most {MAX_CHARS}: split the rule")
    try:
        program = cel.compile(source)
    except ValueError as error:
        first = str(error).splitlines()[0] if str(error) else "no reason given"
        raise ValueError(f"got {_short(source)}, expected a CEL expression ({_reason(first)})") from None
    names = tuple(program.variables())
    for name in names:
        if name not in VARIABLES:
            raise ValueError(f"got the unknown name {name!r} in a condition, {_nearest(name)}")
    for name in program.functions():
        if name not in FUNCTIONS:
            shown = repr(name.strip("_@")) if name != "@not_strictly_false" else "a macro over a list"
            raise ValueError(
                f"got {shown} in a condition, expected only comparisons, &&, ||, !, in, size, startsWith, "
                "endsWith and contains"
            )
    condition = Condition(source, names, program)
    _check_literals(source)
    _try_out(condition)
    return condition


def _check_literals(source: str) -> None:
    """Raise ValueError where a variable is compared with a value that it can never be: CEL says false."""
    for name, literal in _COMPARED.findall(source):
        if name not in VARIABLES:
            continue
        kind = str if literal in "'\"" else bool if literal in {"true", "false"} else int if literal.isdigit() else None
        if kind is not VARIABLES[name][0]:
            shown = "nothing of any type that it can have" if kind is None else _KINDS[kind]
            raise ValueError(f"got {name} compared with {shown}, expected {_KINDS[VARIABLES[name][0]]}")


def _nearest(name: str) -> str:
    """What to write instead of an unknown name."""
    near = difflib.get_close_matches(name, VARIABLES, n=1)
    return f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(sorted(VARIABLES))}"


def _short(source: str) -> str:
    return repr(source if len(source) <= 60 else source[:57] + "...")  # noqa: PLR2004 - what fits a line of an error


def _reason(text: str) -> str:
    """The parser's own reason, without its repetition of the source."""
    if "Recursion limit" in text:
        return "nested too deeply"
    _, _, reason = text.partition("ERROR: <input>:")
    return f"at {reason.split(' expecting ')[0]}" if reason else text[:120]


def _try_out(condition: Condition) -> None:
    """Run on up to ``_SAMPLES`` combinations of values from the text; raise ValueError on a type error."""
    found = _LITERALS.findall(condition.source)
    texts = sorted({"", *(first or second for first, second, number in found if not number)})
    numbers = sorted({0, *(n for *_, number in found if number for n in (int(number), int(number) + 1))})
    pools: dict[type, list[Any]] = {str: texts, int: numbers, bool: [True, False]}
    choices = [pools[VARIABLES[name][0]] for name in condition.names]
    for values in itertools.islice(itertools.product(*choices), _SAMPLES):
        try:
            result = condition.program.execute(dict(zip(condition.names, values, strict=True)))
        except Exception as error:  # noqa: BLE001 - the binding raises TypeError, RuntimeError, ValueError, KeyError
            said = " ".join(str(error).split()).split(". ")[0][:160]
            raise ValueError(f"got {_short(condition.source)}, expected types that fit ({said})") from None
        if not isinstance(result, bool):
            kind = type(result).__name__
            raise ValueError(f"got {_short(condition.source)}, which gives {kind}, expected true or false")  # noqa: TRY004 - a mistake in a file


def condition_values(
    identity: Identity, facts: RequestFacts, standing: Standing, plan: str, now_s: float
) -> dict[str, Any]:
    """Every variable of a condition for one request; absent texts are ``''``."""
    age_s = -1.0 if identity.created_at is None else max(0.0, now_s - identity.created_at)
    day_s = int(now_s) % 86_400
    return {
        "account": identity.account,
        "organisation": identity.org or "",
        "plan": plan,
        "country": (identity.country or "").upper(),
        "verified": identity.verified,
        "declared_use": identity.declared_use or "",
        "account_age_days": int(age_s // 86_400) if age_s >= 0 else -1,
        "model": facts.model.lower(),
        "route": facts.route,
        "family": facts.family.value,
        "stream": facts.stream,
        "max_output_tokens": min(facts.max_output_tokens or 0, _MAX_INT),
        "choices": min(facts.choices, _MAX_INT),
        "input_chars": min(facts.input_chars, _MAX_INT),
        "body_bytes": min(facts.body_bytes, _MAX_INT),
        "logprobs": facts.logprobs,
        "level": standing.level.value,
        "hour": day_s // 3_600,
        "weekday": (int(now_s) // 86_400 + 3) % 7,  # 1 January 1970 was a Thursday
    }
