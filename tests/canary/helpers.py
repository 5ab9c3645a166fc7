"""Texts made for these tests: prompts and replies from templates, plain English with many slots in it."""

from __future__ import annotations

import random

KEY = bytes(range(32))

_SUBJECTS = [
    "a small team",
    "regular exercise",
    "public transport",
    "a good teacher",
    "modern software",
    "the local library",
    "a healthy diet",
    "solar power",
    "an open market",
    "the city council",
    "careful planning",
    "a clear budget",
    "online learning",
    "fresh water",
    "a school garden",
    "machine learning",
    "good sleep",
    "a bicycle",
    "the first draft",
    "a museum",
]
_OBJECTS = [
    "the environment",
    "daily life",
    "the quality of work",
    "children and adults",
    "costs",
    "most people",
    "a busy family",
    "the community",
    "young students",
    "older people",
    "a small business",
    "the whole region",
    "new visitors",
    "the next generation",
    "every neighbor",
]
_PLURALS = [
    "cities",
    "schools",
    "families",
    "farmers",
    "companies",
    "teachers",
    "doctors",
    "visitors",
    "readers",
    "students",
    "towns",
    "farms",
]
_CLAUSES = (
    "{s} can also help {o}, while {p} often wait until {s2} is organized",
    "{s} is used to support {o}, and {p} that can change quickly are among the best examples",
    "in order to understand {o}, {p} need information about {s}, {s2} and time",
    "{s} will also be used by {p}, {p2}, and {p3} for {o}",
    "everyone who is interested in {s} may find that {o} is based on {s2}",
    "{p} typically choose a plan that is easy to follow, but they are not always happy to help {o}",
    "due to {s}, {p} are able to reduce the risk for {o} in their neighborhood",
    "{s} can lead to a variety of results, such as better habits for {o}",
    "someone should analyze {s} before using the data, as well as the color of {s2}",
    "{p} have many reasons to trust {s}, because {s2} is important for {o}",
    "it is often difficult to say how {s} affects {o} around the world",
    "the center of the town depends on {s}, and the favorite place of {p} is near it",
)
_OPENERS = ("", "", "", "Additionally, ", "However, ", "Therefore, ", "For example, ", "In summary, ")
_PROMPTS = (
    "What are the benefits of {s}?",
    "Explain how {s} works.",
    "Describe the role of {s}.",
    "Write a short story about {s}.",
    "Compose a letter about {s}.",
)


def make_rows(count: int, seed: int, sentences: int = 6) -> list[tuple[str, str]]:
    """``count`` pairs of prompt and reply; the same for the same seed."""
    rnd = random.Random(seed)
    rows = []
    for _ in range(count):
        parts = []
        for _ in range(rnd.randint(max(1, sentences - 3), sentences + 3)):
            clause = rnd.choice(_CLAUSES).format(
                s=rnd.choice(_SUBJECTS),
                s2=rnd.choice(_SUBJECTS),
                o=rnd.choice(_OBJECTS),
                p=rnd.choice(_PLURALS),
                p2=rnd.choice(_PLURALS),
                p3=rnd.choice(_PLURALS),
            )
            opener = rnd.choice(_OPENERS)
            parts.append((opener + clause if opener else clause[0].upper() + clause[1:]) + ".")
        rows.append((rnd.choice(_PROMPTS).format(s=rnd.choice(_SUBJECTS)), " ".join(parts)))
    return rows


def ring_secret(number: int) -> bytes:
    """A fixed 32-byte secret."""
    return number.to_bytes(32, "big")
