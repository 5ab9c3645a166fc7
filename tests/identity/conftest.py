"""A clock, a hash key, and every kind of key store, each empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.clock import ManualClock
from gateway.identity.memory_store import MemoryKeyStore
from gateway.identity.redis_store import RedisKeyStore
from gateway.identity.sqlite_store import SqliteKeyStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.identity import KeyStore

START_S = 1_800_000_000.0


@pytest.fixture
def hash_key() -> bytes:
    return b"k" * 32


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START_S)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], KeyStore]]:
    """Opens the same store again and again, as several processes would."""
    memory = MemoryKeyStore()
    opened: list[KeyStore] = []
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""

    def opener() -> KeyStore:
        if request.param == "memory":
            return memory
        opened.append(RedisKeyStore(url) if url else SqliteKeyStore(tmp_path / "keys.db"))
        return opened[-1]

    yield opener
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[[], KeyStore]) -> KeyStore:
    return open_store()
