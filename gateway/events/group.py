"""The shared stream of events, read by analysis workers in a consumer group.

Every event reaches one worker of the group at least once: it stays that worker's until it is acknowledged, and
``take_over`` hands what a dead worker left to a living one. So whoever reads must not mind an event twice; its
``id`` tells. Every method raises StoreError where Redis cannot be asked.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import RedisError, ResponseError

from gateway.errors import StoreError
from gateway.events.codec import decode
from gateway.events.redis_sink import FIELD, STREAM
from gateway.redis_url import connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from gateway.types import Event

GROUP = "analysis"
_BLOCK_S = 1.0
_TIMEOUT_S = 4.0
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class EventGroup:
    """One worker's place in the group. ``worker`` is its name, unique among those that live."""

    def __init__(self, url: str, worker: str, *, group: str = GROUP) -> None:
        self._redis: Any = connect(url, timeout_s=_TIMEOUT_S)
        self._worker = worker
        self._group = group
        self.unreadable = 0
        """Entries that were no events; they are acknowledged and skipped."""

    async def open(self) -> None:
        """Make the group where it is not there yet; it begins with the oldest event held."""
        try:
            await _asked(self._redis.xgroup_create(STREAM, self._group, id="0", mkstream=True))
        except StoreError as error:
            if not isinstance(error.__cause__, ResponseError) or "BUSYGROUP" not in str(error):
                raise

    async def read(self, limit: int = 1000) -> list[tuple[bytes, Event]]:
        """New events with the ids to acknowledge; waits up to 1 s for the first. Empty where none came."""
        call = self._redis.xreadgroup(self._group, self._worker, {STREAM: ">"}, count=limit, block=int(_BLOCK_S * 1000))
        answer = await self._again_where_no_group(call)
        pairs = list(answer.values()) if isinstance(answer, dict) else [entries for _, entries in answer or ()]
        entries = pairs[0] if pairs else []
        return await self._decoded(entries[0] if entries and isinstance(entries[0], list) else entries)

    async def take_over(self, idle_s: float = 60.0, limit: int = 1000) -> list[tuple[bytes, Event]]:
        """Events that another worker, or this one before a restart, got ``idle_s`` ago and did not acknowledge."""
        call = self._redis.xautoclaim(STREAM, self._group, self._worker, int(idle_s * 1000), "0-0", count=limit)
        answer = await self._again_where_no_group(call)
        return await self._decoded(answer[1] if answer else [])

    async def acknowledge(self, ids: Sequence[bytes]) -> None:
        """These events were dealt with."""
        if ids:
            await _asked(self._redis.xack(STREAM, self._group, *ids))

    async def rewind(self) -> None:
        """Read again from the oldest event held: for a worker that begins without any memory."""
        await _asked(self._redis.xgroup_setid(STREAM, self._group, id="0"))

    async def waiting(self) -> int:
        """Events in the stream that no worker got yet; the lag of the analysis."""
        for group in await _asked(self._redis.xinfo_groups(STREAM)):
            name = group["name"]
            if (name.decode() if isinstance(name, bytes) else name) == self._group:
                return int(group.get("lag") or 0)
        return 0

    async def aclose(self) -> None:
        """Close the connection; what is not acknowledged is another worker's to take over."""
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def _again_where_no_group(self, call: Awaitable[Any]) -> Any:
        """The answer; none where Redis was emptied, after which the group is there again."""
        try:
            return await _asked(call)
        except StoreError as error:
            if "NOGROUP" not in str(error):
                raise
            await self.open()
            return None

    async def _decoded(self, entries: Sequence[Any]) -> list[tuple[bytes, Event]]:
        """Events; what is none would come back for ever, so it is acknowledged here."""
        found, bad = [], []
        for entry, fields in entries:
            try:
                found.append((entry, decode(fields[FIELD])))
            except (KeyError, TypeError, ValueError):  # TypeError: cut from the stream before it was dealt with
                bad.append(entry)
        if bad:
            self.unreadable += len(bad)
            _log.warning("events_unreadable", extra={"entries": len(bad)})
            await self.acknowledge(bad)
        return found


async def _asked(call: Awaitable[_T]) -> _T:
    """The answer of a call. Raises StoreError where there is none."""
    try:
        return await call
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreError(f"redis: {type(error).__name__}: {error}") from error
