"""One event by its id: in the files of a state folder, or in the Redis stream of gateways that share their state.

Both searches go from the newest event back and are bounded: the files by how long events are kept, the stream by
``STREAM_EVENTS``. Ids say nothing of time, so whoever knows when the request was made says so with ``at_s``.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from gateway.errors import StoreError
from gateway.events.codec import decode
from gateway.events.segments import list_segments
from gateway.files import open_binary

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from gateway.types import Event

STREAM_EVENTS = 20_000
"""The most events of a stream that one search reads: about 20 MB, and a minute of 330 requests a second."""
_PAGE = 1_000
_BEFORE_S = 5.0
"""How far the clocks of gateway and Redis may differ."""


def find_event(folder: Path, name: str) -> Event | None:
    """The event ``name`` among the segments of ``folder``; reads every line, so not for an event loop."""
    needle = _needle(name)
    for segment in reversed(list_segments(folder)):
        with contextlib.suppress(FileNotFoundError), open_binary(segment) as file:  # packed a moment ago: seen there
            for line in file:
                if needle in line and line.endswith(b"\n") and (event := decode(line)).id == name:
                    return event
    return None


async def find_in_stream(url: str, name: str, at_s: float | None = None, *, most: int = STREAM_EVENTS) -> Event | None:
    """The event ``name`` among the newest ``most`` of the stream, or among ``most`` written from ``at_s`` on.

    An event is written when its reply has ended. Raises StoreError where Redis cannot be asked.
    """
    from redis.exceptions import RedisError  # the client costs 150 ms to import

    from gateway.events.redis_sink import FIELD, STREAM
    from gateway.redis_url import connect

    needle, redis = _needle(name), connect(url, timeout_s=2.0)
    place = "+" if at_s is None else f"{max(0, int((at_s - _BEFORE_S) * 1000))}"
    try:
        for _ in range(0, most, _PAGE):
            read: Awaitable[Any] = (
                redis.xrevrange(STREAM, place, "-", count=_PAGE)
                if at_s is None
                else redis.xrange(STREAM, place, "+", count=_PAGE)
            )
            page = await read
            for _id, fields in page:
                line = fields.get(FIELD, b"")
                if needle in line and (event := decode(line)).id == name:
                    return event
            if len(page) < _PAGE:
                return None
            place = "(" + page[-1][0].decode()
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreError(f"{type(error).__name__}: {error}") from None
    finally:
        with contextlib.suppress(RedisError, OSError):
            await redis.aclose()
    return None


def _needle(name: str) -> bytes:
    return b'"id":"%b"' % name.encode()
