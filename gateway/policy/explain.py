"""Why a request is decided as it is: everything that was considered, what decided, what is charged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.policy.conditions import Values
from gateway.policy.explanation import Charged, Check, Considered, Explanation, limit_text
from gateway.policy.notation import best_match
from gateway.policy.rules import Rule, deciding_rule
from gateway.types import NO_STANDING, Level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.policy.decide import PolicySet
    from gateway.policy.parts import Exemption
    from gateway.policy.rules import Asked
    from gateway.types import Charge, Identity, Plan, RequestFacts, Standing


def explain(
    policies: PolicySet, identity: Identity, facts: RequestFacts, standing: Standing, now_s: float
) -> Explanation:
    """Decide as ``PolicySet.decide`` does and tell how; the decision is that function's own."""
    if standing.expires_at is not None and standing.expires_at <= now_s:
        standing = NO_STANDING
    plan = policies.decide(identity, facts, standing, now_s)
    asked = policies.asked(identity, facts, standing)
    values = Values(identity, facts, standing, asked.plan, now_s)

    def checked(rule: Rule) -> tuple[Check, ...]:
        found = (*rule.match.checks(asked), *rule.personal_checks(identity, values))
        return tuple(Check(key=key, wanted=wanted, got=got, holds=holds) for key, wanted, got, holds in found)

    rules = [(rule, checked(rule)) for rule in policies.parts.rules]
    matched = tuple(rule for rule, checks in rules if all(check.holds for check in checks))
    best = deciding_rule(tuple(rule for rule in matched if not rule.shadow))
    allowed = best.name if best is not None else None
    decider = plan.refusal.rule if plan.refusal is not None else allowed
    considered = (
        *_kill_switch(policies, asked, plan),
        *(_considered(rule, checks, decider) for rule, checks in rules),
        *_of_plan(policies, asked, plan, allowed or decider),
        *_of_standing(policies, asked, plan),
        *(_exemption(exemption, checked(exemption.rule)) for exemption in policies.parts.exempt),
    )
    refusing = (entry for entry in considered if entry.matched and "refuses" in entry.says and not entry.decided)
    return Explanation(
        decision=decision_of(plan),
        rule=plan.rule,
        plan=plan.plan,
        policy=plan.policy,
        level=standing.level.value,
        exempt_from=tuple(sorted(policies.spared(asked, identity))) if standing.level.rank else (),
        considered=considered,
        charges=tuple(_charged(charge) for charge in plan.charges),
        would_refuse=tuple(entry.rule for entry in refusing),
        effects=_effects(plan),
        message=plan.refusal.message if plan.refusal is not None else None,
    )


def _considered(rule: Rule, checks: tuple[Check, ...], decider: str | None) -> Considered:
    matched = all(check.holds for check in checks)
    decides = (rule.effect.refuse is not None or rule.effect.allow) and not rule.shadow
    return Considered(
        rule=rule.name, place=str(rule.place), matched=matched, decided=matched and decides and rule.name == decider,
        says=_says(rule), beaten_by=decider if matched and decides and rule.name != decider else None,
        specificity=rule.specificity, checks=checks, description=rule.description,
    )  # fmt: skip


def _says(rule: Rule) -> tuple[str, ...]:
    """What follows where the rule applies."""
    effect = rule.effect
    words = [
        (effect.refuse is not None, "refuses"),
        (effect.allow, "allows"),
        (effect.plan, f"plan {effect.plan}"),
        (effect.upstream, f"upstream {effect.upstream}"),
        (effect.mark, "marks"),
        (effect.sample, "samples"),
        (effect.holdout, f"holds out {effect.holdout:.3g}"),
        (effect.max_output_tokens, f"max_output_tokens {effect.max_output_tokens}"),
        (effect.max_choices, f"max_choices {effect.max_choices}"),
        (effect.drop_logprobs, "drops logprobs"),
        (effect.hide_reasoning, "hides reasoning"),
        (effect.delay_s, f"delays {effect.delay_s:g} s"),
    ]
    said = [text for holds, text in words if holds] + [f"budget {budget.name}" for budget in effect.budgets]
    return tuple([*said, "in shadow"] if rule.shadow else said)


def _model_check(wanted: tuple[str, ...], model: str) -> tuple[Check, ...]:
    fits = "*" in wanted or best_match(wanted, model) >= 0
    return (Check(key="model", wanted=list(wanted), got=model, holds=fits),)


def _kill_switch(policies: PolicySet, asked: Asked, plan: Plan) -> Iterator[Considered]:
    kill = policies.parts.kill
    if kill:
        checks = _model_check(kill, asked.model)
        decided = plan.refusal is not None and plan.refusal.rule == "access/kill"
        place = policies.parts.places.get("access kill", "")
        yield Considered(
            rule="access/kill", place=str(place), matched=decided, decided=decided, says=("refuses",), checks=checks
        )


def _of_plan(policies: PolicySet, asked: Asked, plan: Plan, decider: str | None) -> Iterator[Considered]:
    """The models of the plan that counts, where it lists some."""
    models = policies.parts.plans[plan.plan].models
    if models is not None and asked.model:
        (check,) = _model_check(models, asked.model)
        name = f"plans/{plan.plan}/models"
        yield Considered(
            rule=name, place=str(policies.parts.places.get(f"plan {plan.plan}", "")), matched=not check.holds,
            decided=name == decider, says=("refuses",) if not check.holds else (), checks=(check,),
            beaten_by=decider if not check.holds and name != decider else None,
        )  # fmt: skip


def _of_standing(policies: PolicySet, asked: Asked, plan: Plan) -> Iterator[Considered]:
    """The level of standing, where the policies say what it means."""
    level = Level(asked.level)
    if level in policies.parts.standings:
        name, effect = f"standings/{asked.level}", policies.parts.standings[level]
        rule = Rule(name=name, index=0, effect=effect)
        check = Check(key="level", wanted=asked.level, got=asked.level, holds=True)
        decided = plan.refusal is not None and plan.refusal.rule == name
        yield Considered(
            rule=name, place=str(policies.parts.places.get(f"standing {asked.level}", "")), matched=True,
            decided=decided, says=_says(rule), checks=(check,),
            beaten_by=plan.refusal.rule if effect.refuse is not None and plan.refusal and not decided else None,
        )  # fmt: skip


def _exemption(exemption: Exemption, checks: tuple[Check, ...]) -> Considered:
    rule = exemption.rule
    return Considered(
        rule=rule.name, place=str(rule.place), matched=all(check.holds for check in checks),
        says=tuple(f"spares {name}" for name in sorted(exemption.spared)), checks=checks, description=rule.description,
    )  # fmt: skip


def decision_of(plan: Plan) -> str:
    """``refuse``, ``mark`` or ``allow``: what the policy says before budgets are asked."""
    if plan.refusal is not None:
        return "refuse"
    return "mark" if plan.mark else "allow"


def _charged(charge: Charge) -> Charged:
    budget = charge.budget
    return Charged(
        key=charge.key, budget=budget.name, limit=limit_text(budget), unit=budget.unit.value, shadow=budget.shadow
    )


def _effects(plan: Plan) -> dict[str, Any]:
    """What a plan asks for beyond its charges; only what differs from nothing."""
    names = (
        "shadowed",
        "upstream",
        "mark",
        "carriers",
        "holdout",
        "sample",
        "max_output_tokens",
        "max_choices",
        "drop_logprobs",
        "hide_reasoning",
    )
    found = {name: getattr(plan, name) for name in (*names, "delay_s")}
    if plan.refusal is not None:
        return {}
    return {name: value for name, value in found.items() if value not in (None, False, (), 0.0)}
