"""What an explanation says: plain values, and their words. Never shown to callers; ``explain`` makes them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from gateway.types import Unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.types import Amounts, Balance, Budget

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
    """Something of the policies that was looked at: a rule, the kill switch, a plan's models, a level, an exemption.

    ``decided`` is true for the one that refused or allowed; ``says`` is what would follow if it did; ``beaten_by``
    names what decided instead, where it matched and refuses or allows.
    """

    rule: str
    place: str
    matched: bool
    decided: bool = False
    says: tuple[str, ...] = ()
    beaten_by: str | None = None
    specificity: tuple[int, int, int] | None = None
    checks: tuple[Check, ...] = ()
    description: str | None = None

    def __str__(self) -> str:
        sign = "*" if self.decided else "+" if self.matched else "-"
        failed = [check for check in self.checks if not check.holds]
        why = "; ".join(map(str, failed or self.checks)) or "means every request"
        says = f" -> {', '.join(self.says)}" if self.matched and self.says else ""
        beaten = f" (but {self.beaten_by} decides)" if self.beaten_by else ""
        return f"{sign} {self.rule}{f' ({self.place})' if self.place else ''}: {why}{says}{beaten}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Charged:
    """A budget that the request is charged to; from ``remaining`` on only where a store was asked.

    ``remaining``, ``needs`` and ``amount`` (the whole budget) in the unit's own steps (money: millionths of a dollar),
    ``reset_s`` in seconds;
    ``refuses``: there is less left than the request reserves.
    """

    key: str
    budget: str
    limit: str
    unit: str
    shadow: bool
    remaining: int | None = None
    reset_s: float | None = None
    needs: int | None = None
    amount: int | None = None
    refuses: bool | None = None

    def __str__(self) -> str:
        text = f"{self.key}: {self.limit}{' (shadow)' if self.shadow else ''}"
        if self.remaining is None or self.needs is None:
            return text
        text += f"; {self._amount(self.remaining)} left, {self._amount(self.needs)} needed"
        if self.refuses:
            text += ", would refuse but for its shadow" if self.shadow else ", refuses"
        return text + (f"; more in {self.reset_s:,.0f} s" if self.reset_s else "")

    def _amount(self, steps: int) -> str:
        return amount_text(Unit.COST, steps) if self.unit == Unit.COST.value else f"{steps:,}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A decision and how it came about. Never shown to callers: it names rules of suspicion.

    ``decision`` is ``refuse``, ``mark`` or ``allow``, and ``throttle`` where a store was asked and a budget has too
    little left. ``would_refuse`` is what would refuse as well, or if it were asked: beaten rules, rules and
    budgets in shadow, further budgets.
    """

    decision: str
    rule: str | None
    plan: str
    policy: str
    level: str
    exempt_from: tuple[str, ...]
    considered: tuple[Considered, ...]
    charges: tuple[Charged, ...]
    would_refuse: tuple[str, ...] = ()
    effects: dict[str, Any] = field(default_factory=dict)
    message: str | None = None

    def with_balances(self, balances: Sequence[Balance], needs: Amounts) -> Explanation:
        """The same with what the store says is left, in the order of the charges, for a request that reserves ``needs``."""
        charges = tuple(
            replace(
                charge,
                remaining=balance.remaining,
                reset_s=balance.reset_s,
                needs=needs.of(balance.budget.unit),
                amount=balance.budget.limit,
                refuses=needs.of(balance.budget.unit) > balance.remaining,
            )
            for charge, balance in zip(self.charges, balances, strict=True)
        )
        refusing = [charge for charge in charges if charge.refuses]
        enforced = [charge.budget for charge in refusing if not charge.shadow]
        told = replace(self, charges=charges)
        if self.decision != "refuse" and enforced:
            told = replace(told, decision="throttle", rule=enforced[0])
        further = [charge.budget for charge in refusing if charge.budget != told.rule]
        return replace(told, would_refuse=tuple(dict.fromkeys((*self.would_refuse, *further))))

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)

    def to_text(self) -> str:
        """In words, one thing a line."""
        lines = [f"{self.decision}: {_because(self)}", f"plan {self.plan}, standing {self.level}, policy {self.policy}"]
        if self.exempt_from:
            lines.append(f"exempt from {', '.join(self.exempt_from)}")
        lines += [f"  {entry}" for entry in self.considered]
        lines += [f"  charges {charge}" for charge in self.charges]
        lines += [f"  {name}: {_shown(value)}" for name, value in self.effects.items()]
        if self.would_refuse:
            lines.append(f"would refuse, but did not decide: {', '.join(self.would_refuse)}")
        return "\n".join(lines)


def _because(explanation: Explanation) -> str:
    if explanation.decision == "refuse":
        return f"rule {explanation.rule} refuses, saying {explanation.message!r}"
    if explanation.decision == "throttle":
        charge = next(charge for charge in explanation.charges if charge.budget == explanation.rule)
        return f"the budget {charge.budget} has too little left ({charge})"
    if explanation.rule is None:
        return "no rule says otherwise"
    return f"rule {explanation.rule}"


def _shown(value: Any) -> str:
    """An effect in words: ``yes``, ``a, b``, ``0.25``."""
    if value is True:
        return "yes"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def limit_text(budget: Budget) -> str:
    """``200 requests per 86400 s (sliding)``, ``8 at once``; money in USD."""
    window = budget.window
    if window.length_s == 0:
        return f"{budget.limit:,} at once"
    amount = amount_text(budget.unit, budget.limit)
    burst = f", {window.burst:,} at once" if window.burst else ""
    return f"{amount} per {duration_text(window.length_s)} ({window.algorithm.value}{burst})"


def amount_text(unit: Unit, steps: int) -> str:
    """``4,096 output_tokens``; money in USD, whole cents where it is."""
    if unit is not Unit.COST:
        return f"{steps:,} {unit.value}"
    return f"${steps / 1e6:,.2f}" if steps % 10_000 == 0 else f"${steps / 1e6:,.6f}".rstrip("0")


def duration_text(seconds: int) -> str:
    """``day``, ``10 minutes``, ``45 days``."""
    for word, length_s in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        if seconds % length_s == 0:
            count = seconds // length_s
            return word if count == 1 else f"{count} {word}s"
    return f"{seconds} s"
