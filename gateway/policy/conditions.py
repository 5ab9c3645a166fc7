"""Conditions of rules (``if:``) in the Common Expression Language, made total and cheap.

A condition gives true or false for every request and cannot take long: what it may use, and the type of
every variable, is checked at load (``condition_types``), and its length is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import cel

from gateway.policy.condition_types import check_types

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
_TYPES: Final = {str: "text", int: "number", bool: "truth"}


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

    Raises ValueError (what was got, what was expected) for text that is too long, not of the part of CEL
    that conditions may use, or not true or false for every request.
    """
    if len(source) > MAX_CHARS:
        raise ValueError(f"got a condition of {len(source)} characters, expected at most {MAX_CHARS}: split the rule")
    check_types(source, {name: _TYPES[kind] for name, (kind, _) in VARIABLES.items()})
    try:
        program = cel.compile(source)
    except ValueError as error:  # what the checker lets in is CEL; this is for what it overlooks
        raise ValueError(f"got {source[:60]!r}, expected a CEL expression ({str(error)[:80]!r})") from None
    return Condition(source, tuple(program.variables()), program)


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
