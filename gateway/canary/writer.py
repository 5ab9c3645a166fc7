"""The streaming writer: a reply as one cluster would receive it.

Owns: which form is written at a site and which words make an added sentence (a keyed hash of slot and context), and the
share of words that may change. Sans-I/O (``feed``, ``finish``); at most ``reader.HOLD`` characters are held back; the
same output however the input was split; deterministic per key, prompt and reply.
Whether a change is made at all is drawn with the key too, from the place and not from the choice: the draw says nothing
about the forms, and no place is sure to be changed. Leaves out: the wire (dialects), what questions allow (``asked.py``).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from gateway.canary.asked import markable, may_bridge, may_close
from gateway.canary.bridges import BRIDGE, ends_plainly, goes_on
from gateway.canary.closings import CLOSING
from gateway.canary.reader import Reader, Site
from gateway.canary.sentences import Frame, last_word
from gateway.canary.slots import Slot, load_inventory
from gateway.types import CARRIERS

CHANGED_SHARE = 0.03
"""Part of its words that a reply may have changed and added, in the mean over keys: the key draws each change with the
chance that this leaves it; so the words of no kind of replies change by more (``loadtest/canary_faults.py`` measures it).
"""
FORMS_SHARE, FORMS_SHARE_BESIDE = 0.026, 0.004
"""The part of it that slots may take; the second where sentences may be added, which say more a word: then the first holds
for what these leave of a long reply.
"""
_RARELY = {"punctuation": 0.3}
"""Chances are lowered by this where a change says little: one writer in six drops that comma anyway."""
_SENTENCE_WORDS = 5.1
_CLOSING_MIN_WORDS = 20
_BRIDGE_MIN_WORDS = 20
_BRIDGE_EVERY_WORDS = 80
_DRAWN_BY = 16
_CLOSED_ALREADY = re.compile(
    r"\b(?:hope|hopefully|let me know|feel free|any (?:\w+ )?questions|good luck|enjoy|sincerely|here to help|reach out)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One planted choice: ``at`` is its place in the marked text, in characters."""

    carrier: str
    slot: str
    context: str
    before: str
    after: str
    at: int


def keyed_form(key: bytes, slot: Slot, context: str) -> int:
    """The form that a key chooses for a slot in a context: uniform over the forms, independent of the text.

    BLAKE2b keyed with the cluster's key, 64 bits; the bias of the remainder is below 2**-58.
    """
    digest = hashlib.blake2b(keyed_place(slot, context), key=key, digest_size=8).digest()
    return int.from_bytes(digest, "big") % slot.size


def keyed_place(slot: Slot, context: str) -> bytes:
    """What is hashed: the slot and the context, unambiguous as neither holds a line end."""
    return f"{slot.id}\n{context}".encode()


