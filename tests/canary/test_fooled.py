"""What is known to fool such tests, each thing by its name: none of these suspects may be found guilty.

Each test would find somebody guilty if the audit made the mistake that it is named after; where that can be shown in a
few lines, the mistake is made beside it and does.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

from scipy.stats import binom, binomtest

from gateway.canary.audit import judge
from gateway.canary.endpoint import Pace, Transcript, interview
from gateway.canary.evidence import Evidence, make_trials, read_texts
from gateway.canary.keyring import new_keyring
from gateway.canary.marking import mark_reply
from gateway.canary.plan import Plan
from gateway.canary.prompts import Question, make_questions
from gateway.canary.slots import load_inventory
from gateway.canary.writer import keyed_form
from tests.canary.helpers import make_rows, ring_secret

RING = new_keyring(inventory=load_inventory().digest, now_s=0.0, secret=ring_secret(71))
ROWS = make_rows(700, seed=71)
PLAIN = [reply for _, reply in ROWS]


def p_values(texts: Sequence[str], count: int) -> list[float]:
    """One for each of ``count`` random keys."""
    evidence = Evidence(make_trials(read_texts(texts)))
    return [evidence.test(hashlib.sha256(f"fooled{i}".encode()).digest())[0] for i in range(count)]


def assert_valid(values: Sequence[float]) -> None:
    """At most what chance allows lies below 0.1 and 0.01, and nothing that would name a cluster."""
    for level in (0.1, 0.01):
        below = sum(value <= level for value in values)
        assert binom.sf(below - 1, len(values), level) > 1e-4, (level, below)
    assert min(values) > 1e-6


def test_synonyms_are_not_fair_coins() -> None:
    """An author who always writes *whilst* and *colour* would be guilty of half of all keys, were each a fair coin."""
    british = [t.replace("while", "whilst").replace("color", "colour").replace("also", "likewise") for t in PLAIN]
    assert_valid(p_values(british, 300))
    slot = load_inventory().by_id["while"]
    contexts = [context for (name, context) in read_texts(british).counts if name == slot.id]
    key = next(  # a key that happens to choose *whilst* often: one in twenty does
        key
        for key in (hashlib.sha256(f"coin{i}".encode()).digest() for i in range(100))
        if sum(keyed_form(key, slot, context) == 1 for context in contexts) >= 0.6 * len(contexts)
    )
    hits = sum(keyed_form(key, slot, context) == 1 for context in contexts)
    repeats = sum(sum(forms.values()) for (name, _), forms in read_texts(british).counts.items() if name == slot.id)
    coin = binomtest(round(hits / len(contexts) * repeats), repeats, 0.5, alternative="greater").pvalue
    assert coin < 1e-2 < Evidence(make_trials(read_texts(british))).test(key)[0]


def test_another_models_habits_are_no_marks() -> None:
    """A model that learned from somebody else's marked replies writes all our sentences, and not by our keys."""
    other = new_keyring(inventory="", now_s=0.0, secret=ring_secret(72))
    theirs = [mark_reply(other, "c1", prompt, reply).reply for prompt, reply in ROWS]
    assert judge(read_texts(theirs), other, ["c1"], suspect="s").attributed_to == ("c1",)
    assert_valid(p_values(theirs, 300))
    ours = [f"c{i}" for i in range(100)]
    assert judge(read_texts(theirs), RING, ours, suspect="s").attributed_to == ()


def test_repeated_rows_are_no_trials() -> None:
    """One marked row, copied a thousand times with other numbers and other case, is one row."""
    marked = next(m.reply for p, r in ROWS if (m := mark_reply(RING, "c1", p, r)).marks and m.reply.count(".") > 5)
    copies = [f"{i}. {marked.upper() if i % 2 else marked}" for i in range(1000)]
    once, often = read_texts([marked]), read_texts(copies)
    assert often.rows == 1
    assert often.repeated == 999
    assert once.counts == often.counts
    key = RING.newest.cluster_key("c1")
    alone = Evidence(make_trials(once)).test(key)[0]
    assert Evidence(make_trials(often)).test(key)[0] == alone


class Witness:
    """Says what it is asked for: repeats the question, or goes on from a cue with what it always says there."""

    def __init__(self, always: str) -> None:
        self._always = always

    async def ask(self, question: Question) -> list[str]:
        text = question.begun or question.text
        found = re.search(r"[Bb]egins(?: with)?: (.*)$", text)
        cue = found[1] if found else text
        return [f"{text} {self._always}", f"{cue} {self._always}", self._always]


async def test_cues_do_not_lead_the_witness() -> None:
    """Whoever agrees with everything agrees with no key more than with any other."""
    for always in ("", "gives useful points.", "deserves special attention.", "I do not know."):
        talk = await interview(Witness(always), Plan(400), transcript=Transcript(None), pace=Pace(concurrency=1))
        clusters = [f"c{i}" for i in range(200)]
        report = judge(talk.collector, RING, clusters, suspect="witness")
        assert report.attributed_to == ()
        assert_valid([result.p_value for result in report.results])


def test_questions_show_no_key_a_choice() -> None:
    """Read as answers, a thousand questions hold no mark of a sentence: they name beginnings, and never what follows."""
    counts = read_texts([question.text for question in make_questions(1000)]).counts
    carriers = Counter(load_inventory().by_id[slot].carrier for slot, _ in counts)
    assert not carriers.keys() & {"cue", "closing", "bridge", "behaviour", "tool"}
