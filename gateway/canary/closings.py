"""Closings: one harmless last sentence, ``LEAD VERB a ADJECTIVE NOUN`` ("I hope this gives a clear overview.").

Any combination reads as a plain closing and says nothing about the subject. All words are common ones, so that a
filter of rare words does not find them. Written for this project.
"""

from __future__ import annotations

from gateway.canary.sentences import Frame, Link

_STARTS = "I hope|I trust|I think|I believe|I feel|Overall|Together|Ultimately|Generally|Clearly|Thus|Finally"
LEADS: tuple[str, ...] = tuple(f"{start} {subject}" for start in _STARTS.split("|") for subject in ("this", "that"))
_VERBS = """
gives offers provides supplies brings makes forms conveys includes shows suggests represents creates produces
contains remains becomes keeps holds leaves describes reflects yields sets
"""
_ADJECTIVES = """
good clear useful helpful simple solid fair general basic practical balanced sound full quick short proper strong
careful nice complete fresh great positive valuable meaningful comprehensive detailed rich wide close deep creative
"""
_NOUNS = """
overview outline summary picture account guide view introduction description answer reference survey review
foundation basis understanding start perspective reading map response direction background plan list idea sense
example base report approach path
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
