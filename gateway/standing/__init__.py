"""Who stands where: verdicts of the analysis and overrides by people, as the request path reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.standing.book import ClusterView
from gateway.standing.file_store import POLL_S, FileStore
from gateway.standing.overrides import Override, SubjectKind, Verb
from gateway.standing.store import MemoryStore, StandingStore
from gateway.standing.table import StandingTable

if TYPE_CHECKING:
    from gateway.clock import Clock
    from gateway.settings import Settings

__all__ = [
    "ClusterView",
    "MemoryStore",
    "Override",
    "StandingStore",
    "StandingTable",
    "SubjectKind",
    "Verb",
    "open_standing",
]


def open_standing(settings: Settings, clock: Clock, *, poll_s: float = POLL_S) -> StandingTable:
    """The table that ``settings`` ask for; ``await start()`` connects it. Files are looked at every ``poll_s``."""
    if settings.redis:
        from gateway.standing.redis_store import RedisStore  # the client costs 150 ms to import

        return StandingTable(RedisStore(settings.redis), clock)
    return StandingTable(FileStore(settings.state_dir / "standing", poll_s), clock)
