"""The key store's connection to Redis: any of the four URL forms, and what goes wrong with it.

Owns the names of the keys in Redis (one hash slot, so that they can be read in one transaction).
Leaves out: what stands under them (``hashing.py``, ``redis_store.py``).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

META = "distillguard:{keys}:meta"
RECORDS = "distillguard:{keys}:records"
REVOKED = "distillguard:{keys}:revoked"
TIMEOUT_S = 0.5
"""For one call: two of them and a poll's interval stay within the second that revocation may take."""
_SENTINEL_PORT = 26_379


def connect(url: str, timeout_s: float = TIMEOUT_S) -> Any:
    """A blocking client for ``redis://``, ``rediss://``, ``redis+cluster://`` or ``redis+sentinel://``.

    A sentinel URL is ``redis+sentinel://[:PASSWORD@]HOST[:PORT][,HOST...]/SERVICE[/DB]``. Calls are not
    retried: the caller polls. Raises ConfigError where the URL is none of these.
    """
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.cluster import RedisCluster
    from redis.retry import Retry

    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "retry": Retry(NoBackoff(), 0),
    }
    scheme = url.partition("://")[0]
    try:
        if scheme in {"redis", "rediss"}:
            return Redis.from_url(url, **options)
        if scheme in {"redis+cluster", "rediss+cluster"}:
            return RedisCluster.from_url(url.replace("+cluster", "", 1), **options)
        if scheme == "redis+sentinel":
            return _by_sentinel(url, options)
    except ValueError as error:
        raise ConfigError(
            f"redis: got {shown_url(url)}, expected HOST[:PORT][/DB] after the scheme ({error})"
        ) from None
    raise ConfigError(
        f"redis: got {shown_url(url)}, expected redis://, rediss://, redis+cluster:// or redis+sentinel://"
    )


def _by_sentinel(url: str, options: dict[str, Any]) -> Any:
    """The master that the sentinels name at each connection."""
    from redis.sentinel import Sentinel

    parts = urlsplit(url)
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("the service's name is missing: /SERVICE")
    hosts = []
    for part in parts.netloc.rpartition("@")[2].split(","):
        host, _, port = part.partition(":")
        hosts.append((host, int(port or _SENTINEL_PORT)))
    given = parts.netloc.rpartition("@")[0]
    user, _, password = given.partition(":")
    login = {"username": user or None, "password": password or None}
    sentinel_options = {name: value for name, value in options.items() if name != "retry"}
    sentinel: Any = Sentinel(hosts, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
    return sentinel.master_for(service, db=int(database or 0), **login, **options)


@contextmanager
def store_errors(url: str) -> Iterator[None]:
    """Turn the client's failures into StoreError that names the store, never its password."""
    from redis.exceptions import RedisError

    try:
        yield
    except (RedisError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise StoreError(f"key store {shown_url(url)} cannot be asked: {reason}") from error


def shown_url(url: str) -> str:
    """``url`` without user, password and query."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"
