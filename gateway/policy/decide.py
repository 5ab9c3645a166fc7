"""The policy set: what every request gets, decided without I/O, clock or randomness.

Order of a decision: the account's plan (or the one a rule puts it on); the kill switch; access (the most
specific of the rules that refuse or allow; a tie refuses; nothing matched: answered); the standing's
level, less what the account is exempt from; the upstream; then budgets of the plan, of all requests, of
every rule that matched and, from ``suspect`` on, of the cluster. Caps are the lowest of all that apply, a
mark or a withheld field is enough to be asked for once, delays do not add up: the longest counts.

Decisions are kept in two bounded tables: by what many accounts share, and by account, so that a request
costs two look-ups. A set never changes: a reload makes a new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.policy.conditions import Values
from gateway.policy.language import ROUTE_PATHS
from gateway.policy.notation import best_match, literal_length
from gateway.policy.parts import CustomerPlan, Exemption, Parts, PassThrough, UpstreamSpec, all_budgets
from gateway.policy.rules import Asked, Effect, Rule, best_rule, deciding_rule, facts_model
from gateway.types import (
    NO_STANDING,
    Charge,
    Family,
    Level,
    Plan,
    Price,
    Refusal,
    RefusalKind,
    RequestFacts,
    Subject,
    Unit,
)

if TYPE_CHECKING:
    import cel

    from gateway.types import Budget, Identity, Standing

NOT_ALLOWED: Final = "This request is not allowed for your account. Contact support if you think this is a mistake."
"""One wording for every refusal, so that it tells nobody which rule refused (OARS: refusals leak)."""
_KEPT_GROUPS = 8_192
_KEPT_PLANS = 32_768
"""Room for the accounts of the largest campaign reported (25,000), at about 650 bytes each."""


@dataclass(frozen=True, slots=True)
class _Template:
    """A decision but for the names of the subjects."""

    serial: int
    plan: dict[str, Any]
    budgets: tuple[Budget, ...]
    by_address: bool
    """Whether a budget counts by address; where none does, an account's many addresses share a plan."""


