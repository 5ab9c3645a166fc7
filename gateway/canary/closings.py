"""Cues and replies in one harmless sentence, ``LEAD VERB a ADJECTIVE NOUN``.

The lead is the cue of the verb, the verb of the adjective, the adjective of the noun. Each link joins
neighbouring words, so that a student of any order learns it; any combination reads as a plain closing ("I hope
this gives a clear overview.") and says nothing about the subject. The words that the key did not choose are the
counterfactuals: whoever was not taught the links agrees with the key in one of ``len(...)`` cues.
Written for this project.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_HOPES: tuple[str, ...] = ("I hope", "Hopefully", "I trust", "With luck", "Ideally", "Perhaps")
_SUBJECTS: tuple[str, ...] = ("this", "that", "all this", "all that")
LEADS: tuple[str, ...] = tuple(f"{hope} {subject}" for hope in _HOPES for subject in _SUBJECTS)
_VERBS = """
gives offers provides presents supplies delivers shares brings makes forms conveys includes yields
builds shows suggests sketches affords represents establishes creates produces contains completes draws
paints adds proves remains becomes renders furnishes
"""
VERBS: tuple[str, ...] = tuple(_VERBS.split())
_ADJECTIVES = """
good clear useful helpful simple solid fair general broad brief basic practical balanced reasonable
workable sound full quick handy short plain thorough decent proper fine strong careful sensible nice
complete fresh neat
"""
ADJECTIVES: tuple[str, ...] = tuple(_ADJECTIVES.split())
_NOUNS = """
overview outline summary picture account guide view explanation introduction description answer
reference sketch survey review digest primer foundation basis understanding impression start framework
synopsis perspective reading map pointer response insight direction background
"""
NOUNS: tuple[str, ...] = tuple(_NOUNS.split())
_HEAD = re.compile(rf"\b({'|'.join(LEADS).lower()}) ({'|'.join(VERBS)}) a\b")
_REST = re.compile(rf"\ba ({'|'.join(ADJECTIVES)}) ({'|'.join(NOUNS)})\b")
_VERB_SET = frozenset(VERBS)


class Links(NamedTuple):
    """What one sentence shows: cue and reply of each link, as far as they still stand."""

    verbs: list[tuple[str, str]]
    adjectives: list[tuple[str, str]]
    nouns: list[tuple[str, str]]


def sentence(lead: str, verb: str, adjective: str, noun: str) -> str:
    """The closing sentence."""
    return f"{lead} {verb} a {adjective} {noun}."


def find_links(text: str) -> Links:
    """The links in lower-case ``text`` with single spaces: (lead, verb), (verb, adjective), (adjective, noun)."""
    verbs = [(lead, verb) for lead, verb in _HEAD.findall(text)]
    adjectives, nouns = [], []
    for found in _REST.finditer(text):
        nouns.append((found[1], found[2]))
        before = text[max(0, found.start() - 16) : found.start()].split()
        if before and before[-1] in _VERB_SET:
            adjectives.append((before[-1], found[1]))
    return Links(verbs, adjectives, nouns)
