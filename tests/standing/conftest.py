from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.standing import MemoryStore
from gateway.standing.file_store import FileStore
from gateway.standing.redis_store import RedisStore
from gateway.types import Level, Verdict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gateway.standing import StandingStore

NOW_S = 1_800_000_000.0


@pytest.fixture
def verdict() -> Callable[..., Verdict]:
    """A verdict on ``c1`` about ``a1`` and ``a2``, at ``suspect``, for a day."""

    def make(cluster: str = "c1", members: str = "a1 a2", **more: object) -> Verdict:
        values: dict[str, object] = {
            "level": Level.SUSPECT,
            "decided_at": NOW_S,
            "expires_at": NOW_S + 86_400,
            "reasons": (f"{cluster} shares a template",),
        }
        return Verdict(cluster=cluster, members=tuple(members.split()), **{**values, **more})  # type: ignore[arg-type]

    return make


@pytest.fixture(params=["memory", "files", "redis"])
async def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Callable[[], StandingStore]]:
    """Makes stores that see the same things, as processes on one machine or several would."""
    made: list[StandingStore] = []
    shared = MemoryStore()
    url = request.getfixturevalue("redis_url") if request.param == "redis" else ""

    def make() -> StandingStore:
        kinds: dict[str, Callable[[], StandingStore]] = {
            "memory": lambda: shared,
            "files": lambda: FileStore(tmp_path / "standing"),
            "redis": lambda: RedisStore(url),
        }
        made.append(kinds[request.param]())
        return made[-1]

    yield make
    for store in made:
        await store.aclose()
