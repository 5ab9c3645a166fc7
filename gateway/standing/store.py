"""The seam between the standing table and where verdicts and overrides are kept.

A store only ever gains: verdicts by version, overrides by time. So a reader may see anything twice, late or in
another order, and a store that was emptied takes nothing away from those who remember.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from gateway.standing.verdicts import supersedes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.standing.overrides import Override
    from gateway.types import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a store holds (``whole``) or what was added to it since the last time."""

    verdicts: tuple[Verdict, ...] = ()
    overrides: tuple[Override, ...] = ()
    whole: bool = False


class StandingStore(Protocol):
    """Where verdicts and overrides are kept. Every method raises StoreError where that cannot be asked."""

    name: str

    async def read(self) -> Changes:
        """All that is held, ``whole``."""
        ...

    async def save(self, verdicts: Sequence[Verdict]) -> None:
        """Keep verdicts, each unless the store has a later one on its cluster. Durable on return."""
        ...

    async def record(self, override: Override) -> None:
        """Add an override to the log. Durable on return."""
        ...

    def follow(self) -> AsyncIterator[Changes]:
        """First all that is held, then every change within 0.3 s, without end."""
        ...

    async def forget(self, clusters: Sequence[str]) -> None:
        """Drop the verdicts on these clusters."""
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...


class MemoryStore:
    """A store within the process, for replay and tests."""

    name = "memory"

    def __init__(self) -> None:
        self._verdicts: dict[str, Verdict] = {}
        self._overrides: list[Override] = []
        self._version = 0
        self._changed = asyncio.Condition()

    async def read(self) -> Changes:
        """All that is held."""
        return Changes(verdicts=tuple(self._verdicts.values()), overrides=tuple(self._overrides), whole=True)

    async def save(self, verdicts: Sequence[Verdict]) -> None:
        """Keep what is later than what is held."""
        for verdict in verdicts:
            if supersedes(verdict, self._verdicts.get(verdict.cluster)):
                self._verdicts[verdict.cluster] = verdict
        await self._tell()

    async def record(self, override: Override) -> None:
        """Add an override."""
        self._overrides.append(override)
        await self._tell()

    async def follow(self) -> AsyncIterator[Changes]:
        """The whole, again after every change."""
        seen = -1
        while True:
            async with self._changed:
                while self._version == seen:
                    await self._changed.wait()
                seen = self._version
            yield await self.read()

    async def forget(self, clusters: Sequence[str]) -> None:
        """Drop verdicts."""
        for name in clusters:
            self._verdicts.pop(name, None)

    async def aclose(self) -> None:
        """Nothing is open."""

    async def _tell(self) -> None:
        async with self._changed:
            self._version += 1
            self._changed.notify_all()
