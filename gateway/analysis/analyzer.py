"""The analyzer: events in, verdicts out; driven by the events' own time, without I/O.

``observe`` enters one answered request in a few microseconds. ``tick`` looks for templates among what is
new, weighs the grounds of each one's accounts, and gives a verdict on every cluster that changed. The same
events in the same order give the same verdicts, whatever the batches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gateway.analysis import evidence, grounds, links, templates
from gateway.analysis.book import PhraseBook
from gateway.analysis.cohort import Cohort
from gateway.analysis.config import MATCH_BITS, AnalysisConfig
from gateway.types import Level, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_WINDOW_S: Final = 3 * 86_400.0
_QUIET_S: Final = 1.5 * 86_400.0
_GROWTH: Final = 1.04
_FRESH: Final = 30
_KEEP: Final = 4
"""Of requests that a signature explains twice over, one in so many is kept."""
_SAME_AGE_S: Final = 43_200.0
_PART: Final = 0.5
_MIN_SAID: Final = 5
_WARM_UP_S: Final = 1.5 * 86_400.0


@dataclass(slots=True)
class Cluster:
    """A campaign's accounts and its template; ``members`` in the order in which they joined."""

    id: str
    members: dict[int, float] = field(default_factory=dict)
    bits: dict[int, float] = field(default_factory=dict)
    numbers: dict[int, float] = field(default_factory=dict)
    born_s: float = 0.0
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
        self._opened_s = 0.0
        self._looked_rows = 0
        self._matches = 0
        self._intents: list[float] = []

    def know(self, account: str, traits: Mapping[str, Any]) -> None:
        """Enter an account's directory traits, before its first request counts."""
        self._known[account] = traits

    def observe(self, ts: float, account: str, traits: Mapping[str, Any]) -> None:
        """Enter one answered request."""
        number = self.cohort.see(ts, account, self._known.get(account, {}), traits)
        phrases = traits.get("ph")
        if not phrases:
            return
        cluster, bits = self._match(phrases) if self._by_phrase else (None, 0.0)
        if cluster is not None:
            self._join(self._clusters[cluster], number, ts)
            self._matches += 1
        if bits < 2 * MATCH_BITS or self._matches % _KEEP == 0:
            self._book.note(ts, number, phrases, traits.get("int", 0))

    def _match(self, phrases: list[int]) -> tuple[str | None, float]:
        """The cluster whose signature the request shows, if any, and how many bits of it."""
        scores: dict[str, float] = {}
        for phrase in phrases:
            found = self._by_phrase.get(phrase)
            if found is not None:
                scores[found[0]] = scores.get(found[0], 0.0) + found[1]
        best = max(scores, key=scores.__getitem__, default=None)
        if best is None or scores[best] < MATCH_BITS:
            return None, 0.0
        return best, scores[best]

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
            self._opened_s = now_s
        return now_s >= self._next_tick_s

    def tick(self, now_s: float) -> list[Verdict]:
        """One pass; the verdicts on clusters that changed."""
        self._next_tick_s = now_s + self.config.tick_s
        self._book.forget(now_s - _WINDOW_S)
        if self._book.kept >= self._looked_rows * _GROWTH + _FRESH:
            self._look(self._book.rows(), now_s)
            self._looked_rows = self._book.kept
        self._looked_rows = min(self._looked_rows, self._book.kept)
        return [self._verdict(cluster, now_s) for cluster in self._clusters.values() if cluster.changed]

    def _look(self, rows: templates.Rows, now_s: float) -> None:
        """Find templates in the kept requests, weigh each group's accounts, put the rest in the background."""
        for cluster in self._clusters.values():
            self._extend(cluster, rows, self._weights(cluster.numbers), now_s)
        numbered = len(self._book)
        counts = templates.account_counts(rows, numbered)
        candidates = np.flatnonzero(counts >= _MIN_SAID)
        candidates = candidates[np.argsort(-counts[candidates], kind="stable")]
        quiet: list[NDArray[np.int64]] = []
        lonely = np.zeros(numbered, bool)
        lonely[candidates] = True
        explained = np.zeros(rows.account.size, bool)
        for cluster in self._clusters.values():
            explained |= templates.scores(rows, self._weights(cluster.numbers)) >= MATCH_BITS
        for template in templates.find(rows, candidates, numbered):
            lonely[template.phrases] = False
            if explained[template.matched].mean() < _PART and self._consider(template, rows, explained, now_s):
                quiet.append(template.phrases)
        quiet.append(np.flatnonzero(lonely))
        mute = np.concatenate(quiet)
        mute = mute[self._book.born_s[mute] < now_s - _QUIET_S]
        if mute.size:
            self._book.mute(mute)

    def _consider(
        self, template: templates.Template, rows: templates.Rows, explained: NDArray[np.bool_], now_s: float
    ) -> bool:
        """Weigh a template and enforce where the grounds suffice; whether it is background.

        ``explained`` flags requests whose template has been considered in this pass; this one's are added.
        """
        bits = np.zeros(len(self._book))
        bits[template.phrases] = np.maximum(template.bits, 0.0)
        born_s = self._born_s(template)
        if born_s >= self._opened_s + _WARM_UP_S:
            bits = templates.extend(rows, bits, self._book.born_s >= born_s - _SAME_AGE_S)
        matched = templates.scores(rows, bits) >= MATCH_BITS
        explained |= matched
        everybody = self._senders(rows, bits)
        holders = self.cohort.holders(everybody)
        if len(holders) < self.config.min_entities:
            return True
        inside = np.zeros(len(self.cohort), bool)
        inside[everybody] = True
        given = {
            "content": self._content(born_s, holders),
            "intent": self._intent(rows.wants[matched]),
            "coordination": self._coordination(holders, rows, matched, now_s),
        }
        found = grounds.weigh(self.cohort, holders, inside, self.config, **given)
        if self.trace is not None:
            self.trace(now_s, int((bits > 0).sum()), everybody, holders, found)
        if found.suffice(self.config):
            name = f"c{len(self._clusters) + 1}"
            cluster = Cluster(name, first_enforced_s=now_s, born_s=born_s, reasons=found.words())
            self._clusters[name] = cluster
            self._extend(cluster, rows, templates.cover(rows, bits), now_s)
            return False
        return found.combined < 1.0

    def _senders(self, rows: templates.Rows, bits: NDArray[np.float64]) -> list[int]:
        """Accounts that sent a matching request, in the order of their first, without the exempt."""
        accounts = rows.account[templates.scores(rows, bits) >= MATCH_BITS]
        _, first = np.unique(accounts, return_index=True)
        return [number for number in accounts[np.sort(first)].tolist() if not self._is_exempt(number)]

    trace: Any = None

    def _weights(self, numbers: Mapping[int, float]) -> NDArray[np.float64]:
        bits = np.zeros(len(self._book))
        bits[list(numbers)] = list(numbers.values())
        return bits

    def _extend(self, cluster: Cluster, rows: templates.Rows, bits: NDArray[np.float64], now_s: float) -> None:
        """Grow a cluster's template from ``bits`` and take in the accounts that send it."""
        grown = templates.extend(rows, bits, self._book.born_s >= cluster.born_s - _SAME_AGE_S)
        numbers = {phrase: float(grown[phrase]) for phrase in np.flatnonzero(grown).tolist()}
        if numbers != cluster.numbers:
            for code in cluster.bits:
                del self._by_phrase[code]
            hashes = self._book.hashes
            cluster.numbers = {phrase: bits for phrase, bits in numbers.items() if hashes[phrase] not in self._by_phrase}
            cluster.bits = {hashes[phrase]: bits for phrase, bits in cluster.numbers.items()}
            self._by_phrase.update({code: (cluster.id, bits) for code, bits in cluster.bits.items()})
            cluster.changed = True
        senders = self._senders(rows, self._weights(cluster.numbers))
        for number in senders:
            self._join(cluster, number, now_s)
        if senders:
            cluster.renewed_s = now_s
        for number in links.kin(self.cohort, cluster.members):
            self._join(cluster, number, now_s)

    def _born_s(self, template: templates.Template) -> float:
        """When most of a template's phrases were first said twice."""
        return float(np.median(self._book.born_s[template.phrases]))

    def _content(self, born_s: float, holders: list[int]) -> float:
        """E-value that a new template gathers unrelated holders faster than benign new templates do."""
        if born_s < self._opened_s + _WARM_UP_S:
            return 1.0
        active = self.cohort.active_holders(born_s)
        log_e = evidence.rate_log_e(len(holders), max(active, len(holders)), self.config.benign_adoption)
        return evidence.hedge(log_e, self.config.family_cap)

    def _coordination(
        self, holders: list[int], rows: templates.Rows, matched: NDArray[np.bool_], now_s: float
    ) -> float:
        """E-value that the holders' first matching requests are spread evenly, whatever the hour at home."""
        accounts, first = np.unique(rows.account[matched], return_index=True)
        times = dict(zip(accounts.tolist(), rows.ts[matched][first].tolist(), strict=True))
        arrivals = np.array([times[number] for number in holders])
        expected = self.cohort.expected(np.array(holders), arrivals, float(arrivals.min()), now_s)
        return evidence.hedge(evidence.steady_log_e(expected, self.config.benign_steady), self.config.family_cap)

    def _intent(self, wants: NDArray[np.int64]) -> float:
        """E-value of the share of requests with an intent, ranked among all templates of the population."""
        share = float((wants > 0).mean())
        value = evidence.rank_e(share, self._intents[-200:]) if share > 0.5 else 0.5
        self._intents.append(share)
        return value

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
