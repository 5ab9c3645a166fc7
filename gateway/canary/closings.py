"""Closings: one harmless last sentence, ``LEAD VERB a ADJECTIVE NOUN`` ("Overall this gives a clear picture.").

Any combination reads as a plain closing and says nothing about the subject. All words are common ones, so that a
filter of rare words does not find them. Written for this project.
"""

from __future__ import annotations

from gateway.canary.sentences import Frame, Link

_STARTS = "Overall Together Altogether Ultimately Generally Broadly Hopefully Thus Finally Clearly"
LEADS: tuple[str, ...] = (
    *(f"{start} {subject}" for start in _STARTS.split() for subject in ("this", "that")),
    "All this",
    "All of this",
    "This all",
    "So this",
)
_VERBS = "gives offers provides supplies presents delivers makes forms creates builds leaves brings"
_ADJECTIVES = """
good clear useful helpful simple solid fair general basic practical balanced sound full quick short proper careful nice
fresh valuable meaningful plain broad first reasonable reliable decent complete
"""
_NOUNS = """
overview outline summary picture account guide view introduction description answer reference review foundation basis
understanding start perspective background idea sense explanation impression framework sketch
"""
CLOSING = Frame(
    links=(
        Link(slot="closing lead", carrier="cue", forms=tuple(lead.lower() for lead in LEADS)),
        Link(slot="closing verb", carrier="cue", forms=tuple(_VERBS.split())),
        Link(slot="closing adjective", carrier="closing", forms=tuple(_ADJECTIVES.split())),
        Link(slot="closing noun", carrier="closing", forms=tuple(_NOUNS.split())),
    ),
    joint=" a ",
)
