"""Why a request is decided as it is: every rule that was considered, in words and as data."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gateway.policy.conditions import Values
from gateway.types import NO_STANDING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.policy.decide import PolicySet
    from gateway.policy.rules import Rule
    from gateway.types import Balance, Budget, Charge, Identity, Plan, RequestFacts, Standing

_WORDS = {
    "account": "the account",
    "organisation": "the organisation",
    "plan": "the plan",
    "country": "the country",
    "verified": "verified",
    "declared_use": "the declared use",
    "model": "the model",
    "route": "the route",
    "address": "the address",
    "level": "the standing",
    "share": "the place in the rollout",
    "if": "the condition",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One condition of a rule: what it wanted, what the request had, whether that holds."""

    key: str
    wanted: Any
    got: Any
    holds: bool

    def __str__(self) -> str:
        if self.key == "if":
            return f"the condition {self.wanted!r} {'holds' if self.holds else 'does not hold'}"
        verb = "is" if self.holds else "is not"
        wanted = "/".join(map(str, self.wanted)) if isinstance(self.wanted, list) else str(self.wanted).lower()
        got = "nothing" if self.got in (None, "") else self.got
        return f"{_WORDS[self.key]} ({got}) {verb} {wanted}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Considered:
    """A rule that was looked at; ``decided`` is true for the one that refused or allowed."""

    rule: str
    place: str
    matched: bool
    decided: bool
    specificity: tuple[int, int, int]
    checks: tuple[Check, ...] = ()
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Charged:
    """A budget that the request is charged to; ``remaining`` and ``reset_s`` where a store was asked."""

    key: str
    budget: str
    limit: str
    shadow: bool
    remaining: int | None = None
    reset_s: float | None = None

    def __str__(self) -> str:
        left = "" if self.remaining is None else f"; {self.remaining:,} left, more in {self.reset_s or 0:.0f} s"
        return f"{self.key}: {self.limit}{' (shadow)' if self.shadow else ''}{left}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision and how it came about. Never shown to callers: it names rules of suspicion."""

    decision: str
    rule: str | None
    plan: str
    policy: str
    level: str
    exempt_from: tuple[str, ...]
    considered: tuple[Considered, ...]
    charges: tuple[Charged, ...]
    effects: dict[str, Any] = field(default_factory=dict)
    message: str | None = None

    def with_balances(self, balances: Sequence[Balance]) -> Explanation:
        """The same with what the store says is left; ``balances`` in the order of the charges."""
        charges = tuple(
            replace(charge, remaining=balance.remaining, reset_s=balance.reset_s)
            for charge, balance in zip(self.charges, balances, strict=True)
        )
        return replace(self, charges=charges)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """In words, one thing a line."""
        lines = [f"{self.decision}: {_because(self)}", f"plan {self.plan}, standing {self.level}, policy {self.policy}"]
        if self.exempt_from:
            lines.append(f"exempt from {', '.join(self.exempt_from)}")
        for entry in self.considered:
            sign = "*" if entry.decided else "+" if entry.matched else "-"
            failed = [check for check in entry.checks if not check.holds]
            why = "; ".join(map(str, failed or entry.checks)) or "means every request"
            lines.append(f"  {sign} {entry.rule} ({entry.place}): {why}")
        lines += [f"  charges {charge}" for charge in self.charges]
        lines += [f"  {name}: {value}" for name, value in self.effects.items()]
        return "\n".join(lines)


def _because(explanation: Explanation) -> str:
    if explanation.decision == "refuse":
        return f"rule {explanation.rule} refuses, saying {explanation.message!r}"
    if explanation.rule is None:
        return "no rule says otherwise"
    return f"rule {explanation.rule}"


def explain(
    policies: PolicySet, identity: Identity, facts: RequestFacts, standing: Standing, now_s: float
) -> Explanation:
    """Decide as ``PolicySet.decide`` does and tell how; the decision is that function's own."""
    if standing.expires_at is not None and standing.expires_at <= now_s:
        standing = NO_STANDING
    plan = policies.decide(identity, facts, standing, now_s)
    asked = policies.asked(identity, facts, standing)
    values = Values(identity, facts, standing, asked.plan, now_s)

    def consider(rule: Rule) -> Considered:
        found = [*rule.match.checks(asked), *rule.personal_checks(identity, values)]
        checks = tuple(Check(key=key, wanted=wanted, got=got, holds=holds) for key, wanted, got, holds in found)
        return Considered(
            rule=rule.name, place=str(rule.place), matched=all(check.holds for check in checks),
            decided=plan.refusal is not None and plan.refusal.rule == rule.name,
            specificity=rule.specificity, checks=checks, description=rule.description,
        )  # fmt: skip

    return Explanation(
        decision=decision_of(plan),
        rule=plan.rule,
        plan=plan.plan,
        policy=plan.policy,
        level=standing.level.value,
        exempt_from=tuple(sorted(policies.spared(asked, identity))) if standing.level.rank else (),
        considered=tuple(consider(rule) for rule in policies.parts.rules),
        charges=tuple(_charged(charge) for charge in plan.charges),
        effects=_effects(plan),
        message=plan.refusal.message if plan.refusal is not None else None,
    )


def decision_of(plan: Plan) -> str:
    """``refuse``, ``mark`` or ``allow``: what the policy says before budgets are asked."""
    if plan.refusal is not None:
        return "refuse"
    return "mark" if plan.mark else "allow"


def _charged(charge: Charge) -> Charged:
    budget = charge.budget
    return Charged(key=charge.key, budget=budget.name, limit=limit_text(budget), shadow=budget.shadow)


def limit_text(budget: Budget) -> str:
    """``200 requests per 86400 s (sliding)``, ``8 at once``; money in USD."""
    window = budget.window
    if window.length_s == 0:
        return f"{budget.limit:,} at once"
    amount = f"${budget.limit / 1e6:,.2f}" if budget.unit.value == "usd" else f"{budget.limit:,} {budget.unit.value}"
    burst = f", {window.burst:,} at once" if window.burst else ""
    return f"{amount} per {duration_text(window.length_s)} ({window.algorithm.value}{burst})"


def duration_text(seconds: int) -> str:
    """``day``, ``10 minutes``, ``45 days``."""
    for word, length_s in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        if seconds % length_s == 0:
            count = seconds // length_s
            return word if count == 1 else f"{count} {word}s"
    return f"{seconds} s"


def _effects(plan: Plan) -> dict[str, Any]:
    """What a plan asks for beyond its charges; only what differs from nothing."""
    names = (
        "shadowed",
        "upstream",
        "mark",
        "carriers",
        "max_output_tokens",
        "max_choices",
        "drop_logprobs",
        "hide_reasoning",
    )
    found = {name: getattr(plan, name) for name in (*names, "delay_s")}
    if plan.refusal is not None:
        return {}
    return {name: value for name, value in found.items() if value not in (None, False, (), 0.0)}
