"""What a policy set probably does not mean, although it can be used: warnings, each with a place.

A warning is only given where it can be shown: a limit that another limit always reaches first, a budget
that a single request cannot fit, a rule that another one always beats, a pattern that fits no model that
the set knows. Codes are stable: they are the rule ids of the SARIF output.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any, Final

from gateway.policy.explanation import limit_text
from gateway.policy.notation import best_match
from gateway.policy.rules import Place
from gateway.types import Algorithm, Unit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.policy.decide import PolicySet
    from gateway.policy.parts import CustomerPlan, Parts
    from gateway.policy.rules import Match, Rule
    from gateway.types import Budget

CODES: Final[Mapping[str, str]] = {
    "plan-without-budgets": "A plan that limits nothing.",
    "toothless-limit": "A limit that can never refuse, because another one always refuses first.",
    "below-reserve": "A limit that is smaller than what one request without a cap reserves.",
    "unreachable-rule": "A rule that another rule always beats, or that can never match.",
    "unknown-model": "A model pattern that fits no model of the prices and upstreams.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Warn:
    """One warning; ``code`` is a key of ``CODES``."""

    code: str
    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place.file}:{self.place.line}:{self.place.column}: warning: {self.message} [{self.code}]"


def warnings_of(policies: PolicySet) -> list[Warn]:
    """Every warning of a set, in the order of files and lines."""
    parts = policies.parts
    found = [
        *_plans(parts),
        *_toothless(parts),
        *_below_reserve(parts, policies),
        *_unreachable(parts.rules),
        *_unknown_models(parts),
    ]
    return sorted(found, key=lambda warn: (warn.place.file, warn.place.line, warn.place.column, warn.code))


def _plans(parts: Parts) -> Iterator[Warn]:
    for plan in parts.plans.values():
        if not plan.budgets and not parts.budgets:
            said = f"got the plan {plan.name!r} without budgets, expected at least one: its accounts are not limited"
            yield Warn(code="plan-without-budgets", place=_place(parts, f"plan {plan.name}"), message=said)


def _toothless(parts: Parts) -> Iterator[Warn]:
    """Pairs within a list of budgets that are charged together."""
    lists = [(*plan.budgets, *parts.budgets) for plan in parts.plans.values()]
    lists += [rule.effect.budgets for rule in parts.rules]
    lists += [effect.budgets for effect in parts.standings.values()]
    said: set[str] = set()
    for budgets in lists:
        for loose, strict in permutations(budgets, 2):
            if loose.name not in said and loose.name in parts.places and always_first(strict, loose):
                said.add(loose.name)
                text = f"got {limit_text(loose)}, which is never reached: {strict.name} refuses first"
                message = f"{text} ({limit_text(strict)}); delete one or change it"
                yield Warn(code="toothless-limit", place=_place(parts, loose.name), message=message)


def always_first(strict: Budget, loose: Budget) -> bool:
    """Whether ``strict`` always refuses before ``loose`` can: then ``loose`` does nothing.

    A window that is at least as long with a limit at most as high contains all that a shorter window holds.
    A shorter window lets at most one limit more than its share through a longer one (windows slide over
    each other's ends), so it covers the longer limit if that still fits. Only budgets that count the same
    for the same subject, and are enforced, compare.
    """
    same = strict.subject is loose.subject and not strict.shadow and strict.unit is not Unit.CONCURRENCY
    if not same or strict.name == loose.name or not _counts_at_least(strict.unit, loose.unit):
        return False
    if Algorithm.LEASE in {strict.window.algorithm, loose.window.algorithm} or strict.window.burst:
        return False
    longer, shorter = strict.window.length_s, loose.window.length_s
    if Algorithm.CALENDAR in {strict.window.algorithm, loose.window.algorithm}:
        aligned = strict.window == loose.window
        return aligned and _stricter(strict, loose)
    if longer >= shorter:
        return _stricter(strict, loose)
    through = strict.limit * (-(-shorter // longer) + 1)
    return through <= loose.limit


def _stricter(strict: Budget, loose: Budget) -> bool:
    return strict.limit <= loose.limit and (strict.limit, strict.window.length_s, strict.name) != (
        loose.limit,
        loose.window.length_s,
        loose.name,
    )


def _counts_at_least(strict: Unit, loose: Unit) -> bool:
    """Whether a request never counts less in ``strict`` than in ``loose``."""
    parts_of_total = {Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS}
    return strict is loose or (strict is Unit.TOTAL_TOKENS and loose in parts_of_total)


def _below_reserve(parts: Parts, policies: PolicySet) -> Iterator[Warn]:
    for plan in parts.plans.values():
        reserve = parts.default_output_tokens
        if plan.max_output_tokens is not None:
            reserve = min(reserve, plan.max_output_tokens)
        for budget in (*plan.budgets, *parts.budgets):
            need = _reserve(budget.unit, reserve, plan, policies)
            room = budget.window.burst or budget.limit
            if 0 < room < need and budget.name in parts.places:
                said = f"got {limit_text(budget)}, which one request without a cap cannot fit: it reserves {need:,}"
                message = f"{said} {budget.unit.value}; raise it or lower default_output_tokens"
                yield Warn(code="below-reserve", place=_place(parts, budget.name), message=message)


def _reserve(unit: Unit, output_tokens: int, plan: CustomerPlan, policies: PolicySet) -> int:
    """The least that a request without a cap reserves in ``unit`` (for money: for the dearest model)."""
    if unit in {Unit.OUTPUT_TOKENS, Unit.TOTAL_TOKENS}:
        return output_tokens
    if unit is Unit.COST:
        allowed = [
            price
            for pattern, price in policies.parts.prices.items()
            if plan.models is None or any(globs_overlap(pattern, model.lower()) for model in plan.models)
        ]
        return max((price.cost_microusd(0, output_tokens) for price in allowed), default=0)
    return 0


def _unreachable(rules: Sequence[Rule]) -> Iterator[Warn]:
    deciding = [rule for rule in rules if rule.effect.refuse is not None or rule.effect.allow]
    for rule in rules:
        reason = ""
        if rule.share == 0.0:
            reason = "its share is 0%"
        elif rule.condition is not None and not rule.condition.names and not rule.condition.holds({}):
            reason = "its condition is always false"
        elif rule in deciding and not rule.name.startswith("access/"):
            better = next((other for other in deciding if _beats(other, rule)), None)
            reason = f"{better.name!r} ({better.place}) always decides first" if better is not None else ""
        if reason:
            said = f"got the rule {rule.name!r}, which never has an effect: {reason}; delete or narrow one"
            yield Warn(code="unreachable-rule", place=rule.place, message=said)


def _beats(other: Rule, rule: Rule) -> bool:
    """Whether ``other`` matches whenever ``rule`` does and always wins, so that ``rule`` decides nothing."""
    if other is rule or other.shadow or other.share is not None or other.condition is not None:
        return False
    only_decides = not (rule.effect.budgets or rule.effect.mark or rule.effect.plan or rule.effect.upstream)
    if not only_decides or not covers(other.match, rule.match):
        return False
    first = (other.specificity, other.effect.refuse is not None, -other.index)
    return first > (rule.specificity, rule.effect.refuse is not None, -rule.index)


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
    named: list[tuple[str, Place]] = [
        (pattern, rule.place) for rule in parts.rules for pattern in rule.match.model or ()
    ]
    for plan in parts.plans.values():
        named += [(pattern, _place(parts, f"plan {plan.name}")) for pattern in plan.models or ()]
    named += [(pattern, _place(parts, "access kill")) for pattern in parts.kill]
    for pattern, place in named:
        if not any(globs_overlap(pattern.lower(), other.lower()) for other in known):
            said = f"got the model pattern {pattern!r}, expected one that fits a model of the prices or upstreams"
            yield Warn(code="unknown-model", place=place, message=said)


def globs_overlap(one: str, two: str) -> bool:
    """Whether some name fits both patterns. O(len(one) * len(two))."""
    row = [True, *([False] * len(two))]
    for index, letter in enumerate(two):
        row[index + 1] = row[index] and letter == "*"
    for left in one:
        below = [row[0] and left == "*"]
        for index, right in enumerate(two):
            same = row[index] and (left == right or "?" in (left, right))
            star = "*" in (left, right) and (row[index + 1] or below[index])
            below.append(same or star)
        row = below
    return row[-1]


def _place(parts: Parts, name: str) -> Place:
    return parts.places.get(name, Place(file="", line=1, column=1))


def sarif(errors: Sequence[Any], warns: Sequence[Warn], version: str) -> dict[str, Any]:
    """Errors and warnings as a SARIF 2.1.0 log, for code review."""
    results = [
        _result("policy-error", "error", error.message, error.file, error.line, error.column) for error in errors
    ]
    results += [
        _result(warn.code, "warning", warn.message, warn.place.file, warn.place.line, warn.place.column)
        for warn in warns
    ]
    texts = {"policy-error": "A policy file that cannot be used.", **CODES}
    rules = [{"id": code, "shortDescription": {"text": text}} for code, text in texts.items()]
    driver = {"name": "distillguard", "version": version, "rules": rules}
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }


def _result(code: str, level: str, message: str, file: str, line: int, column: int) -> dict[str, Any]:
    region = {"startLine": line, "startColumn": column}
    where = {"physicalLocation": {"artifactLocation": {"uri": file}, "region": region}}
    return {"ruleId": code, "level": level, "message": {"text": message}, "locations": [where]}
