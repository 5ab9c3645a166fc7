"""Verdicts and overrides in Redis, for any number of gateways and analysis workers.

Keys, all in one slot of a cluster: a hash of verdicts by cluster; a stream of the clusters that changed, short,
which readers block on; a stream of overrides, which is the audit log and never cut. Streams instead of
publish/subscribe: a reader goes on where it was after a lost connection, and knows what it has seen. After any
error ``follow`` begins anew with the whole.
"""

from __future__ import annotations

import contextlib
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import RedisError

from gateway.errors import StoreError
from gateway.redis_url import connect
from gateway.standing.overrides import Override, decode_override, encode_override
from gateway.standing.store import Changes
from gateway.standing.verdicts import decode_verdict, encode_verdict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from gateway.types import Verdict

VERDICTS = "{distillguard:standing}:verdicts"
CHANGES = "{distillguard:standing}:changes"
OVERRIDES = "{distillguard:standing}:overrides"
KEEP_CHANGES = 10_000
_BLOCK_MS = 2000
_TIMEOUT_S = 4.0
"""Longer than a blocking read may take; a frozen server is noticed after this."""
_T = TypeVar("_T")


class RedisStore:
    """A ``StandingStore`` in Redis."""

    name = "redis"

    def __init__(self, url: str) -> None:
        self._redis: Any = connect(url, timeout_s=_TIMEOUT_S)
        self._script = files("gateway.standing").joinpath("lua/save_verdict.lua").read_text("utf-8")

    async def read(self) -> Changes:
        """All verdicts and the whole log of overrides."""
        return (await self._read())[0]

    async def save(self, verdicts: Sequence[Verdict]) -> None:
        """Keep verdicts, one script call each."""
        for verdict in verdicts:
            given = (verdict.cluster, verdict.version, repr(verdict.decided_at), encode_verdict(verdict), KEEP_CHANGES)
            await _asked(self._redis.eval(self._script, 2, VERDICTS, CHANGES, *given))

    async def record(self, override: Override) -> None:
        """Append to the log."""
        await _asked(self._redis.xadd(OVERRIDES, {"o": encode_override(override)}))

    async def forget(self, clusters: Sequence[str]) -> None:
        """Drop verdicts."""
        if clusters:
            await _asked(self._redis.hdel(VERDICTS, *clusters))

    async def follow(self) -> AsyncIterator[Changes]:
        """The whole, then what each blocking read brings; a read that brings nothing yields nothing new."""
        whole, seen = await self._read()
        yield whole
        while True:
            answer = await _asked(self._redis.xread(seen, block=_BLOCK_MS))
            clusters, overrides = [], []
            for stream, entries in _streams(answer):
                seen[stream] = entries[-1][0]
                for _, fields in entries:
                    if stream == CHANGES:
                        clusters.append(fields[b"cluster"])
                    elif (override := _override(fields)) is not None:
                        overrides.append(override)
            yield Changes(verdicts=await self._verdicts(clusters), overrides=tuple(overrides))

    async def aclose(self) -> None:
        """Close the connections."""
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    async def _read(self) -> tuple[Changes, dict[str, Any]]:
        """All, and where to go on: what was added after the position was noted may come twice, never not."""
        last = await _asked(self._redis.xrevrange(CHANGES, count=1))
        seen: dict[str, Any] = {CHANGES: last[0][0] if last else "0-0", OVERRIDES: "0-0"}
        overrides = []
        for entry, fields in await _asked(self._redis.xrange(OVERRIDES)):
            seen[OVERRIDES] = entry
            if (override := _override(fields)) is not None:
                overrides.append(override)
        held = await _asked(self._redis.hgetall(VERDICTS))
        verdicts = tuple(_verdict(name, value) for name, value in held.items())
        return Changes(verdicts=verdicts, overrides=tuple(overrides), whole=True), seen

    async def _verdicts(self, clusters: Sequence[bytes]) -> tuple[Verdict, ...]:
        """The verdicts now held on some clusters."""
        if not clusters:
            return ()
        names = list(dict.fromkeys(clusters))
        held = await _asked(self._redis.hmget(VERDICTS, names))
        return tuple(_verdict(name, value) for name, value in zip(names, held, strict=True) if value is not None)


async def _asked(call: Awaitable[_T]) -> _T:
    """The answer of a call. Raises StoreError where there is none."""
    try:
        return await call
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreError(f"redis: {type(error).__name__}: {error}") from error


def _streams(answer: Any) -> list[tuple[str, list[Any]]]:
    """What a blocking read brought, in either protocol's shape: pairs, or a mapping of lists."""
    pairs = answer.items() if isinstance(answer, dict) else answer or ()
    found = []
    for stream, entries in pairs:
        flat = entries[0] if entries and isinstance(entries[0], list) else entries
        found.append((stream.decode() if isinstance(stream, bytes) else stream, flat))
    return found


def _verdict(name: bytes, value: bytes) -> Verdict:
    """The verdict of a field of the hash. Raises StoreError where something else wrote it."""
    try:
        return decode_verdict(value.split(b" ", 2)[2])
    except (ValueError, IndexError) as error:
        raise StoreError(f"redis: {VERDICTS}: got a verdict on {name!r} that cannot be read ({error})") from error


def _override(fields: dict[bytes, bytes]) -> Override | None:
    """The override of an entry, or ``None`` where something else wrote it."""
    try:
        return decode_override(fields[b"o"])
    except (ValueError, KeyError):
        return None
