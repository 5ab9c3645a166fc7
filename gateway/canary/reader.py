"""The reader: finds slots in prose, from left to right, with a bounded look ahead.

One reader serves the writer (which may change a form) and the audit (which only counts), so that both see the
same slots. Sans-I/O; fed with any pieces of a text it does the same.

Rules of operation:

* A decision about a place sees the text before it and at most ``LOOK`` characters from it on; so the reader
  holds back at most ``HOLD`` characters, and a split of the input changes nothing.
* A context is one word, in a canonical form: the word before the slot, or the word after it where the slot
  begins a sentence or where its line in the inventory says so. Nothing crosses a sentence's start.
* A place that was read as a slot is not read again as part of another.
* ``strict`` (the writer) leaves out names, shielded text, and text that is not plainly English; the audit
  reads on, as cleaning may have taken away the signs of those.
"""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

from gateway.canary.shield import SPECIAL, Shield
from gateway.canary.slots import MARKER, OXFORD_AND, OXFORD_OR, Candidate, Slot, load_inventory
from gateway.canary.words import CLAUSE_STARTS, FOREIGN, NOT_ITEMS, STRONG_ENGLISH

HOLD = 64
"""Characters that may be held back: what a streaming reader never waits longer for."""
LOOK = 48
"""Characters that a decision may see from its place on: the longest form and the word after it."""
_NEAR_WORDS = 18
_ENGLISH_WORDS_NEAR = 2

_CHUNK = re.compile(r"\S+")
_SPACE = re.compile(r"\s+")
_CLEAN = re.compile(r"([A-Za-z]+(?:['\u2019][A-Za-z]+)?(?:-[A-Za-z]+)*)([.,;:!?]*)\Z")
_PUNCTUATION = re.compile(r"[.,;:!?]+\Z")
_WORD_AHEAD = re.compile(r" ([a-z]+(?:'[a-z]+)?|\d)")
_AND_AHEAD = re.compile(r" (and|or) ([a-z']+)")
_ENDISH = re.compile(r"\s*\Z|[.,;:!?](?:\s|\Z)| (?:and|or|but|to|in|for|when|while|with|by|so|on|at|from)\b")
_AFTER_FORM = re.compile(r"\Z|[.,;:!?]*(?:\s|\Z)")
_ITEM = re.compile(r"([-*]) (?![-*] )(?=\S)")
_ENUMERATOR = re.compile(r"(?:\d{1,3}|[A-Za-z])[.)]\Z")
_MAX_LIST_WORDS = 3
_MIN_LIST_COMMAS = 2
"""With one comma before it, ``X, Y and Z`` is too often no list but a phrase, a comma and a pair."""
_CACHE_LIMIT = 50_000


class Site(NamedTuple):
    """A slot found: where its form stands, which it is, and in which context."""

    slot: Slot
    context: str
    form: int
    at: int
    text: str


class Choose(Protocol):
    """Answers a site with the form to write, or ``None`` to leave it."""

    def __call__(self, site: Site) -> int | None:
        """The index of the form to write at ``site``."""
        ...


class _Chunk(NamedTuple):
    word: str
    """Lower-case word, ``#`` for anything that is none, empty for bare punctuation."""
    clean: bool
    capital: bool
    tail: str
    special: bool
    enumerates: bool
    candidates: tuple[Candidate, ...]


_cache: dict[str, _Chunk] = {}


def _classify(text: str) -> _Chunk:
    found = _cache.get(text)
    if found is not None:
        return found
    special = not SPECIAL.isdisjoint(text)
    clean = _CLEAN.match(text)
    if clean:
        word = clean[1].lower().replace("\u2019", "'")
        first = load_inventory().by_first_word
        chunk = _Chunk(word, True, clean[1][0].isupper(), clean[2], False, False, first.get(word, ()))
    elif _PUNCTUATION.match(text):
        chunk = _Chunk("", False, False, text, False, False, ())
    elif not any(sign.isalnum() for sign in text):
        chunk = _Chunk("", False, False, "", special, False, ())
    else:
        letters = (
            text.strip("\"\u201c\u201d\u2018\u2019'*_[](){}<>`#~.,;:!?\u2014\u2013-").lower().replace("\u2019", "'")
        )
        word = letters if letters.isascii() and letters.replace("'", "").isalpha() else "#"
        tail = text.rstrip("\"\u201d\u2019'*_)]}`")
        tail = tail[len(tail.rstrip(".,;:!?")) :]
        chunk = _Chunk(word, False, text[:1].isupper(), tail, special, bool(_ENUMERATOR.match(text)), ())
    if len(_cache) < _CACHE_LIMIT:
        _cache[text] = chunk
    return chunk


