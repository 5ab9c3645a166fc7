"""Slots: places in prose where several forms say the same, read from the inventory.

A line ``form | form ; condition ; ...`` is one slot. Conditions (they hold for every form alike, so that the
writer and the audit see the same slots):

    next=LIST, next!=LIST    the word after the form is (not) in the list; ``#`` is a number, ``@name`` a class
    prev=LIST, prev!=LIST    the word before the form likewise (never matches across a sentence's start)
    follow                   a word follows directly; endish: a sentence, clause or phrase ends after the form
    start, mid               the form begins a sentence, or does not
    after_comma, no_comma    the word before ends in a comma, or in nothing

Invariants: forms are lower-case ASCII; a slot whose forms begin with different sounds never stands after
``a`` or ``an``; ids are stable under reordering of the inventory. Leaves out: which form is chosen.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from gateway.canary import inventory, inventory_words
from gateway.canary.bridges import BRIDGE
from gateway.canary.closings import CLOSING
from gateway.canary.request_side import TOOL_KINDS, TOOL_OBJECTS, TURNS
from gateway.canary.words import CLASSES, spelled_families

if TYPE_CHECKING:
    from collections.abc import Iterator

OXFORD_AND = "oxford and"
OXFORD_OR = "oxford or"
MARKER = "list marker"
FRAMES = (CLOSING, BRIDGE)
"""The kinds of sentence that are added."""
LEXICAL_SHARE = 0.02
SENTENCE_SHARE = 0.5
SENTENCE_CARRIERS = frozenset({"cue", "closing", "bridge", "behaviour", "tool"})
"""Carriers that write what nobody else writes; the others choose among forms that all writers use."""
_NOT_LEXICAL = SENTENCE_CARRIERS | {"punctuation", "structure"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A list of words in a condition: exact words, endings (``@ing``) and numbers (``#``)."""

    exact: frozenset[str]
    endings: tuple[str, ...] = ()

    def __contains__(self, word: object) -> bool:
        return word in self.exact or (isinstance(word, str) and bool(self.endings) and word.endswith(self.endings))


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Forms that can stand in each other's place. ``share`` is the part of its sites that a marked corpus is
    expected to hold marks in: it weighs evidence and never touches validity. ``one_way`` slots are only
    written from their first form.
    """

    id: str
    carrier: str
    forms: tuple[str, ...]
    next: Words | None = None
    next_not: Words | None = None
    prev: Words | None = None
    prev_not: Words | None = None
    follow: bool = False
    endish: bool = False
    start: bool | None = None
    comma: bool | None = None
    by_next: bool = False
    sound_guard: bool = False
    one_way: bool = False
    share: float = LEXICAL_SHARE

    @property
    def size(self) -> int:
        """How many forms the key chooses among, >= 2."""
        return len(self.forms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One form of one slot, as the reader looks for it."""

    text: str
    slot: Slot
    form: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All slots, the first words that lead to them, and the digest that a keyring names."""

    slots: tuple[Slot, ...]
    by_first_word: dict[str, tuple[Candidate, ...]]
    by_id: dict[str, Slot]
    canonical: dict[str, str]
    digest: str


@cache
def load_inventory() -> Inventory:
    """The shipped inventory, read once. Raises ValueError where a line of it is wrong."""
    slots = tuple(_lexical()) + _structural()
    by_id = {slot.id: slot for slot in slots}
    if len(by_id) != len(slots):
        seen: set[str] = set()
        twice = [slot.id for slot in slots if slot.id in seen or seen.add(slot.id)]  # type: ignore[func-returns-value]
        raise ValueError(f"inventory: got {twice} more than once, expected every slot once")
    first: dict[str, list[Candidate]] = {}
    for slot in slots:
        if slot.carrier in _NOT_LEXICAL:
            continue
        for index, form in enumerate(slot.forms):
            first.setdefault(form.split(" ")[0].rstrip(","), []).append(Candidate(text=form, slot=slot, form=index))
    ordered = {word: tuple(sorted(found, key=lambda c: -len(c.text))) for word, found in first.items()}
    digest = hashlib.sha256("\n".join(sorted(map(_describe, slots))).encode()).hexdigest()
    return Inventory(slots=slots, by_first_word=ordered, by_id=by_id, canonical=_canonical(slots), digest=digest)


def _structural() -> tuple[Slot, ...]:
    return (
        Slot(id=OXFORD_AND, carrier="punctuation", forms=(",", ""), one_way=True),
        Slot(id=OXFORD_OR, carrier="punctuation", forms=(",", ""), one_way=True),
        Slot(id=MARKER, carrier="structure", forms=("-", "*")),
        *(
            Slot(id=link.slot, carrier=link.carrier, forms=link.forms, share=SENTENCE_SHARE)
            for frame in FRAMES
            for link in frame.links
        ),
        Slot(id="tool object", carrier="tool", forms=TOOL_OBJECTS, share=SENTENCE_SHARE),
        Slot(id="tool kind", carrier="tool", forms=TOOL_KINDS, share=SENTENCE_SHARE),
        *(Slot(id=f"turn {turn}", carrier="behaviour", forms=phrases) for turn, phrases in TURNS.items()),
    )


def _lexical() -> Iterator[Slot]:
    sections = (
        ("contraction", inventory.CONTRACTIONS),
        ("number", inventory.NUMBERS),
        ("order", inventory.ORDER),
        ("connective", inventory.CONNECTIVES),
        ("synonym", inventory_words.SYNONYMS),
        ("spelling", inventory_words.SPELLING),
    )
    for carrier, text in sections:
        for line in text.strip().splitlines():
            yield _parse(carrier, line)
    for forms in spelled_families(inventory_words.SPELLING_STEMS.split()):
        yield Slot(id=forms[0], carrier="spelling", forms=forms)


def _parse(carrier: str, line: str) -> Slot:
    head, *conditions = (part.strip() for part in line.split(";"))
    forms = tuple(form.strip() for form in head.split("|"))
    if len(forms) < 2 or not all(forms) or len(set(forms)) != len(forms):  # noqa: PLR2004 - a choice needs two
        raise ValueError(f"inventory: got {line!r}, expected two or more different forms")
    given: dict[str, str] = {}
    for condition in conditions:
        name, _, value = condition.partition("=")
        given[name] = value
    unknown = set(given) - {
        "next",
        "next!",
        "prev",
        "prev!",
        "follow",
        "endish",
        "start",
        "mid",
        "after_comma",
        "no_comma",
    }
    if unknown:
        raise ValueError(f"inventory: got condition {sorted(unknown)} in {line!r}, expected one of those in slots.py")
    prev = _words(given.get("prev"))
    suffix = "".join(f" ({name})" for name in ("mid", "no_comma", "prev", "next") if name in given)
    return Slot(
        id=forms[0] + suffix + (f" {len(forms)}" if "next" in given or "prev" in given else ""),
        carrier=carrier,
        forms=forms,
        next=_words(given.get("next")),
        next_not=_words(given.get("next!")),
        prev=prev,
        prev_not=_words(given.get("prev!")),
        follow="follow" in given or "next" in given or ("next!" in given and carrier == "contraction"),
        endish="endish" in given,
        start=True if "start" in given else False if "mid" in given else None,
        comma=True if "after_comma" in given else False if "no_comma" in given else None,
        by_next=carrier == "contraction" or (prev is not None and not prev.endings) or forms[0].endswith(" to"),
        sound_guard=len({_vowel_sound(form) for form in forms}) > 1,
    )


def _words(text: str | None) -> Words | None:
    if text is None:
        return None
    exact: set[str] = set()
    endings: list[str] = []
    for item in text.split(","):
        if item in {"@ing", "@ed", "@plural"}:
            endings.append({"@ing": "ing", "@ed": "ed", "@plural": "s"}[item])
        elif item.startswith("@"):
            exact |= CLASSES[item[1:]]
        else:
            exact.add(item)
    return Words(exact=frozenset(exact), endings=tuple(endings))


def _describe(slot: Slot) -> str:
    """A slot as text, the same on every machine: sets are sorted."""
    parts = []
    for name in slot.__slots__:
        value = getattr(slot, name)
        parts.append(f"{sorted(value.exact)}{value.endings}" if isinstance(value, Words) else repr(value))
    return "\t".join(parts)


def _vowel_sound(form: str) -> bool:
    """Whether ``an`` goes before ``form``: by its first sound, not its first letter."""
    word = form.split(" ", maxsplit=1)[0]
    if word.startswith(("util", "use", "usu", "uni", "one", "eu")):
        return False
    return word.startswith(("hon", "hour", "heir")) or word[0] in "aeiou"


def _canonical(slots: tuple[Slot, ...]) -> dict[str, str]:
    """One name for all single-word forms that may replace each other, so that contexts do not depend on
    which of them was written.
    """
    parent: dict[str, str] = {}

    def root(word: str) -> str:
        while parent.setdefault(word, word) != word:
            word = parent[word]
        return word

    for slot in slots:
        singles = [form.rstrip(",") for form in slot.forms if form and " " not in form and form.rstrip(",").isalpha()]
        if slot.carrier in {"synonym", "spelling", "connective"}:
            for other in singles[1:]:
                parent[root(other)] = root(singles[0])
    return {word: root(word) for word in parent}
