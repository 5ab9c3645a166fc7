"""What is remembered of each template from pass to pass: who sent it, since when, and what it wants.

The rows in which templates are looked for are forgotten after days; a pool that replaces its accounts, or that asks
seldom, never shows enough of them at once. A dossier keeps a template's holders as long as the horizon. Two templates
are one where half of the smaller one's phrases are in both.

Dossiers are also the population that a template's intent is ranked among: one trial is one template, not
one look at it.

Memory: some 100 bytes a (template, account); templates not seen for the horizon are forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.analysis.renumbering import Renumbering

_SAME: Final = 0.5
_MOST_PHRASES: Final = 400
"""Phrases that a dossier is known by; what is common to a template is among the first."""
_WANTS: Final = 0.5
"""A template wants something where more than half of its requests do."""
_RANKED: Final = 3
"""Templates of fewer accounts are not ranked: they may be one person's habit."""
_IMAGINED: Final = 20
"""A population of fewer templates is filled up to so many with imagined ones, of which one in twenty wants something.
With this many of its own none is imagined, and the e-value is exact."""


@dataclass(slots=True)
class Dossier:
    """One template. ``senders``: account number to its first matching request, in the order of entering."""

    number: int
    phrases: set[int] = field(default_factory=set)
    senders: dict[int, float] = field(default_factory=dict)
    seen_s: float = 0.0
    share: float = 0.0
    """Share of its requests that showed an intent, when it was last looked at."""


class Dossiers:
    """All templates that were considered; a phrase belongs to the dossier that had it last."""

    def __init__(self) -> None:
        self._every: dict[int, Dossier] = {}
        self._by_phrase: dict[int, int] = {}
        self._next = 0

    def __len__(self) -> int:
        """How many templates are remembered."""
        return len(self._every)

    def note(self, phrases: Sequence[int], senders: Mapping[int, float], share: float, now_s: float) -> Dossier:
        """Enter what a pass saw of a template: its phrases (the heaviest first), who sent it first when, and the
        share of its requests that want something. The dossier, with everybody who ever sent it.
        """
        mine = phrases[:_MOST_PHRASES]
        dossier = self._same_as(mine)
        if dossier is None:
            dossier = self._every[self._next] = Dossier(self._next)
            self._next += 1
        for phrase in mine:
            if len(dossier.phrases) < _MOST_PHRASES:
                dossier.phrases.add(phrase)
            self._by_phrase.setdefault(phrase, dossier.number)
        for number, ts in senders.items():
            dossier.senders.setdefault(number, ts)
        dossier.seen_s, dossier.share = now_s, share
        return dossier

    def _same_as(self, phrases: Sequence[int]) -> Dossier | None:
        counts: dict[int, int] = {}
        for phrase in phrases:
            owner = self._by_phrase.get(phrase)
            if owner is not None:
                counts[owner] = counts.get(owner, 0) + 1
        for number, common in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
            if common >= _SAME * min(len(phrases), len(self._every[number].phrases)):
                return self._every[number]
        return None

    def intent_e(self, dossier: Dossier, apart: Iterable[int] = ()) -> float:
        """E-value that a template wants something, among all templates: (n + 1) / (k + 1) where it does, else 0.

        *Null*: this template's want is exchangeable with those of the n others, k of which want something too.
        By symmetry the expectation is at most 1 (soft rank; Vovk and Wang 2021, Ren and Barber 2024), whatever
        the rate, from ``_IMAGINED`` others on. ``apart`` names templates that are nobody's cohort.
        """
        if dossier.share <= _WANTS:
            return 0.0
        skipped = {dossier.number, *apart}
        others = [one for one in self._every.values() if one.number not in skipped and len(one.senders) >= _RANKED]
        wanting = sum(one.share > _WANTS for one in others)
        imagined = max(0, _IMAGINED - len(others))
        return (len(others) + imagined + 1) / (wanting + imagined / _IMAGINED + 1)

    def forget(self, before_s: float) -> None:
        """Drop templates not seen since ``before_s``."""
        for number in [number for number, one in self._every.items() if one.seen_s < before_s]:
            del self._every[number]
        self._by_phrase = {phrase: number for phrase, number in self._by_phrase.items() if number in self._every}

    def renumber(self, accounts: Renumbering, phrases: Renumbering) -> None:
        """Forget accounts and phrases that do not stay; a template that nothing is left of is forgotten itself."""
        for number, one in list(self._every.items()):
            one.senders = accounts.keys(one.senders)
            one.phrases = set(phrases.numbers(one.phrases))
            if not one.senders or not one.phrases:
                del self._every[number]
        self._by_phrase = {
            phrase: number for phrase, number in phrases.keys(self._by_phrase).items() if number in self._every
        }
