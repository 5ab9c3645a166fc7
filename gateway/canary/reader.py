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

from gateway.canary.chunks import CACHE, CURLY, LOOK, Chunk, classify
from gateway.canary.shield import Shield
from gateway.canary.slots import MARKER, OXFORD_AND, OXFORD_OR, Candidate, Slot, load_inventory
from gateway.canary.words import CLAUSE_STARTS, FOREIGN, NOT_ITEMS, STRONG_ENGLISH

HOLD = 64
"""Characters that may be held back: what a streaming reader never waits longer for."""
_NEAR_WORDS = 18
_FOREIGN_WORDS = 60
"""So far back two words of another language say that the text may still be in it."""
_ENGLISH_WORDS_NEAR = 2

_CHUNK = re.compile(r"\S+")
_SPACE = re.compile(r"\s+")
_I_FORMS = frozenset({"I ", "I'", "I\u2019"})
_WORD_AHEAD = re.compile(r" ([a-z]+(?:'[a-z]+)?|\d)")
_AND_AHEAD = re.compile(r" (and|or) ([a-z']+)")
_ENDISH = re.compile(r"\s*\Z|[.,;:!?](?:\s|\Z)| (?:and|or|but|to|in|for|when|while|with|by|so|on|at|from)\b")
_AFTER_FORM = re.compile(r"\Z|[.,;:!?]*(?:\s|\Z)")
_ITEM = re.compile(r"([-*]) (?![-*] )(?=\S)")
_EMPTY_ITEM = re.compile(r"([-*])(?=\n|\Z)")
_LABEL = re.compile(r"[^A-Za-z]|[A-Za-z][.)] |[^.\n]{0,40}:(?: |\n|\Z)")
"""How a line begins that is no plain paragraph: a sign, a number, a letter with a dot, a label with a colon."""
_PARAGRAPH = 2
_MAX_LIST_WORDS = 3
_MIN_LIST_COMMAS = 2
"""With one comma before it, ``X, Y and Z`` is too often no list but a phrase, a comma and a pair."""


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


class Between(Protocol):
    """Asked between two sentences of free prose: what to put there."""

    def __call__(self, last: str, ahead: str, at: int) -> str:
        """A sentence and a space, or nothing. ``last`` is the word before, ``ahead`` the next ``LOOK`` characters."""
        ...


