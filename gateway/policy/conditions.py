"""Conditions of rules (``if:``) in the Common Expression Language, made total and cheap.

A condition gives true or false for every request and cannot take long: what it may use, and the type of
every variable, is checked at load (``condition_types``), and its length is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.policy.condition_types import check_types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import cel

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
_TYPES: Final = {str: "text", int: "number", bool: "truth"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition; ``names`` are the variables that it reads."""

    source: str
    names: tuple[str, ...]
    program: Any
    """A ``cel.Program``; not said so, because that would load the library for sets without conditions."""

    def holds(self, context: cel.Context | dict[str, Any]) -> bool:
        """Whether it holds where ``context`` has every variable in ``names``."""
        return self.program.execute(context) is True


def compile_condition(source: str) -> Condition:
    """The condition that ``source`` writes.

    Raises ValueError (what was got, what was expected) for text that is too long, not of the part of CEL
    that conditions may use, or not true or false for every request.
    """
    if len(source) > MAX_CHARS:
        raise ValueError(f"got a condition of {len(source)} characters, expected at most {MAX_CHARS}: split the rule")
    import cel  # a seventh of a second with the prompt that it brings along; most sets have no condition

    check_types(source, {name: _TYPES[kind] for name, (kind, _) in VARIABLES.items()})
    try:
        program = cel.compile(source)
    except ValueError as error:  # what the checker lets in is CEL; this is for what it overlooks
        raise ValueError(f"got {source[:60]!r}, expected a CEL expression ({str(error)[:80]!r})") from None
    return Condition(source, tuple(program.variables()), program)


@dataclass(frozen=True, slots=True)
class Values:
    """One request as conditions see it; a variable is only worked out where a condition reads it."""

    identity: Identity
    facts: RequestFacts
    standing: Standing
    plan: str
    now_s: float

    def of(self, names: Iterable[str]) -> dict[str, Any]:
        """The variables in ``names``; absent texts are ``''``."""
        return {name: _VALUES[name](self) for name in names}

    def context(self, names: Iterable[str]) -> cel.Context:
        """The same, converted once for several conditions (the conversion is what a condition costs)."""
        import cel

        return cel.Context(variables=self.of(names))


def _age_days(values: Values) -> int:
    made_at = values.identity.created_at
    return -1 if made_at is None else int(max(0.0, values.now_s - made_at) // 86_400)


_VALUES: Final[Mapping[str, Callable[[Values], Any]]] = {
    "account": lambda values: values.identity.account,
    "organisation": lambda values: values.identity.org or "",
    "plan": lambda values: values.plan,
    "country": lambda values: (values.identity.country or "").upper(),
    "verified": lambda values: values.identity.verified,
    "declared_use": lambda values: values.identity.declared_use or "",
    "account_age_days": _age_days,
    "model": lambda values: values.facts.model.lower(),
    "route": lambda values: values.facts.route,
    "family": lambda values: values.facts.family.value,
    "stream": lambda values: values.facts.stream,
    "max_output_tokens": lambda values: min(values.facts.max_output_tokens or 0, _MAX_INT),
    "choices": lambda values: min(values.facts.choices, _MAX_INT),
    "input_chars": lambda values: min(values.facts.input_chars, _MAX_INT),
    "body_bytes": lambda values: min(values.facts.body_bytes, _MAX_INT),
    "logprobs": lambda values: values.facts.logprobs,
    "level": lambda values: values.standing.level.value,
    "hour": lambda values: int(values.now_s) % 86_400 // 3_600,
    "weekday": lambda values: (int(values.now_s) // 86_400 + 3) % 7,  # 1 January 1970 was a Thursday
}
