"""Drives the request path and the analysis over a log, one request after the other, on the log's clock.

The pipeline, the policies, the budgets (in memory) and the analysis are those of ``serve``. What differs:
accounts are known by their id instead of a credential; a request that is answered is settled at once with
the usage that the log tells (so budgets of concurrency never refuse; ``tally`` models what was open together);
verdicts come between two requests (``analyse`` makes them; it sees every request that has facts, whatever is
decided on it, so it needs nothing of what happens here).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from gateway.budgets import Estimator
from gateway.clock import ManualClock
from gateway.dialects import family_of
from gateway.errors import RequestRefused
from gateway.observer import RequestObserver
from gateway.pipeline import Decider, Exchange
from gateway.replay.budgets import ReplayBudgets
from gateway.replay.prepare import facts_from, unpack
from gateway.replay.source import KEY
from gateway.standing import StandingTable
from gateway.types import Family, Identity, Outcome, RefusalKind, RequestFacts, Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.identity import Account
    from gateway.policy import PolicySet
    from gateway.replay.prepare import Prepared
    from gateway.types import JSON, Headers, Verdict

Action = Literal["allow", "mark", "throttle", "refuse"]

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

    prepared: bytes | None = None

    def traits(self, facts: RequestFacts, identity: Identity, headers: Headers) -> Mapping[str, JSON]:
        """What was taken of the request at hand."""
        return {} if self.prepared is None else unpack(self.prepared)

    def dump(self) -> tuple[Any, ...]:
        """What it looks for until it looks again."""
        return self._told, self._signatures, self._look_at_s

    def load(self, state: tuple[Any, ...]) -> None:
        """Go on from ``dump``, with the table as it was then."""
        self._told, self._signatures, self._look_at_s = state
        self._version = self._standing.version


class Replay:
    """One replay: fed with verdicts (``apply``) and requests (``step``), in the order of the log."""

    def __init__(self, policies: PolicySet, accounts: Mapping[str, Account]) -> None:
        self.clock = ManualClock()
        self.policies = policies
        self._accounts = accounts
        self._standing = StandingTable(clock=self.clock)
        self._observer = _Observer(KEY, self._standing)
        self._verdicts: dict[str, Verdict] = {}
        self._budgets = ReplayBudgets(self.clock)
        self._estimator = Estimator()
        self._steps = 0
        self._identities: dict[tuple[str | None, ...], Identity] = {}
        self._decider = Decider(
            policies=_Policies(policies),
            standing=self._standing,
            budgets=self._budgets,
            estimator=self._estimator,
            observer=self._observer,
            clock=self.clock,
        )

    async def step(self, request: Prepared) -> Decision:
        """Decide on one request and settle it."""
        self.clock.move_to(request.ts)
        exchange = self._open(request)
        self._observer.prepared = request.traits
        try:
            action, rule = await self._decide(exchange, request)
        except RequestRefused as refused:
            exchange.outcome = Outcome.REFUSED
            action = "throttle" if refused.refusal.kind in _THROTTLED else "refuse"
            rule = refused.refusal.rule
        await self._decider.settle(exchange)
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
        self._steps += 1
        exchange = Exchange(
            id=str(self._steps),  # not the log's: an id that stands twice there would be charged once
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

    def apply(self, verdicts: Iterable[Verdict]) -> None:
        """Take over what the analysis found, from the next request on."""
        news = {verdict.cluster: verdict for verdict in verdicts}
        self._verdicts |= news
        self._standing.apply(news.values())

    def dump(self) -> dict[str, Any]:
        """All that later decisions depend on, for ``pickle``."""
        return {
            "now_s": self.clock.now(),
            "steps": self._steps,
            "verdicts": list(self._verdicts.values()),
            "observer": self._observer.dump(),
            "estimator": vars(self._estimator),
            "budgets": self._budgets.dump(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from ``dump``, in a replay that has done nothing yet."""
        self.clock.move_to(state["now_s"])
        self._steps = state["steps"]
        self.apply(state["verdicts"])
        self._observer.load(state["observer"])
        vars(self._estimator).update(state["estimator"])
        self._budgets.load(state["budgets"])


def _shadowed(exchange: Exchange) -> tuple[str, ...]:
    """Rules and budgets in shadow that would have refused."""
    rules = exchange.plan.shadowed if exchange.plan is not None else ()
    budgets = exchange.grant.shadowed if exchange.grant is not None else ()
    return (*rules, *budgets)


def identity_of(accounts: Mapping[str, Account], request: Prepared) -> Identity:
    """Who calls, from the account directory of the log; an account that is not in it has no plan."""
    account = accounts.get(request.account)
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
