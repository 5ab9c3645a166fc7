"""The analysis of a log, which depends on the log alone: so it runs where the log is read, ahead of the decisions.

It sees every request that has facts, in order, on the log's clock; a pass that is due gives its verdicts before the
request that made it due. Accounts that policies exempt from the analysis are told by name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.analysis.analyzer import Analyzer
from gateway.analysis.config import AnalysisConfig
from gateway.analysis.traits import TraitExtractor
from gateway.policy.rules import inside
from gateway.replay.log import read_accounts
from gateway.replay.prepare import unpack
from gateway.types import Identity, Level

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from gateway.policy import PolicySet
    from gateway.replay.log import Accounts
    from gateway.types import JSON, Verdict


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
        return inside(self.exempt_at.get(account, self.exempt_at.get("", ())), address)


def analysis_plan(policies: PolicySet, accounts: Accounts) -> AnalysisPlan:
    """The plan for ``policies``."""
    wanted = policies.analysis
    named = {name for exemption in policies.parts.exempt for name in exemption.rule.match.account or ()}
    identities = {name: Identity(account=name) for name in named}
    for name, account in accounts.known.items():
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


class Analyser:
    """The analysis beside a log: fed with ``observe``; ``due`` gives the verdicts that come before a request."""

    def __init__(self, plan: AnalysisPlan, accounts: Path, key: bytes) -> None:
        found = read_accounts(accounts)
        self._plan = plan
        self._rows: Mapping[str, Mapping[str, JSON]] = found.rows
        self._known = found.known.keys() | plan.exempt
        self._extractor = TraitExtractor(key)
        self._analyzer = Analyzer(plan.config)
        self._observed: dict[str, bool] = {}
        self._seen: dict[str, dict[str, Any]] = {}

    def due(self, now_s: float) -> list[Verdict]:
        """The verdicts of a pass, where one is due."""
        if not self._analyzer.due(now_s):
            return []
        verdicts = self._analyzer.tick(now_s)
        self._note(verdicts, now_s)
        return verdicts

    def observe(self, ts: float, account: str, traits: bytes | None) -> None:
        """Enter one request with its packed traits, unless its account is exempt or its body cannot be read."""
        observed = self._observed.get(account)
        if observed is None:
            exempt = account in self._plan.exempt if account in self._known else self._plan.exempt_unknown
            observed = self._observed[account] = not exempt
            if observed:
                self._analyzer.know(account, self._extractor.account(self._rows.get(account, {})))
        if observed and traits is not None:
            self._analyzer.observe(ts, account, unpack(traits))

    def dump(self) -> dict[str, Any]:
        """All that later verdicts depend on, for ``pickle``."""
        return {"analyzer": self._analyzer, "observed": self._observed, "seen": self._seen}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from ``dump``, in an analyser that has seen nothing yet."""
        self._analyzer, self._observed, self._seen = state["analyzer"], state["observed"], state["seen"]

    def _note(self, verdicts: Iterable[Verdict], now_s: float) -> None:
        """Remember clusters, so that one that is merged away later is still told."""
        for verdict in verdicts:
            told = self._seen.setdefault(verdict.cluster, {"cluster": verdict.cluster, "first_enforced_at": None})
            told |= {
                "members": list(verdict.members),
                "level": verdict.level.value,
                "evidence": list(verdict.evidence or verdict.reasons),
            }
            if told["first_enforced_at"] is None and verdict.level.rank >= Level.SUSPECT.rank:
                told["first_enforced_at"] = now_s

    def clusters(self) -> list[dict[str, Any]]:
        """Every cluster that ever existed, with its last membership: those that are, then those that were."""
        current = self._analyzer.clusters()
        names = {cluster["cluster"] for cluster in current}
        return [*current, *(told for name, told in self._seen.items() if name not in names)]
