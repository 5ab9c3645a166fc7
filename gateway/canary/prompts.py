"""What an audit asks a suspect: neutral questions, and cues that any suspect may answer in its own words.

Invariant: no question depends on a key, and none shows a reply that a key could choose, so the questions cannot
lead a suspect to a cluster and an echo of the question shows nothing. Written for this project.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

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
    "What are the main benefits of {}?",
    "Explain {} in simple words.",
    "Give five tips about {}.",
    "Describe the role of {} in daily life.",
    "What should a beginner know about {}?",
    "How has {} changed over the last years?",
    "What are common problems with {}, and how can they be solved?",
    "Discuss the advantages and disadvantages of {}.",
    "Why is {} important?",
    "How does {} affect the environment and society?",
)
_CUES = (
    "In two sentences, say what {topic} is, and end with a sentence that begins with: {lead}",
    "Finish your answer about {topic} with one more sentence. It begins: {lead}",
    "{lead}",
)
CUE_SHARE = 0.4
"""Part of the questions that are cues: they show a pairing sooner, neutral ones show all other carriers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question. ``lead`` is the cue that the answer may continue; empty for a neutral one."""

    id: str
    text: str
    lead: str = ""

    def read(self, answer: str) -> str:
        """The answer as text to be read: with the cue that it continues, where it does not repeat it."""
        if not self.lead or self.lead.lower() in answer.lower():
            return answer
        return f"{self.lead} {answer.lstrip()}"


def make_questions(count: int, *, seed: int = 1) -> list[Question]:
    """``count`` questions, the same for the same seed, mixed so that any beginning has both kinds."""
    rnd = random.Random(seed)  # noqa: S311 - an order of questions, no secret
    topics = [topic.strip() for topic in _TOPICS.replace("\n", "").split("|")]
    neutral = [question.format(topic) for question in _QUESTIONS for topic in topics]
    rnd.shuffle(neutral)
    questions = []
    cues = 0
    for index in range(count):
        if int((index + 1) * CUE_SHARE) > cues:
            lead = LEADS[cues % len(LEADS)]
            pattern = _CUES[(cues // len(LEADS) + cues) % len(_CUES)]
            text = pattern.format(topic=rnd.choice(topics), lead=lead)
            questions.append(Question(id=f"c{index}", text=text, lead=lead))
            cues += 1
        else:
            questions.append(Question(id=f"n{index}", text=neutral[(index - cues) % len(neutral)]))
    return questions
