"""One log through two policy sets at once: which decisions change, and for whom.

Both sets see the same requests on the same clock, each with its own budgets, standings and analysis. A request is
*stopped* when it is throttled or refused. Memory is bounded by accounts.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scipy.special import betaincinv

from gateway.errors import ConfigError
from gateway.files import STDIN
from gateway.identity import load_accounts
from gateway.replay.engine import Replay
from gateway.replay.feed import feed
from gateway.replay.source import source_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from gateway.policy import PolicySet
    from gateway.replay.engine import Decision
    from gateway.replay.feed import Batch
    from gateway.replay.source import Source

_STOPPED = frozenset({"throttle", "refuse"})
_NOBODY = "(none)"


@dataclass(slots=True)
class _Account:
    """What one account met under the two sets."""

    plan: str
    org: str | None
    requests: int = 0
    stopped_before: int = 0
    newly_stopped: int = 0
    newly_answered: int = 0
    newly_marked: int = 0
    rules: Counter[str] = field(default_factory=Counter)


class Comparison:
    """Counts of decisions that differ; ``add`` every pair, then ``told``."""

    def __init__(self) -> None:
        self.requests = 0
        self._changes: Counter[tuple[str, str]] = Counter()
        self._plans: dict[str, Counter[str]] = {}
        self._orgs: dict[str, Counter[str]] = {}
        self._accounts: dict[str, _Account] = {}

    def add(self, account: str, old: Decision, new: Decision) -> None:
        """Count one request's two decisions."""
        self.requests += 1
        row = self._accounts.get(account)
        if row is None:
            row = self._accounts[account] = _Account(old.plan, old.org)
        row.requests += 1
        row.stopped_before += old.action in _STOPPED
        if old.action == new.action:
            return
        change = f"{old.action} -> {new.action}"
        self._changes[old.action, new.action] += 1
        self._plans.setdefault(old.plan, Counter())[change] += 1
        self._orgs.setdefault(old.org or _NOBODY, Counter())[change] += 1
        self._count(row, old, new)

    @staticmethod
    def _count(row: _Account, old: Decision, new: Decision) -> None:
        before, after = old.action in _STOPPED, new.action in _STOPPED
        if after and not before:
            row.newly_stopped += 1
            row.rules[new.rule or _NOBODY] += 1
        elif before and not after:
            row.newly_answered += 1
        if new.action == "mark":
            row.newly_marked += 1

    def told(self, *, top: int = 20, confidence: float = 0.95) -> dict[str, Any]:
        """Everything as plain values; accounts most hurt first."""
        rows = self._accounts
        hurt = sorted(
            ((name, row) for name, row in rows.items() if row.newly_stopped or row.newly_marked),
            key=lambda item: (-item[1].newly_stopped, -item[1].newly_marked, item[0]),
        )
        everybody, newly = Counter[str](), Counter[str]()
        for row in rows.values():
            everybody[row.plan] += 1
            newly[row.plan] += bool(row.newly_stopped and not row.stopped_before)
        return {
            "requests": self.requests,
            "changed": sum(self._changes.values()),
            "changes": {f"{old} -> {new}": count for (old, new), count in self._changes.most_common()},
            "by_plan": {name: dict(counts.most_common()) for name, counts in sorted(self._plans.items())},
            "by_organisation": _largest(self._orgs, top),
            "accounts": len(rows),
            "accounts_newly_stopped": newly.total(),
            "share_newly_stopped": _share(newly.total(), len(rows), confidence),
            "share_newly_stopped_by_plan": {
                plan: {"accounts": count, "newly_stopped": newly[plan], **_share(newly[plan], count, confidence)}
                for plan, count in sorted(everybody.items())
            },
            "accounts_most_hurt": [_hurt(name, row) for name, row in hurt[:top]],
        }  # fmt: skip


def _share(hits: int, trials: int, confidence: float) -> dict[str, float]:
    low, high = share_interval(hits, trials, confidence)
    return {"share": hits / trials if trials else 0.0, "low": low, "high": high, "confidence": confidence}


def _largest(groups: dict[str, Counter[str]], top: int) -> dict[str, dict[str, int]]:
    found = sorted(groups.items(), key=lambda item: (-item[1].total(), item[0]))
    return {name: dict(counts.most_common()) for name, counts in found[:top]}


def _hurt(name: str, row: _Account) -> dict[str, Any]:
    return {
        "account": name,
        "plan": row.plan,
        "organisation": row.org,
        "requests": row.requests,
        "stopped_before": row.stopped_before,
        "newly_stopped": row.newly_stopped,
        "newly_answered": row.newly_answered,
        "newly_marked": row.newly_marked,
        "rules": dict(row.rules.most_common(3)),
    }


def share_interval(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval of a share (Clopper and Pearson 1934), from the beta distribution's quantiles.

    Null and alternative: none; it covers the true share of a population of which the accounts are a sample with
    probability ``confidence`` at least. One trial is one account. Two-sided, equal tails; (0, 1) for no trials.

    >>> [round(bound, 4) for bound in share_interval(1, 10)]
    [0.0025, 0.445]

    Raises ValueError unless 0 <= hits <= trials and 0 < confidence < 1.
    """
    if not 0 <= hits <= trials or not 0 < confidence < 1:
        raise ValueError(f"got {hits} of {trials} at {confidence}, expected 0 <= hits <= trials, 0 < confidence < 1")
    tail = (1 - confidence) / 2
    low = float(betaincinv(hits, trials - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 1 - tail)) if hits < trials else 1.0
    return low, high


async def compare_policies(
    old: PolicySet,
    new: PolicySet,
    accounts: Path,
    requests: Path,
    *,
    texts: Path | None = None,
    apart: bool | None = None,
    on_step: Callable[[int, int], None] | None = None,
) -> Comparison:
    """Replay ``requests`` under both sets. Raises FileErrors for unusable input."""
    known = load_accounts(accounts)
    before, after = Replay(old, known), Replay(new, known)
    comparison = Comparison()
    sources = [source_of(policies, known, accounts, requests, texts) for policies in (old, new)]
    with contextlib.ExitStack() as stack:
        for one, two in _lockstep(sources, stack, apart=apart):
            for index, request in enumerate(one.requests):
                before.apply(one.verdicts.get(index, ()))
                after.apply(two.verdicts.get(index, ()))
                comparison.add(request.account, await before.step(request), await after.step(request))
            if on_step is not None:
                on_step(comparison.requests, one.position)
    return comparison


def _lockstep(
    sources: list[Source], stack: contextlib.ExitStack, *, apart: bool | None
) -> Iterable[tuple[Batch, Batch]]:
    """The same batches for both sets, each with its verdicts: read once where both ask the same of the analysis."""
    size = any(source.body_bytes for source in sources)
    one, two = (source._replace(body_bytes=size) for source in sources)
    first = stack.enter_context(contextlib.closing(feed(one, apart=apart)))
    if one == two:
        return ((batch, batch) for batch in first)
    if str(one.requests) == STDIN:
        raise ConfigError("requests: got - and two policy sets with different analyses, expected a file to read twice")
    return zip(first, stack.enter_context(contextlib.closing(feed(two, apart=apart))), strict=True)
