"""What a policy set consists of once it is checked: frozen values, no behaviour."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.policy.rules import Effect, Place, Rule
    from gateway.settings import Secret
    from gateway.types import Budget, Level, Price

EXEMPTIONS: Final = frozenset(("marks", "budgets", "caps", "delay", "refusal", "samples", "analysis"))
"""What somebody can be exempt from; ``caps`` are the lowered caps and the fields withheld."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSpec:
    """A model server. ``url`` is ``None`` for the one that ``--upstream`` names; times in seconds."""

    name: str
    url: str | None = None
    models: tuple[str, ...] | None = None
    path_prefix: str | None = None
    api_key: Secret | None = None
    connect_timeout_s: float | None = None
    first_byte_timeout_s: float | None = None
    idle_timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PassThrough:
    """A route that is not metered."""

    path: str
    methods: tuple[str, ...]
    authenticate: bool = True
    upstream: str = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisPolicy:
    """What the analysis must show before anybody is limited."""

    alpha: float = 1e-6
    families: int = 2
    horizon_s: float = 45 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplesPolicy:
    """How requests are kept in full: sealed with ``key`` (32 bytes in base64), for ``retention_s``."""

    key: Secret
    retention_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingPolicy:
    """What is kept of live traffic where it is recorded: sketches, and with ``samples`` some requests in full."""

    retention_s: float = 30 * 86_400.0
    samples: SamplesPolicy | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomerPlan:
    """A customer's plan: budgets of its accounts, models it may use, caps."""

    name: str
    budgets: tuple[Budget, ...] = ()
    models: tuple[str, ...] | None = None
    max_output_tokens: int | None = None
    max_choices: int | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """Who is spared from what standings say; ``spared`` is a part of ``EXEMPTIONS``."""

    rule: Rule
    spared: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything a policy set consists of, checked and compiled."""

    default_plan: str
    plans: Mapping[str, CustomerPlan]
    default_output_tokens: int = 4096
    budgets: tuple[Budget, ...] = ()
    rules: tuple[Rule, ...] = ()
    kill: tuple[str, ...] = ()
    standings: Mapping[Level, Effect] = field(default_factory=dict)
    exempt: tuple[Exemption, ...] = ()
    upstreams: Mapping[str, UpstreamSpec] = field(default_factory=dict)
    pass_through: tuple[PassThrough, ...] = ()
    prices: Mapping[str, Price] = field(default_factory=dict)
    analysis: AnalysisPolicy = field(default_factory=AnalysisPolicy)
    recording: RecordingPolicy = field(default_factory=RecordingPolicy)
    hash: str = ""
    places: Mapping[str, Place] = field(default_factory=dict)
    """Where budgets (by name) and plans (as ``plan NAME``) stand in the files."""


def is_key(text: str) -> bool:
    """Whether ``text`` is a key of samples: 32 bytes in base64."""
    try:
        return len(base64.b64decode(text, validate=True)) == 32  # noqa: PLR2004 - AES-256
    except ValueError:
        return False


def all_budgets(parts: Parts) -> tuple[Budget, ...]:
    """Every budget of a set, once, in the order of plans, requests, rules and standings."""
    found = [budget for plan in parts.plans.values() for budget in plan.budgets]
    found += parts.budgets
    found += [budget for rule in parts.rules for budget in rule.effect.budgets]
    found += [budget for effect in parts.standings.values() for budget in effect.budgets]
    return tuple(dict.fromkeys(found))
