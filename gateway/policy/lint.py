"""What a policy set probably does not mean, although it can be used: warnings, each with a place.

A warning is only given where it can be shown: a limit that another limit always reaches first, a budget
that a single request cannot fit, a rule that another one always beats, a pattern that fits no model that
the set knows.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from gateway.policy.lint_budgets import below_reserve, toothless
from gateway.policy.notation import best_match, globs_overlap
from gateway.policy.rules import Effect, Match, Place
from gateway.policy.warn import Warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.policy.decide import PolicySet
    from gateway.policy.parts import Parts
    from gateway.policy.rules import Rule


def warnings_of(policies: PolicySet) -> list[Warn]:
    """Every warning of a set, once, in the order of files and lines."""
    parts = policies.parts
    found = [*_plans(parts), *toothless(parts), *below_reserve(parts), *_unreachable(parts), *_unknown_models(parts)]
    once = {str(warn): warn for warn in reversed(found)}
    return sorted(once.values(), key=lambda warn: (warn.place.file, warn.place.line, warn.place.column, warn.code))


def _plans(parts: Parts) -> Iterator[Warn]:
    for plan in parts.plans.values():
        if not plan.budgets and not parts.budgets:
            said = f"got the plan {plan.name!r} without budgets, expected at least one: its accounts are not limited"
            yield Warn(code="plan-without-budgets", place=_place(parts, f"plan {plan.name}"), message=said)


def _unreachable(parts: Parts) -> Iterator[Warn]:
    for rule in parts.rules:
        reason = ""
        if rule.share == 0.0:
            reason = "its share is 0%"
        elif rule.condition is not None and not rule.condition.names and not rule.condition.holds({}):
            reason = "its condition is always false"
        elif _killed(parts.kill, rule.match):
            reason = f"the kill switch ({_place(parts, 'access kill')}) stops its models"
        elif not rule.name.startswith("access/"):
            better = next((other for other in parts.rules if _beats(other, rule)), None)
            reason = f"{better.name!r} ({better.place}) always decides first" if better is not None else ""
        if reason:
            said = f"got the rule {rule.name!r}, which never has an effect: {reason}; delete or narrow one"
            yield Warn(code="unreachable-rule", place=rule.place, message=said)


def _killed(kill: tuple[str, ...], match: Match) -> bool:
    """Whether nobody gets any model that the rule means."""
    return bool(kill) and ("*" in kill or covers(Match(model=kill), match))


def _beats(other: Rule, rule: Rule) -> bool:
    """Whether ``other`` matches whenever ``rule`` does and wins the one thing that ``rule`` decides."""
    if other is rule or other.shadow or other.share is not None or other.condition is not None:
        return False
    thing = _decides(rule.effect)
    if thing is None or not _contests(other.effect, thing) or not covers(other.match, rule.match):
        return False
    refusing = (
        thing == "access" and other.effect.refuse is not None,
        thing == "access" and rule.effect.refuse is not None,
    )
    return (other.specificity, refusing[0], -other.index) > (rule.specificity, refusing[1], -rule.index)


def _decides(effect: Effect) -> str | None:
    """The one thing that an effect settles where only one rule can; ``None`` where it does more, or adds to others."""
    if effect in (Effect(refuse=effect.refuse), Effect(allow=True)):
        return "access"
    if effect == Effect(plan=effect.plan):
        return "plan"
    return "upstream" if effect == Effect(upstream=effect.upstream) else None


def _contests(effect: Effect, thing: str) -> bool:
    if thing == "access":
        return effect.refuse is not None or effect.allow
    return getattr(effect, thing) is not None


def covers(wide: Match, narrow: Match) -> bool:
    """Whether every request that ``narrow`` means, ``wide`` means too (address ranges: only if equal)."""
    for key in ("account", "organisation", "plan", "country", "declared_use", "route", "level"):
        wanted, given = getattr(wide, key), getattr(narrow, key)
        if wanted is not None and (given is None or not given <= wanted):
            return False
    if wide.verified is not None and wide.verified is not narrow.verified:
        return False
    if wide.address is not None and wide.address != narrow.address:
        return False
    if wide.model is None:
        return True
    # A glob that fits the text of another glob fits all that the other fits, unless '?' meets '*'.
    simple = all("?" not in pattern for pattern in wide.model)
    return simple and all(best_match(wide.model, pattern) >= 0 for pattern in narrow.model or ("*?",))


def _unknown_models(parts: Parts) -> Iterator[Warn]:
    known = [*parts.prices, *(pattern for spec in parts.upstreams.values() for pattern in spec.models or ())]
    if not known:
        return
    named = [(pattern, rule.place) for rule in parts.rules for pattern in rule.match.model or ()]
    named += [(pattern, one.rule.place) for one in parts.exempt for pattern in one.rule.match.model or ()]
    for plan in parts.plans.values():
        named += [(pattern, _place(parts, f"plan {plan.name}")) for pattern in plan.models or ()]
    named += [(pattern, _place(parts, "access kill")) for pattern in parts.kill]
    for pattern, place in named:
        if not any(globs_overlap(pattern.lower(), other.lower()) for other in known):
            near = difflib.get_close_matches(pattern.lower(), known, n=1)
            expected = f"did you mean {near[0]!r}?" if near else "expected one that fits a model of prices or upstreams"
            yield Warn(code="unknown-model", place=place, message=f"got the model pattern {pattern!r}, {expected}")


def _place(parts: Parts, name: str) -> Place:
    return parts.places.get(name, Place(file="", line=1, column=1))
