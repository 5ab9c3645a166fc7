"""What happened, appended once and read back; never prompt text, never a credential.

``open_events`` gives the request path its sink: files under the state folder, or a Redis stream where state is
shared. ``EventTail`` and ``group.EventGroup`` read on while it grows; ``read_events`` reads one file back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.events.codec import decode, encode
from gateway.events.file_sink import FileSink
from gateway.events.interface import EventSink
from gateway.events.reader import EventReader, read_events
from gateway.events.segments import Limits, list_segments
from gateway.events.tail import EventTail

if TYPE_CHECKING:
    from gateway.clock import Clock
    from gateway.settings import Settings

__all__ = [
    "EventReader",
    "EventSink",
    "EventTail",
    "FileSink",
    "Limits",
    "decode",
    "encode",
    "list_segments",
    "open_events",
    "read_events",
]


def open_events(settings: Settings, clock: Clock) -> EventSink:
    """The sink that ``settings`` ask for. Raises OSError where the state folder cannot be written."""
    if settings.redis:
        from gateway.events.redis_sink import RedisSink  # the client costs 150 ms to import

        return RedisSink(settings.redis)
    limits = Limits(keep_days=settings.events_keep_days, keep_bytes=settings.events_keep_bytes)
    return FileSink(settings.state_dir / "events", clock, limits=limits)
