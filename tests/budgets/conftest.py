"""Both stores behind one face, each on a clock that moves when told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.budgets.memory import MemoryStore
from gateway.budgets.redis_link import open_link
from gateway.budgets.redis_store import RedisStore
from gateway.clock import ManualClock
from tests.budgets.helpers import START_S, set_time, timed_scripts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.budgets.core import Store
    from tests.redis_server import RedisServer


class World:
    """A store and the time it lives in."""

    def __init__(self, store: Store, clock: ManualClock, server: RedisServer | None) -> None:
        self.store = store
        self.clock = clock
        self._server = server
        self.advance(0)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        if self._server is not None:
            with self._server.client() as client:
                set_time(client, round(self.clock.now() * 1_000_000))


@pytest.fixture(params=["memory", "redis"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    clock = ManualClock(START_S)
    if request.param == "memory":
        yield World(MemoryStore(clock), clock, None)
        return
    url = request.getfixturevalue("redis_url")
    store = RedisStore(open_link(url, 5.0), timed_scripts())
    yield World(store, clock, request.getfixturevalue("shared_redis"))
    await store.aclose()
