"""Rules, compiled: whom they mean, how specific they are, what follows.

Of the rules that match and that answer or refuse, the most specific wins; of equally specific ones the
refusal. How specific a rule is: first how many of its conditions say who (account, organisation, address),
then how exactly it says what (route, letters of the model pattern), then how many say of which group.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, TypeAlias

from gateway.policy.notation import best_match, literal_length

if TYPE_CHECKING:
    from collections.abc import Iterator

    import cel

    from gateway.policy.conditions import Condition, Values
    from gateway.policy.spec_rules import MatchSpec
    from gateway.types import Budget, Identity, RequestFacts

Specificity: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something stands in the policy files."""

    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which requests are meant; ``None`` means any."""

    account: frozenset[str] | None = None
    organisation: frozenset[str] | None = None
    plan: frozenset[str] | None = None
    country: frozenset[str] | None = None
    verified: bool | None = None
    declared_use: frozenset[str] | None = None
    model: tuple[str, ...] | None = None
    route: frozenset[str] | None = None
    address: tuple[str, ...] | None = None
    level: frozenset[str] | None = None

    @classmethod
    def of(cls, spec: MatchSpec) -> Match:
        """The match that a file writes."""

        def group(texts: tuple[str, ...] | None) -> frozenset[str] | None:
            return None if texts is None else frozenset(texts)

        return cls(
            account=group(spec.account),
            organisation=group(spec.organisation),
            plan=group(spec.plan),
            country=group(spec.country),
            verified=spec.verified,
            declared_use=group(spec.declared_use),
            model=spec.model,
            route=group(spec.route),
            address=spec.address,
            level=group(spec.level),
        )

    def fits_group(self, asked: Asked) -> bool:
        """Whether everything holds that many accounts share (all but account and address)."""
        return all(holds for _, _, _, holds in self.checks(asked))

    def checks(self, asked: Asked) -> Iterator[tuple[str, Any, Any, bool]]:
        """(key, wanted, got, whether it holds) for each shared condition."""
        for key in ("organisation", "plan", "country", "declared_use", "route", "level"):
            wanted = getattr(self, key)
            if wanted is not None:
                got = getattr(asked, key)
                yield key, sorted(wanted), got, got in wanted
        if self.verified is not None:
            yield "verified", self.verified, asked.verified, asked.verified is self.verified
        if self.model is not None:
            yield "model", list(self.model), asked.model, best_match(self.model, asked.model) >= 0

    def specificity(self, *, conditional: bool) -> Specificity:
        """Compared as a tuple; see the module's docstring."""
        who = sum(value is not None for value in (self.account, self.organisation, self.address))
        group = sum(
            value is not None for value in (self.plan, self.country, self.verified, self.declared_use, self.level)
        )
        letters = max((literal_length(pattern) for pattern in self.model or ()), default=0)
        what = (0 if self.model is None else 1 + letters) + (0 if self.route is None else 1)
        return who, what, group + conditional


@dataclass(frozen=True, slots=True)
class Asked:
    """What the shared conditions of rules look at; equal for many requests, so decisions are kept by it."""

    organisation: str | None
    plan: str
    country: str
    verified: bool
    declared_use: str | None
    route: str
    model: str
    level: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What follows where a rule, or a level of standing, applies."""

    refuse: str | None = None
    """The message of the refusal; ``None``: not refused."""
    allow: bool = False
    plan: str | None = None
    budgets: tuple[Budget, ...] = ()
    upstream: str | None = None
    mark: bool = False
    carriers: tuple[str, ...] = ()
    holdout: float = 0.0
    sample: bool = False
    max_output_tokens: int | None = None
    max_choices: int | None = None
    drop_logprobs: bool = False
    hide_reasoning: bool = False
    delay_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. ``index`` is its place in the policy set (earlier files and lines first)."""

    name: str
    index: int
    match: Match = field(default_factory=Match)
    condition: Condition | None = None
    share: float | None = None
    shadow: bool = False
    """Its refusal is reported and not enforced, as are its budgets; its other effects wait."""
    effect: Effect = field(default_factory=Effect)
    place: Place = field(default_factory=Place)
    description: str | None = None

    @property
    def personal(self) -> bool:
        """Whether it looks at more than ``Asked`` holds."""
        match = self.match
        return not (self.condition is None and self.share is None and match.account is None and match.address is None)

    @property
    def specificity(self) -> Specificity:
        """How specific it is, as a tuple that compares."""
        return self.match.specificity(conditional=self.condition is not None)

    def fits_person(self, identity: Identity, context: cel.Context | dict[str, Any]) -> bool:
        """Whether account, address, share and condition hold; ``context`` has the condition's variables."""
        match = self.match
        return (
            (match.account is None or identity.account in match.account)
            and (match.address is None or inside(match.address, identity.address))
            and (self.share is None or share_of(self.name, identity.account) < self.share)
            and (self.condition is None or self.condition.holds(context))
        )

    def personal_checks(self, identity: Identity, values: Values) -> Iterator[tuple[str, Any, Any, bool]]:
        """(key, wanted, got, whether it holds) for account, address, share and condition."""
        match = self.match
        if match.account is not None:
            yield "account", sorted(match.account), identity.account, identity.account in match.account
        if match.address is not None:
            yield "address", list(match.address), identity.address, inside(match.address, identity.address)
        if self.share is not None:
            place = share_of(self.name, identity.account)
            yield "share", self.share, round(place, 4), place < self.share
        if self.condition is not None:
            got = values.of(self.condition.names)
            yield "if", self.condition.source, got, self.condition.holds(got)


def best_rule(rules: tuple[Rule, ...] | list[Rule], *, refusing_first: bool = False) -> Rule | None:
    """The most specific rule; of equal ones the one that refuses, then the earlier."""

    def order(rule: Rule) -> tuple[Any, ...]:
        return rule.specificity, refusing_first and rule.effect.refuse is not None, -rule.index

    return max(rules, key=order, default=None)


def deciding_rule(matched: tuple[Rule, ...]) -> Rule | None:
    """Of the rules that matched, the one that refuses or allows; a tie refuses, ``None`` where none says either."""
    deciding = [rule for rule in matched if rule.effect.refuse is not None or rule.effect.allow]
    return best_rule(deciding, refusing_first=True)


@lru_cache(maxsize=16_384)
def inside(networks: tuple[str, ...], address: str | None) -> bool:
    """Whether ``address`` lies in one of ``networks``; what is no address lies in none."""
    if address is None:
        return False
    try:
        found = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None) or found
    return any(mapped in ip_network(network) for network in networks)


@lru_cache(maxsize=16_384)
def share_of(rule: str, account: str) -> float:
    """Where an account stands in a rule's rollout: uniform in [0, 1), the same everywhere and for ever."""
    digest = blake2b(f"{rule}\0{account}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def facts_model(facts: RequestFacts) -> str:
    """The model in the spelling that rules and counters use."""
    return facts.model.lower()
