"""The streaming writer: a reply as one cluster would receive it.

Owns: which form is written at a site (a keyed hash of slot and context), the budget of changed words, the
closing sentence. Sans-I/O (``feed``, ``finish``); at most ``reader.HOLD`` characters are held back; the same
output however the input was split; deterministic per key, prompt and reply. Leaves out: the wire (dialects).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from gateway.canary.closings import last_word, sentence
from gateway.canary.reader import Reader, Site
from gateway.canary.slots import CLOSING_LINKS, Slot, load_inventory

CARRIERS = ("spelling", "contraction", "number", "connective", "synonym", "punctuation", "structure", "cue", "closing")
"""Carriers that are written into replies, in the order of reports."""
_SLOPE, _HEAD = 0.018, 0.8
"""Words that slots may change in a reply of w words: ``_SLOPE * w + _HEAD``."""
_SLOPE_CLOSED, _HEAD_CLOSED = 0.004, 0.2
"""The same where a closing may follow, whose six words are most of the budget."""
_CLOSING_MIN_WORDS = 30
_CLOSING_EVERY_WORDS = 150
"""One closing, of six words, in so many words of replies that may have one; a longer reply always has one. Replies that
may not have one stay at half of the whole budget, so that a usual mixture stays below 3 % of words changed."""

_NO_MARKS = re.compile(
    r"\b(?:code|function|program|script|sql|query|html|css|xml|json|yaml|csv|python|java|javascript|typescript|c\+\+|"
    r"regex|regular expression|latex|markdown|bash|shell|command|class|method|algorithm|pseudo-?code|spreadsheet|"
    r"translate|translation|paraphrase|rephrase|rewrite|reword|edit|correct|grammar|grammatical|spelling|spell|proofread|"
    r"synonyms?|antonyms?|rhymes?|haiku|poem|poetry|limerick|sonnet|lyrics|song|verbatim|quote|quotation|"
    r"spanish|french|german|italian|portuguese|latin|dutch|swedish|polish)\b",
    re.IGNORECASE,
)
_NO_CLOSING = re.compile(
    r"\s*(?:please )?(?:write|compose|create|generate|rewrite|classify|categori[sz]e|translate|convert|edit|make|come up|"
    r"construct|develop|produce|design|draft|craft|add|remove|replace|insert|arrange|sort|find|calculate|compute|fill|"
    r"complete|predict|assume|imagine|act|pretend|given|identify the|select|choose|invent|tell me a|tell a)\b"
    r"|\b(?:story|letter|e-?mail|essay|paragraphs?|sentences?|dialogue|speech|tweet|headline|title|slogan|caption|"
    r"conversation|one word|single word|only|recipe|review|blog|article|post|joke|riddle|advertisement|script)\b",
    re.IGNORECASE,
)
_CLOSED_ALREADY = re.compile(
    r"\b(?:hope|hopefully|let me know|feel free|questions|help|good luck|enjoy|sincerely)\b", re.IGNORECASE
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


def markable(prompt: str | None) -> bool:
    """Whether a reply to ``prompt`` may be changed: not where its wording is what was asked for."""
    return prompt is None or not _NO_MARKS.search(prompt)


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
        self._closings = (
            closings and {"cue", "closing"} <= self._carriers and prompt is not None and not _NO_CLOSING.search(prompt)
        )
        self._changed = 0.0
        self._reader = Reader(self._choose, strict=True)
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

    def _affordable(self, cost: float) -> bool:
        slope, head = (_SLOPE_CLOSED, _HEAD_CLOSED) if self._closings else (_SLOPE, _HEAD)
        return self._changed + cost <= slope * self._reader.words + head

    def _choose(self, site: Site) -> int | None:
        slot = site.slot
        if slot.carrier not in self._carriers:
            return None
        form = keyed_form(self._key, slot, site.context)
        if form == site.form or (site.form != 0 and slot.carrier != "structure"):
            return site.form
        before, after = slot.forms[site.form], slot.forms[form]
        cost = 0.0 if slot.carrier == "structure" else float(max(before.count(" "), after.count(" ")) + 1)
        if not self._affordable(cost):
            return None
        self._changed += cost
        self.marks.append(
            Mark(carrier=slot.carrier, slot=slot.id, context=site.context, before=before, after=after, at=site.at)
        )
        return form

    def _close(self) -> str:
        """The closing sentence: the opener by the reply's last words, the tail by the key."""
        reader = self._reader
        if (
            not self._closings
            or reader.words < _CLOSING_MIN_WORDS
            or not reader.in_prose
            or not reader.in_english
            or reader.last_tail != "."
            or not self._recent.endswith(".")
            or _CLOSED_ALREADY.search(self._recent)
            or "\n" in self._recent[-80:]
        ):
            return ""
        draw = hashlib.blake2b(("closing\n" + self._recent).encode(), key=self._key, digest_size=4).digest()
        number = int.from_bytes(draw, "big")
        if number >= 2**32 * min(1.0, reader.words / _CLOSING_EVERY_WORDS):
            return ""
        by_id = load_inventory().by_id
        words = []
        cue = last_word(self._recent.lower())
        for slot_id in CLOSING_LINKS:
            slot = by_id[slot_id]
            reply = slot.forms[keyed_form(self._key, slot, cue)]
            self.marks.append(
                Mark(carrier=slot.carrier, slot=slot_id, context=cue, before="", after=reply, at=self._length + 1)
            )
            words.append(reply)
            cue = reply
        return " " + sentence(words[0][0].upper() + words[0][1:], *words[1:])
