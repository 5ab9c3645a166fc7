"""The seam between the request path and wherever events are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.types import JSON, Event


class EventSink(Protocol):
    """Where events go. Appending never waits and never raises: what cannot be kept is counted."""

    def append(self, event: Event) -> None:
        """Hand over one event; it is durable within 100 ms, or counted as dropped."""
        ...

    async def flush(self) -> None:
        """Return when everything appended so far is durable, or after 5 s where the store is away."""
        ...

    async def aclose(self) -> None:
        """Flush and let go of files and connections; later appends are counted as dropped."""
        ...

    def status(self) -> dict[str, JSON]:
        """For /readyz, /api/status and metrics: ``store``, ``ok``, ``error``, ``appended``, ``dropped``, ``waiting``."""
        ...
