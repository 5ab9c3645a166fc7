"""The key store's connection to Redis, and what goes wrong with it.

Owns the names of the keys in Redis (one hash slot, so that they can be read in one transaction).
Leaves out: what stands under them (``hashing.py``, ``redis_store.py``).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gateway.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

META = "distillguard:{keys}:meta"
RECORDS = "distillguard:{keys}:records"
REVOKED = "distillguard:{keys}:revoked"
TIMEOUT_S = 0.5
"""For one call: two of them and a poll's interval stay within the second that revocation may take."""


def connect(url: str, timeout_s: float = TIMEOUT_S) -> Any:
    """A blocking client for the URL. Raises ConfigError where it has another form."""
    from gateway.redis_url import connect_blocking  # the client costs 150 ms to import

    return connect_blocking(url, timeout_s=timeout_s)


@contextmanager
def store_errors(url: str) -> Iterator[None]:
    """Turn the client's failures into StoreError that names the store, never its password."""
    from redis.exceptions import RedisClusterException, RedisError

    try:
        yield
    except (RedisError, RedisClusterException, OSError) as error:
        reason = str(error) or type(error).__name__
        raise StoreError(f"key store {shown_url(url)} cannot be asked: {reason}") from error


def shown_url(url: str) -> str:
    """``url`` without user, password and query."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"
