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

from gateway.dialects.alike import Alike
from gateway.dialects.decoding import decoder_of
from gateway.dialects.prose import may_write, whole_prose
from gateway.dialects.routes import Shape
from gateway.dialects.sse import LONE_LF, EventSplitter, Piece, data_of
from gateway.dialects.stream_prose import prose_of_stream
from gateway.dialects.streams import EVENT_OBSERVERS, WHOLE_OBSERVERS
from gateway.dialects.tally import Tally
from gateway.types import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gateway.dialects.decoding import Decoder
    from gateway.dialects.prose import TextWriter
    from gateway.dialects.routes import Route
    from gateway.dialects.stream_prose import StreamProse
    from gateway.types import JSON, Headers, RequestFacts

MAX_HELD_BYTES = 4 * 1024 * 1024
"""A plain reply up to this size is parsed whole (a million tokens of prose)."""
TAIL_BYTES = 64 * 1024
"""Of a larger one its end is kept, where usage stands."""
_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')
_OK = range(200, 300)


class ReplyReader:
    """What the request path sees of a reply; see ``read_reply``. This base passes on what it cannot read
    (an error, another media type, an unreadable coding) and counts its bytes.
    """

    is_stream = False
    """A stream of events, which must end with the dialect's last event."""

    def __init__(self, tally: Tally, *, counts: bool = False) -> None:
        self._tally = tally
        self._counts = counts
        self._bytes = 0
        self.passes_bytes = True
        """The client gets the upstream's bytes and no others: content-length may stay. Never of a stream,
        which may get comments and an error event.
        """
        self.is_stream = False
        """Comments and an error event may be put into it (so not where it is compressed)."""

    @property
    def ended(self) -> bool:
        """The dialect's last event, or the end of a whole body, was seen."""
        return self._tally.ended

    @property
    def refused(self) -> bool:
        """The model refused, or the reply says that it failed (not: the status is an error)."""
        return self._tally.refused

    @property
    def at_boundary(self) -> bool:
        """A comment or an error event may be put after what was given so far."""
        return False

    @property
    def next_sequence(self) -> int:
        """The ``sequence_number`` for an event that is put after what was given (Responses)."""
        return self._tally.sequence

    def feed(self, chunk: bytes) -> bytes:
        """What to pass to the client now for the next bytes of the upstream."""
        self._bytes += len(chunk)
        return chunk

    def feed_alike(self, chunk: bytes) -> bytes:
        """As ``feed`` where that is one event like those before, which is never the last; else empty, and
        nothing happened.
        """
        return b""

    def finish(self) -> bytes:
        """What is left for the client after the upstream's body came to its proper end."""
        self._tally.ended = True
        return b""

    def usage(self) -> Usage:
        """What was spent so far; may be asked at any time."""
        if self._counts:
            # Compressed or unknown, a token takes at least about this much on the wire.
            self._tally.chars, self._tally.deltas = self._bytes, min(1, self._bytes)
            return self._tally.usage()
        return Usage()


class FreeReply(ReplyReader):
    """A good reply of a route that spends nothing (models, count_tokens)."""

    def usage(self) -> Usage:
        """Zero, and that is certain."""
        return Usage(reported=True)