class Reader:
    """Reads one reply. ``choose`` is asked at every site; without it nothing changes."""

    def __init__(self, choose: Choose, *, strict: bool) -> None:
        self._choose = choose
        self._strict = strict
        self._canonical = load_inventory().canonical
        self._by_id = load_inventory().by_id
        self._buffer = ""
        self._shield = Shield()
        self._at = 0
        self.words = 0
        self.last_tail = ""
        self._prev = ""
        self._start = True
        self._line_start = True
        self._first = True
        self._newlines = 0
        self._inside = False
        self._segment = 0
        self._segment_first = ""
        self._segment_lower = True
        self._commas = 0
        self._strong: tuple[int, int] = (-100, -100)
        self._foreign = -100
        self._swap: bool | None = None
        self._indent = ""
        self._after_colon = True

    @property
    def in_prose(self) -> bool:
        """Whether the reader stands in free prose."""
        return not self._shield.up

    def feed(self, text: str) -> str:
        """Take in a piece; give back what is decided."""
        self._buffer += text
        if len(self._buffer) <= HOLD:
            return ""
        return self._run(final=False)

    def finish(self) -> str:
        """The rest, decided without what never came."""
        return self._run(final=True)

    def _run(self, *, final: bool) -> str:
        out: list[str] = []
        buffer = self._buffer
        position, size = 0, len(buffer)
        while position < size:
            space = _SPACE.match(buffer, position)
            if space:
                position = space.end()
                out.append(space[0])
                self._space(space[0])
                continue
            if position + LOOK > size and not final:
                break
            window = buffer[position : position + LOOK]
            if self._line_start:
                self._begin_line(window)
                step = self._marker(window, out)
                if step:
                    position += step
                    continue
            position += self._step(window, out)
        self._buffer = buffer[position:]
        text = "".join(out)
        self._at += len(text)
        return text

    def _space(self, space: str) -> None:
        self._inside = False
        lines = space.count("\n")
        if lines:
            self._newlines += lines
            self._shield.newline(blank=self._newlines > 1)
            self._line_start = True
            self._indent = space.rsplit("\n", 1)[1]
            self._sentence_start()
        elif self._line_start:
            self._indent += space

    def _sentence_start(self) -> None:
        self._start = True
        self._prev = "^"
        self._segment = self._commas = 0
        self._segment_first = ""
        self._segment_lower = True

    def _begin_line(self, window: str) -> None:
        self._line_start = False
        self._shield.begin_line(self._indent + window, first=self._first)
        self._first = False
        if self._newlines > 1 and not self._indent and not _ITEM.match(window):
            self._swap = None
        self._newlines = 0

    def _marker(self, window: str, out: list[str]) -> int:
        """A list marker at the line's start: written as the key says for the whole list; the characters read."""
        item = _ITEM.match(window)
        indent, self._indent = self._indent, ""
        if not item or len(indent) > 1 or self._shield.literal:
            return 0
        if self._swap is None:
            if indent or not self._after_colon or self._shield.up:
                return 0
            context = _classify(window[2:].split(None, 1)[0]).word or "#"
            form = 0 if item[1] == "-" else 1
            site = Site(self._by_id[MARKER], self._name(context), form, self._where(out), item[1])
            wanted = self._choose(site) if self._english(window) or not self._strict else None
            self._swap = wanted is not None and wanted != form
        sign = item[1]
        if self._swap:
            sign = "*" if sign == "-" else "-"
        out.append(sign)
        return 1

    def _where(self, out: list[str]) -> int:
        return self._at + sum(map(len, out))

    def _name(self, word: str) -> str:
        return self._canonical.get(word, word)

    def _step(self, window: str, out: list[str]) -> int:
        """Read one chunk, or a form of several; the characters read."""
        matched = _CHUNK.match(window)
        text = matched[0] if matched else window
        if self._inside or len(text) == LOOK:
            # A run without white space longer than the window: no prose, taken in piece by piece.
            self._inside = len(text) == LOOK
            out.append(text)
            if not SPECIAL.isdisjoint(text):
                self._shield.special(text)
            self._prev = "#"
            return len(text)
        chunk = _classify(text)
        if chunk.clean and not (self._strict and self._shield.up):
            if chunk.candidates:
                step = self._match(chunk, window, out)
                if step:
                    return step
            if self._commas and chunk.tail in {"", ","}:
                written = self._oxford(chunk, text, window, out)
                out.append(written)
                self._after(chunk)
                return len(text)
        if chunk.special:
            self._shield.special(text)
        out.append(text)
        self._after(chunk)
        return len(text)

    def _after(self, chunk: _Chunk) -> None:
        """The state after a chunk."""
        word = chunk.word
        if word == "#" and chunk.enumerates and self._start:
            return
        if word:
            self.words += 1
            if word in STRONG_ENGLISH:
                self._strong = (self._strong[1], self.words)
            elif word in FOREIGN:
                self._foreign = self.words
            self._prev = word
            self._start = False
            self._segment += 1
            if self._segment == 1:
                self._segment_first = word
            if chunk.capital:
                self._segment_lower = False
        self._tail(chunk.tail)

    def _tail(self, tail: str) -> None:
        self.last_tail = tail
        self._after_colon = tail.endswith(":")
        if not tail:
            return
        if tail[-1] in ".!?":
            self._sentence_start()
        elif tail[-1] in ";:":
            self._prev = "^"
            self._segment = self._commas = 0
            self._segment_lower = True
        elif tail[-1] == ",":
            self._commas += 1
            self._segment = 0
            self._segment_lower = True

    def _match(self, chunk: _Chunk, window: str, out: list[str]) -> int:
        """Try the forms that begin with this word, longest first; the characters read, 0 for none."""
        low = window.lower().replace("\u2019", "'")
        start, tail = self._start, self.last_tail
        for candidate in chunk.candidates:
            slot, form = candidate.slot, candidate.text
            if not low.startswith(form):
                continue
            if slot.start is not None and slot.start != start:
                continue
            if slot.comma is not None and (tail == "," if slot.comma else tail == "") is not True:
                continue
            end = len(form)
            after = _WORD_AHEAD.match(low, end)
            following = "" if after is None or (after.end() == LOOK) else ("#" if after[1].isdigit() else after[1])
            if not self._fits(slot, following, low, end):
                continue
            if self._strict and not self._writable(window[:end], window, end):
                continue
            return self._take(candidate, window, end, following, out)
        return 0

    def _fits(self, slot: Slot, following: str, low: str, end: int) -> bool:
        """Whether the slot's conditions on its neighbours hold; ``following`` is empty where no word follows."""
        prev = self._prev
        if (
            (slot.prev is not None and prev not in slot.prev)
            or (slot.prev_not is not None and prev in slot.prev_not)
            or (slot.sound_guard and prev in {"a", "an"})
            or (slot.next_not is not None and following in slot.next_not)
            or (slot.endish and not _ENDISH.match(low, end))
        ):
            return False
        if not following:
            return not slot.follow and slot.next is None and _AFTER_FORM.match(low, end) is not None
        return slot.next is None or following in slot.next

    def _writable(self, form: str, window: str, end: int) -> bool:
        """Strict only: no name, no title, plainly English, nothing code-like ahead."""
        rest = form[1:]
        if rest != rest.lower():
            return False
        if form[0].isupper() and form[:2] not in {"I ", "I'", "I\u2019"}:
            if not self._start:
                return False
            if window[end : end + 1] == " " and window[end + 1 : end + 2].isupper():
                return False
        return self._english(window) and self._shield.clear_ahead(window)

    def _english(self, window: str) -> bool:
        if self.words - self._foreign < _NEAR_WORDS:
            return False
        near = self.words - _NEAR_WORDS
        count = sum(1 for at in self._strong if at > near)
        if count >= _ENGLISH_WORDS_NEAR:
            return window.isascii() or "\u2019" in window
        ahead = [word.strip(".,;:!?") for word in window.lower().split()[:-1]]
        if any(word in FOREIGN for word in ahead):
            return False
        count += sum(1 for word in ahead[1:] if word in STRONG_ENGLISH)
        return count >= _ENGLISH_WORDS_NEAR and (window.isascii() or "\u2019" in window)

    def _take(self, candidate: Candidate, window: str, end: int, following: str, out: list[str]) -> int:
        slot = candidate.slot
        original = window[:end]
        if self._start or self._prev == "^" or slot.by_next:
            context = "^" + self._name(following) if following else "$"
        else:
            context = self._name(self._prev)
        site = Site(slot, context, candidate.form, self._where(out), original)
        wanted = self._choose(site)
        written, form = original, candidate.text
        if wanted is not None and wanted != candidate.form:
            form = slot.forms[wanted]
            written = form
            if original[0].isupper() or form.startswith(("i ", "i'")):
                written = form[0].upper() + form[1:]
            if "\u2019" in original:
                written = written.replace("'", "\u2019")
        out.append(written)
        words = form.rstrip(",").split(" ")
        for word in words:
            if word in STRONG_ENGLISH:
                self._strong = (self._strong[1], self.words)
        self.words += len(words)
        self._prev = words[-1]
        self._start = False
        self._segment += len(words)
        if self._segment == len(words):
            self._segment_first = words[0]
        self._tail("," if form.endswith(",") else "")
        return end

    def _oxford(self, chunk: _Chunk, text: str, window: str, out: list[str]) -> str:
        """The comma before the last ``and`` of a plain list: its slot is asked; what is written."""
        if self._commas < _MIN_LIST_COMMAS or self._segment >= _MAX_LIST_WORDS:
            return text
        first = self._segment_first if self._segment else chunk.word
        if first in NOT_ITEMS or chunk.word in NOT_ITEMS:
            return text
        ahead = _AND_AHEAD.match(window, len(text))
        if not ahead or ahead[2] in CLAUSE_STARTS or ahead.end() == LOOK:
            return text
        if self._strict and not (self._english(window) and self._shield.clear_ahead(window)):
            return text
        slot = self._by_id[OXFORD_AND if ahead[1] == "and" else OXFORD_OR]
        form = 0 if chunk.tail else 1
        wanted = self._choose(Site(slot, self._name(chunk.word), form, self._where(out), text))
        return text[:-1] if form == 0 and wanted == 1 else text