class MarkWriter:
    """Rewrites one reply. ``carriers`` limits what is written; ``marks`` fills as it goes."""

    def __init__(
        self,
        key: bytes,
        *,
        prompt: str | None = None,
        carriers: frozenset[str] | None = None,
        closings: bool = True,
    ) -> None:
        self.marks: list[Mark] = []
        self._key = key
        self._off = not markable(prompt)
        self._carriers = carriers or frozenset(CARRIERS)
        self._may_close = closings and {"cue", "closing"} <= self._carriers and may_close(prompt)
        self._may_bridge = closings and "bridge" in self._carriers and may_bridge(prompt)
        self._bridge_from = _BRIDGE_MIN_WORDS
        self._forms_drawn = self._sentences_drawn = 0.0
        self._reader = Reader(self._choose, strict=True, between=self._bridge if self._may_bridge else None)
        self._recent = ""
        self._length = 0

    def feed(self, text: str) -> str:
        """Take in a piece of the reply; give back what may go out."""
        if self._off:
            return text
        return self._sent(self._reader.feed(text))

    def finish(self) -> str:
        """The rest of the reply, with its closing sentence where there is one."""
        if self._off:
            return ""
        rest = self._sent(self._reader.finish())
        return rest + self._close()

    def _sent(self, text: str) -> str:
        if text:
            self._length += len(text)
            self._recent = (self._recent + text)[-200:]
        return text

    def _draw(self, what: str) -> float:
        """A number in [0, 1) that the key draws for ``what``."""
        digest = hashlib.blake2b(f"draw\n{what}".encode(), key=self._key, digest_size=4).digest()
        return int.from_bytes(digest, "big") / 2**32

    def _changes(self, site: Site, cost: float) -> bool:
        """Whether the key draws a change of ``cost`` words at ``site``."""
        if not cost:
            return True
        words = self._reader.words
        budget = FORMS_SHARE * words
        if (self._may_close or self._may_bridge) and not self._reader.listed:
            budget = max(FORMS_SHARE_BESIDE * words, budget - _SENTENCE_WORDS - self._sentences_drawn)
        chance = min(1.0, max(0.0, (budget - self._forms_drawn) / cost)) * _RARELY.get(site.slot.carrier, 1.0)
        self._forms_drawn += chance * cost
        return self._draw(f"{site.slot.id}\n{site.context}\n{site.at}") < chance

    def _adds(self, what: str) -> bool:
        """Whether the key draws a sentence here, from what the slots leave."""
        left = CHANGED_SHARE * self._reader.words - self._forms_drawn - self._sentences_drawn
        chance = min(1.0, max(0.0, left / _SENTENCE_WORDS))
        self._sentences_drawn += chance * _SENTENCE_WORDS
        return self._draw(what) < chance

    def _choose(self, site: Site) -> int | None:
        slot = site.slot
        if slot.carrier not in self._carriers:
            return None
        form = keyed_form(self._key, slot, site.context)
        if form == site.form or (site.form != 0 and slot.carrier != "structure"):
            return site.form
        before, after = slot.forms[site.form], slot.forms[form]
        cost = 0.0 if slot.carrier == "structure" else float(max(before.count(" "), after.count(" ")) + 1)
        if not self._changes(site, cost):
            return None
        self.marks.append(
            Mark(carrier=slot.carrier, slot=slot.id, context=site.context, before=before, after=after, at=site.at)
        )
        return form

    def _bridge(self, last: str, ahead: str, at: int) -> str:
        """A bridge between two sentences, at most one in so many words."""
        words = self._reader.words
        if words < self._bridge_from or not ends_plainly(last) or not goes_on(ahead):
            return ""
        if not self._adds(f"bridge\n{last}\n{ahead[:_DRAWN_BY]}\n{words}"):
            return ""
        self._bridge_from = words + _BRIDGE_EVERY_WORDS
        return self._sentence(BRIDGE, last_word(last.lower()), at) + " "

    def _close(self) -> str:
        """The closing sentence after an explanation that ends in plain prose, and not in a closing of its own."""
        reader = self._reader
        if (
            not self._may_close
            or reader.words < _CLOSING_MIN_WORDS
            or not reader.in_prose
            or not reader.in_english
            or reader.listed
            or reader.last_tail != "."
            or not self._recent.endswith(".")
            or _CLOSED_ALREADY.search(self._recent)
            or "\n" in self._recent[-80:]
        ):
            return ""
        if not self._adds("closing\n" + self._recent):
            return ""
        return " " + self._sentence(CLOSING, last_word(self._recent.lower()), self._length + 1)

    def _sentence(self, frame: Frame, cue: str, at: int) -> str:
        """The sentence of ``frame`` that the key chooses after ``cue``, link by link."""
        by_id = load_inventory().by_id
        words = []
        for link in frame.links:
            reply = link.forms[keyed_form(self._key, by_id[link.slot], cue)]
            self.marks.append(Mark(carrier=link.carrier, slot=link.slot, context=cue, before="", after=reply, at=at))
            words.append(reply)
            cue = reply
        return frame.sentence(words)
