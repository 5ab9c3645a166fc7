"""A Redis client from a URL: one server, a cluster or a sentinel's primary.

Owns the four URL schemes of ``--redis``, for callers in an event loop (``connect``) and in threads
(``connect_blocking``). Making a client connects to nothing. Leaves out: what is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

import redis
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


class _BlockingPrimary(redis.Redis):
    """The same for threads."""

    def close(self) -> None:
        super().close()
        for sentinel in self.connection_pool.sentinel_manager.sentinels:  # type: ignore[attr-defined]
            sentinel.close()


class _BlockingCluster(redis.RedisCluster):
    """A client of a cluster that closes its connections too; the library leaves them to the garbage collector."""

    def close(self) -> None:
        for node in self.get_nodes():  # type: ignore[no-untyped-call]
            if node.redis_connection is not None:
                node.redis_connection.connection_pool.disconnect()
        super().close()


class _Classes(NamedTuple):
    """The library's classes for one way of waiting."""

    server: Any
    cluster: Any
    sentinel: Any
    primary: Any
    retry: Any


_IN_LOOP = _Classes(Redis, RedisCluster, Sentinel, _Primary, Retry)
_IN_THREADS = _Classes(redis.Redis, _BlockingCluster, redis.Sentinel, _BlockingPrimary, redis.retry.Retry)


def connect(url: str, *, timeout_s: float) -> AnyRedis:
    """A client for ``url`` that gives up a call after ``timeout_s`` and never retries by itself.

    Raises ConfigError where the URL has another form; the message does not repeat it, it may hold a password.
    """
    client: AnyRedis = _connect(url, timeout_s, _IN_LOOP)
    return client


def connect_blocking(url: str, *, timeout_s: float) -> redis.Redis | redis.RedisCluster:
    """The same for callers outside the event loop. A cluster's client, unlike the others, connects at once."""
    client: redis.Redis | redis.RedisCluster = _connect(url, timeout_s, _IN_THREADS)
    return client


def _connect(url: str, timeout_s: float, classes: _Classes) -> Any:
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": classes.retry(NoBackoff(), 0),
    }
    try:
        parts = urlsplit(url)
        if parts.scheme in {"redis", "rediss", "unix"}:
            return classes.server.from_url(url, **options)
        if parts.scheme in {"redis+cluster", "rediss+cluster"}:
            return classes.cluster.from_url(url.replace("+cluster", "", 1), **options)
        if parts.scheme in {"redis+sentinel", "rediss+sentinel"}:
            return _behind_sentinel(parts, options, classes)
    except ValueError as error:
        raise ConfigError(f"redis: got a URL that cannot be read ({error}), expected {_EXPECTED}") from None
    raise ConfigError(f"redis: got a URL of scheme {parts.scheme!r}, expected {_EXPECTED}")


def _behind_sentinel(parts: SplitResult, options: Mapping[str, Any], classes: _Classes) -> Any:
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
    ask = classes.sentinel(sentinels, sentinel_kwargs=dict(options))
    return ask.master_for(service, redis_class=classes.primary, **given)
