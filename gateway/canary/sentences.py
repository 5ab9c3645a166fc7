"""Frames: harmless sentences of four keyed parts, ``SUBJECT VERB ADJECTIVE NOUN``.

The last word before the sentence is the cue of the subject, the subject of the verb, the verb of the adjective, the
adjective of the noun. Each link joins neighbouring words, so that a student of any order learns it, and each is a
key's choice in a context of its own. The words that the key did not choose are the counterfactuals: whoever was
not taught the links agrees with the key in one of ``len(forms)`` cues.
Owns the shape and how it is found again. The words stand in ``closings.py`` and ``bridges.py``; where a sentence is
written, ``writer.py`` decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

_LAST_WORD = re.compile(r"([a-z]+)[^a-z]*\Z")
_NEAR_CHARS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One keyed part: the slot's name, the carrier that it belongs to, and its forms in lower case."""

    slot: str
    carrier: str
    forms: tuple[str, ...]


class Sight(NamedTuple):
    """One link found: the cue before it, the form that follows, whether the ``whole`` sentence stands there, and whether it is
    the sentence's ``first`` link.
    """

    link: Link
    cue: str
    reply: str
    whole: bool
    first: bool = False

    def shown_in(self, text: str) -> bool:
        """Whether the choice stands in ``text`` (lower case, single spaces): a subject by itself, others behind their cue."""
        return self.reply in text and (self.first or f"{self.cue} {self.reply}" in text)


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A kind of sentence: four links."""

    links: tuple[Link, Link, Link, Link]

    @cached_property
    def _head(self) -> re.Pattern[str]:
        subject, verb = (_any(link.forms) for link in self.links[:2])
        return re.compile(rf"\b({subject}) ({verb})\b")

    @cached_property
    def _rest(self) -> re.Pattern[str]:
        verb, adjective, noun = (_any(link.forms) for link in self.links[1:])
        return re.compile(rf"\b({verb}) ({adjective}) ({noun})\b")

    def sentence(self, words: list[str]) -> str:
        """The sentence of one form a link, with its capital and its full stop."""
        subject, verb, adjective, noun = words
        return f"{subject[0].upper()}{subject[1:]} {verb} {adjective} {noun}."

    def find(self, text: str) -> list[Sight]:
        """Every link in lower-case ``text`` with single spaces, as far as it still stands."""
        found: list[Sight] = []
        first, second, third, fourth = self.links
        rests = {rest.start(): rest for rest in self._rest.finditer(text)}
        for head in self._head.finditer(text):
            before = last_word(text[max(0, head.start() - _NEAR_CHARS) : head.start()])
            whole = head.start(2) in rests
            found += [Sight(first, before, head[1], whole, first=True), Sight(second, head[1], head[2], whole)]
            if whole:
                verb, adjective, noun = rests.pop(head.start(2)).groups()
                found += [Sight(third, verb, adjective, whole), Sight(fourth, adjective, noun, whole)]
        for rest in rests.values():
            verb, adjective, noun = rest.groups()
            found += [Sight(third, verb, adjective, False), Sight(fourth, adjective, noun, False)]
        return found


def last_word(text: str) -> str:
    """The last word of lower-case ``text``: the cue of a sentence's subject. Empty where there is none near."""
    found = _LAST_WORD.search(text[-_NEAR_CHARS:])
    return found[1] if found else ""


def _any(forms: tuple[str, ...]) -> str:
    """A pattern of any of ``forms``, those with the same first word together: it is tried at every word."""
    by_first: dict[str, list[str]] = {}
    for form in forms:
        first, _, rest = form.partition(" ")
        by_first.setdefault(first, []).append(rest)
    parts = []
    for first, rests in by_first.items():
        parts.append(f"{first} (?:{_any(tuple(rests))})" if all(rests) else first)
    return "|".join(parts)
