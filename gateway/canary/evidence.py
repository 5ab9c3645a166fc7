"""From texts to trials: which forms a suspect wrote in which contexts, and how much each choice says.

A text is read once for all clusters. Rows whose letters are the same count once. For each distinct context
(slot and neighbouring word) the forms seen are counted; the suspect's own rate of a form is taken over all
contexts of the slot, whatever the key. With s the share of marked sites (``Slot.share``), m forms and r the
rate of form v in the suspect, the suspect's own habit is p = (r - s/m) / (1 - s), and one sight of v is likelier
by 1 + s / ((1 - s) p) if the key chose v there: the score of v is the logarithm of that, growing with log2 of the number of sights, so that a habit in one context is one
trial and no avalanche. Scores come from the text alone, so the test in ``exact.py`` is valid whatever they are;
they only decide its power. A form that everybody writes scores next to nothing.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from gateway.canary.exact import Null
from gateway.canary.reader import Reader, Site
from gateway.canary.request_side import find_choices
from gateway.canary.slots import FRAMES, SENTENCE_CARRIERS, Slot, load_inventory
from gateway.canary.writer import keyed_place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gateway.canary.sentences import Sight

Counts: TypeAlias = dict[tuple[str, str], dict[int, int]]
"""(slot id, context) -> form -> how often it was seen."""

_FAMILIES = ("forms", "sentences")
_NO_FORM = -1
UNIT_NATS = 0.125
"""Step of the integer scores."""
_MAX_SCORE = 48
_SMOOTHING = 0.5
_RATE_FLOOR = 0.002
FRAGMENT_SHARE = 0.2
"""A link that does not stand in a whole sentence of ours is rather somebody's own turn of phrase."""
_LETTERS = re.compile(r"[a-z]+")
_FORM_OF_LINK = {
    link.slot: {form: index for index, form in enumerate(link.forms)} for frame in FRAMES for link in frame.links
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One distinct context: its slot, and the scores of the forms that were seen there (others score 0)."""

    slot: Slot
    context: str
    scores: dict[int, int]

    def log_gain(self, form: int) -> float:
        """Log of what one unit staked on this trial becomes when the key chose ``form``; fair under the null."""
        mean = self.slot.size - len(self.scores) + sum(math.exp(UNIT_NATS * s) for s in self.scores.values())
        return UNIT_NATS * self.scores.get(form, 0) - math.log(mean / self.slot.size)

    @property
    def best(self) -> int:
        """The form that the suspect leans to."""
        return max(self.scores, key=lambda form: (self.scores[form], -form))


def own_sights(flat: str, given: str) -> Iterator[Sight]:
    """Links of our sentences in ``flat`` (lower case, single spaces) that do not stand in what was ``given``."""
    shown = " ".join(given.lower().split())
    for frame in FRAMES:
        yield from (sight for sight in frame.find(flat) if not sight.shown_in(shown))


class Collector:
    """Reads texts and counts. ``rows`` is how many different rows were read, ``repeated`` how many came again, ``whole`` holds
    the (slot, context, form) that stood in whole sentences of ours.
    """

    def __init__(self) -> None:
        self.counts: Counts = defaultdict(lambda: defaultdict(int))
        self.whole: set[tuple[str, str, int]] = set()
        self.rows = 0
        self.repeated = 0
        self._seen: set[bytes] = set()

    def read(self, text: str, given: str = "") -> None:
        """Count the sites of one reply, unless the same letters were read before.

        ``given`` is what the suspect was shown: a link of a sentence that stands there is not its own, and not counted.
        """
        low = text.lower()
        digest = hashlib.blake2b(" ".join(_LETTERS.findall(low)).encode(), digest_size=12).digest()
        if digest in self._seen:
            self.repeated += 1
            return
        self._seen.add(digest)
        self.rows += 1
        reader = Reader(self._count, strict=False)
        reader.feed(text)
        reader.finish()
        flat = " ".join(low.split()) if "\n" in low else low
        for sight in own_sights(flat, given):
            slot, form = sight.link.slot, _FORM_OF_LINK[sight.link.slot][sight.reply]
            self.counts[slot, sight.cue][form] += 1
            if sight.whole:
                self.whole.add((slot, sight.cue, form))
        for slot_id, context, form in find_choices(flat):
            self.counts[slot_id, context][form] += 1

    def _count(self, site: Site) -> None:
        self.counts[site.slot.id, site.context][site.form] += 1


def make_trials(collector: Collector) -> list[Trial]:
    """Trials in a fixed order; contexts that say nothing are left out."""
    counts, by_id = collector.counts, load_inventory().by_id
    totals: dict[str, list[float]] = {}
    for (slot_id, _), forms in counts.items():
        slot_totals = totals.setdefault(slot_id, [0.0] * by_id[slot_id].size)
        for form, number in forms.items():
            slot_totals[form] += number
    trials = []
    for slot_id, context in sorted(counts):
        slot = by_id[slot_id]
        slot_totals = totals[slot_id]
        everything = sum(slot_totals) + _SMOOTHING * slot.size
        scores: dict[int, int] = {}
        for form, number in counts[slot_id, context].items():
            share = (
                slot.share
                if slot.id not in _FORM_OF_LINK or (slot_id, context, form) in collector.whole
                else FRAGMENT_SHARE
            )
            rate = (slot_totals[form] + _SMOOTHING) / everything
            own = max(_RATE_FLOOR, (rate - share / slot.size) / (1 - share))
            gain = math.log1p(share / ((1 - share) * own)) * (1 + math.log2(number))
            score = min(_MAX_SCORE, round(gain / UNIT_NATS))
            if score:
                scores[form] = score
        if scores:
            trials.append(Trial(slot=slot, context=context, scores=scores))
    return trials


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierTest:
    """One carrier's test: ``hits`` of ``trials`` contexts lean to the key's form; ``p_value`` weighs them."""

    carrier: str
    p_value: float
    trials: int
    hits: int


class Evidence:
    """The trials of one suspect, ready to be tested against any number of keys."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.trials = trials
        self._groups: dict[str, dict[tuple[int, ...], int]] = defaultdict(lambda: defaultdict(int))
        for trial in trials:
            vector = tuple(sorted(trial.scores.values(), reverse=True)) + (0,) * (trial.slot.size - len(trial.scores))
            self._groups[trial.slot.carrier][vector] += 1
            self._groups[_family(trial.slot.carrier)][vector] += 1
        self._places = [(keyed_place(t.slot, t.context), t.slot.size, t.scores, t.best, t.slot.carrier) for t in trials]
        self._fair = -sum(trial.log_gain(_NO_FORM) for trial in trials)
        self._last: tuple[bytes, list[int]] = (b"", [])
        self._nulls = {name: Null(list(groups.items())) for name, groups in self._groups.items()}

    def _forms(self, key: bytes) -> list[int]:
        """The form that ``key`` chooses in each trial, as ``keyed_form`` says; the last key's are remembered."""
        if self._last[0] != key:
            blake2b = hashlib.blake2b
            forms = [
                int.from_bytes(blake2b(place, key=key, digest_size=8).digest(), "big") % size
                for place, size, _, _, _ in self._places
            ]
            self._last = (key, forms)
        return self._last[1]

    def total(self, key: bytes) -> int:
        """The statistic over all carriers: the scores of the forms that ``key`` chooses."""
        places = zip(self._places, self._forms(key), strict=True)
        return sum(scores.get(form, 0) for (_, _, scores, _, _), form in places)

    def e_value(self, key: bytes) -> float:
        """Likelihood ratio of "marked with ``key``" against a random key: an e-value (its mean under the null is
        1), so that 1 / e is a valid p-value at any time of stopping. At most 1e300.
        """
        return math.exp(min(690.0, UNIT_NATS * self.total(key) - self._fair))

    def test(self, key: bytes) -> tuple[float, list[CarrierTest]]:
        """The combined p-value of ``key`` and each carrier's.

        The carriers form two families: sentences that nobody else writes (cue, closing, bridge, behaviour, tool), and forms
        that all writers choose among. Within a family one exact test over all trials; over the two Fisher's method
        (R. A. Fisher 1932), or the sentences alone where they say more, at the price of a factor of two (Bonferroni): what
        short answers show of the forms is chance. Each trial is another (slot, context), so given the text the key's choices in all of them are
        independent hashes; sums over different trials are independent, within a sentence as well. A p-value of a
        discrete test is never too small, so the combination is valid.
        """
        sums: dict[str, int] = defaultdict(int)
        hits: dict[str, int] = defaultdict(int)
        seen: dict[str, int] = defaultdict(int)
        for (_, _, scores, best, carrier), form in zip(self._places, self._forms(key), strict=True):
            sums[carrier] += scores.get(form, 0)
            seen[carrier] += 1
            hits[carrier] += form == best
        for name in list(seen):
            sums[_family(name)] += sums[name]
        tests = [
            CarrierTest(carrier=name, p_value=self._nulls[name].tail(sums[name]), trials=seen[name], hits=hits[name])
            for name in sorted(seen)
        ]
        values = {name: null.tail(sums[name]) for name, null in self._nulls.items() if name in _FAMILIES}
        combined = fisher(list(values.values()))
        if len(values) == len(_FAMILIES):
            combined = min(1.0, 2 * min(combined, values["sentences"]))
        return combined, tests


def _family(carrier: str) -> str:
    return _FAMILIES[carrier in SENTENCE_CARRIERS]


def fisher(p_values: Sequence[float]) -> float:
    """Fisher's combination of independent p-values: the chance that their product is as small.

    With x = -log of the product and n values it is exp(-x) times the sum of x**i / i! for i < n.

    >>> round(fisher([0.01, 0.5]), 4)
    0.0315
    """
    if not p_values or min(p_values) <= 0:
        return 0.0 if p_values else 1.0
    x = -sum(math.log(p) for p in p_values)
    term = total = 1.0
    for i in range(1, len(p_values)):
        term *= x / i
        total += term
    return min(1.0, math.exp(-x + math.log(total)))


def read_texts(texts: Iterable[str]) -> Collector:
    """A collector that has read ``texts``."""
    collector = Collector()
    for text in texts:
        collector.read(text)
    return collector
