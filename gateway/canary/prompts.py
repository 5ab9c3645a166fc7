"""What an audit asks a suspect: neutral questions, and cues that any suspect may answer in its own words.

Invariant: no question depends on a key, and none shows a reply that a key could choose, so the questions cannot
lead a suspect to a cluster and an echo of the question shows nothing. Written for this project.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum

from gateway.canary.bridges import SUBJECTS
from gateway.canary.closings import LEADS

_TOPICS = """
regular exercise|healthy eating|saving money|public speaking|time management|renewable energy|gardening|online learning|
machine learning|teamwork|recycling|good sleep|reading books|learning a language|remote work|stress management|
city planning|public transport|social media|digital marketing|customer service|water conservation|climate change|
solar power|electric cars|small businesses|budgeting|photography|cooking at home|meditation|job interviews|
writing essays|critical thinking|data privacy|computer security|cloud computing|artificial intelligence|robotics|
space exploration|ocean pollution|forests|wildlife protection|organic farming|food waste|mental health|vaccination|
first aid|parenting|early education|school libraries|museums|music lessons|team sports|hiking|cycling|swimming|
volunteering|local government|democracy|international trade|inflation|insurance|investing|supply chains|project planning|
product design|user interfaces|software testing|open source software|databases|search engines|mobile phones|
video conferencing|online shopping|tourism|cultural festivals|world history|the water cycle|photosynthesis|gravity|
the human heart|the immune system|earthquakes|volcanoes|weather forecasts|recycled paper|home repairs|pet care|
house plants|road safety|air travel|railways|bridges|architecture|creative writing|film making|theatre|painting
"""
_QUESTIONS = (
    "Explain why people care about {}.",
    "Describe the role of {} in daily life.",
    "Discuss the advantages and disadvantages of {}.",
    "Compare and contrast {} and {}.",
    "Describe what has changed in {} over the last years.",
    "What are the main benefits of {}?",
    "Explain the relationship between {} and {}.",
    "How can {} change society?",
    "Describe the future of {}.",
    "Explain {} to somebody who has never heard of it.",
    "Describe the main ideas behind {}.",
    "Explain what makes {} difficult.",
)
"""Questions that are answered in some 40 to 120 words of prose: sentences that a cluster's replies had are met there, and
hardly ever in lists, stories or one word.
"""
_CLOSING_CUES = (
    "In two sentences, say what {topic} means, and end with a sentence that begins with: {lead}",
    "Finish your answer about {topic} with one more sentence. It begins: {lead}",
    "{lead}",
)
_BRIDGE_CUES = (
    "Explain {topic} in four sentences. The third one begins: {lead}",
    "{lead}",
)
CUE_SHARE = 0.25
"""Part of the questions that are cues: they show a pairing sooner, neutral ones show all other carriers."""


class Way(Enum):
    """How a question is put: asked, as a turn of the assistant's that is begun, or as a bare text to complete."""

    BEGUN = "begun"
    RAW = "raw"
    ASKED = "asked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question. ``lead`` is the cue that the answer may continue; empty for a neutral one. ``begun`` is what stands before
    the answer, ends in ``lead``, and is empty where the question is only asked. A probe has the words that are ``expected`` to
    come first where the endpoint goes on.
    """

    id: str
    text: str
    lead: str = ""
    begun: str = ""
    way: Way = Way.ASKED
    expected: frozenset[str] = frozenset()

    @property
    def given(self) -> str:
        """All that the suspect is shown: no choice that stands here is its own."""
        return f"{self.text} {self.begun}"

    def read(self, answer: str) -> str:
        """The answer as text to be read: with the cue that it continues, where it does not repeat it."""
        if not self.lead or self.lead.lower() in answer.lower():
            return answer
        return f"{self.lead} {answer.lstrip()}"


def make_questions(count: int, *, seed: int = 1) -> list[Question]:
    """``count`` questions, the same for the same seed, mixed so that any beginning has both kinds."""
    rnd = random.Random(seed)  # noqa: S311 - an order of questions, no secret
    subjects = topics()
    neutral = [pattern.format(topic, other) for pattern in _QUESTIONS for topic, other in _pairs(subjects)]
    rnd.shuffle(neutral)
    cues = _cues()
    questions: list[Question] = []
    asked = 0
    for index in range(count):
        if int((index + 1) * CUE_SHARE) > asked:
            pattern, lead = cues[asked % len(cues)]
            text = pattern.format(topic=rnd.choice(subjects), lead=lead)
            questions.append(Question(id=f"c{index}", text=text, lead=lead))
            asked += 1
        else:
            questions.append(Question(id=f"n{index}", text=neutral[(index - asked) % len(neutral)]))
    return questions


def topics() -> list[str]:
    """What is asked about."""
    return [topic.strip() for topic in _TOPICS.replace("\n", "").split("|")]


def _pairs(subjects: list[str]) -> list[tuple[str, str]]:
    """Each topic, and another one to set beside it."""
    return list(zip(subjects, subjects[7:] + subjects[:7], strict=True))


def _cues() -> list[tuple[str, str]]:
    """(pattern, beginning of a sentence): closings and bridges in turn, each beginning once with each of its patterns."""
    closings = [(pattern, lead) for pattern in _CLOSING_CUES for lead in LEADS]
    bridges = [(pattern, f"{s[0].upper()}{s[1:]}") for pattern in _BRIDGE_CUES for s in SUBJECTS]
    return [cue for pair in zip(closings, bridges, strict=False) for cue in pair]
