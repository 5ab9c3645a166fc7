"""The analyzer: events in, verdicts out; driven by the events' own time, without I/O.

``observe`` enters one answered request in a few microseconds. ``tick`` looks for templates among what is
new, weighs the grounds of each one's accounts, and gives a verdict on every cluster that changed. The same
events in the same order give the same verdicts, whatever the batches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gateway.analysis import grounds, templates
from gateway.analysis.book import PhraseBook
from gateway.analysis.cohort import Cohort
from gateway.analysis.config import MATCH_BITS, AnalysisConfig
from gateway.types import Level, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_WINDOW_S: Final = 3 * 86_400.0
_QUIET_S: Final = 1.5 * 86_400.0


@dataclass(slots=True)
class Cluster:
    """A campaign's accounts and its template; ``members`` in the order in which they joined."""

    id: str
    members: dict[int, float] = field(default_factory=dict)
    bits: dict[int, float] = field(default_factory=dict)
    first_enforced_s: float | None = None
    renewed_s: float = 0.0
    version: int = 0
    changed: bool = True
    reasons: tuple[str, ...] = ()
    evidence: tuple[Mapping[str, Any], ...] = ()


class Analyzer:
    """Finds campaigns in a stream of events."""

    def __init__(self, config: AnalysisConfig | None = None) -> None:
        self.config = config or AnalysisConfig()
        self.cohort = Cohort()
        self._book = PhraseBook(self.config.phrase_slots_log2)
        self._known: dict[str, Mapping[str, Any]] = {}
        self._clusters: dict[str, Cluster] = {}
        self._by_phrase: dict[int, tuple[str, float]] = {}
        self._next_tick_s: float | None = None

    def know(self, account: str, traits: Mapping[str, Any]) -> None:
        """Enter an account's directory traits, before its first request counts."""
        self._known[account] = traits

    def observe(self, ts: float, account: str, traits: Mapping[str, Any]) -> None:
        """Enter one answered request."""
        number = self.cohort.see(ts, account, self._known.get(account, {}), traits)
        phrases = traits.get("ph")
        if not phrases:
            return
        if self._by_phrase and (cluster := self._match(phrases)) is not None:
            self._join(self._clusters[cluster], number, ts)
        self._book.note(ts, number, phrases)

    def _match(self, phrases: list[int]) -> str | None:
        scores: dict[str, float] = {}
        for phrase in phrases:
            found = self._by_phrase.get(phrase)
            if found is not None:
                scores[found[0]] = scores.get(found[0], 0.0) + found[1]
        best = max(scores, key=scores.__getitem__, default=None)
        return best if best is not None and scores[best] >= MATCH_BITS else None

    def _join(self, cluster: Cluster, number: int, ts: float) -> None:
        if number not in cluster.members and not self._is_exempt(number):
            cluster.members[number] = ts
            cluster.changed = True

    def _is_exempt(self, number: int) -> bool:
        return self.cohort.traits[number].get("use", "") in self.config.exempt_uses

    def due(self, now_s: float) -> bool:
        """Whether a pass is due at ``now_s``."""
        if self._next_tick_s is None:
            self._next_tick_s = now_s + self.config.tick_s
        return now_s >= self._next_tick_s

    def tick(self, now_s: float) -> list[Verdict]:
        """One pass; the verdicts on clusters that changed."""
        self._next_tick_s = now_s + self.config.tick_s
        self._book.forget(now_s - _WINDOW_S)
        rows = templates.Rows(*self._book.rows())
        if rows.account.size:
            self._look(rows, now_s)
        return [self._verdict(cluster, now_s) for cluster in self._clusters.values() if cluster.changed]

    def _look(self, rows: templates.Rows, now_s: float) -> None:
        numbered = len(self._book)
        counts = templates.account_counts(rows, numbered)
        candidates = np.flatnonzero(counts >= self.config.min_entities)
        candidates = candidates[np.argsort(-counts[candidates], kind="stable")]
        found = templates.find(rows, candidates, numbered)
        quiet: list[NDArray[np.int64]] = []
        lonely = np.zeros(numbered, bool)
        lonely[candidates] = True
        for group in templates.merge(found, rows):
            phrases = np.concatenate([template.phrases for template in group])
            lonely[phrases] = False
            if self._consider(group, rows, now_s):
                old = np.array([self._book.first_s[phrase] for phrase in phrases.tolist()]) < now_s - _QUIET_S
                quiet.append(phrases[old])
        alone = np.flatnonzero(lonely)
        quiet.append(alone[[self._book.first_s[phrase] < now_s - _QUIET_S for phrase in alone.tolist()]])
        mute = np.concatenate(quiet)
        if mute.size:
            self._book.mute(mute)

    def _consider(self, group: list[templates.Template], rows: templates.Rows, now_s: float) -> bool:
        """Weigh a group of templates and enforce where the grounds suffice; whether it is background."""
        matched = np.unique(np.concatenate([template.matched for template in group]))
        accounts = rows.account[matched]
        _, first = np.unique(accounts, return_index=True)
        everybody = [int(number) for number in accounts[np.sort(first)] if not self._is_exempt(int(number))]
        holders = self.cohort.holders(everybody)
        if len(holders) < self.config.min_entities:
            return True
        inside = np.zeros(len(self.cohort), bool)
        inside[everybody] = True
        found = grounds.weigh(self.cohort, holders, inside, self.config)
        if self.trace is not None:
            self.trace(now_s, group, everybody, holders, found)
        if found.suffice(self.config):
            self._enforce(group, rows, everybody, found, now_s)
        return found.combined < 1.0

    trace: Any = None

    def _enforce(
        self, group: list[templates.Template], rows: templates.Rows, accounts: list[int], found: grounds.Grounds, now_s: float
    ) -> None:
        votes: dict[str, int] = {}
        for cluster in self._clusters.values():
            votes[cluster.id] = sum(number in cluster.members for number in accounts)
        best = max(votes, key=votes.__getitem__, default=None)
        if best is None or votes[best] < 0.3 * len(accounts):
            best = f"c{len(self._clusters) + 1}"
            self._clusters[best] = Cluster(best, first_enforced_s=now_s)
        cluster = self._clusters[best]
        for number in accounts:
            self._join(cluster, number, now_s)
        pairs = [pair for one in group for pair in zip(one.phrases.tolist(), one.bits.tolist(), strict=True)]
        for phrase, bits in pairs:
            code = self._book.hashes[phrase]
            if code not in self._by_phrase:
                self._by_phrase[code] = (best, bits)
                cluster.bits[code] = bits
                cluster.changed = True
        cluster.reasons = found.words()
        cluster.renewed_s = now_s

    def _verdict(self, cluster: Cluster, now_s: float) -> Verdict:
        cluster.changed = False
        cluster.version += 1
        return Verdict(
            cluster=cluster.id,
            level=Level.SUSPECT,
            members=tuple(self.cohort.names[number] for number in cluster.members),
            decided_at=now_s,
            expires_at=now_s + self.config.verdict_s,
            version=cluster.version,
            reasons=cluster.reasons,
            evidence=cluster.evidence,
            signatures={"ph": [[code, bits] for code, bits in cluster.bits.items()]},
        )

    def clusters(self) -> list[dict[str, Any]]:
        """Every cluster that ever existed, as ``clusters.json`` has them."""
        return [
            {
                "cluster": cluster.id,
                "members": [self.cohort.names[number] for number in cluster.members],
                "level": Level.SUSPECT.value,
                "first_enforced_at": cluster.first_enforced_s,
                "evidence": list(cluster.reasons),
            }
            for cluster in self._clusters.values()
        ]
