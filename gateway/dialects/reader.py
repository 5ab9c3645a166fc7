"""What every reader of a reply offers; the kinds are in ``replies`` and ``stream_reply``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.types import Usage

if TYPE_CHECKING:
    from gateway.dialects.tally import Tally


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
