"""Which question comes next: what an endpoint lets itself be asked is found first, and then made use of.

Some servers go on from words that they are given: a last turn of the assistant's (vLLM's and SGLang's
``continue_final_message``, Anthropic's prefill), a bare completion, or a question that is no question. From the
beginning of one of our sentences such a model shows its choice at once, where it would otherwise have to be met by
chance. ``PROBES`` find out: beginnings that any English text goes on from in one way.

Invariants: what is asked depends on the answers and never on a key, so given the answers the key's choices are as random
as before, and every p-value stays exact. No choice of a sentence counts that stood in the question or in what was begun
(``Question.given``). Pure: feeding the same answers gives the same questions.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from typing import TYPE_CHECKING

from gateway.canary.prompts import Question, Way, make_questions, topics
from gateway.canary.slots import FRAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.canary.sentences import Frame

BATCH = 25
"""Questions between two looks of the sequential mode, and of the plan."""
PROBED_FROM = 100
"""Fewer questions are too few to spend some on probes."""
BEGUN_SHARE = 0.6
"""Part of the questions that are begun answers, where the endpoint goes on from them; the others show all other carriers."""
_ENOUGH = 2
"""Probes that must be gone on from: no answer that begins anew starts with such a word, let alone two."""
PROBES: tuple[tuple[str, frozenset[str]], ...] = (
    ("Some people like it, but on the other", frozenset({"hand", "side"})),
    ("There is a wide range", frozenset({"of"})),
    ("It plays an important", frozenset({"role", "part"})),
    ("There are a number", frozenset({"of"})),
    ("In order", frozenset({"to", "for", "that"})),
    ("It is one of the most", frozenset({"important", "popular", "common", "famous", "powerful", "effective"})),
)
_FILLERS = (
    "",
    "{topic} has many sides, and people often talk about it at home and at work. ",
    "There is more than one way to look at {topic}. What matters most depends on time and place. ",
)
_LEADS_A_ROUND = 3
_FIRST_WORD = re.compile(r"[^A-Za-z]*([A-Za-z]+)")


class Plan:
    """At most ``count`` questions, batch by batch; ``heard`` takes in each answer."""

    def __init__(self, count: int, *, seed: int = 1) -> None:
        self.way: Way | None = None
        """How answers are begun, once it is known that the endpoint goes on from them."""
        self.count = self._left = count
        self._turn = 0
        self._probed = count >= PROBED_FROM
        self._usual = iter(make_questions(count, seed=seed))
        self._rnd = random.Random(seed)  # noqa: S311 - an order of questions, no secret
        self._beginnings = self._begin_all()
        self._hits = Counter[Way]()
        self._asked = self._begun = 0

    def next_batch(self) -> list[Question]:
        """The next questions; none at the end. The answers to those before must have been heard."""
        size, batch = min(BATCH, self._left), list[Question]()
        if self._turn == 1 and self._probed:
            batch += probes()[:size]
        if self._turn > 1 and self.way is None and self._hits:
            best, hits = self._hits.most_common(1)[0]
            self.way = best if hits >= _ENOUGH else None
        batch += [self._next() for _ in range(size - len(batch))]
        self._turn += 1
        self._left -= size
        return batch

    def heard(self, question: Question, answers: Sequence[str]) -> None:
        """Take in the answers to ``question``."""
        if question.expected:
            self._hits[question.way] += any(_first_word(a, question.lead) in question.expected for a in answers)

    def _next(self) -> Question:
        if self.way is None:
            return next(self._usual)
        self._asked += 1
        if self._asked * BEGUN_SHARE >= self._begun + 1:
            self._begun += 1
            lead = next(self._beginnings)
            return begin(f"b{self._begun}", self.way, lead, self._rnd)
        return next(question for question in self._usual if not question.lead)

    def _begin_all(self) -> Iterator[str]:
        """Beginnings of our sentences without end: round by round every cue of every link, the first ones more often."""
        while True:
            found = [words for frame in FRAMES for words in beginnings(frame, self._rnd)]
            self._rnd.shuffle(found)
            yield from found


def beginnings(frame: Frame, rnd: random.Random) -> Iterator[str]:
    """Each subject, verb and adjective once (subjects several times), with other words of the frame before it."""
    forms = [link.forms for link in frame.links[:3]]
    for depth, own in enumerate(forms):
        for _ in range(1 if depth else _LEADS_A_ROUND):
            for form in own:
                words = [*(rnd.choice(before) for before in forms[:depth]), form]
                yield " ".join(words)[0].upper() + " ".join(words)[1:]


def begin(name: str, way: Way, lead: str, rnd: random.Random) -> Question:
    """A question whose answer is begun with ``lead``; where only bare questions are gone on from, ``lead`` itself."""
    if way is Way.ASKED:
        return Question(id=name, text=lead, lead=lead)
    topic = rnd.choice(topics())
    filler = rnd.choice(_FILLERS).format(topic=topic)
    begun = f"{filler[:1].upper()}{filler[1:]}{lead}"
    return Question(id=name, text=f"Explain {topic} in a few sentences.", lead=lead, begun=begun, way=way)


def probes() -> list[Question]:
    """Every probe in every way."""
    found = []
    for way in Way:
        for number, (lead, expected) in enumerate(PROBES):
            asked = way is Way.ASKED
            text, begun = (lead, "") if asked else ("Explain why people read books.", lead)
            name = f"p{way.value}{number}"
            found.append(Question(id=name, text=text, lead=lead, begun=begun, way=way, expected=expected))
    return found


def _first_word(answer: str, lead: str) -> str:
    """The first word of ``answer``, after ``lead`` where the answer repeats it."""
    at = answer.lower().find(lead.lower())
    found = _FIRST_WORD.match(answer if at < 0 else answer[at + len(lead) :])
    return found[1].lower() if found else ""