class StreamReply(ReplyReader):
    """A stream of server-sent events."""

    is_stream = True

    def __init__(
        self,
        tally: Tally,
        route: Route,
        *,
        decoder: Decoder | None,
        strip_usage: bool,
        prose: StreamProse | None,
        choices: int,
    ) -> None:
        super().__init__(tally)
        self._observe = EVENT_OBSERVERS[route.shape]
        self._splitter = EventSplitter()
        self._alike = Alike()
        self._key: Hashable = None
        self._telling = False
        """The event that was read last said one text and nothing else."""
        self._decoder = decoder
        self._strip_usage = strip_usage
        self._prose = prose
        self._choices = choices
        self._dropped = False
        self._passing = not strip_usage and prose is None
        self.passes_bytes = False
        self.is_stream = decoder is None

    @property
    def at_boundary(self) -> bool:
        """True between events; never in a compressed stream."""
        return self._decoder is None and self._splitter.at_boundary

    @property
    def next_sequence(self) -> int:
        """As the client counts: with the events that were put in."""
        return self._tally.sequence + (self._prose.inserted if self._prose is not None else 0)

    def feed(self, chunk: bytes) -> bytes:
        """Whole events; bytes of an event that is not complete are held."""
        if self._decoder is not None:
            for event in self._splitter.feed(self._decoder.feed(chunk)):
                self._read(event)
            return chunk
        if self._splitter.idle and (given := self._given_alike(chunk)):
            return given
        held = not self._splitter.empty
        events = self._splitter.feed(chunk)
        if self._passing:
            for event in events:
                if not self._given_alike(event):
                    self._read(event)
            return chunk if not held and self._splitter.empty else b"".join(events)
        return b"".join([self._given_alike(event) or self._change(event) for event in events])

    def feed_alike(self, chunk: bytes) -> bytes:
        """Only where it comes between whole events, and is one."""
        if self._decoder is not None or not self._splitter.idle:
            return b""
        return self._given_alike(chunk)

    def _given_alike(self, event: bytes) -> bytes:
        """What to give for an event like one that was read before; empty where it has to be read."""
        alike = self._alike
        text = alike.text(event)
        if not text:
            return b""
        self._tally.chars += len(text)
        self._tally.deltas += 1
        if self._prose is None:
            return event
        return b"%b%b%b" % (alike.head, self._prose.alike(self._key, text), alike.tail)

    def finish(self) -> bytes:
        """What is left when the upstream's body is over, whether it came to its end or broke: an event that
        only lacks its blank line, and text that writers still hold. Half an event is left out. Where the
        stream has not ended, what is given ends an event, so that an error event may follow.
        """
        rest = self._splitter.rest()
        if rest and type(rest) is not Piece and not _is_complete(rest):
            rest = b""
        given = self._change(rest) if rest else b""
        tail = self._prose.end() if self._prose is not None else b""
        # Servers that end without [DONE] have still told that every choice is finished.
        if len(self._tally.finished) >= self._choices:
            self._tally.ended = True
        if self._decoder is not None:
            return b""
        if given and (tail or not self.ended):
            given += b"\n\n"
        return given + tail

    def usage(self) -> Usage:
        """Reported, or the floor so far."""
        return self._tally.usage()

    def _read(self, event: bytes) -> tuple[bytes, JSON]:
        """Meter one event: its data and what that parses to (None where it is no JSON object)."""
        self._telling = False
        if type(event) is Piece:
            self._tally.chars += len(event)
            self._tally.deltas += 1
            return b"", None
        data = data_of(event)
        if data is None:
            return b"", None
        if data.startswith(b"[DONE]"):
            self._tally.ended = True
            return data, None
        tally, learns = self._tally, self._decoder is None and self._alike.wants()
        before = (tally.deltas + 1, *tally.news()) if learns else ()
        try:
            obj = orjson.loads(data)
            self._observe(obj, tally)
        except (orjson.JSONDecodeError, AttributeError, TypeError, KeyError):
            return data, None
        self._telling = learns and before == (tally.deltas, *tally.news())
        if self._telling and self._prose is None:
            self._alike.learn(event, tally.text)
        return data, obj

    def _change(self, event: bytes) -> bytes:
        if event == LONE_LF and self._dropped:
            return b""
        data, obj = self._read(event)
        if self._passing:
            return event
        self._dropped = self._strip_usage and type(obj) is dict and _only_usage(obj)
        if self._dropped:
            return b""
        prose = self._prose
        if prose is None:
            return event
        given = self._rewrite(prose, event, data, obj)
        key = prose.plain_key
        if self._telling and key is not None and self._alike.learn(event, self._tally.text):
            self._key = key
        return given

    @staticmethod
    def _rewrite(prose: StreamProse, event: bytes, data: bytes, obj: JSON) -> bytes:
        if obj is None:
            return prose.end() + event if data.startswith(b"[DONE]") else event
        try:
            return prose.event(obj, event, data)
        except (AttributeError, TypeError, KeyError):
            return event


def _is_complete(rest: bytes) -> bool:
    """Whether bytes without a blank line at their end are a whole event nevertheless."""
    data = data_of(rest)
    if data is None or data.startswith(b"[DONE]"):
        return data is not None
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        return False
    return True


def _only_usage(obj: dict[str, JSON]) -> bool:
    """The extra chunk that ``include_usage`` asks for: no choices, and usage."""
    return obj.get("choices") == [] and type(obj.get("usage")) is dict


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
