"""The path of a request, from top to bottom. Read this file first.

    open    route and identity, from the head alone          404 405 401 400
    admit   facts -> standing -> plan -> reserve             400 403 429 503
            ... the model server answers; a ReplyReader meters what flows ...
    settle  the reservation becomes what was really used
    close   one event is written down

Every step either goes on or raises RequestRefused. The pipeline knows neither sockets nor ASGI
(``guard.py`` and ``call.py`` are the skin) and awaits only the store of budgets, so ``replay`` drives the same code with
a clock of its own.

Invariants: a reservation is settled or refunded exactly once, whatever happens in between; an exchange
ends in exactly one event; nothing is forwarded that was not admitted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from gateway.dialects import (
    BodyEdit,
    edit_body,
    family_of,
    find_route,
    may_instruct,
    path_known,
    read_reply,
    read_request,
)
from gateway.errors import RequestRefused
from gateway.exchange import Exchange, new_id
from gateway.types import (
    Event,
    Family,
    Level,
    Outcome,
    Refusal,
    RefusalKind,
    RequestFacts,
    Standing,
    Usage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.budgets import Budgets, Estimator
    from gateway.canary import Marker, ReplyMarks
    from gateway.clock import Clock
    from gateway.dialects import ReplyReader
    from gateway.events import EventSink
    from gateway.identity import Identities
    from gateway.policy import PolicySet
    from gateway.standing import StandingTable
    from gateway.telemetry import Metrics
    from gateway.types import JSON, Headers, Identity, Plan

__all__ = ["Decider", "Exchange", "Observer", "Pipeline", "Policies"]


class Policies(Protocol):
    """Where the policy set in force is found; it may change between two requests, never within one."""

    @property
    def current(self) -> PolicySet:
        """The last good set."""
        ...


class Observer(Protocol):
    """What the request path knows of the analysis: how to look at a request, and whom to recognise."""

    def traits(self, facts: RequestFacts, identity: Identity, headers: Headers) -> Mapping[str, JSON]:
        """Keyed hashes, sketches and numbers; no text."""
        ...

    def match(self, traits: Mapping[str, JSON], now_s: float) -> str | None:
        """The enforced cluster whose signature these traits show."""
        ...

    def armed(self, now_s: float) -> bool:
        """Whether there is any signature to look for."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Decider:
    """The part of the path between a request's facts and its end; ``replay`` has this and no more."""

    policies: Policies
    standing: StandingTable
    budgets: Budgets
    estimator: Estimator
    observer: Observer
    clock: Clock

    def open(self, method: str, path: str, headers: Headers) -> Exchange:
        """Begin: an id, and the shape in which even the first refusal is written. Never raises."""
        return Exchange(
            id=new_id(),
            family=family_of(path, headers),
            method=method,
            path=path,
            headers=headers,
            started_at=self.clock.now(),
            started_s=self.clock.monotonic(),
        )

    async def decide(self, exchange: Exchange, facts: RequestFacts) -> Plan:
        """Standing, plan and reservation for a request whose facts are known.

        Raises RequestRefused where the policy or a budget says no; then nothing is reserved.
        """
        identity = exchange.identity
        assert identity is not None
        exchange.facts = facts
        exchange.standing = self._standing(exchange, identity, facts)
        plan = self.policies.current.decide(identity, facts, exchange.standing, exchange.started_at)
        await self._reserve(exchange, plan, facts)
        return plan

    async def admit_passed_through(self, exchange: Exchange) -> None:
        """Decide on a request that the policy passes through unread; its budgets count all the same."""
        if exchange.identity is None or exchange.pass_through is None:
            return
        now_s = exchange.started_at
        exchange.standing = self.standing.of(exchange.identity.account, now_s)
        plan = self.policies.current.decide_pass_through(
            exchange.identity, exchange.pass_through, exchange.standing, now_s
        )
        await self._reserve(exchange, plan, RequestFacts(family=exchange.family, route="pass_through", model=""))

    def _standing(self, exchange: Exchange, identity: Identity, facts: RequestFacts) -> Standing:
        """The account's own standing, or what the signature of an enforced cluster gives it.

        A signature marks and never refuses: its standing names no cluster, so no cluster's budget counts.
        """
        now_s = exchange.started_at
        standing = self.standing.of(identity.account, now_s)
        if standing.level is not Level.NONE or not self.observer.armed(now_s):
            return standing
        exchange.traits = self.observer.traits(facts, identity, exchange.headers)
        exchange.signature = self.observer.match(exchange.traits, now_s)
        return standing if exchange.signature is None else _SHOWS_SIGNATURE

    async def _reserve(self, exchange: Exchange, plan: Plan, facts: RequestFacts) -> None:
        exchange.plan = plan
        if plan.refusal is not None:
            raise RequestRefused(plan.refusal)
        answer = await self.budgets.reserve(exchange.id, plan.charges, self.estimator.estimate(facts, plan))
        if isinstance(answer, Refusal):
            raise RequestRefused(answer)
        exchange.grant = answer

    def tell_flow(self, exchange: Exchange) -> None:
        """Tell the budgets what a reply has spent so far, without waiting for anything."""
        if exchange.settled or exchange.grant is None or exchange.reader is None:
            return
        if exchange.facts is not None and exchange.plan is not None:
            seen = self.estimator.amounts(exchange.facts, exchange.reader.usage(), exchange.plan)
            self.budgets.heartbeat(exchange.grant, seen)

    async def settle(self, exchange: Exchange) -> None:
        """Charge what was really used; once, however often it is called.

        A request that never reached the model server, or that it answered with an error and no usage,
        is refunded. A reply that was cut is charged at what was seen to flow.
        """
        if exchange.settled:
            return
        exchange.settled = True
        facts, plan, reader = exchange.facts, exchange.plan, exchange.reader
        if reader is not None:
            exchange.usage = _within_cap(reader.usage(), exchange)
        if exchange.grant is None or plan is None:
            return
        usage = exchange.usage
        if facts is None or not exchange.sent_upstream or _failed_free(exchange, usage):
            if facts is None and exchange.sent_upstream:  # passed through: the request itself is spent
                await self.budgets.settle(exchange.grant, exchange.grant.reserved)
                return
            await self.budgets.refund(exchange.grant)
            return
        if usage is None:
            usage = Usage()
        if usage.reported:
            self.estimator.learn(facts, usage)
        actual = self.estimator.amounts(facts, usage, plan)
        exchange.cost_microusd = actual.cost_microusd
        await self.budgets.settle(exchange.grant, actual)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline(Decider):
    """The whole path of a live request."""

    identities: Identities
    events: EventSink
    metrics: Metrics
    hash_address: Callable[[str], str]
    marker: Marker | None = None
    """Without one, nothing is marked, whatever the policies say."""

    def recognise(self, exchange: Exchange, headers: Headers, client: tuple[str, int] | None) -> None:
        """Find the route and the caller, before a byte of the body is read.

        Raises RequestRefused: 404 for a path that is neither ours nor passed through, 405 for a method
        that the path does not have, and what ``Identities.identify`` refuses.
        """
        exchange.route = find_route(exchange.method, exchange.path, headers)
        if exchange.route is None:
            exchange.pass_through = self.policies.current.passed_through(exchange.method, exchange.path)
            if exchange.pass_through is None:
                raise RequestRefused(_no_such_route(exchange))
            if not exchange.pass_through.authenticate:
                return
        exchange.identity = self.identities.identify(headers, client)

    async def admit(self, exchange: Exchange, body: bytes) -> bytes:
        """Decide on a request whose body is whole, reserve what it may spend, return the body to forward.

        The body is the same object unless usage has to be asked for or the plan changes it. Raises
        RequestRefused where the body, the policy or a budget says no; then nothing is reserved.
        """
        assert exchange.route is not None
        facts = read_request(exchange.route, body)
        plan = await self.decide(exchange, facts)
        exchange.marks = marks = self._marks(exchange, plan, facts)
        edit = BodyEdit(
            ask_usage=facts.stream and not facts.usage_asked and exchange.route.asks_usage,
            max_output_tokens=plan.max_output_tokens,
            max_choices=plan.max_choices,
            drop_logprobs=plan.drop_logprobs,
            hide_reasoning=plan.hide_reasoning,
            instruction=marks.ask(free=may_instruct(exchange.route, facts)) if marks is not None else None,
        )
        exchange.usage_added = edit.ask_usage
        return edit_body(exchange.route, facts, body, edit)

    def _marks(self, exchange: Exchange, plan: Plan, facts: RequestFacts) -> ReplyMarks | None:
        """Writers for the reply, where the plan marks it and the cluster is known."""
        cluster = exchange.standing.cluster or exchange.signature
        if not plan.mark or self.marker is None or cluster is None:
            return None
        prompt = next((part.text for part in reversed(facts.texts) if part.role in _ASKS), None)
        exchange.held_out = self.marker.holds_out(cluster, prompt, plan.holdout)
        return None if exchange.held_out else self.marker.for_reply(cluster, prompt, plan.carriers)

    def _told_marks(self, exchange: Exchange) -> Mapping[str, JSON] | None:
        """What the event says of the reply's marks, or of its being held out."""
        if exchange.held_out and self.marker is not None:
            return {"version": self.marker.version, "holdout": True}
        if exchange.marks is None or self.marker is None:
            return None
        account = exchange.identity.account if exchange.identity else None
        self.marker.keep(exchange.marks, exchange.id, account=account, at_s=exchange.started_at)
        marks = exchange.marks.record()
        return {"version": marks.version, **marks.marks} if marks else None

    def read_reply(self, exchange: Exchange, status: int, headers: Headers) -> ReplyReader | None:
        """The meter of a reply whose head has come; ``None`` for what is passed through unread."""
        exchange.status = status
        if exchange.route is not None and exchange.facts is not None:
            exchange.reader = read_reply(
                exchange.route,
                exchange.facts,
                status=status,
                headers=headers,
                strip_usage=exchange.usage_added,
                writers=exchange.marks,
                hide_reasoning=exchange.plan is not None and exchange.plan.hide_reasoning,
            )
        return exchange.reader

    def note_first_byte(self, exchange: Exchange) -> None:
        """The reply's first byte went to the caller."""
        if exchange.first_byte_s is None:
            exchange.first_byte_s = self.clock.monotonic() - exchange.started_s

    def look(self, exchange: Exchange) -> None:
        """What the analysis sees of a request that is over; nothing of an account that the policy exempts from it."""
        if exchange.facts is None or exchange.identity is None:
            return
        if self.policies.current.exempt_from_analysis(exchange.identity):
            exchange.traits = None
        elif exchange.traits is None:
            exchange.traits = self.observer.traits(exchange.facts, exchange.identity, exchange.headers)

    def write_down(self, exchange: Exchange) -> None:
        """Say what happened, of a request that was looked at."""
        event = self.event(exchange)
        self.events.append(event)
        self.metrics.observe(event)

    def event(self, exchange: Exchange) -> Event:
        """What is written down of an exchange: no credential, no text, the address as a keyed hash."""
        identity, facts, plan = exchange.identity, exchange.facts, exchange.plan
        refusal, grant = exchange.refusal, exchange.grant
        marks = self._told_marks(exchange) if exchange.marks or exchange.held_out else None
        return Event(
            id=exchange.id,
            ts=exchange.started_at,
            outcome=exchange.outcome,
            family=_NAME[exchange.family],
            route=exchange.route_name,
            status=exchange.status,
            account=identity.account if identity else None,
            org=identity.org if identity else None,
            plan=plan.plan if plan else (identity.plan if identity else None),
            credential=identity.credential if identity else None,
            address=self.hash_address(identity.address) if identity and identity.address else None,
            country=identity.country if identity else None,
            model=facts.model if facts else None,
            upstream=plan.upstream if plan else None,
            stream=facts.stream if facts else False,
            level=_NAME[exchange.standing.level],
            cluster=exchange.standing.cluster or exchange.signature,
            rule=refusal.rule if refusal else (plan.rule if plan else None),
            refusal=refusal.kind.value if refusal else None,
            shadowed=(*(plan.shadowed if plan else ()), *(grant.shadowed if grant else ())),
            marked=marks is not None and not exchange.held_out,
            marks=marks,
            usage=exchange.usage,
            cost_microusd=exchange.cost_microusd,
            first_byte_s=exchange.first_byte_s,
            duration_s=exchange.ended_s - exchange.started_s,
            degraded=grant.degraded if grant else False,
            policy=plan.policy if plan else "",
            traits=exchange.traits,
        )


