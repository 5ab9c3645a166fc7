"""Texts for load tests, made of invented words: seeded, endless, nobody's.

Every call gives another text, so that no cache of the gateway sees one twice unless it is meant to. Words are as
unevenly common as in a language (a few are everywhere, most are rare), so that runs of four words hardly recur.
"""

from __future__ import annotations

import random

_CONSONANTS = "bdfgklmnprstvz"
_VOWELS = "aeiou"
_SMALL = ("the", "of", "a", "in", "to", "and", "with", "for", "is", "that")
_EVERY_THIRD = 3
_VOCABULARY = 8_000


def _make_words() -> list[str]:
    rng = random.Random(7)  # noqa: S311 - one vocabulary for all
    syllables = [consonant + vowel for consonant in _CONSONANTS for vowel in _VOWELS]
    return ["".join(rng.choices(syllables, k=rng.randint(2, 4))) for _ in range(_VOCABULARY)]


_WORDS = _make_words()


def sentence(rng: random.Random) -> str:
    """One sentence, some 60 characters."""
    words = [
        rng.choice(_SMALL) if index % _EVERY_THIRD == 0 else _WORDS[int(_VOCABULARY * rng.random() ** 2)]
        for index in range(rng.randint(7, 12))
    ]
    return " ".join(words).capitalize() + "."


def prompt(rng: random.Random, chars: int) -> str:
    """A request of about ``chars`` characters."""
    parts = [f"Case {rng.randrange(1_000_000)}:"]
    size = len(parts[0])
    while size < chars:
        parts.append(sentence(rng))
        size += len(parts[-1]) + 1
    return " ".join(parts)[: max(chars, 1)]
