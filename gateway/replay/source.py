"""What a replay is fed with: which files, under which key, and what the analysis is to do with them.

Plain data, which the processes of a replay take with them; it needs neither policies nor the analysis to be read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from gateway.analysis.config import AnalysisConfig
from gateway.types import Identity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from gateway.identity import Account
    from gateway.policy import PolicySet
    from gateway.replay.checkpoint import Pace

KEY = hashlib.blake2b(b"distillguard replay", digest_size=32).digest()
"""Traits of a replay stay on its machine; a fixed key makes two replays of one log equal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisPlan:
    """What the policies ask of the analysis, as data that another process can take."""

    config: AnalysisConfig
    exempt: frozenset[str]
    exempt_unknown: bool
    """Whether accounts that are neither in the directory nor named by a policy are exempt."""
    exempt_at: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Address ranges from which an account's requests are exempt; under ``""`` those of unknown accounts."""

    def spares(self, account: str, address: str | None) -> bool:
        """Whether a request from ``address`` is exempt, whatever its account."""
        from gateway.policy.rules import inside  # most plans need no policies

        return inside(self.exempt_at.get(account, self.exempt_at.get("", ())), address)


def analysis_plan(policies: PolicySet, accounts: Mapping[str, Account]) -> AnalysisPlan:
    """The plan for ``policies``."""
    wanted = policies.analysis
    named = {name for exemption in policies.parts.exempt for name in exemption.rule.match.account or ()}
    identities = {name: Identity(account=name) for name in named}
    for name, account in accounts.items():
        identities[name] = Identity(
            account=name,
            plan=account.plan,
            org=account.org,
            country=account.country,
            verified=account.verified,
            declared_use=account.declared_use,
        )
    return AnalysisPlan(
        config=AnalysisConfig(alpha=wanted.alpha, families=wanted.families, horizon_s=wanted.horizon_s),
        exempt=frozenset(name for name, who in identities.items() if policies.exempt_from_analysis(who)),
        exempt_unknown=policies.exempt_from_analysis(Identity(account="")),
        exempt_at=_by_address(policies, {"": Identity(account=""), **identities}),
    )


def _by_address(policies: PolicySet, identities: Mapping[str, Identity]) -> dict[str, tuple[str, ...]]:
    """Where requests of each account are exempt; nothing where no exemption names addresses."""
    if not any(exemption.rule.match.address for exemption in policies.parts.exempt):
        return {}
    return {name: policies.addresses_exempt_from_analysis(who) for name, who in identities.items()}


class Source(NamedTuple):
    """What to read and how. ``texts`` ``None``: the file beside the log, where there is one.

    ``skip`` requests were decided before; then ``analysed`` is the analysis's snapshot after them.
    """

    requests: Path
    accounts: Path
    texts: Path | None
    key: bytes
    body_bytes: bool
    analysis: AnalysisPlan
    pace: Pace | None = None
    skip: int = 0
    analysed: Path | None = None


def source_of(
    policies: PolicySet, accounts: Mapping[str, Account], file: Path, requests: Path, texts: Path | None
) -> Source:
    """What a replay of ``requests`` under ``policies`` is fed with; ``accounts`` were read from ``file``."""
    return Source(requests, file, texts, KEY, asks_size(policies), analysis_plan(policies, accounts))


def asks_size(policies: PolicySet) -> bool:
    """Whether a condition asks how large a body is, which costs time to find out."""
    conditions = (rule.condition for rule in policies.parts.rules)
    return any(condition is not None and "body_bytes" in condition.names for condition in conditions)
