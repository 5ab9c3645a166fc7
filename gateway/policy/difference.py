"""What differs in meaning between two policy sets: never comments, layout, or the file a thing stands in."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

from gateway.policy.explanation import limit_text
from gateway.policy.parts import all_budgets

if TYPE_CHECKING:
    from gateway.policy.decide import PolicySet
    from gateway.policy.parts import Parts
    from gateway.policy.rules import Effect, Rule
    from gateway.types import Budget

Described: TypeAlias = dict[tuple[str, str], dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference. ``change`` is ``added``, ``removed`` or ``changed``; ``key`` is ``""`` for a whole thing.

    ``effect`` says for limits whether the new one is ``tighter`` or ``looser``.
    """

    change: str
    what: str
    name: str
    key: str = ""
    old: Any = None
    new: Any = None
    effect: str = ""

    def __str__(self) -> str:
        thing = f"{self.what} {self.name}".strip()
        if not self.key:
            shown = self.new if self.change == "added" else self.old
            told = "; ".join(f"{key} {_text(value)}" for key, value in (shown or {}).items() if value not in _NOTHING)
            return f"{self.change} {thing}" + (f": {told}" if told else "")
        suffix = f" ({self.effect})" if self.effect else ""
        return f"{self.change} {thing}: {self.key} {_text(self.old)} -> {_text(self.new)}{suffix}"


_NOTHING: tuple[Any, ...] = (None, "", False, [], {}, 0.0)


def _text(value: Any) -> str:
    if value in (None, "", []):
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def difference(old: PolicySet, new: PolicySet) -> list[Change]:
    """Every change of meaning from ``old`` to ``new``, in the order of the sets."""
    before, after = describe(old.parts), describe(new.parts)
    changes: list[Change] = []
    for key in [*before, *(key for key in after if key not in before)]:
        what, name = key
        if key not in after:
            changes.append(Change(change="removed", what=what, name=name, old=before[key]))
        elif key not in before:
            changes.append(Change(change="added", what=what, name=name, new=after[key]))
        else:
            changes += _changed(what, name, before[key], after[key])
    limits = {budget.name: budget for budget in old.budgets}, {budget.name: budget for budget in new.budgets}
    return [_with_effect(change, *limits) for change in changes]


def _changed(what: str, name: str, old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    return [
        Change(change="changed", what=what, name=name, key=key, old=old.get(key), new=new.get(key))
        for key in [*old, *(key for key in new if key not in old)]
        if old.get(key) != new.get(key)
    ]


def _with_effect(change: Change, old: dict[str, Budget], new: dict[str, Budget]) -> Change:
    """Say of a changed limit which way it went, where only the amount changed."""
    if change.what != "budget" or change.key != "limit":
        return change
    before, after = old[change.name], new[change.name]
    if before.unit is not after.unit or before.window != after.window:
        return change
    effect = "tighter" if after.limit < before.limit else "looser"
    return Change(
        change=change.change, what=change.what, name=change.name, key=change.key, old=change.old, new=change.new,
        effect=effect,
    )  # fmt: skip


def describe(parts: Parts) -> Described:
    """A set as names and plain values: what it means, nothing else."""
    found: Described = {("", "settings"): _settings(parts)}
    for plan in parts.plans.values():
        found["plan", plan.name] = _plain(plan, without=("name", "budgets", "description"))
        found["plan", plan.name]["budgets"] = [budget.name for budget in plan.budgets]
    for index, rule in enumerate(parts.rules):
        found["rule", rule.name] = _rule(rule, index, parts.rules)
    for level, effect in parts.standings.items():
        found["standing", level.value] = _effect(effect)
    for exemption in parts.exempt:
        described = _match(exemption.rule) | {"from": sorted(exemption.spared)}
        found["exemption", exemption.rule.name] = described
    for upstream in parts.upstreams.values():
        found["upstream", upstream.name] = _plain(upstream, without=("name", "api_key"))
        found["upstream", upstream.name]["api_key"] = upstream.api_key is not None
    for route in parts.pass_through:
        found["pass_through", f"{route.path} {'/'.join(route.methods)}"] = _plain(route, without=("path", "methods"))
    for pattern, price in parts.prices.items():
        found["price", pattern] = _plain(price)
    for budget in all_budgets(parts):
        found["budget", budget.name] = _budget(budget)
    return found


def _settings(parts: Parts) -> dict[str, Any]:
    return {
        "default_plan": parts.default_plan,
        "default_output_tokens": parts.default_output_tokens,
        "kill": sorted(parts.kill),
        "budgets": [budget.name for budget in parts.budgets],
        **{f"analysis.{key}": value for key, value in _plain(parts.analysis).items()},
        "recording.retention_s": parts.recording.retention_s,
        "recording.samples.retention_s": parts.recording.samples.retention_s if parts.recording.samples else None,
    }


def _budget(budget: Budget) -> dict[str, Any]:
    return {
        "subject": budget.subject.value,
        "limit": limit_text(budget),
        "shadow": budget.shadow,
        "on_store_error": budget.on_store_error.value,
    }


def _rule(rule: Rule, index: int, rules: tuple[Rule, ...]) -> dict[str, Any]:
    """A rule; its place counts only where it settles a tie with another rule."""
    described = _match(rule) | {
        "shadow": rule.shadow,
        "share": None if rule.share is None else _percent(rule.share),
        "if": rule.condition.source if rule.condition else None,
    }
    ties = [
        other.name
        for other in rules[:index]
        if other.specificity == rule.specificity and _settles(other.effect, rule.effect)
    ]
    return described | {f"then {key}": value for key, value in _effect(rule.effect).items()} | {"after": ties}


def _settles(earlier: Effect, later: Effect) -> bool:
    """Whether it matters which of two equally specific rules comes first: only one can win."""
    return any(
        getattr(earlier, key) is not None and getattr(later, key) not in (None, getattr(earlier, key))
        for key in ("refuse", "plan", "upstream")
    )


def _match(rule: Rule) -> dict[str, Any]:
    return {f"match {key}": value for key, value in _plain(rule.match).items() if value is not None}


def _effect(effect: Effect) -> dict[str, Any]:
    described = _plain(effect, without=("refuse", "budgets", "holdout", "delay_s"))
    described["refuse"] = None if effect.refuse is None else f"saying {effect.refuse!r}"
    described["holdout"] = _percent(effect.holdout) if effect.holdout else None
    described["delay"] = f"{effect.delay_s:g} s" if effect.delay_s else None
    return described | {"budgets": [budget.name for budget in effect.budgets]}


def _percent(share: float) -> str:
    return f"{share * 100:g}%"


def _plain(value: Any, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """A frozen value's fields as JSON has them; sets sorted."""
    found = {}
    for spec in fields(value):
        if spec.name in without:
            continue
        item = getattr(value, spec.name)
        found[spec.name] = (
            sorted(item) if isinstance(item, frozenset) else list(item) if isinstance(item, tuple) else item
        )
    return found
