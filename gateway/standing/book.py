"""Who stands where, in memory: the pure part of the standing table.

Takes verdicts and overrides in any order, any number of times, and ends in the same state (of each cluster the
highest version, of each subject the newest override); only the accounts that are touched are worked out again.

Who wins, for one account, first that has not ended:

1. the newest of: an override on the account; an exemption of a cluster that named the account; an override on
   a cluster that named the account and was merged away since;
2. the override on the account's cluster;
3. the verdict on the account's cluster. After ``expires_at`` it is as if there were none: a verdict is renewed
   by the analysis for as long as its evidence holds, or it ends.

An account's cluster is the one decided last among those whose verdicts name it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.standing.overrides import Override, SubjectKind, Verb
from gateway.standing.verdicts import supersedes
from gateway.types import NO_STANDING, Level, Standing, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """A cluster as people see it. ``level`` is what holds now, after the override."""

    verdict: Verdict
    level: Level
    override: Override | None
    replaced_by: str | None
    members: tuple[str, ...]
    """The accounts that are in this cluster now: those of the verdict that no later verdict took."""


class Book:
    """Verdicts and overrides, and the standings that follow. Safe to read while nothing writes."""

    def __init__(self) -> None:
        self.version = 0
        """Grows with every change; whoever derives something from the book remembers it."""
        self._verdicts: dict[str, Verdict] = {}
        self._replaced_by: dict[str, str] = {}
        self._members: dict[str, frozenset[str]] = {}
        self._claims: dict[str, frozenset[str]] = {}
        self._special: set[str] = set()
        """Accounts that several clusters or an override of their own name: they do not just share an entry."""
        self._overrides: dict[tuple[SubjectKind, str], Override] = {}
        self._named: defaultdict[str, set[str]] = defaultdict(set)
        self._shared: dict[str, list[Standing]] = {}
        """One list a cluster, changed in place: a renewed verdict reaches 25,000 accounts in one step."""
        self._entries: dict[str, list[Standing]] = {}

    def of(self, account: str, now_s: float) -> Standing:
        """The standing of ``account``; ``NO_STANDING`` where nothing is known or all has ended."""
        entry = self._entries.get(account)
        if entry is None:
            return NO_STANDING
        for standing in entry:
            if standing.expires_at is None or now_s < standing.expires_at:
                return standing
        return NO_STANDING

    def add_verdicts(self, verdicts: Iterable[Verdict]) -> list[Verdict]:
        """Take over verdicts; returns those that were news."""
        news = []
        touched: set[str] = set()
        for verdict in verdicts:
            old = self._verdicts.get(verdict.cluster)
            if supersedes(verdict, old):
                touched |= self._place(verdict, old)
                news.append(verdict)
        self._work_out(touched)
        return news

    def add_overrides(self, overrides: Iterable[Override]) -> list[Override]:
        """Take over overrides; returns those that were news."""
        news = []
        touched: set[str] = set()
        for override in overrides:
            key = override.kind, override.subject
            old = self._overrides.get(key)
            if old is not None and old.order >= override.order:
                continue
            self._overrides[key] = override
            news.append(override)
            touched |= self._reach(override, old)
        self._work_out(touched)
        return news

    def forget(self, ended_before_s: float) -> list[str]:
        """Drop verdicts that expired before then; returns their clusters. Overrides stay."""
        ended = [name for name, verdict in self._verdicts.items() if verdict.expires_at < ended_before_s]
        touched: set[str] = set()
        for name in ended:
            verdict = self._verdicts.pop(name)
            members = self._members.pop(name)
            self._unclaim(name, members)
            touched |= members
            for merged in verdict.replaces:
                touched |= self._replace(merged)
            self._share(name)
        self._work_out(touched)
        return ended

    def clusters(self, now_s: float) -> list[ClusterView]:
        """Every cluster, in the order of their names."""
        return [self._view(self._verdicts[name], now_s) for name in sorted(self._verdicts)]

    def cluster(self, name: str, now_s: float) -> ClusterView | None:
        """One cluster, or ``None`` where it is not known."""
        verdict = self._verdicts.get(name)
        return None if verdict is None else self._view(verdict, now_s)

    def enforced_verdicts(self, now_s: float) -> list[Verdict]:
        """Verdicts on the clusters that stand at ``suspect`` or above now; costs nothing by the member."""
        return [
            verdict
            for name, verdict in sorted(self._verdicts.items())
            if self._level(name, now_s).rank >= Level.SUSPECT.rank
        ]

    def _level(self, name: str, now_s: float) -> Level:
        """What holds for a cluster now, after the override."""
        if name in self._replaced_by:
            return Level.NONE
        holds = (one for one in self._shared[name] if one.expires_at is None or now_s < one.expires_at)
        return next((one.level for one in holds), Level.NONE)

    def override_of(self, kind: SubjectKind, subject: str) -> Override | None:
        """The override that counts for a subject, also when it has ended."""
        return self._overrides.get((kind, subject))

    def overrides(self) -> list[Override]:
        """The override that counts for each subject, oldest first."""
        return sorted(self._overrides.values(), key=lambda override: override.order)

    def verdicts(self) -> list[Verdict]:
        """The latest verdict on every cluster."""
        return list(self._verdicts.values())

    def _place(self, verdict: Verdict, old: Verdict | None) -> set[str]:
        """Put a verdict in the place of ``old``; returns the accounts whose standing may change."""
        name = verdict.cluster
        members, before = frozenset(verdict.members), self._members.get(name, frozenset())
        self._verdicts[name], self._members[name] = verdict, members
        self._unclaim(name, before - members)
        alone = frozenset((name,))
        for account in members - before:
            self._claims[account] = self._claims.get(account, alone) | alone
        touched = set(members ^ before) | (members & self._special)
        for merged in {*verdict.replaces, *(old.replaces if old else ())}:
            touched |= self._replace(merged)
        self._share(name)
        return touched

    def _replace(self, merged: str) -> set[str]:
        """Work out anew which cluster took over ``merged``; returns the accounts that this may change."""
        takers = [verdict for verdict in self._verdicts.values() if merged in verdict.replaces]
        if takers:
            self._replaced_by[merged] = max(takers, key=_decided).cluster
        else:
            self._replaced_by.pop(merged, None)
        touched = set(self._members.get(merged, ()))
        if (override := self._overrides.get((SubjectKind.CLUSTER, merged))) is not None:
            touched.update(override.members)
        return touched

    def _unclaim(self, name: str, accounts: Iterable[str]) -> None:
        for account in accounts:
            left = self._claims.get(account, frozenset()) - {name}
            if left:
                self._claims[account] = left
            else:
                self._claims.pop(account, None)

    def _reach(self, override: Override, old: Override | None) -> set[str]:
        """Note whom an override names; returns the accounts whose standing may change."""
        if override.kind is SubjectKind.ACCOUNT:
            return {override.subject}
        name = override.subject
        touched = set(override.members)
        for account in override.members:
            self._named[account].add(name)
        if old is not None:
            touched.update(old.members)
            for account in set(old.members) - set(override.members):
                self._named[account].discard(name)
        self._share(name)
        return touched | (self._members.get(name, frozenset()) & self._special)

    def _share(self, name: str) -> None:
        """Work out the standings of a cluster, in the one list that its accounts hold."""
        standings = []
        override = self._overrides.get((SubjectKind.CLUSTER, name))
        if override is not None and override.verb is not Verb.RELEASE:
            standings.append(_standing(override, name))
        if (verdict := self._verdicts.get(name)) is not None:
            standings.append(
                Standing(level=verdict.level, cluster=name, expires_at=verdict.expires_at, reasons=verdict.reasons)
            )
        self._shared.setdefault(name, [])[:] = standings

    def _work_out(self, accounts: Iterable[str]) -> None:
        """Work out anew which list some accounts hold."""
        self.version += 1
        for account in accounts:
            cluster = self._cluster_of(account)
            entry = self._shared[cluster] if cluster is not None else []
            newest = self._personal(account)
            if newest is not None:
                entry = [_standing(newest, cluster), *entry]
            if newest is not None or len(self._claims.get(account, ())) > 1:
                self._special.add(account)
            else:
                self._special.discard(account)
            if entry:
                self._entries[account] = entry
            else:
                self._entries.pop(account, None)

    def _personal(self, account: str) -> Override | None:
        """The override that stays with the account, whatever its cluster: rule 1 above."""
        found = [self._overrides[SubjectKind.CLUSTER, name] for name in self._named.get(account, ())]
        found = [one for one in found if one.verb is Verb.EXEMPT or one.subject in self._replaced_by]
        if (own := self._overrides.get((SubjectKind.ACCOUNT, account))) is not None:
            found.append(own)
        newest = max(found, key=_order, default=None)
        return None if newest is None or newest.verb is Verb.RELEASE else newest

    def _cluster_of(self, account: str) -> str | None:
        """The cluster decided last among those that name the account and were not merged away."""
        claims = [self._verdicts[name] for name in self._claims.get(account, ()) if name not in self._replaced_by]
        return max(claims, key=_decided).cluster if claims else None

    def _view(self, verdict: Verdict, now_s: float) -> ClusterView:
        name = verdict.cluster
        return ClusterView(
            verdict=verdict,
            level=self._level(name, now_s),
            override=self._overrides.get((SubjectKind.CLUSTER, name)),
            replaced_by=self._replaced_by.get(name),
            members=tuple(account for account in verdict.members if self._cluster_of(account) == name),
        )


def _order(override: Override) -> tuple[float, str]:
    """See ``Override.order``."""
    return override.order


def _decided(verdict: Verdict) -> tuple[float, int, str]:
    """Later decisions are higher; the name decides a tie, the same way everywhere."""
    return verdict.decided_at, verdict.version, verdict.cluster


def _standing(override: Override, cluster: str | None) -> Standing:
    """What an override makes of an account of ``cluster``."""
    level = Level.CONFIRMED if override.verb is Verb.CONFIRM else Level.NONE
    return Standing(level=level, cluster=cluster, expires_at=override.until, reasons=(override.words,))
