"""A run without white space, classified once: what kind of word it is and which forms may begin with it.

Texts are made of few different words, so what was classified is remembered, up to a bound.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway.canary.shield import SPECIAL
from gateway.canary.slots import Candidate, load_inventory
from gateway.canary.words import FOREIGN, STRONG_ENGLISH

LOOK = 48
"""Characters that a decision may see from its place on: the longest form and the word after it."""
CURLY = "\u2019"
_CLEAN = re.compile(r"([A-Za-z]+(?:['\u2019][A-Za-z]+)?(?:-[A-Za-z]+)*)([.,;:!?]*)\Z")
_WRAPPING = "\"'*_[](){}<>`#~.,;:!?-\u201c\u201d\u2018\u2019\u2013\u2014"
_PUNCTUATION = re.compile(r"[.,;:!?]+\Z")
_ENUMERATOR = re.compile(r"(?:\d{1,3}|[A-Za-z])[.)]\Z")
_CACHE_LIMIT = 50_000


class Chunk(NamedTuple):
    """A run without white space, as it is whatever stands around it."""

    word: str
    """Lower-case word, ``#`` for anything that is none, empty for bare punctuation."""
    tail: str = ""
    clean: bool = False
    plain: bool = False
    """A clean word that nothing follows and no form begins with: most of all text."""
    strong: bool = False
    capital: bool = False
    special: bool = False
    enumerates: bool = False
    candidates: tuple[Candidate, ...] = ()


CACHE: dict[str, Chunk] = {}


def classify(text: str) -> Chunk:
    """What ``text`` is; remembered, as texts are made of few different words."""
    special = not SPECIAL.isdisjoint(text)
    clean = _CLEAN.match(text)
    if clean:
        word = clean[1].lower().replace(CURLY, "'")
        candidates = load_inventory().by_first_word.get(word, ())
        chunk = Chunk(
            word=word,
            tail=clean[2],
            clean=True,
            plain=not clean[2] and not candidates and word not in FOREIGN and len(text) < LOOK,
            strong=word in STRONG_ENGLISH,
            capital=clean[1][0].isupper(),
            candidates=candidates,
        )
    elif _PUNCTUATION.match(text):
        chunk = Chunk(word="", tail=text)
    elif not any(sign.isalnum() for sign in text):
        chunk = Chunk(word="", special=special)
    else:
        letters = text.strip(_WRAPPING).lower().replace(CURLY, "'")
        body = text.rstrip("\"'*_)]}`\u201d\u2019")
        chunk = Chunk(
            word=letters if letters.isascii() and letters.replace("'", "").isalpha() else "#",
            tail=body[len(body.rstrip(".,;:!?")) :],
            capital=text[:1].isupper(),
            special=special,
            enumerates=bool(_ENUMERATOR.match(text)),
        )
    if len(CACHE) < _CACHE_LIMIT:
        CACHE[text] = chunk
    return chunk
