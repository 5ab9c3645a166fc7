"""Cut a server-sent event stream into whole events, at whatever bytes it was split on the wire.

Source: WHATWG HTML, section 9.2 (server-sent events). Lines end in LF, CR or CRLF; a blank line ends an
event; a line that begins with a colon is a comment; one space after the field's colon is dropped; a
byte-order mark may begin the stream.

Invariants: the events that ``feed`` gives, joined with ``rest()``, are exactly the bytes that were fed;
how the bytes were split makes no difference to that, nor to what ``data_of`` reads. An event over
``MAX_EVENT_BYTES`` is given as ``Piece``s, so that memory is bounded.
"""

from __future__ import annotations

import re

MAX_EVENT_BYTES = 8 * 1024 * 1024
"""More than a final event that repeats a whole reply of any current model."""

PING = b": ping\n\n"
"""A comment that every client skips; the blank line keeps it apart for clients that split on blank lines."""

LONE_LF = b"\n"
"""What ``feed`` gives for the second half of a CRLF that was cut in two: part of the event before."""

_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_BOM = b"\xef\xbb\xbf"


class Piece(bytes):
    """Part of an event that is too large to be read; passed on as it is."""

    __slots__ = ()


class EventSplitter:
    """Bytes in, whole raw events out (with their blank line)."""

    __slots__ = ("_after_cr", "_buffer", "_oversized", "_seen", "idle")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._seen = 0
        self._after_cr = False
        self._oversized = False
        self.idle = True
        """Nothing is held or expected: what is fed next begins an event."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that ``chunk`` completed, and pieces of one that is too large."""
        if self.idle and _is_one_event(chunk):
            return [chunk]
        events: list[bytes] = []
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk.startswith(LONE_LF):
                events.append(LONE_LF)
                chunk = chunk[1:]
        buffer = self._buffer
        buffer += chunk
        start = 0
        for end in _END.finditer(buffer, max(0, self._seen - 3)):
            events.append(self._event(bytes(buffer[start : end.end()])))
            start = end.end()
        if start:
            self._after_cr = start == len(buffer) and buffer.endswith(b"\r")
            del buffer[:start]
        if len(buffer) > MAX_EVENT_BYTES:
            # The last three bytes may be the beginning of the blank line.
            events.append(Piece(buffer[:-3]))
            del buffer[:-3]
            self._oversized = True
        self._seen = len(buffer)
        self.idle = not buffer and not self._after_cr
        return events

    def _event(self, raw: bytes) -> bytes:
        if self._oversized:
            self._oversized = False
            return Piece(raw)
        return raw

    @property
    def at_boundary(self) -> bool:
        """True where all events that were given are whole."""
        return not self._oversized

    @property
    def empty(self) -> bool:
        """True where nothing is held."""
        return not self._buffer

    def rest(self) -> bytes:
        """What was fed and is not yet given; empties the splitter."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._seen = 0
        self.idle = not self._after_cr
        return Piece(rest) if self._oversized else rest


def _is_one_event(chunk: bytes) -> bool:
    return chunk.endswith(b"\n\n") and chunk.find(b"\n\n") == len(chunk) - 2 and b"\r" not in chunk


def data_of(event: bytes) -> bytes | None:
    """The data of a raw event (its ``data`` lines joined by LF), or None where it has none."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return event[6:-2]
    found: list[bytes] = []
    for raw in event.removeprefix(_BOM).splitlines():
        if raw.startswith(b"data:"):
            found.append(raw[6:] if raw[5:6] == b" " else raw[5:])
        elif raw == b"data":
            found.append(b"")
    return b"\n".join(found) if found else None


def with_data(event: bytes, old: bytes, new: bytes) -> bytes:
    """``event`` with its data ``old`` (as ``data_of`` gave it) replaced by ``new``, which has no line break.
    All other lines stay; data of several lines becomes one.
    """
    at = event.find(old)
    if at >= 0:
        return event[:at] + new + event[at + len(old) :]
    others = [line for line in event.splitlines() if line and not line.startswith(b"data")]
    return b"\n".join([*others, b"data: " + new, b"", b""])
