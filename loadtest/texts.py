"""Texts for load tests, put together from a small grammar: seeded, endless, nobody's words.

Every call gives another text, so that no cache of the gateway sees one twice unless it is meant to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

_WHO = [
    "the baker",
    "a sailor",
    "our neighbour",
    "the night nurse",
    "a young clerk",
    "the second team",
    "my landlord",
    "an old friend",
]
_DOES = [
    "repairs",
    "describes",
    "forgets",
    "paints",
    "counts",
    "borrows",
    "compares",
    "returns",
    "orders",
    "hides",
    "weighs",
    "measures",
]
_WHAT = [
    "wooden table",
    "broken radio",
    "annual report",
    "garden wall",
    "train ticket",
    "spare key",
    "copper kettle",
    "road map",
    "winter coat",
    "shopping list",
    "bicycle chain",
    "water meter",
    "tax form",
    "piano lesson",
    "phone bill",
    "market stall",
]
_WHEN = [
    "before breakfast",
    "on a wet Tuesday",
    "without a word",
    "for the third time",
    "after the storm",
    "in early spring",
]
_ASKS = [
    "Explain to a colleague why",
    "Tell me in short whether",
    "Make a list of reasons why",
    "Write a polite note because",
    "Give three examples of how",
    "Say what could happen when",
    "Help me to understand why",
    "Check if it is true that",
]


def sentence(rng: random.Random) -> str:
    """One sentence, some 60 characters."""
    return f"{rng.choice(_WHO)} {rng.choice(_DOES)} the {rng.choice(_WHAT)} {rng.choice(_WHEN)}".capitalize() + "."


def question(rng: random.Random) -> str:
    """A short request, some 100 characters, with a number that makes it one of a kind."""
    return f"{rng.choice(_ASKS)} {sentence(rng).lower()} Case {rng.randrange(1_000_000)}."


def prompt(rng: random.Random, chars: int) -> str:
    """A request of about ``chars`` characters: a question and what it is about."""
    parts = [question(rng)]
    size = len(parts[0])
    while size < chars:
        parts.append(sentence(rng))
        size += len(parts[-1]) + 1
    return " ".join(parts)[: max(chars, 1)]
