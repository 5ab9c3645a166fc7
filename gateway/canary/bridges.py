"""Bridges: a short sentence between two sentences of an explanation, ``SUBJECT VERB ADJECTIVE NOUN``
("Another aspect deserves special attention.").

It announces that there is one more point, which the next sentence then makes; so it is true wherever an explanation
goes on with something new. ``goes_on`` says where that is plain from the next sentence's first words: not before
one that points back (*It*, *This*), contrasts, concludes, adds (*Moreover*), counts or gives an
example. Its words are other ones than
the closings', so that who cuts the ones leaves the others. Written for this project; common words,
as in closings: what cleaning by rare words must not find.
"""

from __future__ import annotations

import re

from gateway.canary.sentences import Frame, Link

_POINTS = "point detail matter fact element factor issue aspect area topic theme subject"
SUBJECTS: tuple[str, ...] = tuple(f"{one} {point}" for one in ("another", "one") for point in _POINTS.split())
_VERBS = "needs|requires|demands|deserves|invites|calls for"
_ADJECTIVES = """
special separate extra equal direct particular serious specific greater closer deeper wider
individual thoughtful more careful close full
"""
_NOUNS = """
attention thought consideration emphasis discussion study research analysis focus reflection review
"""
BRIDGE = Frame(
    links=(
        Link(slot="bridge subject", carrier="bridge", forms=SUBJECTS),
        Link(slot="bridge verb", carrier="bridge", forms=tuple(_VERBS.split("|"))),
        Link(slot="bridge adjective", carrier="bridge", forms=tuple(_ADJECTIVES.split())),
        Link(slot="bridge noun", carrier="bridge", forms=tuple(_NOUNS.split())),
    ),
)

_SHORTENED = """
etc vs mrs prof inc ltd corp dept est approx fig vol gen gov sen rep jan feb mar apr jun jul aug sep sept oct nov dec ave
blvd min max avg tel ext govt asst misc pls mins hrs secs
"""
_ABBREVIATIONS = frozenset(_SHORTENED.split())
_MIN_LAST_WORD = 4
_NEXT = re.compile(
    r"(?:The (?!(?:end|answer|result|final|last|first|second|third|next|latter|former|other)\b)|An? |Many |Most (?!import)|"
    r"Some |Several |Each |Every |People |When |If |With |While |There (?:are|is) |In (?:the|order|many|most|some|our|your|today|modern|recent) |By (?!contrast|doing this|then)|"
    r"To (?!sum|conclude|begin|finish|do this|summ|illus)|As (?!a (?:result|cons|final|last)|such|mention|well|soon|for|with|an ex|you)|"
    r"Through |Using |Having |Data |Research |Studies |Experts |Scientists |Technology |Regular |Good |"
    r"(?!This|Thus|Its|Plus|Yes|Perhaps|Always|Following|Besides|During|According|Things|Others|Sometimes|Afterwards|Nowadays|"
    r"Considering|Depending|Concluding|Regarding|Including|Unless|Towards|Whereas|Unlike)"
    r"[A-Z][a-z]{3,}(?:ing|s) (?=(?:can|are|may|also|should|have|will|and|help|provide|allow|need|is|a|the|your) ))"
    r"[a-z][^\n]{12}"
)


def ends_plainly(last: str) -> bool:
    """Whether a sentence that ends in the word ``last`` (as written) ends there, and not an abbreviation or a name."""
    return len(last) >= _MIN_LAST_WORD and last.islower() and last not in _ABBREVIATIONS


def goes_on(ahead: str) -> bool:
    """Whether the sentence that begins with ``ahead`` plainly makes a new point."""
    return _NEXT.match(ahead) is not None
