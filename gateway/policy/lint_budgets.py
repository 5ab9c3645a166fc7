"""Doubts about budgets: limits that another always reaches first, and limits that one request cannot fit."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, NamedTuple

from gateway.policy.explanation import amount_text, limit_text
from gateway.policy.notation import globs_overlap
from gateway.policy.warn import Warn
from gateway.types import Algorithm, Unit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.policy.parts import CustomerPlan, Parts
    from gateway.policy.rules import Rule
    from gateway.types import Budget


def toothless(parts: Parts) -> Iterator[Warn]:
    """Budgets that never refuse, because of others that are charged with them whatever the request.

    A plan's are compared with each other and those of all requests; a rule's and those of all requests also with the
    plans', where every plan that may count has one that refuses first.
    """
    for plan in parts.plans.values():
        yield from _pairs(parts, plan.budgets, parts.budgets)
    yield from _in_every_plan(parts, parts.budgets, list(parts.plans.values()))
    for rule in parts.rules:
        yield from _pairs(parts, rule.effect.budgets, ())
        yield from _in_every_plan(parts, rule.effect.budgets, plans_of(rule, parts))
    for effect in parts.standings.values():
        yield from _pairs(parts, effect.budgets, ())


def plans_of(rule: Rule, parts: Parts) -> list[CustomerPlan]:
    """The plans whose budgets may count for a request that the rule matches."""
    if rule.effect.plan is not None and rule.match.plan is None:
        own = {rule.effect.plan}
    else:
        own = set(rule.match.plan or parts.plans)
    moved = {other.effect.plan for other in parts.rules if other.effect.plan is not None}
    return [plan for name, plan in parts.plans.items() if name in own | moved]


def _pairs(parts: Parts, budgets: Sequence[Budget], others: Sequence[Budget]) -> Iterator[Warn]:
    """Those of ``budgets`` that one of them, or of ``others``, makes toothless; one of two that are alike."""
    said: set[str] = set()
    for loose, strict in permutations((*budgets, *others), 2):
        if loose in budgets and loose.name not in said and strict.name not in said and always_first(strict, loose):
            said.add(loose.name)
            yield from _named(parts, loose, strict)


def _in_every_plan(parts: Parts, budgets: Sequence[Budget], plans: Sequence[CustomerPlan]) -> Iterator[Warn]:
    for loose in budgets:
        found = [next((one for one in plan.budgets if always_first(one, loose)), None) for plan in plans]
        strict = found[0] if found else None
        if strict is not None and all(found):
            yield from _named(parts, loose, strict)


def _named(parts: Parts, loose: Budget, strict: Budget) -> Iterator[Warn]:
    place = parts.places.get(loose.name)
    if place is not None:
        text = f"got {limit_text(loose)}, which is never reached: {strict.name} refuses first"
        message = f"{text} ({limit_text(strict)}); delete one or change it"
        yield Warn(code="toothless-limit", place=place, message=message)


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


class _Asker(NamedTuple):
    """Requests that a list of budgets counts: the least that one without a cap reserves, and for which models."""

    output_tokens: int
    models: tuple[tuple[str, ...], ...]


def below_reserve(parts: Parts) -> Iterator[Warn]:
    """Budgets that refuse every request that declares no cap: less fits than one of them reserves."""
    for plan in parts.plans.values():
        yield from _too_small(parts, plan.budgets, _asker(parts, [plan]))
    yield from _too_small(parts, parts.budgets, _asker(parts, list(parts.plans.values())))
    for rule in parts.rules:
        if rule.condition is None or "max_output_tokens" not in rule.condition.names:
            asker = _asker(parts, plans_of(rule, parts), rule.effect.max_output_tokens, rule.match.model)
            yield from _too_small(parts, rule.effect.budgets, asker)
    for effect in parts.standings.values():
        asker = _asker(parts, list(parts.plans.values()), effect.max_output_tokens)
        yield from _too_small(parts, effect.budgets, asker)


def _asker(
    parts: Parts, plans: Sequence[CustomerPlan], cap: int | None = None, models: tuple[str, ...] | None = None
) -> _Asker:
    caps = [plan.max_output_tokens for plan in plans]
    lowered = [parts.default_output_tokens, *(one for one in (*caps, cap) if one is not None)]
    allowed = {plan.models for plan in plans}
    lists = (*([] if None in allowed or len(allowed) != 1 else allowed), models)
    return _Asker(min(lowered), tuple(patterns for patterns in lists if patterns is not None))


def _too_small(parts: Parts, budgets: Sequence[Budget], asker: _Asker) -> Iterator[Warn]:
    for budget in budgets:
        need, model = _reserve(parts, budget.unit, asker)
        room = budget.window.burst or budget.limit
        place = parts.places.get(budget.name)
        if 0 < room < need and place is not None:
            who = f"one request {f'to {model!r} ' if model else ''}without a cap"
            said = f"got {limit_text(budget)}, which {who} cannot fit: it reserves {amount_text(budget.unit, need)}"
            message = f"{said}; raise it or lower default_output_tokens"
            yield Warn(code="below-reserve", place=place, message=message)


def _reserve(parts: Parts, unit: Unit, asker: _Asker) -> tuple[int, str]:
    """The least that a request without a cap reserves in ``unit``; money: for the dearest model, which is named."""
    if unit in {Unit.OUTPUT_TOKENS, Unit.TOTAL_TOKENS}:
        return asker.output_tokens, ""
    if unit is not Unit.COST:
        return 0, ""
    costs = [
        (price.cost_microusd(0, asker.output_tokens), pattern)
        for pattern, price in parts.prices.items()
        if all(any(globs_overlap(pattern, model.lower()) for model in models) for models in asker.models)
    ]
    return max(costs, default=(0, ""))
