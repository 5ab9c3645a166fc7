"""The reader of a stream of server-sent events; its invariants are those of ``replies``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from gateway.dialects.alike import Alike
from gateway.dialects.reader import ReplyReader
from gateway.dialects.sse import LONE_LF, EventSplitter, Piece, data_of
from gateway.dialects.streams import EVENT_OBSERVERS

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gateway.dialects.decoding import Decoder
    from gateway.dialects.routes import Route
    from gateway.dialects.stream_prose import StreamProse
    from gateway.dialects.tally import Tally
    from gateway.types import JSON, Usage


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