class Reader:
    """Reads one reply. ``choose`` is asked at every site; ``None`` for an answer changes nothing. ``between``, where
    it is given, is asked between the sentences of a paragraph that is no list's.
    """

    def __init__(self, choose: Choose, *, strict: bool, between: Between | None = None) -> None:
        inventory = load_inventory()
        self._choose = choose
        self._between = between
        self._strict = strict
        self._canonical = inventory.canonical
        self._by_id = inventory.by_id
        self._buffer = ""
        self._edits: list[tuple[int, int, str]] = []
        self._offset = 0
        self._shield = Shield()
        self.words = 0
        self.last_tail = ""
        self._prev = "^"
        self._start = True
        self._segment = self._commas = 0
        self._segment_first = ""
        self._strong_at = self._strong_before = self._foreign_at = self._foreign_before = -100
        self._inside = False
        self._line_start = self._first = self._after_colon = True
        self._newlines = 0
        self._indent = ""
        self._swap: bool | None = None
        self._ended = ""
        self.listed = False

    @property
    def in_prose(self) -> bool:
        """Whether the reader stands in free prose."""
        return not self._shield.up

    @property
    def in_english(self) -> bool:
        """Whether the words just read were plainly English."""
        return self._english("")

    def feed(self, text: str) -> str:
        """Take in a piece; give back what is decided."""
        self._buffer += text
        return self._run(final=False) if len(self._buffer) > HOLD else ""

    def finish(self) -> str:
        """The rest, decided without what never came."""
        return self._run(final=True)

    def _run(self, *, final: bool) -> str:
        """Read as far as decisions can be made; what was read, with the edits made."""
        buffer, position = self._buffer, 0
        size = len(buffer)
        last = size if final else size - LOOK
        cache = CACHE
        while position < size:
            space = _SPACE.match(buffer, position)
            if space:
                position = space.end()
                if space[0] != " " or self._line_start:
                    self._space(space[0])
                self._inside = False
                continue
            if position > last:
                break
            if self._line_start:
                step = self._begin_line(buffer, position)
                if step:
                    position += step
                    continue
            if self._ended:
                self._gap(buffer[position : position + LOOK], position)
            found = _CHUNK.match(buffer, position, position + LOOK)
            text = found[0] if found else ""
            chunk = cache.get(text) or classify(text)
            if chunk.plain and self._commas < _MIN_LIST_COMMAS and not self._inside:
                self._word(chunk.word, strong=chunk.strong)
                self.last_tail = ""
                position += len(text)
            else:
                position += self._step(chunk, text, buffer, position)
        return self._release(position)

    def _release(self, position: int) -> str:
        """The buffer up to ``position``, edited; the rest is kept."""
        buffer, done = self._buffer, 0
        out: list[str] = []
        for start, end, text in self._edits:
            out += (buffer[done:start], text)
            done = end
        self._edits.clear()
        out.append(buffer[done:position])
        self._buffer = buffer[position:]
        self._offset += position
        return "".join(out)

    def _edit(self, position: int, before: str, after: str) -> None:
        """Write ``after`` for ``before``, which stands at ``position`` of the buffer."""
        if before != after:
            self._edits.append((position, position + len(before), after))
            self._offset += len(after) - len(before)

    def _gap(self, ahead: str, position: int) -> None:
        """Between two sentences: what is put there, where the text is free prose."""
        last, self._ended = self._ended, ""
        if self._between is None or self.listed or self._shield.up:
            return
        if self._english(ahead) and self._shield.clear_ahead(ahead):
            self._edit(position, "", self._between(last, ahead, self._offset + position))

    def _space(self, space: str) -> None:
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

    def _begin_line(self, buffer: str, position: int) -> int:
        """The state at a line's first sign; the characters read (a list marker), mostly none."""
        window = buffer[position : position + LOOK]
        self._line_start = False
        self._shield.begin_line(self._indent + window, first=self._first)
        self._first = False
        indent, self._indent = self._indent, ""
        item = _ITEM.match(window) or (_EMPTY_ITEM.match(window) if self._swap else None)
        self.listed = bool(indent) or _LABEL.match(window) is not None
        if self._newlines not in {0, _PARAGRAPH}:
            self._ended = ""
        ended = self._newlines > 1 and not indent and not item
        self._newlines = 0
        if ended:
            self._swap = None
        if not item or self._shield.literal:
            return 0
        if len(indent) > 1:
            self._swap = bool(self._swap)
            return 0
        return self._marker(item[1], window, position, top=not indent)

    def _marker(self, sign: str, window: str, position: int, *, top: bool) -> int:
        """A list marker: asked for at a list's first item after a colon, and then kept for the whole list, in
        which ``-`` and ``*`` change places; so lists stay as many as they were.
        """
        if self._swap is None:
            self._swap = False
            if top and self._after_colon and not self._shield.up and (not self._strict or self._english(window)):
                word = classify(window[2:].split(None, 1)[0]).word
                form = 0 if sign == "-" else 1
                site = Site(self._by_id[MARKER], self._name(word), form, self._offset + position, sign)
                wanted = self._choose(site)
                self._swap = wanted is not None and wanted != form
        if self._swap:
            self._edit(position, sign, "*" if sign == "-" else "-")
        return 1

    def _name(self, word: str) -> str:
        return self._canonical.get(word, word)

    def _word(self, word: str, *, strong: bool) -> None:
        """A word was read: where the sentence stands now."""
        self.words += 1
        if strong:
            self._strong_before, self._strong_at = self._strong_at, self.words
        self._prev = word
        self._start = False
        if not self._segment:
            self._segment_first = word
        self._segment += 1

    def _step(self, chunk: Chunk, text: str, buffer: str, position: int) -> int:
        """Read one chunk, or a form of several; the characters read."""
        if self._inside or len(text) == LOOK:
            # A run without white space longer than the window is no prose; it is taken in piece by piece.
            self._inside = len(text) == LOOK
            if chunk.special:
                self._shield.special(text)
            self._prev = "#"
            return len(text)
        if chunk.clean and not (self._strict and self._shield.up):
            if chunk.candidates:
                step = self._match(chunk, buffer[position : position + LOOK], position)
                if step:
                    return step
            if self._commas >= _MIN_LIST_COMMAS and chunk.tail in {"", ","}:
                self._oxford(chunk, text, buffer[position : position + LOOK], position)
        elif chunk.special:
            self._shield.special(text)
        if chunk.word and not (chunk.enumerates and self._start):
            self._word(chunk.word, strong=chunk.strong)
            if chunk.word in FOREIGN:
                self._foreign_before, self._foreign_at = self._foreign_at, self.words
        self._ended = text[:-1] if chunk.clean and chunk.tail == "." else ""
        self._tail(chunk.tail)
        return len(text)

    def _tail(self, tail: str) -> None:
        """The punctuation after a word."""
        self.last_tail = tail
        self._after_colon = tail.endswith(":")
        if not tail:
            return
        if tail[-1] in ".!?":
            self._sentence_start()
        elif tail[-1] in ";:":
            self._prev = "^"
            self._segment = self._commas = 0
        else:
            self._commas += 1
            self._segment = 0

    def _match(self, chunk: Chunk, window: str, position: int) -> int:
        """Try the forms that begin with this word, longest first; the characters read, 0 for none."""
        low = window.lower().replace(CURLY, "'")
        start, tail = self._start, self.last_tail
        for candidate in chunk.candidates:
            slot, form = candidate.slot, candidate.text
            if (
                not low.startswith(form)
                or (slot.start is not None and slot.start != start)
                or (slot.comma is not None and slot.comma != (tail == ",") and (slot.comma or tail))
            ):
                continue
            end = len(form)
            after = _WORD_AHEAD.match(low, end)
            following = ""
            if after and after.end() < LOOK:
                following = "#" if after[1].isdigit() else after[1]
            if self._fits(slot, following, low, end) and (not self._strict or self._writable(window, end)):
                return self._take(candidate, window, following, position)
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

    def _writable(self, window: str, end: int) -> bool:
        """Strict only: no name, no title, plainly English, nothing code-like ahead."""
        form = window[:end]
        if form[1:] != form[1:].lower():
            return False
        if form[0].isupper() and form[:2] not in _I_FORMS:
            title = window[end : end + 1] == " " and window[end + 1 : end + 2].isupper()
            if title or not self._start:
                return False
        return self._english(window) and self._shield.clear_ahead(window)

    def _english(self, window: str) -> bool:
        """Whether the words around are plainly English: enough of its commonest, none of another language's."""
        if (
            self.words - self._foreign_at < _NEAR_WORDS
            or self.words - self._foreign_before < _FOREIGN_WORDS
            or not window.replace(CURLY, "").isascii()
        ):
            return False
        near = self.words - _NEAR_WORDS
        count = (self._strong_at > near) + (self._strong_before > near)
        if count >= _ENGLISH_WORDS_NEAR:
            return True
        ahead = [word.strip(".,;:!?") for word in window.lower().split()[:-1]]
        if not FOREIGN.isdisjoint(ahead):
            return False
        return count + sum(word in STRONG_ENGLISH for word in ahead[1:]) >= _ENGLISH_WORDS_NEAR

    def _take(self, candidate: Candidate, window: str, following: str, position: int) -> int:
        """A site: ask for its form, write it, and go on behind it; the characters read."""
        slot, form = candidate.slot, candidate.text
        original = window[: len(form)]
        if self._prev == "^" or slot.by_next:
            context = "^" + self._name(following) if following else "$"
        else:
            context = self._name(self._prev)
        wanted = self._choose(Site(slot, context, candidate.form, self._offset + position, original))
        if wanted is not None and wanted != candidate.form:
            form = slot.forms[wanted]
            written = form[0].upper() + form[1:] if original[0].isupper() or form[:2] in {"i ", "i'"} else form
            if CURLY in original:
                written = written.replace("'", CURLY)
            self._edit(position, original, written)
        for word in form.rstrip(",").split(" "):
            self._word(word, strong=word in STRONG_ENGLISH)
        self._tail("," if form.endswith(",") else "")
        return len(original)

    def _oxford(self, chunk: Chunk, text: str, window: str, position: int) -> None:
        """The comma before the last ``and`` of a plain list: its slot is asked and written."""
        first = self._segment_first if self._segment else chunk.word
        if self._segment >= _MAX_LIST_WORDS or first in NOT_ITEMS or chunk.word in NOT_ITEMS:
            return
        ahead = _AND_AHEAD.match(window, len(text))
        if not ahead or ahead[2] in CLAUSE_STARTS or ahead.end() == LOOK:
            return
        if self._strict and not (self._english(window) and self._shield.clear_ahead(window)):
            return
        slot = self._by_id[OXFORD_AND if ahead[1] == "and" else OXFORD_OR]
        form = 0 if chunk.tail else 1
        wanted = self._choose(Site(slot, self._name(chunk.word), form, self._offset + position, text))
        if form == 0 and wanted == 1:
            self._edit(position, text, text[:-1])
