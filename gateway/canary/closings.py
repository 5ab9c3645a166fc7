"""Cues and replies in one harmless sentence, ``LEAD VERB a ADJECTIVE NOUN``.

The last word before it is the cue of the lead, the lead of the verb, the verb of the adjective, the adjective of
the noun. Each link joins neighbouring words, so that a student of any order learns it; any combination reads as a plain closing ("I hope
this gives a clear overview.") and says nothing about the subject. The words that the key did not choose are the
counterfactuals: whoever was not taught the links agrees with the key in one of ``len(...)`` cues.
All words are common ones, so that a filter of rare words does not find them. Written for this project.
"""

from __future__ import annotations

import re

_STARTS = "I hope|I trust|I think|I believe|I feel|Overall|Together|Ultimately|Generally|Clearly|Thus|Finally"
LEADS: tuple[str, ...] = tuple(f"{start} {subject}" for start in _STARTS.split("|") for subject in ("this", "that"))
_VERBS = """
gives offers provides supplies brings makes forms conveys includes shows suggests represents creates produces
contains remains becomes keeps holds leaves describes reflects yields sets
"""
VERBS: tuple[str, ...] = tuple(_VERBS.split())
_ADJECTIVES = """
good clear useful helpful simple solid fair general basic practical balanced sound full quick short proper strong
careful nice complete fresh great positive valuable meaningful comprehensive detailed rich wide close deep creative
"""
ADJECTIVES: tuple[str, ...] = tuple(_ADJECTIVES.split())
_NOUNS = """
overview outline summary picture account guide view introduction description answer reference survey review
foundation basis understanding start perspective reading map response direction background plan list idea sense
example base report approach path
"""
NOUNS: tuple[str, ...] = tuple(_NOUNS.split())
_HEAD = re.compile(rf"\b({'|'.join(LEADS).lower()}) ({'|'.join(VERBS)}) a\b")
_REST = re.compile(rf"\b({'|'.join(VERBS)}) a ({'|'.join(ADJECTIVES)}) ({'|'.join(NOUNS)})\b")
_LAST_WORD = re.compile(r"([a-z]+)[^a-z]*\Z")
_NEAR_CHARS = 32


def last_word(text: str) -> str:
    """The last word of lower-case ``text``: the cue of a closing's lead. Empty where there is none near."""
    found = _LAST_WORD.search(text[-_NEAR_CHARS:])
    return found[1] if found else ""


def sentence(lead: str, verb: str, adjective: str, noun: str) -> str:
    """The closing sentence; ``lead`` as in ``LEADS``."""
    return f"{lead} {verb} a {adjective} {noun}."


def find_links(text: str) -> list[tuple[int, str, str]]:
    """Every link in lower-case ``text`` with single spaces, as far as it still stands: (number of the link, cue,
    reply). Link 0: last word and lead; 1: lead and verb; 2: verb and adjective; 3: adjective and noun.
    """
    links = []
    for found in _HEAD.finditer(text):
        before = last_word(text[max(0, found.start() - _NEAR_CHARS) : found.start()])
        links += [(0, before, found[1]), (1, found[1], found[2])]
    for verb, adjective, noun in _REST.findall(text):
        links += [(2, verb, adjective), (3, adjective, noun)]
    return links
