"""A warning about a policy set, and the codes of warnings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.policy.rules import Place

CODES: Final[Mapping[str, str]] = {
    "plan-without-budgets": "A plan that limits nothing.",
    "toothless-limit": "A limit that can never refuse, because another one always refuses first.",
    "below-reserve": "A limit that is smaller than what one request without a cap reserves.",
    "unreachable-rule": "A rule that another rule always beats, or that can never match.",
    "unknown-model": "A model pattern that fits no model of the prices and upstreams.",
}
"""Stable: they are the rule ids of the SARIF output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warn:
    """One warning; ``code`` is a key of ``CODES``."""

    code: str
    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place.file}:{self.place.line}:{self.place.column}: warning: {self.message} [{self.code}]"
