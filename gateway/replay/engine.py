"""Drives the request path and the analysis over a log, one request after the other, on the log's clock.

The pipeline, the policies, the budgets (in memory) and the analysis are those of ``serve``. What differs:
accounts are known by their id instead of a credential; a request that is answered is settled at once with
the usage that the log tells; analysis passes run between two requests instead of beside them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from gateway.analysis.analyzer import Analyzer
from gateway.analysis.config import AnalysisConfig
from gateway.budgets import Budgets, Estimator, MemoryStore
from gateway.clock import ManualClock
from gateway.dialects import facts_of, find_route
from gateway.errors import RequestRefused
from gateway.observer import RequestObserver
from gateway.pipeline import Decider, Exchange
from gateway.standing import StandingTable
from gateway.types import Identity, Outcome, RefusalKind

if TYPE_CHECKING:
    from gateway.policy import PolicySet
    from gateway.replay.log import Accounts, Recorded

Action = Literal["allow", "mark", "throttle", "refuse"]

_KEY = hashlib.blake2b(b"distillguard replay", digest_size=32).digest()
"""Traits of a replay stay in its process; a fixed key makes two replays of one log equal."""

_THROTTLED = frozenset({RefusalKind.RATE_LIMITED, RefusalKind.BUDGET_EXHAUSTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What became of one request."""

    id: str
    action: Action
    rule: str | None = None
    cluster: str | None = None


@dataclass(slots=True)
class _Policies:
    """The policy set under test; it does not change."""

    current: PolicySet


class Replay:
    """One replay. Feed it with ``step``; ask ``clusters`` at the end."""

    def __init__(self, policies: PolicySet, accounts: Accounts) -> None:
        self.clock = ManualClock()
        self._accounts = accounts
        self._standing = StandingTable(clock=self.clock)
        self._observer = RequestObserver(_KEY, self._standing)
        analysis = policies.analysis
        self.analyzer = Analyzer(
            AnalysisConfig(alpha=analysis.alpha, families=analysis.families, horizon_s=analysis.horizon_s)
        )
        self._policies = policies
        self._known: set[str] = set()
        self._decider = Decider(
            policies=_Policies(policies),
            standing=self._standing,
            budgets=Budgets(MemoryStore(self.clock), self.clock),
            estimator=Estimator(),
            observer=self._observer,
            clock=self.clock,
        )

    async def step(self, recorded: Recorded) -> Decision:
        """Decide on one request, settle it, let the analysis see it."""
        self.clock.move_to(recorded.ts)
        self._analyse(recorded.ts)
        exchange = self._decider.open("POST", recorded.path, recorded.headers)
        exchange.id = recorded.id
        exchange.identity = identity = self._identity(recorded)
        exchange.route = find_route("POST", recorded.path, recorded.headers)
        try:
            decision = await self._decide(exchange, recorded)
        except RequestRefused as refused:
            exchange.outcome = Outcome.REFUSED
            refusal = refused.refusal
            action: Action = "throttle" if refusal.kind in _THROTTLED else "refuse"
            decision = Decision(id=recorded.id, action=action, rule=refusal.rule, cluster=exchange.standing.cluster)
        await self._decider.settle(exchange)
        self._observe(exchange, identity, recorded)
        return decision

    async def _decide(self, exchange: Exchange, recorded: Recorded) -> Decision:
        if exchange.route is None:
            return Decision(id=recorded.id, action="refuse", rule="unknown_route")
        facts = facts_of(exchange.route, recorded.body, recorded.body_bytes)
        plan = await self._decider.decide(exchange, facts)
        exchange.sent_upstream = True
        exchange.status = recorded.status or 200
        exchange.outcome = Outcome.ANSWERED
        exchange.usage = recorded.usage
        return Decision(
            id=recorded.id,
            action="mark" if plan.mark else "allow",
            rule=plan.rule,
            cluster=exchange.standing.cluster or exchange.signature,
        )

    def _identity(self, recorded: Recorded) -> Identity:
        """The account as ``serve`` would know it behind a trusted proxy that tells the fingerprint."""
        account = self._accounts.known.get(recorded.account)
        ja4 = next((value.decode("latin-1") for name, value in recorded.headers if name == b"x-ja4"), None)
        if account is None:
            return Identity(account=recorded.account, address=recorded.ip, ja4=ja4)
        return Identity(
            account=recorded.account,
            plan=account.plan,
            org=account.org,
            country=account.country,
            home_country=account.country,
            verified=account.verified,
            declared_use=account.declared_use,
            created_at=account.created_at,
            address=recorded.ip,
            ja4=ja4,
        )

    def _observe(self, exchange: Exchange, identity: Identity, recorded: Recorded) -> None:
        if exchange.facts is None or self._policies.exempt_from_analysis(identity):
            return
        if identity.account not in self._known:
            self._known.add(identity.account)
            row = self._accounts.rows.get(identity.account, {})
            self.analyzer.know(identity.account, self._observer.account(row))
        traits = exchange.traits
        if traits is None:
            traits = self._observer.traits(exchange.facts, identity, recorded.headers)
        self.analyzer.observe(recorded.ts, identity.account, traits)

    def _analyse(self, now_s: float) -> None:
        if not self.analyzer.due(now_s):
            return
        verdicts = self.analyzer.tick(now_s)
        self._standing.apply(verdicts)

    def clusters(self) -> list[dict[str, Any]]:
        """Every cluster that ever existed, with its last membership."""
        return self.analyzer.clusters()
