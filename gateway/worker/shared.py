"""The source of a shared deployment: the Redis stream of events, one leader, snapshots that any worker can load.

Clusters span all accounts, so one worker leads and the others stand by. The leader holds a lease of ``LEASE_S``
and renews it every second; when it dies, another one loads the last snapshot and takes over every event that was
read but not acknowledged. Events are acknowledged only once a snapshot that includes them is kept; so none is
lost, and one that was already counted is known by its id. A leader that cannot renew stops before its lease ends.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import RedisError

from gateway.errors import StoreError
from gateway.events.group import EventGroup
from gateway.redis_url import connect
from gateway.worker.sources import open_private

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from gateway.types import JSON, Event

LEASE = "{distillguard:analysis}:leader"
SNAPSHOT = "{distillguard:analysis}:snapshot"
STATUS = "{distillguard:analysis}:status"
LEASE_S = 5.0
_RENEW_S = 1.0
_MARGIN_S = 1.0
"""A leader holds its lease for that much shorter than Redis does: for the way there and clocks' drift."""
_IDLE_S = 0.5
_LOST_AFTER_S = 600.0
"""Idle for so long, and not acknowledged: a leader that lost its lease while it read. Longer than between two
snapshots of ours, after which what we read is acknowledged."""
_LOOK_EVERY_S = 60.0
_PART_BYTES = 8 * 1024 * 1024
_PART_KEEP_S = 7 * 86_400
_TIMEOUT_S = 4.0
_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class Lease:
    """Which worker leads. ``held`` is decided here, without asking."""

    def __init__(self, url: str, worker: str, *, lease_s: float = LEASE_S) -> None:
        self._redis: Any = connect(url, timeout_s=_TIMEOUT_S)
        self._worker = worker
        self._lease_s = lease_s
        self._until_s = 0.0
        self._renew = _script("renew")
        self._release = _script("release")

    @property
    def held(self) -> bool:
        """Whether this worker leads, for certain."""
        return time.monotonic() < self._until_s

    async def take(self) -> bool:
        """Take or renew the lease; whether this worker leads. Raises StoreError."""
        asked_s = time.monotonic()
        mine = await asked(self._redis.eval(self._renew, 1, LEASE, self._worker, int(self._lease_s * 1000)))
        self._until_s = asked_s + self._lease_s - _MARGIN_S if int(mine) else 0.0
        return self.held

    async def keep_taking(self) -> None:
        """Renew until it is lost; runs beside the work."""
        while True:
            await asyncio.sleep(min(_RENEW_S, self._lease_s / 5))
            try:
                if not await self.take():
                    return
            except StoreError as error:
                _log.warning("lease_not_renewed", extra={"reason": str(error)})
                if not self.held:
                    return

    async def release(self) -> None:
        """Give it back, so that another one need not wait. Raises StoreError."""
        if self._until_s:
            self._until_s = 0.0
            await asked(self._redis.eval(self._release, 1, LEASE, self._worker))

    async def aclose(self) -> None:
        """Close the connection."""
        await closed(self._redis)


class GroupSource:
    """A ``Source`` over the consumer group of the stream and snapshots in Redis; for the worker that leads."""

    def __init__(self, url: str, worker: str, *, limit: int = 2_000) -> None:
        self.idle_s = 0.0
        self._redis: Any = connect(url, timeout_s=_TIMEOUT_S)
        self._group = EventGroup(url, worker)
        self._worker = worker
        self._limit = limit
        self._unkept: list[bytes] = []
        self._began_s: float | None = None
        self._look_at_s = 0.0

    async def load(self, path: Path) -> bool:
        """Write the parts of the last snapshot to ``path``; whether there is one."""
        named = await asked(self._redis.hmget(SNAPSHOT, ["prefix", "parts"]))
        if not named[0]:
            return False
        with open_private(path) as file:
            for number in range(int(named[1])):
                part = await asked(self._redis.get(named[0] + b":%d" % number))
                if part is None:
                    _log.error("snapshot_incomplete", extra={"part": number})
                    return False
                file.write(part)
        return True

    async def open(self, position: JSON) -> None:
        """Make the group; without a position, everything that the stream still holds is read again."""
        await self._group.open()
        if position is None:
            await self._group.rewind()
        self._began_s = time.monotonic()

    async def read(self) -> list[Event]:
        """What others (or this worker, before a restart) left behind, then what is new."""
        pairs = await self._left_behind() or await self._group.read(self._limit)
        self._unkept += [entry for entry, _ in pairs]
        return [event for _, event in pairs]

    @property
    def position(self) -> JSON:
        """How many entries were read and not acknowledged; Redis knows the others."""
        return {"unkept": len(self._unkept)}

    async def keep(self, path: Path, position: JSON) -> None:
        """Upload the snapshot, make it the one that counts, acknowledge what it includes; reading may go on meanwhile.

        Raises StoreError too where another worker leads by now: then nothing has changed.
        """
        prefix = f"{SNAPSHOT}:{secrets.token_hex(8)}"
        parts = 0
        with path.open("rb") as file:
            while part := file.read(_PART_BYTES):
                await asked(self._redis.set(f"{prefix}:{parts}", part, ex=_PART_KEEP_S))
                parts += 1
        old = await asked(self._redis.eval(_script("name_snapshot"), 2, LEASE, SNAPSHOT, self._worker, prefix, parts))
        if not isinstance(old, list):
            await self._forget(prefix, parts)
            raise StoreError("redis: another analysis worker leads; this one's snapshot does not count")
        await self._persist(prefix, parts)
        await self._forget(old[0].decode(), int(old[1]))
        assert isinstance(position, dict)
        count = position["unkept"]
        done, self._unkept = self._unkept[:count], self._unkept[count:]
        for start in range(0, len(done), self._limit):
            await self._group.acknowledge(done[start : start + self._limit])

    async def tell(self, status: bytes) -> None:
        """Leave word of how it goes, for gateways to show; it is forgotten when this worker is gone."""
        await asked(self._redis.set(STATUS, status, px=int(3 * LEASE_S * 1000)))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._group.aclose()
        await closed(self._redis)

    async def _left_behind(self) -> list[tuple[bytes, Event]]:
        """At the beginning, entries idle since before it (those taken over since have been idle for less); later,
        now and then, entries idle for longer than a living leader leaves any.
        """
        now_s = time.monotonic()
        if self._began_s is not None:
            pairs = await self._group.take_over(_IDLE_S + now_s - self._began_s, self._limit)
            if not pairs:
                self._began_s = None
            return pairs
        if now_s < self._look_at_s:
            return []
        self._look_at_s = now_s + _LOOK_EVERY_S
        return await self._group.take_over(_LOST_AFTER_S, self._limit)

    async def _persist(self, prefix: str, parts: int) -> None:
        """The snapshot that counts does not expire; parts that nobody names do."""
        for number in range(parts):
            await asked(self._redis.persist(f"{prefix}:{number}"))

    async def _forget(self, prefix: str, parts: int) -> None:
        for number in range(parts):
            await asked(self._redis.delete(f"{prefix}:{number}"))


def _script(name: str) -> str:
    return files("gateway.worker").joinpath(f"lua/{name}.lua").read_text("utf-8")


async def asked(call: Awaitable[_T]) -> _T:
    """The answer of a call. Raises StoreError where there is none."""
    try:
        return await call
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreError(f"redis: {type(error).__name__}: {error}") from error


async def closed(redis: Any) -> None:
    """Close a client, whatever it says."""
    try:
        await redis.aclose()
    except (RedisError, OSError):
        return
