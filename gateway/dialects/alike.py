"""Events of a stream that are alike but for one text: metered and rewritten without parsing them.

Model servers write the deltas of a reply alike, with the same bytes before the text and after it. From an event that
was parsed these two are learned; an event with the same head and tail and only plain characters in between parses to
the same value with another text in that place, so what reading it would find is known. Why that is exact: there is no
escape in the event that was learned from, and its text stands in it once; plain characters end no JSON string, no
line and no UTF-8 sequence. Whatever is not alike is read in full.
"""

from __future__ import annotations

import re

PLAIN = bytes(code for code in range(0x20, 0x7F) if code not in b'"\\')
"""Characters that stand in a JSON string for themselves."""
_TELLING = re.compile(r"[ A-Za-z0-9.!?'-]*[A-Za-z][ A-Za-z0-9.!?'-]*")
"""A text with nothing in it that could stand between two strings of JSON."""
_LONGEST_PAUSE = 64


class Alike:
    """What the events of one stream have in common; learns from those that were read in full."""

    __slots__ = ("_begin", "_end", "_pause", "_tried", "head", "tail")

    def __init__(self) -> None:
        self.head = b""
        """Empty until something was learned."""
        self.tail = b""
        self._begin = self._end = 0
        """Where the text stands."""
        self._tried = 0
        self._pause = 0

    def text(self, event: bytes) -> bytes:
        """The text of an event that is like the one learned from; empty where it is not, or may not be."""
        begin, end = self._begin, self._end
        if not begin or event[:begin] != self.head or event[end:] != self.tail:
            return b""
        text = event[begin:end]
        if text.translate(None, PLAIN):
            return b""
        self._tried = self._pause = 0
        return text

    def wants(self) -> bool:
        """Whether to try to learn from the next event; more and more seldom while nothing is alike."""
        if self._pause > 0:
            self._pause -= 1
            return False
        self._tried += 1
        self._pause = min(_LONGEST_PAUSE, self._tried // 4)
        return True

    def learn(self, event: bytes, text: str) -> bool:
        """``event`` said ``text`` and nothing else that changes between events; whether anything was learned."""
        if b"\\" in event or not _TELLING.fullmatch(text):
            return False
        quoted = b'"%b"' % text.encode()
        if event.count(quoted) != 1:
            return False
        at = event.find(quoted) + 1
        self.head, self.tail = event[:at], event[at + len(text) :]
        self._begin, self._end = at, -len(self.tail)
        return True
