"""What a gateway knows of an analysis that runs elsewhere: whether a worker leads, and what it said last."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson

from gateway.errors import StoreError
from gateway.redis_url import connect
from gateway.tasks import end_tasks
from gateway.worker.shared import STATUS, asked, closed

if TYPE_CHECKING:
    from gateway.types import JSON

_LOOK_EVERY_S = 5.0
_TIMEOUT_S = 2.0


class SharedAnalysis:
    """Looks at the leader's status now and then; reading it costs nothing. Nothing waits for it."""

    def __init__(self, url: str) -> None:
        self._redis: Any = connect(url, timeout_s=_TIMEOUT_S)
        self._told: dict[str, Any] | None = None
        self._error: str | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look, in the running event loop."""
        self._task = asyncio.get_running_loop().create_task(self._look_always(), name="analysis-elsewhere")

    async def aclose(self) -> None:
        """Stop looking."""
        if self._task is not None:
            await end_tasks([self._task])
        await closed(self._redis)

    async def look(self) -> None:
        """Read the leader's status; it is forgotten when no worker leads any more."""
        try:
            line = await asked(self._redis.get(STATUS))
            told = orjson.loads(line) if line else None
            self._told, self._error = told if isinstance(told, dict) else None, None
        except (StoreError, orjson.JSONDecodeError) as error:
            self._told, self._error = None, str(error)

    def status(self) -> dict[str, JSON]:
        """For /api/status and metrics: ``ok`` while a worker leads and is well."""
        if self._told is None:
            return {"ok": False, "state": "no worker leads", "error": self._error}
        return {**self._told, "state": "running"}

    async def _look_always(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_EVERY_S)
