"""Drives the request path and the analysis over a log, one request after the other, on the log's clock.

The pipeline, the policies, the budgets (in memory) and the analysis are those of ``serve``. What differs:
accounts are known by their id instead of a credential; a request that is answered is settled at once with
the usage that the log tells (so budgets of concurrency never refuse; ``tally`` models what was open together);
analysis passes run between two requests instead of beside them.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from gateway.analysis.analyzer import Analyzer
from gateway.analysis.config import AnalysisConfig
from gateway.budgets import Budgets, Estimator, MemoryStore
from gateway.clock import ManualClock
from gateway.dialects import family_of
from gateway.errors import RequestRefused
from gateway.observer import RequestObserver
from gateway.pipeline import Decider, Exchange
from gateway.replay.prepare import facts_from
from gateway.standing import StandingTable
from gateway.types import Family, Identity, Level, Outcome, RefusalKind, RequestFacts, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.policy import PolicySet
    from gateway.replay.log import Accounts
    from gateway.replay.prepare import Prepared
    from gateway.types import JSON, Headers, Verdict

Action = Literal["allow", "mark", "throttle", "refuse"]

KEY = hashlib.blake2b(b"distillguard replay", digest_size=32).digest()
"""Traits of a replay stay on its machine; a fixed key makes two replays of one log equal."""

_THROTTLED = frozenset({RefusalKind.RATE_LIMITED, RefusalKind.BUDGET_EXHAUSTED})
_IDENTITIES = 65_536
_FAMILIES = {family.value: family for family in Family}


class Decision(NamedTuple):
    """What became of one request; from ``plan`` on for summaries, not in ``decisions``."""

    id: str
    action: Action
    rule: str | None
    cluster: str | None
    plan: str
    level: str
    model: str
    org: str | None
    shadowed: tuple[str, ...]


class _Policies:
    """The policy set under test; it does not change."""

    def __init__(self, current: PolicySet) -> None:
        self.current = current


class _Observer(RequestObserver):
    """Traits were taken when the log was read; signatures are looked for as ever."""

    prepared: Mapping[str, JSON] | None = None

    def traits(self, facts: RequestFacts, identity: Identity, headers: Headers) -> Mapping[str, JSON]:
        """What was taken of the request at hand."""
        return self.prepared or {}


class Replay:
    """One replay. Feed it with ``step``; ask ``clusters`` at the end. ``analyse`` False: standings stay none."""

    def __init__(self, policies: PolicySet, accounts: Accounts, *, analyse: bool = True) -> None:
        self.clock = ManualClock()
        self.policies = policies
        self._accounts = accounts
        self._standing = StandingTable(clock=self.clock)
        self._observer = _Observer(KEY, self._standing)
        self._analyser = Analyser(policies, accounts, self._observer, self._standing) if analyse else None
        self._identities: dict[tuple[str | None, ...], Identity] = {}
        self._decider = Decider(
            policies=_Policies(policies),
            standing=self._standing,
            budgets=Budgets(MemoryStore(self.clock), self.clock),
            estimator=Estimator(),
            observer=self._observer,
            clock=self.clock,
        )

    async def step(self, request: Prepared) -> Decision:
        """Decide on one request, settle it, let the analysis see it."""
        self.clock.move_to(request.ts)
        if self._analyser is not None:
            self._analyser.pass_if_due(request.ts)
        exchange = self._open(request)
        self._observer.prepared = request.traits
        try:
            action, rule = await self._decide(exchange, request)
        except RequestRefused as refused:
            exchange.outcome = Outcome.REFUSED
            action = "throttle" if refused.refusal.kind in _THROTTLED else "refuse"
            rule = refused.refusal.rule
        await self._decider.settle(exchange)
        if exchange.facts is not None and self._analyser is not None and request.traits is not None:
            self._analyser.observe(request, exchange.identity)
        return self._told(exchange, request, action, rule)

    async def _decide(self, exchange: Exchange, request: Prepared) -> tuple[Action, str | None]:
        """The action and the rule behind it. Raises RequestRefused."""
        if request.facts is not None:
            await self._decider.decide(exchange, facts_from(request))
        elif request.route is not None:
            return "refuse", "invalid_request"
        else:
            exchange.pass_through = self.policies.passed_through(request.method, request.path)
            if exchange.pass_through is None:
                return "refuse", "unknown_route"
            await self._decider.admit_passed_through(exchange)
        exchange.sent_upstream = True
        exchange.status = request.status or 200
        exchange.outcome = Outcome.ANSWERED
        if request.has_usage:
            exchange.usage = Usage(
                input_tokens=request.input_tokens, output_tokens=request.output_tokens, reported=True
            )
        plan = exchange.plan
        assert plan is not None
        return ("mark" if plan.mark else "allow"), plan.rule

    def _open(self, request: Prepared) -> Exchange:
        exchange = Exchange(
            id=request.id,
            family=_FAMILIES[request.family] if request.family else family_of(request.path, []),
            method=request.method,
            path=request.path,
            started_at=request.ts,
            started_s=request.ts,
        )
        exchange.identity = self._identity(request)
        return exchange

    def _identity(self, request: Prepared) -> Identity:
        """The account as ``serve`` would know it behind a trusted proxy that tells the fingerprint."""
        key = (request.account, request.ip, request.ja4, request.country)
        found = self._identities.get(key)
        if found is None:
            if len(self._identities) >= _IDENTITIES:
                self._identities.clear()
            found = self._identities[key] = identity_of(self._accounts, request)
        return found

    def _told(self, exchange: Exchange, request: Prepared, action: Action, rule: str | None) -> Decision:
        identity, plan = exchange.identity, exchange.plan
        assert identity is not None
        return Decision(
            request.id,
            action,
            rule,
            exchange.standing.cluster or exchange.signature,
            plan.plan if plan is not None else self.policies.plan_name(identity),
            exchange.standing.level.value,
            exchange.facts.model if exchange.facts is not None else "",
            identity.org,
            _shadowed(exchange),
        )

    def clusters(self) -> list[dict[str, Any]]:
        """Every cluster that ever existed, with its last membership."""
        return [] if self._analyser is None else self._analyser.clusters()


class Analyser:
    """The analysis beside a replay: sees what was answered, gives verdicts to the table of standings."""

    def __init__(
        self, policies: PolicySet, accounts: Accounts, observer: RequestObserver, standing: StandingTable
    ) -> None:
        wanted = policies.analysis
        self._analyzer = Analyzer(
            AnalysisConfig(alpha=wanted.alpha, families=wanted.families, horizon_s=wanted.horizon_s)
        )
        self._policies = policies
        self._accounts = accounts
        self._observer = observer
        self._standing = standing
        self._observed: dict[str, bool] = {}
        self._seen: dict[str, dict[str, Any]] = {}

    def observe(self, request: Prepared, identity: Identity | None) -> None:
        """Enter one request, unless its account is exempt from the analysis."""
        account = request.account
        observed = self._observed.get(account)
        if observed is None:
            observed = identity is not None and not self._policies.exempt_from_analysis(identity)
            self._observed[account] = observed
            if observed:
                self._analyzer.know(account, self._observer.account(self._accounts.rows.get(account, {})))
        if observed and request.traits is not None:
            self._analyzer.observe(request.ts, account, request.traits)

    def pass_if_due(self, now_s: float) -> None:
        """A pass of the analysis where one is due."""
        if self._analyzer.due(now_s):
            verdicts = self._analyzer.tick(now_s)
            self._standing.apply(verdicts)
            self._note(verdicts, now_s)

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
        """Those that the analysis has, then those that it no longer has."""
        current = self._analyzer.clusters()
        names = {cluster["cluster"] for cluster in current}
        return [*current, *(told for name, told in self._seen.items() if name not in names)]


def _shadowed(exchange: Exchange) -> tuple[str, ...]:
    """Rules and budgets in shadow that would have refused."""
    rules = exchange.plan.shadowed if exchange.plan is not None else ()
    budgets = exchange.grant.shadowed if exchange.grant is not None else ()
    return (*rules, *budgets)


def identity_of(accounts: Accounts, request: Prepared) -> Identity:
    """Who calls, from the account directory of the log; an account that is not in it has no plan."""
    account = accounts.known.get(request.account)
    if account is None:
        return Identity(account=request.account, address=request.ip, ja4=request.ja4, country=request.country)
    return Identity(
        account=request.account,
        plan=account.plan,
        org=account.org,
        country=request.country or account.country,
        home_country=account.country,
        verified=account.verified,
        declared_use=account.declared_use,
        created_at=account.created_at,
        address=request.ip,
        ja4=request.ja4,
    )
