"""Read a reply while it passes: meter it, and change what must change in it.

A reader gets the upstream's bytes in whatever chunks they come and gives the bytes for the client. There
are three: a stream of events, one JSON value, and anything else. Invariants:

* Without ``strip_usage``, ``writers`` and ``hide_reasoning`` the client gets exactly the upstream's bytes.
* A stream (unless compressed) is passed on in whole events, so that a comment or an error event can be put
  after any of them, and a broken upstream leaves no half event behind.
* Memory is bounded whatever the upstream sends; a reply too large to hold is passed on, metered by its end.
* Nothing that an upstream sends makes a reader raise.

Left out: when a reply has taken too long, and what to do about a broken one (``pipeline``).
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING

import orjson

from gateway.dialects.decoding import decoder_of
from gateway.dialects.prose import may_write, whole_prose
from gateway.dialects.reader import FreeReply, ReplyReader
from gateway.dialects.routes import Shape
from gateway.dialects.stream_prose import prose_of_stream
from gateway.dialects.stream_reply import StreamReply
from gateway.dialects.streams import EVENT_OBSERVERS, WHOLE_OBSERVERS
from gateway.dialects.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.dialects.decoding import Decoder
    from gateway.dialects.prose import TextWriter
    from gateway.dialects.routes import Route
    from gateway.types import JSON, Headers, RequestFacts, Usage

MAX_HELD_BYTES = 4 * 1024 * 1024
"""A plain reply up to this size is parsed whole (a million tokens of prose)."""
TAIL_BYTES = 64 * 1024
"""Of a larger one its end is kept, where usage stands."""
_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')
_OK = range(200, 300)


class WholeReply(ReplyReader):
    """One JSON value."""

    def __init__(
        self,
        tally: Tally,
        route: Route,
        *,
        decoder: Decoder | None,
        writers: Callable[[], TextWriter] | None,
        hide_reasoning: bool,
    ) -> None:
        super().__init__(tally)
        self._shape = route.shape
        # Embeddings are long lists of numbers that are not looked at.
        self._limit = TAIL_BYTES if route.shape is Shape.EMBEDDINGS else MAX_HELD_BYTES
        self._decoder = decoder
        self._writers = writers
        self._hide_reasoning = hide_reasoning
        self._held = bytearray()
        self._too_large = False
        self._read = False
        self.passes_bytes = self._passing = writers is None and not hide_reasoning

    def feed(self, chunk: bytes) -> bytes:
        """The chunk, unless the whole is held for a writer."""
        if self._read and chunk:
            self._read = False
        self._held += chunk if self._decoder is None else self._decoder.feed(chunk)
        if len(self._held) > self._limit or self._too_large:
            return self._let_go(chunk)
        return chunk if self._passing else b""

    def _let_go(self, chunk: bytes) -> bytes:
        """Too large to hold: pass it on and keep the end."""
        given = chunk
        if not self._passing:
            given, self._passing = bytes(self._held), True
        self._too_large = True
        if len(self._held) > 2 * TAIL_BYTES:
            del self._held[:-TAIL_BYTES]
        return given

    def finish(self) -> bytes:
        """The body with its prose written anew, where a writer was given."""
        obj = self._look()
        if self._passing:
            return b""
        body = bytes(self._held)
        if type(obj) is not dict:
            return body
        try:
            return whole_prose(self._shape, obj, body, self._writers, hide_reasoning=self._hide_reasoning)
        except (AttributeError, TypeError, KeyError):
            return body

    def usage(self) -> Usage:
        """Reported, or a floor from the text so far."""
        if not self._read:
            self._look()
        return self._tally.usage()

    def _look(self) -> JSON:
        """Meter what is held: the whole value, or only its usage where it is too large or was cut."""
        self._read = True
        self._tally.chars = self._tally.deltas = 0
        if not self._too_large:
            try:
                obj = orjson.loads(bytes(self._held))
            except orjson.JSONDecodeError:
                obj = None
            if obj is not None:
                self._tally.ended = True
                self._observe(obj)
                return obj
        elif (usage := last_usage(bytes(self._held[-TAIL_BYTES:]))) is not None:
            self._tally.report(usage)
            self._tally.ended = bytes(self._held[-64:]).rstrip().endswith(b"}")
            return None
        if self._shape is not Shape.EMBEDDINGS and self._held:
            # Cut or unreadable: what flowed is mostly text.
            self._tally.chars, self._tally.deltas = len(self._held), 1
        return None

    def _observe(self, obj: JSON) -> None:
        try:
            WHOLE_OBSERVERS[self._shape](obj, self._tally)
        except (AttributeError, TypeError, KeyError):
            return


def last_usage(tail: bytes) -> JSON:
    """The last ``usage`` object in the end of a JSON text, or None. Within a JSON string the name cannot
    match, as its quotes would be escaped.
    """
    found = list(_USAGE.finditer(tail))
    if not found:
        return None
    try:
        return json.JSONDecoder().raw_decode(tail[found[-1].end() :].decode("utf-8", "replace"))[0]
    except (ValueError, RecursionError):
        return None


def read_reply(
    route: Route,
    facts: RequestFacts,
    *,
    status: int,
    headers: Headers,
    strip_usage: bool = False,
    writers: Callable[[], TextWriter] | None = None,
    hide_reasoning: bool = False,
) -> ReplyReader:
    """A reader for the reply to ``facts``.

    ``strip_usage``: remove the chunk that only we asked for (``BodyEdit.ask_usage``). ``writers`` makes a
    fresh writer for each piece of free prose; it is not used where the reply must stay as it is (JSON mode,
    log probabilities, citations). ``hide_reasoning`` removes readable reasoning from chat replies, where
    no field of the request does. None of the three works on a compressed reply: ask the upstream for
    identity.
    """
    kind, encoding = _content(headers)
    tally = Tally(route.usage, facts.input_chars)
    if status not in _OK:
        return ReplyReader(tally)
    if not route.billed:
        return FreeReply(tally)
    decoder = decoder_of(encoding) if encoding else None
    is_stream = kind == b"text/event-stream" or (not kind and facts.stream)
    is_json = kind == b"application/json" or kind.endswith(b"+json") or not kind
    if (decoder is not None and decoder.failed) or not (is_stream or is_json):
        return ReplyReader(tally, counts=route.makes_output)
    plain = decoder is None
    make = writers if plain and writers is not None and may_write(route, facts) else None
    hide = hide_reasoning and plain and route.shape is Shape.CHAT
    if is_stream and route.shape in EVENT_OBSERVERS:
        prose = prose_of_stream(route.shape, make, hide_reasoning=hide) if make is not None or hide else None
        strip = strip_usage and plain and route.asks_usage
        return StreamReply(tally, route, decoder=decoder, strip_usage=strip, prose=prose, choices=max(1, facts.choices))
    return WholeReply(tally, route, decoder=decoder, writers=make, hide_reasoning=hide)


@lru_cache(maxsize=256)
def _media_type(value: bytes) -> bytes:
    return value.split(b";", 1)[0].strip().lower()


def _content(headers: Headers) -> tuple[bytes, bytes]:
    """Media type (lower case, without parameters) and content coding."""
    kind = encoding = b""
    for name, value in headers:
        if name == b"content-type":
            kind = _media_type(value)
        elif name == b"content-encoding":
            encoding = encoding + b"," + value if encoding else value
    return kind, encoding
