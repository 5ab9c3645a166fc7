"""A Redis client from a URL: one server, a cluster or a sentinel's primary.

Owns the four URL schemes of ``--redis``. Making a client connects to nothing. Leaves out: what is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib.parse import SplitResult

AnyRedis: TypeAlias = "Redis | RedisCluster"
_SENTINEL_PORT = 26379
_EXPECTED = "redis://HOST[:PORT][/DB], rediss://…, redis+cluster://… or redis+sentinel://HOST[:PORT],…/SERVICE[/DB]"


class _Primary(Redis):
    """A client of the primary that closes its connections to the sentinels too."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:  # noqa: FBT001 - as the parent has it
        await super().aclose(close_connection_pool)
        manager: Sentinel = self.connection_pool.sentinel_manager  # type: ignore[attr-defined]
        for sentinel in manager.sentinels:
            await sentinel.aclose()


def connect(url: str, *, timeout_s: float) -> AnyRedis:
    """A client for ``url`` that gives up a call after ``timeout_s`` and never retries by itself.

    Raises ConfigError where the URL has another form; the message does not repeat it, it may hold a password.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
    }
    try:
        parts = urlsplit(url)
        if parts.scheme in {"redis", "rediss", "unix"}:
            return Redis.from_url(url, **options)
        if parts.scheme in {"redis+cluster", "rediss+cluster"}:
            return RedisCluster.from_url(url.replace("+cluster", "", 1), **options)
        if parts.scheme in {"redis+sentinel", "rediss+sentinel"}:
            return _behind_sentinel(parts, options)
    except ValueError as error:
        raise ConfigError(f"redis: got a URL that cannot be read ({error}), expected {_EXPECTED}") from None
    raise ConfigError(f"redis: got a URL of scheme {parts.scheme!r}, expected {_EXPECTED}")


def _behind_sentinel(parts: SplitResult, options: Mapping[str, Any]) -> Redis:
    """A client that asks the sentinels for the primary whenever it connects."""
    credentials, _, hosts = parts.netloc.rpartition("@")
    sentinels = []
    for host in hosts.split(","):
        one = urlsplit(f"//{host}")
        sentinels.append((one.hostname or "", one.port or _SENTINEL_PORT))
    service, _, database = parts.path.strip("/").partition("/")
    if not service or not all(host for host, _ in sentinels):
        raise ValueError("a host or the service's name is missing")
    user, _, password = credentials.partition(":")
    given: dict[str, Any] = {"db": int(database or 0), **options}
    if credentials:
        given |= {"username": unquote(user) or None, "password": unquote(password) or None}
    if parts.scheme.startswith("rediss"):
        given["ssl"] = True
    ask = Sentinel(sentinels, sentinel_kwargs=dict(options))  # type: ignore[no-untyped-call]
    primary: Redis = ask.master_for(service, redis_class=_Primary, **given)
    return primary