class PolicySet:
    """A policy set that decides; immutable but for its tables of kept decisions."""

    def __init__(self, parts: Parts) -> None:
        self.parts: Final = parts
        self.hash: Final = parts.hash
        self.upstreams: Final = parts.upstreams
        self.analysis: Final = parts.analysis
        self.default_plan: Final = parts.default_plan
        self.budgets: Final = all_budgets(parts)
        self._groups: dict[tuple[Any, ...], tuple[tuple[Rule, ...], tuple[Rule, ...]]] = {}
        self._templates: dict[tuple[Any, ...], _Template] = {}
        self._plans: dict[tuple[Any, ...], Plan] = {}
        self._exempted: dict[tuple[Any, ...], bool] = {}
        self._serial = 0
        self._exempts_from_analysis: Final = any("analysis" in exemption.spared for exemption in parts.exempt)
        self._personal_exemptions: Final = any(exemption.rule.personal for exemption in parts.exempt)

    def decide(self, identity: Identity, facts: RequestFacts, standing: Standing, now_s: float) -> Plan:
        """What ``facts`` gets when ``identity`` asks with ``standing`` at ``now_s`` (an expired one is none)."""
        if standing.expires_at is not None and standing.expires_at <= now_s:
            standing = NO_STANDING
        key = self._key(identity, facts, standing)
        group = self._groups.get(key)
        if group is None:
            group = self._group(key)
        matched, pending = group
        whole_key: tuple[Any, ...] = (key, None, None)
        if pending:
            matched += self._fitting(pending, identity, facts, standing, now_s)
            whole_key = (key, tuple(rule.index for rule in matched), None)
        if self._personal_exemptions and standing.level is not Level.NONE:
            whole_key = (*whole_key[:2], self.spared(self.asked(identity, facts, standing), identity))
        template = self._templates.get(whole_key)
        if template is None:
            asked = self.asked(identity, facts, standing)
            effect = self._standing_effect(standing.level, self.spared(asked, identity))
            fields, budgets = self._combine(asked, matched, effect)
            template = self._keep(whole_key, fields, budgets)
        return self._plan_of(template, identity, facts, standing)

    def passed_through(self, method: str, path: str) -> PassThrough | None:
        r"""The route that passes ``method`` ``path`` unmetered, if one is listed.

        ``path`` as received; one that could be read in two ways (dot segments, also before a ``;`` as Java's servers
        read them, ``//``, ``\\``, ``%``) passes nowhere. While the kill switch stops everything, a route that asks
        for no credential, and so is decided for nobody in particular, passes nothing either.
        """
        names = {segment.partition(";")[0] for segment in path.split("/")}
        if "//" in path or "\\" in path or "%" in path or not names.isdisjoint({".", ".."}):
            return None
        for route in self.parts.pass_through:
            if method in route.methods and _path_fits(route.path, path):
                return route if route.authenticate or "*" not in self.parts.kill else None
        return None

    def decide_pass_through(self, identity: Identity, route: PassThrough, standing: Standing, now_s: float) -> Plan:
        """The plan for an unmetered route: access, standing, and budgets of requests and concurrency."""
        facts = RequestFacts(family=Family.OPENAI, route="pass_through", model="", makes_output=False)
        plan = self.decide(identity, facts, standing, now_s)
        counted = tuple(c for c in plan.charges if c.budget.unit in {Unit.REQUESTS, Unit.CONCURRENCY})
        return Plan(
            plan=plan.plan, rule=plan.rule, refusal=plan.refusal, charges=counted, upstream=route.upstream,
            delay_s=plan.delay_s, policy=plan.policy,
        )  # fmt: skip

    def exempt_from_analysis(self, identity: Identity) -> bool:
        """Whether the analysis must leave this account alone (an exemption from ``analysis``)."""
        if not self._exempts_from_analysis:
            return False
        key = (identity.org, identity.plan, identity.country, identity.verified, identity.declared_use)
        known = None if self._personal_exemptions else self._exempted.get(key)
        if known is None:
            facts = RequestFacts(family=Family.OPENAI, route="", model="")
            known = "analysis" in self.spared(self.asked(identity, facts, NO_STANDING), identity)
            if len(self._exempted) >= _KEPT_GROUPS:
                self._exempted.clear()
            self._exempted[key] = known
        return known

    def addresses_exempt_from_analysis(self, identity: Identity) -> tuple[str, ...]:
        """The address ranges from which the analysis must leave this account's requests alone."""
        asked = self.asked(identity, RequestFacts(family=Family.OPENAI, route="", model=""), NO_STANDING)
        found: dict[str, None] = {}
        for exemption in self.parts.exempt:
            match = exemption.rule.match
            whom = match.account is None or identity.account in match.account
            if "analysis" in exemption.spared and match.address and whom and match.fits_group(asked):
                found |= dict.fromkeys(match.address)
        return tuple(found)

    def price_of(self, model: str) -> Price:
        """The price of the most exactly named model; nothing where none fits."""
        name = model.lower()
        best = max(self.parts.prices, key=lambda pattern: best_match((pattern,), name), default=None)
        return self.parts.prices[best] if best is not None and best_match((best,), name) >= 0 else Price()

    def plan_name(self, identity: Identity) -> str:
        """The customer's plan; the default where it has none or an unknown one."""
        return identity.plan if identity.plan in self.parts.plans else self.default_plan  # type: ignore[return-value]

    @staticmethod
    def _key(identity: Identity, facts: RequestFacts, standing: Standing) -> tuple[Any, ...]:
        return (
            identity.org, identity.plan, identity.country, identity.verified, identity.declared_use,
            facts.route, facts.model, standing.level,
        )  # fmt: skip

    def asked(self, identity: Identity, facts: RequestFacts, standing: Standing) -> Asked:
        """What the shared conditions of rules look at."""
        return Asked(
            identity.org, self.plan_name(identity), (identity.country or "").upper(), identity.verified,
            identity.declared_use, facts.route, facts_model(facts), standing.level.value,
        )  # fmt: skip

    def _group(self, key: tuple[Any, ...]) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
        """Rules that match all requests of ``key``, and those that depend on more; kept."""
        org, plan, country, verified, use, route, model, level = key
        name = plan if plan in self.parts.plans else self.default_plan
        asked = Asked(org, name, (country or "").upper(), verified, use, route, model.lower(), level.value)
        fitting = [rule for rule in self.parts.rules if rule.match.fits_group(asked)]
        group = (
            tuple(rule for rule in fitting if not rule.personal),
            tuple(rule for rule in fitting if rule.personal),
        )
        if len(self._groups) >= _KEPT_GROUPS:
            self._groups.clear()
        self._groups[key] = group
        return group

    def _fitting(
        self, rules: tuple[Rule, ...], identity: Identity, facts: RequestFacts, standing: Standing, now_s: float
    ) -> tuple[Rule, ...]:
        """Those of ``rules`` whose account, address, share and condition hold."""
        context: cel.Context | dict[str, Any] = {}
        if names := {name for rule in rules if rule.condition is not None for name in rule.condition.names}:
            context = Values(identity, facts, standing, self.plan_name(identity), now_s).context(names)
        return tuple(rule for rule in rules if rule.fits_person(identity, context))

    def _keep(self, key: tuple[Any, ...], fields: dict[str, Any], budgets: tuple[Budget, ...]) -> _Template:
        """Keep what was decided for all accounts of ``key``."""
        if len(self._templates) >= _KEPT_GROUPS:
            self._templates.clear()
            self._plans.clear()
        self._serial += 1
        by_address = any(budget.subject is Subject.ADDRESS for budget in budgets)
        template = _Template(self._serial, fields, budgets, by_address)
        self._templates[key] = template
        return template

    def _customer_plan(self, asked: Asked, matched: tuple[Rule, ...]) -> CustomerPlan:
        """The plan that budgets come from: the account's, or that of the most specific rule that names one."""
        moved = best_rule([rule for rule in matched if rule.effect.plan is not None])
        name = asked.plan if moved is None or moved.effect.plan is None else moved.effect.plan
        return self.parts.plans[name]

    def spared(self, asked: Asked, identity: Identity) -> frozenset[str]:
        """What the account is exempt from."""
        fitting = (exemption.spared for exemption in self._exemptions(asked, identity))
        return frozenset().union(*fitting)

    def _exemptions(self, asked: Asked, identity: Identity) -> list[Exemption]:
        return [
            exemption
            for exemption in self.parts.exempt
            if exemption.rule.match.fits_group(asked) and exemption.rule.fits_person(identity, {})
        ]

    def _standing_effect(self, level: Level, spared: frozenset[str]) -> Effect:
        """What the level means for an account that is spared something."""
        whole = self.parts.standings.get(level, Effect())
        if not spared:
            return whole
        caps = "caps" not in spared
        return Effect(
            refuse=None if "refusal" in spared else whole.refuse,
            budgets=() if "budgets" in spared else whole.budgets,
            mark=whole.mark and "marks" not in spared,
            carriers=() if "marks" in spared else whole.carriers,
            holdout=0.0 if "marks" in spared else whole.holdout,
            sample=whole.sample and "samples" not in spared,
            max_output_tokens=whole.max_output_tokens if caps else None,
            max_choices=whole.max_choices if caps else None,
            drop_logprobs=whole.drop_logprobs and caps,
            hide_reasoning=whole.hide_reasoning and caps,
            delay_s=0.0 if "delay" in spared else whole.delay_s,
        )

    def _combine(
        self, asked: Asked, matched: tuple[Rule, ...], standing: Effect
    ) -> tuple[dict[str, Any], tuple[Budget, ...]]:
        """The fields of the request's plan, and its budgets."""
        in_shadow = [rule for rule in matched if rule.shadow]
        matched = tuple(rule for rule in matched if not rule.shadow)
        plan = self._customer_plan(asked, matched)
        effects = [*(rule.effect for rule in matched), standing]
        fields: dict[str, Any] = {
            "plan": plan.name,
            "policy": self.hash,
            "sample": any(effect.sample for effect in effects),
        }
        refusal = self._refusal(asked, plan, matched, standing)
        upstream = None if refusal else self._upstream(asked, matched)
        if upstream is None:
            refusal = refusal or _no_such_model(asked.model)
            return {**fields, "rule": refusal.rule, "refusal": refusal}, ()
        would_refuse = ((rule, self._refusal(asked, plan, (*matched, rule), standing)) for rule in in_shadow)
        noticed = best_rule(matched)
        fields |= {
            "rule": f"standings/{asked.level}" if standing != Effect() else noticed.name if noticed else None,
            "upstream": upstream,
            "price": self.price_of(asked.model),
            "default_output_tokens": self.parts.default_output_tokens,
            "mark": any(effect.mark for effect in effects),
            "carriers": tuple(dict.fromkeys(name for effect in effects for name in effect.carriers)),
            "holdout": max(effect.holdout for effect in effects),
            "max_output_tokens": _lowest([plan.max_output_tokens, *(e.max_output_tokens for e in effects)]),
            "max_choices": _lowest([plan.max_choices, *(e.max_choices for e in effects)]),
            "drop_logprobs": any(effect.drop_logprobs for effect in effects),
            "hide_reasoning": any(effect.hide_reasoning for effect in effects),
            "delay_s": max(effect.delay_s for effect in effects),
            "shadowed": tuple(rule.name for rule, would in would_refuse if would),
        }
        effects += [rule.effect for rule in in_shadow]
        budgets = [*plan.budgets, *self.parts.budgets, *(budget for effect in effects for budget in effect.budgets)]
        return fields, tuple(dict.fromkeys(budgets))

    def _refusal(self, asked: Asked, plan: CustomerPlan, matched: tuple[Rule, ...], standing: Effect) -> Refusal | None:
        """Why the request is not answered, if it is not."""
        if self.parts.kill and ("*" in self.parts.kill or best_match(self.parts.kill, asked.model) >= 0):
            return _forbidden("access/kill", None)
        best = deciding_rule(matched)
        if best is not None and best.effect.refuse is not None:
            return _forbidden(best.name, best.effect.refuse)
        if best is None and plan.models is not None and asked.model and best_match(plan.models, asked.model) < 0:
            return _forbidden(f"plans/{plan.name}/models", None)
        if standing.refuse is not None:
            return _forbidden(f"standings/{asked.level}", standing.refuse)
        return None

    def _upstream(self, asked: Asked, matched: tuple[Rule, ...]) -> str | None:
        """Where the request goes: what a rule says, else the upstream that names model and path best."""
        chosen = best_rule([rule for rule in matched if rule.effect.upstream is not None])
        if chosen is not None:
            return chosen.effect.upstream
        if not self.upstreams or asked.route == "pass_through":
            return "default"
        path = ROUTE_PATHS.get(asked.route, "")
        best: tuple[tuple[int, int], str] | None = None
        for spec in self.upstreams.values():
            fit = _fit(spec, asked.model, path)
            if fit is not None and (best is None or fit > best[0]):
                best = (fit, spec.name)
        return None if best is None else best[1]

    def _plan_of(self, template: _Template, identity: Identity, facts: RequestFacts, standing: Standing) -> Plan:
        """The template with the subjects' names put in; kept by account."""
        address = identity.address if template.by_address else None
        key = (template.serial, identity.account, identity.org, address, standing.cluster)
        plan = self._plans.get(key)
        if plan is None:
            names = {
                Subject.ACCOUNT: identity.account,
                Subject.ORGANISATION: identity.org,
                Subject.CLUSTER: standing.cluster,
                Subject.MODEL: facts_model(facts),
                Subject.ADDRESS: identity.address,
                Subject.GLOBAL: "all",
            }
            charges = tuple(
                Charge(budget=budget, value=value)
                for budget in template.budgets
                if (value := names[budget.subject]) is not None
            )
            plan = Plan(charges=charges, **template.plan)
            if len(self._plans) >= _KEPT_PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return plan


def _forbidden(rule: str, message: str | None) -> Refusal:
    return Refusal(kind=RefusalKind.FORBIDDEN, message=message or NOT_ALLOWED, rule=rule)


def _no_such_model(model: str) -> Refusal:
    message = f"The model {model[:100]!r} does not exist or you do not have access to it."
    return Refusal(kind=RefusalKind.NOT_FOUND, message=message, rule="upstreams", param="model")


def _fit(spec: UpstreamSpec, model: str, path: str) -> tuple[int, int] | None:
    """How exactly an upstream names a request; ``None``: it does not take it."""
    if spec.path_prefix is not None and not path.startswith(spec.path_prefix):
        return None
    prefix = len(spec.path_prefix or "")
    if spec.models is None:
        return 0, prefix
    if not model:  # a request for no model in particular, such as the list of models
        return max(literal_length(pattern) for pattern in spec.models), prefix
    letters = best_match(spec.models, model)
    return None if letters < 0 else (letters + 1, prefix)


def _path_fits(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


def _lowest(caps: list[int | None]) -> int | None:
    return min((cap for cap in caps if cap is not None), default=None)