_NAME: dict[Family | Level, str] = {member: member.value for member in (*Family, *Level)}
"""``value`` of a member, which is a function of Python, and each request asks for two."""

_ASKS = frozenset({"user", "input"})
"""Roles of the texts that a reply answers."""

_SHOWS_SIGNATURE = Standing(level=Level.SUSPECT, reasons=("shows the signature of an enforced cluster",))


def _within_cap(usage: Usage, exchange: Exchange) -> Usage:
    """What was counted on the wire, but no more than the request allowed: the model server holds to the cap."""
    facts, grant = exchange.facts, exchange.grant
    if usage.reported or grant is None or facts is None or facts.max_output_tokens is None:
        return usage
    return replace(usage, output_tokens=min(usage.output_tokens, grant.reserved.output_tokens))


def _failed_free(exchange: Exchange, usage: Usage | None) -> bool:
    """Whether the model server itself refused or failed before anything was made.

    A caller's disconnect is not that: the server may have worked on it, so the input counts.
    """
    if exchange.outcome is Outcome.DISCONNECTED:
        return False
    unanswered = exchange.status == 0 or exchange.status >= 400  # noqa: PLR2004 - HTTP errors begin there
    return unanswered and (usage is None or not usage.reported)


def _no_such_route(exchange: Exchange) -> Refusal:
    if path_known(exchange.path):
        return Refusal(
            kind=RefusalKind.METHOD_NOT_ALLOWED,
            message=f"Method {exchange.method} is not allowed for {exchange.path}.",
        )
    return Refusal(kind=RefusalKind.NOT_FOUND, message=f"Unknown request URL: {exchange.method} {exchange.path}.")
