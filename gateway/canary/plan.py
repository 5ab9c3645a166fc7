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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.canary.evidence import own_sights
from gateway.canary.prompts import Question, Way, make_questions, topics
from gateway.canary.slots import FRAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.canary.sentences import Frame

BATCH = 25
"""Questions between two looks of the sequential mode, and of the plan."""
PROBED_FROM = 100
"""Fewer questions are too few to spend some on probes."""
BEGUN_SHARE = 0.8
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
_BEFORE = (
    "Explain {topic} in a few sentences.",
    "{topic} has many sides, and people often talk about it at home and at work.",
    "There is more than one way to look at {topic}. What matters most depends on time and place.",
)
"""The question, and what stands before one of our beginnings: they were learned after other sentences."""
_TRIED = 10
_NEUTRAL = "Explain why people read books."
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
        self._groups = [Group(frame=frame, depth=depth) for frame in FRAMES for depth in range(len(frame.links) - 1)]
        self._group_of: dict[str, Group] = {}
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
        if group := self._group_of.pop(question.id, None):
            texts = (" ".join(question.read(answer).lower().split()) for answer in answers)
            group.asked += 1
            group.found += sum(1 for text in texts for _ in own_sights(text, question.given))

    def _next(self) -> Question:
        if self.way is None:
            return next(self._usual)
        self._asked += 1
        if self._asked * BEGUN_SHARE >= self._begun + 1:
            self._begun += 1
            group = self._rnd.choices(self._groups, [group.worth for group in self._groups])[0]
            question = begin(f"b{self._begun}", self.way, group.lead(self._rnd), self._rnd)
            self._group_of[question.id] = group
            return question
        return next(question for question in self._usual if not question.lead)


@dataclass(slots=True, kw_only=True)
class Group:
    """Beginnings of one ``frame`` that end in the word of link ``depth``, and what was ``found`` by those that were asked."""

    frame: Frame
    depth: int
    asked: int = 0
    found: int = 0
    _left: list[str] = field(default_factory=list)

    @property
    def worth(self) -> float:
        """How often it is asked: by links found in an answer, smoothed so that nothing is given up early."""
        return (1 + self.found) / (_TRIED + self.asked)

    def lead(self, rnd: random.Random) -> str:
        """The next beginning: every word of the link in turn, in a random order, behind random words of the frame."""
        forms = [link.forms for link in self.frame.links]
        if not self._left:
            self._left = rnd.sample(forms[self.depth], len(forms[self.depth]))
        words = " ".join([*(rnd.choice(before) for before in forms[: self.depth]), self._left.pop()])
        return words[0].upper() + words[1:]


def begin(name: str, way: Way, lead: str, rnd: random.Random) -> Question:
    """A question whose answer is begun and ends in ``lead``; where only bare questions are gone on from, ``lead`` itself."""
    if way is Way.ASKED:
        return Question(id=name, text=lead, lead=lead)
    question, *before = _BEFORE
    topic = rnd.choice(topics())
    told = rnd.choice(before).format(topic=topic)
    begun = f"{told[0].upper()}{told[1:]} {lead}"
    return Question(id=name, text=question.format(topic=topic), lead=lead, begun=begun, way=way)


def probes() -> list[Question]:
    """Every probe in every way."""
    found = []
    for way in Way:
        for number, (lead, expected) in enumerate(PROBES):
            asked = way is Way.ASKED
            text, begun = (lead, "") if asked else (_NEUTRAL, lead)
            name = f"p{way.value}{number}"
            found.append(Question(id=name, text=text, lead=lead, begun=begun, way=way, expected=expected))
    return found


def _first_word(answer: str, lead: str) -> str:
    """The first word of ``answer``, after ``lead`` where the answer repeats it."""
    at = answer.lower().find(lead.lower())
    found = _FIRST_WORD.match(answer if at < 0 else answer[at + len(lead) :])
    return found[1].lower() if found else ""
