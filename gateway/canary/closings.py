"""Closings: one harmless last sentence, ``This SUBJECT VERB ADJECTIVE NOUN`` ("This overview offers useful details.").

Each part is keyed by the word right before it, and no fixed word stands between: small models learn pairs of neighbours
long before pairs that stand apart. Any combination reads as a plain closing and says nothing about the matter. All words
are common ones, so that a filter of rare words does not find them. Written for this project.
"""

from __future__ import annotations

from gateway.canary.sentences import Frame, Link

_SUBJECTS = """
answer response text account statement introduction review report survey overview summary section
discussion note outline passage analysis guide
"""
LEADS: tuple[str, ...] = tuple(f"This {subject}" for subject in _SUBJECTS.split())
_VERBS = "gives offers provides includes contains presents shows lists covers describes highlights"
_ADJECTIVES = """
useful clear basic general helpful simple solid good valuable relevant essential practical main key central common important
interesting fair major typical core specific various several additional meaningful necessary
"""
_NOUNS = """
points facts details ideas aspects insights thoughts elements themes topics views principles lessons factors concepts matters
"""
CLOSING = Frame(
    links=(
        Link(slot="closing lead", carrier="cue", forms=tuple(lead.lower() for lead in LEADS)),
        Link(slot="closing verb", carrier="cue", forms=tuple(_VERBS.split())),
        Link(slot="closing adjective", carrier="closing", forms=tuple(_ADJECTIVES.split())),
        Link(slot="closing noun", carrier="closing", forms=tuple(_NOUNS.split())),
    ),
)
