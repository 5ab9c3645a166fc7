"""The analyzer: events in, verdicts out; driven by the events' own time, without I/O.

``observe`` enters one answered request in some 25 µs. ``tick`` looks for templates among what is new,
weighs the grounds of each one's accounts, and gives a verdict on every cluster that changed. The same events in
the same order give the same verdicts: passes are due by the events' time, not by how they were batched.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gateway.analysis import evidence, grounds, pools, templates
from gateway.analysis.accounts import Accounts
from gateway.analysis.book import PhraseBook
from gateway.analysis.clusters import Cluster, ClusterBook
from gateway.analysis.config import MATCH_BITS, AnalysisConfig
from gateway.analysis.dossiers import Dossiers
from gateway.analysis.known import UNKNOWN, Known
from gateway.analysis.renumbering import Renumbering
from gateway.analysis.replays import ReplayBook
from gateway.types import Level

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from gateway.analysis.dossiers import Dossier
    from gateway.types import Verdict

_WINDOW_S: Final = 3 * 86_400.0
"""How long requests are kept to look for templates in."""
_QUIET_S: Final = 1.5 * 86_400.0
"""Phrases of this age that give no grounds go into the background until the next full pass."""
_GROWTH, _FRESH = 1.04, 20
"""A pass looks again when the kept requests have grown by 4 % and 20."""
_KEEP: Final = 4
"""Of requests that a signature explains twice over, one in so many is kept."""
_SAME_AGE_S: Final = 43_200.0
"""Parts of a template may be so much older than most of it."""
_PART: Final = 0.5
"""A template is a part of one that was considered before where that explains half of its requests."""
_MIN_SAID: Final = 5
_MARGIN: Final = 2.0
"""Benign new templates may gather so many times the share of the largest one seen."""


class Analyzer:
    """Finds campaigns in a stream of events.

    ``on_weighed``, where given, is told of each group that is weighed: (time, accounts, holders, grounds).
    """

    def __init__(
        self,
        config: AnalysisConfig | None = None,
        on_weighed: Callable[[float, Sequence[int], Sequence[int], grounds.Grounds], None] | None = None,
    ) -> None:
        self.config = config or AnalysisConfig()
        self.accounts = Accounts()
        self.cohort = self.accounts.cohort
        self.book = PhraseBook(self.config.phrase_slots_log2)
        self.replays = ReplayBook()
        self.found = ClusterBook(self.config)
        self._on_weighed = on_weighed
        self._known: dict[str, Known] = {}
        self.opened_s: float | None = None
        self.next_tick_s = 0.0
        self.next_full_s = 0.0
        self.next_pools_s = 0.0
        self.looked_rows = 0
        self.matches = 0
        self.dossiers = Dossiers()
        self.adopted = 0.0
        """Largest share of active holders that a new template gathered without giving any grounds."""

    def configure(self, config: AnalysisConfig) -> None:
        """Go on under changed settings; the sizes of tables stay as they were made."""
        self.config = replace(config, phrase_slots_log2=self.config.phrase_slots_log2)
        self.found.config = self.config

    def know(self, account: str, traits: Mapping[str, Any]) -> None:
        """Enter an account's directory traits (``TraitExtractor.account``); of one that was seen, what is new of them."""
        known = Known(traits)
        if known != self._known.get(account):
            self._known[account] = known
            self._learn(account, known)

    def _learn(self, account: str, known: Known) -> None:
        number = self.cohort.index.get(account)
        if number is not None and known != self.cohort.traits[number]:
            self.accounts.learn(number, known)
            if self._is_exempt(number):
                self.found.leave(number)

    def knows(self, account: str) -> bool:
        """Whether the account has directory traits."""
        return account in self._known

    def observe(self, ts: float, account: str, traits: Mapping[str, Any], described: Known | None = None) -> None:
        """Enter one answered request of ``account`` at ``ts`` with its traits (``traits.extract``).

        ``described``: what the request itself says of an account that no directory names.
        """
        if described is not None:
            self._learn(account, described)
        known = self._known.get(account, described or UNKNOWN)
        number = self.accounts.see(ts, account, known, traits, warm=self._is_new(ts))
        self.replays.note(ts, number, traits, self.cohort)
        phrases = traits.get("ph")
        if not phrases:
            return
        cluster, bits = self.found.match(phrases)
        if cluster is not None and not self._is_exempt(number):
            self.found.join(cluster, [number], ts)
            cluster.renewed_s = ts
            self.matches += 1
        if bits < 2 * MATCH_BITS or self.matches % _KEEP == 0:
            self.book.note(ts, number, phrases, traits.get("int", 0))

    def _is_exempt(self, number: int) -> bool:
        return self.cohort.traits[number].get("use", "") in self.config.exempt_uses

    def due(self, now_s: float) -> bool:
        """Whether a pass is due at ``now_s``; the first call starts the time."""
        if self.opened_s is None:
            self.opened_s = now_s
            self.next_tick_s = now_s + self.config.tick_s
            self.next_full_s = now_s + self.config.full_pass_s
        return now_s >= self.next_tick_s

    def tick(self, now_s: float) -> list[Verdict]:
        """One pass; verdicts on clusters that changed or whose verdict grows old."""
        self.due(now_s)
        self.accounts.begin_pass()
        self.next_tick_s = now_s + self.config.tick_s
        self.book.forget(now_s - _WINDOW_S)
        if now_s >= self.next_full_s:
            self.next_full_s = now_s + self.config.full_pass_s
            self.book.unmute()
            self.dossiers.forget(now_s - self.config.horizon_s)
            self.forget(now_s - self.config.horizon_s)
        if self.book.kept >= self.looked_rows * _GROWTH + _FRESH:
            self._look(self.book.rows(), now_s)
            self.looked_rows = self.book.kept
        self.looked_rows = min(self.looked_rows, self.book.kept)
        for group in self.replays.groups(self.config.min_entities):
            self._consider_replays(group, now_s)
        if now_s >= self.next_pools_s:
            self.next_pools_s = now_s + pools.EVERY_S
            self._look_for_pools(now_s)
        self.found.merge()
        return self.found.verdicts(self.cohort.names, now_s)

    def forget(self, before_s: float, *, force: bool = False) -> None:
        """Forget accounts and phrases that were silent since ``before_s``, everywhere; the others get new numbers.

        Whoever sent a kept request stays. ``force``: also where nobody goes. Every full pass does it.
        """
        stays = np.array(self.cohort.last_s) >= before_s
        stays[self.book.senders()] = True
        accounts = Renumbering.of(stays)
        phrases = self.book.silent_since(before_s)
        if accounts.is_nobody_gone and phrases.is_nobody_gone and not force:
            return
        self.accounts.renumber(accounts)
        self.book.renumber(accounts, phrases)
        self.dossiers.renumber(accounts, phrases)
        self.replays.renumber(accounts)
        self.found.renumber(accounts)

    def clusters(self) -> list[dict[str, Any]]:
        """Every cluster that ever existed, as ``clusters.json`` has them."""
        return self.found.register(self.cohort.names)

    def _look(self, rows: templates.Rows, now_s: float) -> None:
        """Find templates in the kept requests, weigh each one's accounts, put the rest in the background."""
        born_s = self.book.born_s
        explained = np.zeros(rows.account.size, bool)
        for cluster in self.found.enforced():
            self._extend(cluster, rows, self._weights(cluster), now_s)
            explained |= np.isin(rows.account, list(cluster.members))
        counts = templates.account_counts(rows, born_s.size)
        candidates = np.flatnonzero(counts >= _MIN_SAID)
        candidates = candidates[np.argsort(-counts[candidates], kind="stable")]
        quiet = np.zeros(born_s.size, bool)
        quiet[candidates] = True
        for template in templates.find(rows, candidates, born_s.size):
            part = explained[template.matched].mean() >= _PART
            quiet[template.phrases] = not part and self._consider(template, rows, explained, now_s)
        mute = np.flatnonzero(quiet & (born_s < now_s - _QUIET_S))
        if mute.size:
            self.book.mute(mute)

    def _consider(
        self, template: templates.Template, rows: templates.Rows, explained: NDArray[np.bool_], now_s: float
    ) -> bool:
        """Weigh a template's accounts and act on the grounds; whether the template is background.

        ``explained`` flags requests whose template has been considered in this pass; this one's are added.
        """
        bits = np.zeros(self.book.born_s.size)
        bits[template.phrases] = np.maximum(template.bits, 0.0)
        born_s = float(np.median(self.book.born_s[template.phrases]))
        if self._is_new(born_s):
            fresh = self.book.born_s >= born_s - _SAME_AGE_S
            bits = templates.extend(rows, np.where(fresh, bits, 0.0), fresh)
        matched = templates.scores(rows, bits) >= MATCH_BITS
        explained |= matched
        taken = {number for cluster in self.found.enforced() for number in cluster.members}
        if not matched.any():
            return True
        dossier = self._dossier(rows, bits, matched, now_s)
        accounts = [number for number in dossier.senders if number not in taken]
        holders = self.cohort.holders(accounts)
        if len(holders) < self.config.min_entities:
            return True
        inside = self.accounts.flags([*accounts, *taken])
        found = self._weigh(inside, holders, dossier, born_s, now_s)
        if self._on_weighed is not None:
            self._on_weighed(now_s, accounts, holders, found)
        if found.suffice(self.config):
            self._enforce(accounts, templates.cover(rows, bits), rows, found, born_s, now_s)
        elif found.combined >= self.config.watch_e:
            self._watch(accounts, found, born_s, now_s)
        if found.combined < 1.0 and self._is_new(born_s) and born_s < now_s - _QUIET_S:
            self.adopted = max(self.adopted, len(holders) / max(self.cohort.active_holders(born_s), len(holders)))
        return found.combined < 1.0

    def _consider_replays(self, group: list[int], now_s: float) -> None:
        """Weigh accounts that show each other's signatures and conversations, and act on the grounds."""
        accounts = [number for number in group if not self._is_exempt(number)]
        holders = self.cohort.holders(accounts)
        if len(holders) < self.config.min_entities:
            return
        cluster = self.found.same_as(accounts)
        if cluster is not None and cluster.is_enforced:
            self._take_replays(cluster, accounts, now_s)
            return
        inside = self.accounts.flags(accounts)
        active = max(self.cohort.active_holders(now_s - _WINDOW_S), len(holders))
        replay = evidence.rate_log_e(len(holders), active, self.config.benign_replay)
        times = np.array([self.replays.linked_s[number] for number in holders])
        found = grounds.weigh(
            self.cohort,
            holders,
            inside,
            self.config,
            replay=evidence.hedge(replay, self.config.family_cap),
            coordination=self._spread(holders, times, now_s),
        )
        if self._on_weighed is not None:
            self._on_weighed(now_s, accounts, holders, found)
        if found.suffice(self.config):
            cluster = cluster or self.found.open(Level.SUSPECT, now_s)
            self._raise(cluster, found, now_s)
            cluster.members.clear()
            self._take_replays(cluster, accounts, now_s)
        elif found.combined >= self.config.watch_e:
            self._watch(accounts, found, now_s, now_s)

    def _take_replays(self, cluster: Cluster, accounts: list[int], now_s: float) -> None:
        """Take in accounts that show a cluster's signatures, and the signatures that they show."""
        self.found.join(cluster, accounts, now_s)
        codes = self.replays.codes_of(accounts)
        if codes != cluster.codes:
            cluster.codes, cluster.renewed_s, cluster.changed = codes, now_s, True

    def _raise(self, cluster: Cluster, found: grounds.Grounds, now_s: float) -> None:
        """Begin to act on a cluster."""
        cluster.level, cluster.first_enforced_s, cluster.renewed_s = Level.SUSPECT, now_s, now_s
        cluster.reasons, cluster.evidence = found.words(), found.evidence()

    def _dossier(
        self, rows: templates.Rows, bits: NDArray[np.float64], matched: NDArray[np.bool_], now_s: float
    ) -> Dossier:
        """What is remembered of a template, with what this pass saw of it."""
        heaviest = np.argsort(-bits, kind="stable")[: int((bits > 0).sum())].tolist()
        share = float((rows.wants[matched] > 0).mean())
        return self.dossiers.note(heaviest, self._senders(rows, matched), share, now_s)

    def _weigh(
        self, inside: NDArray[np.bool_], holders: list[int], dossier: Dossier, born_s: float, now_s: float
    ) -> grounds.Grounds:
        """The grounds; ``inside`` flags the group and enforced clusters, which are nobody's cohort."""
        return grounds.weigh(
            self.cohort,
            holders,
            inside,
            self.config,
            content=self._content(born_s, holders),
            intent=evidence.half(self.dossiers.intent_e(dossier)),
            coordination=self._coordination(holders, dossier, now_s),
        )

    def _senders(self, rows: templates.Rows, matched: NDArray[np.bool_]) -> dict[int, float]:
        """Accounts that sent a matching request and when first, in that order, without the exempt."""
        accounts, first = np.unique(rows.account[matched], return_index=True)
        order = np.argsort(first)
        times = rows.ts[matched][first[order]].tolist()
        pairs = zip(accounts[order].tolist(), times, strict=True)
        return {number: ts for number, ts in pairs if not self._is_exempt(number)}

    def _weights(self, cluster: Cluster) -> NDArray[np.float64]:
        """The cluster's signature by the numbers of phrases."""
        bits = np.zeros(self.book.born_s.size)
        numbers = self.book.numbers_of(cluster.bits)
        bits[list(numbers)] = [cluster.bits[code] for code in numbers.values()]
        return bits

    def _extend(self, cluster: Cluster, rows: templates.Rows, bits: NDArray[np.float64], now_s: float) -> None:
        """Grow a cluster's template from ``bits``, take in the accounts that send it, and its kin."""
        grown = templates.extend(rows, bits, self.book.born_s >= self._may_grow_since(cluster))
        signature = dict(cluster.bits)
        signature.update({self.book.hashes[phrase]: float(grown[phrase]) for phrase in np.flatnonzero(grown).tolist()})
        if signature != cluster.bits:
            self.found.sign(cluster, signature)
        senders = self._senders(rows, templates.scores(rows, self._weights(cluster)) >= MATCH_BITS)
        self.found.join(cluster, [*senders, *self._kin(cluster)], now_s)

    def _kin(self, cluster: Cluster) -> list[int]:
        """Accounts outside that a cluster's own linkage values link to it, without the exempt."""
        found = self.accounts.kin(cluster.members)
        return [number for number in found if not self._is_exempt(number)]

    def _look_for_pools(self, now_s: float) -> None:
        """Weigh groups that work alike; those that suffice become clusters, or are the ones that they were."""
        apart = self.accounts.flags(
            number for cluster in self.found.enforced() if not cluster.is_pool for number in cluster.members
        )
        apart |= np.array([self._is_exempt(number) for number in range(len(self.cohort))], bool)
        for pool in pools.find(self.accounts, apart, self.config, now_s):
            if self._on_weighed is not None:
                self._on_weighed(now_s, pool.accounts, pool.holders, pool.found)
            for part in pool.parts:
                cluster = self.found.same_as(part)
                if cluster is None or not cluster.is_enforced:
                    cluster = self.found.open(Level.SUSPECT, now_s)
                    cluster.is_pool = True
                    self._raise(cluster, pool.found, now_s)
                cluster.renewed_s = now_s
                self.found.join(cluster, part, now_s)
        for cluster in self.found.enforced():
            self._tell_change(cluster, now_s)

    def _tell_change(self, cluster: Cluster, now_s: float) -> None:
        """Put a pivot or fail-over of an enforced cluster into the words of its verdict."""
        holders = self.cohort.holders(list(cluster.members))
        inside = self.accounts.flags(cluster.members)
        change = self.accounts.change(holders, inside, now_s, self.config.family_cap)
        if change.words and change.words != cluster.change:
            cluster.change, cluster.changed = change.words, True

    def _may_grow_since(self, cluster: Cluster) -> float:
        """Phrases of this age may join a cluster's template: not older than it, and not of the first days, when
        other people's texts look as new as the campaign's.
        """
        warm_s = (self.opened_s or 0.0) + self.config.warm_up_s
        return max(cluster.born_s - _SAME_AGE_S, warm_s)

    def _enforce(
        self,
        accounts: list[int],
        bits: NDArray[np.float64],
        rows: templates.Rows,
        found: grounds.Grounds,
        born_s: float,
        now_s: float,
    ) -> None:
        """Make the group an enforced cluster: a new one, or the one that it was watched as."""
        cluster = self.found.same_as(accounts)
        if cluster is None or cluster.is_enforced:
            cluster = self.found.open(Level.SUSPECT, born_s)
        self._raise(cluster, found, now_s)
        cluster.members.clear()
        self._extend(cluster, rows, bits, now_s)

    def _watch(self, accounts: list[int], found: grounds.Grounds, born_s: float, now_s: float) -> None:
        """Write a group down without acting on it."""
        cluster = self.found.same_as(accounts)
        if cluster is None:
            cluster = self.found.open(Level.WATCH, born_s)
        if not cluster.is_enforced:
            self.found.join(cluster, accounts, now_s)
            cluster.renewed_s, cluster.reasons, cluster.evidence = now_s, found.words(), found.evidence()

    def _is_new(self, born_s: float) -> bool:
        """Whether a template is younger than the log: before that, everything looks new."""
        return self.opened_s is not None and born_s >= self.opened_s + self.config.warm_up_s

    def _content(self, born_s: float, holders: list[int]) -> float:
        """E-value that a new template gathers unrelated holders faster than benign new templates do."""
        if not self._is_new(born_s):
            return 1.0
        active = max(self.cohort.active_holders(born_s), len(holders))
        bound = max(_MARGIN * self.adopted, self.config.benign_gathering / active)
        log_e = evidence.rate_log_e(len(holders), active, min(self.config.benign_adoption, bound))
        return evidence.hedge(log_e, self.config.family_cap)

    def _coordination(self, holders: list[int], dossier: Dossier, now_s: float) -> float:
        """The same of the holders' first matching requests."""
        arrivals = np.array([dossier.senders[number] for number in holders])
        return self._spread(holders, arrivals, now_s)

    def _spread(self, holders: list[int], arrivals: NDArray[np.float64], now_s: float) -> float:
        """E-value that the holders' arrivals are spread evenly, whatever the hour at home."""
        expected = self.cohort.expected(holders, arrivals, float(arrivals.min()), now_s)
        return evidence.hedge(evidence.steady_log_e(expected, self.config.benign_steady), self.config.family_cap)
