"""Clusters with a stable identity: who belongs, by which template, since when.

A cluster keeps its name through growth, through the replacement of its accounts by others (they send its
template) and through merges (the older name stays, the younger is told in ``replaces``). It never loses its
history: ``register`` lists every cluster that ever existed. Members that were silent for the campaign
horizon are forgotten; a cluster whose evidence is not renewed expires by its verdict's own date.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from gateway.analysis.config import MATCH_BITS
from gateway.types import Level, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.analysis.config import AnalysisConfig
    from gateway.analysis.renumbering import Renumbering

_SAME: Final = 0.5
"""Two groups are one cluster where half of the smaller one's accounts are in both."""
_RENEW_PART: Final = 4
"""A verdict is given again when a quarter of its life has passed, though nothing changed."""


@dataclass(slots=True)
class Cluster:
    """One campaign. ``members`` (account number to time of joining) in the order in which they joined."""

    name: str
    level: Level
    born_s: float
    members: dict[int, float] = field(default_factory=dict)
    bits: dict[int, float] = field(default_factory=dict)
    """Signature: weight of each phrase, by the phrase's hash."""
    is_pool: bool = False
    """Found by how its accounts work and what they share, without a template or replays."""
    codes: list[int] = field(default_factory=list)
    """Signature: reasoning signatures and conversations that its accounts replayed."""
    first_enforced_s: float | None = None
    renewed_s: float = 0.0
    told_s: float = 0.0
    version: int = 0
    changed: bool = True
    merged_into: str | None = None
    replaces: list[str] = field(default_factory=list)
    reasons: tuple[str, ...] = ()
    evidence: tuple[Mapping[str, Any], ...] = ()
    change: str = ""
    """A pivot or fail-over that was seen, in words."""

    @property
    def is_enforced(self) -> bool:
        """Whether its accounts are marked and share a budget."""
        return self.level.rank >= Level.SUSPECT.rank and self.merged_into is None


class ClusterBook:
    """All clusters, and which phrase belongs to which."""

    def __init__(self, config: AnalysisConfig) -> None:
        self.config = config
        self.every: dict[str, Cluster] = {}
        self._by_phrase: dict[int, tuple[str, float]] = {}

    def alive(self) -> list[Cluster]:
        """Clusters that were not merged into another, oldest first."""
        return [cluster for cluster in self.every.values() if cluster.merged_into is None]

    def enforced(self) -> list[Cluster]:
        """Clusters that the request path acts on."""
        return [cluster for cluster in self.every.values() if cluster.is_enforced]

    def match(self, phrases: Sequence[int]) -> tuple[Cluster | None, float]:
        """The enforced cluster whose signature a request shows, if any, and how many bits of it."""
        known = self._by_phrase
        if known.keys().isdisjoint(phrases):
            return None, 0.0
        scores: dict[str, float] = {}
        for phrase in filter(known.__contains__, phrases):
            name, bits = known[phrase]
            scores[name] = scores.get(name, 0.0) + bits
        best = max(scores, key=scores.__getitem__)
        if scores[best] < MATCH_BITS:
            return None, 0.0
        return self.every[best], scores[best]

    def same_as(self, accounts: Sequence[int]) -> Cluster | None:
        """The living cluster that a group of accounts is: the one with most of them, if half of the smaller."""
        best, most = None, 0
        for cluster in self.alive():
            common = sum(number in cluster.members for number in accounts)
            if common > most and common >= _SAME * min(len(accounts), len(cluster.members)):
                best, most = cluster, common
        return best

    def open(self, level: Level, born_s: float) -> Cluster:
        """A new cluster under a new name."""
        name = f"c{len(self.every) + 1}"
        cluster = self.every[name] = Cluster(name, level, born_s)
        return cluster

    def join(self, cluster: Cluster, numbers: Iterable[int], now_s: float) -> None:
        """Take accounts in; those that are members stay as they are."""
        for number in numbers:
            if number not in cluster.members:
                cluster.members[number] = now_s
                cluster.changed = True

    def leave(self, number: int) -> None:
        """Let an account that has become exempt be a member of nothing."""
        for cluster in self.alive():
            if cluster.members.pop(number, None) is not None:
                cluster.changed = True

    def sign(self, cluster: Cluster, bits: Mapping[int, float]) -> None:
        """Set a cluster's signature; a phrase belongs to the cluster that had it first."""
        for phrase in cluster.bits:
            del self._by_phrase[phrase]
        cluster.bits = {phrase: value for phrase, value in bits.items() if phrase not in self._by_phrase}
        self._by_phrase.update({phrase: (cluster.name, value) for phrase, value in cluster.bits.items()})
        cluster.changed = True

    def merge(self) -> None:
        """Make one of any two enforced clusters that share half of the smaller one's accounts."""
        living = self.enforced()
        for place, older in enumerate(living):
            for younger in living[place + 1 :]:
                if older.merged_into is not None or younger.merged_into is not None:
                    continue
                common = sum(number in older.members for number in younger.members)
                if common and common >= _SAME * min(len(older.members), len(younger.members)):
                    self._absorb(older, younger)

    def _absorb(self, older: Cluster, younger: Cluster) -> None:
        bits = {**younger.bits, **older.bits}
        self.sign(younger, {})
        self.sign(older, bits)
        for number, since_s in younger.members.items():
            older.members.setdefault(number, since_s)
        older.renewed_s = max(older.renewed_s, younger.renewed_s)
        older.codes = [*older.codes, *younger.codes]
        older.replaces = [*older.replaces, younger.name, *younger.replaces]
        younger.merged_into, younger.changed, older.changed = older.name, False, True

    def renumber(self, accounts: Renumbering) -> None:
        """Members under their new numbers; who does not stay is a member no more, not even of a cluster that was merged."""
        for cluster in self.every.values():
            before = len(cluster.members)
            cluster.members = accounts.keys(cluster.members)
            cluster.changed |= len(cluster.members) < before and cluster.merged_into is None

    def verdicts(self, names: Sequence[str], now_s: float) -> list[Verdict]:
        """Verdicts on living clusters that changed or whose last one grows old."""
        given = []
        for cluster in self.alive():
            old = now_s - cluster.told_s >= self.config.verdict_s / _RENEW_PART and cluster.renewed_s > cluster.told_s
            if cluster.changed or old:
                given.append(self._verdict(cluster, names, now_s))
        return given

    def _verdict(self, cluster: Cluster, names: Sequence[str], now_s: float) -> Verdict:
        cluster.changed = False
        cluster.version += 1
        cluster.told_s = now_s
        return Verdict(
            cluster=cluster.name,
            level=cluster.level,
            members=tuple(names[number] for number in cluster.members),
            decided_at=now_s,
            expires_at=cluster.renewed_s + self.config.verdict_s,
            version=cluster.version,
            reasons=(*cluster.reasons, cluster.change) if cluster.change else cluster.reasons,
            replaces=tuple(cluster.replaces),
            evidence=cluster.evidence,
            signatures={"ph": list(cluster.bits.items()), "codes": cluster.codes} if cluster.is_enforced else {},
        )

    def register(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Every cluster that ever existed, with its last membership."""
        return [
            {
                "cluster": cluster.name,
                "members": [names[number] for number in cluster.members],
                "level": cluster.level.value,
                "first_enforced_at": cluster.first_enforced_s,
                "merged_into": cluster.merged_into,
                "evidence": list(cluster.evidence),
            }
            for cluster in self.every.values()
        ]
