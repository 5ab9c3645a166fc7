"""Every event that is still kept, oldest first within its place: for reports, which are seldom and may be slow."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from gateway.errors import FileErrors, StoreError
from gateway.events import decode, list_segments, read_events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings import Settings
    from gateway.types import Event

_log = logging.getLogger(__name__)
_BATCH = 2_000
_TIMEOUT_S = 10.0


def all_events(settings: Settings, since_s: float = 0.0) -> Iterator[Event]:
    """Events from ``since_s`` on, from the state folder or from Redis; what cannot be read is logged and left out.

    Raises StoreError where Redis cannot be asked.
    """
    found = _from_redis(settings.redis) if settings.redis else _from_files(settings)
    return (event for event in found if event.ts >= since_s)


def _from_files(settings: Settings) -> Iterator[Event]:
    for path in list_segments(settings.state_dir / "events"):
        try:
            yield from read_events(path)
        except FileErrors as error:
            _log.error("events_damaged", extra={"reason": str(error)})


def _from_redis(url: str) -> Iterator[Event]:
    from redis.exceptions import RedisError

    from gateway.events.redis_sink import FIELD, STREAM
    from gateway.redis_url import connect_blocking

    try:
        client = connect_blocking(url, timeout_s=_TIMEOUT_S)
        try:
            begin: bytes | str = "-"
            while entries := _entries(client, STREAM, begin):
                yield from (event for _, fields in entries if (event := _event(fields.get(FIELD))) is not None)
                begin = b"(" + entries[-1][0]
        finally:
            client.close()
    except (RedisError, OSError) as error:
        raise StoreError(f"redis: {type(error).__name__}: {error}") from error


def _entries(client: Any, stream: str, begin: bytes | str) -> list[Any]:
    return list(client.xrange(stream, begin, "+", count=_BATCH))


def _event(line: bytes | None) -> Event | None:
    try:
        return decode(line or b"")
    except ValueError:
        return None
