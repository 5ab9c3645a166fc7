"""Events appended to a Redis stream, for analysis workers on other machines to read.

``append`` puts an event into a bounded buffer, as the bytes that it will be; a task on the event loop sends what waits in one script call every
25 ms. While Redis is away the buffer fills, then new events are counted as dropped. A batch whose answer was
lost is sent again: readers see an event at least once and know it by its ``id``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from importlib import resources
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from gateway.events.codec import encode
from gateway.redis_url import connect
from gateway.tasks import end_tasks

if TYPE_CHECKING:
    from gateway.types import JSON, Event

STREAM = "distillguard:events"
FIELD = b"e"
WRITE_EVERY_S = 0.025
BUFFER_EVENTS = 50_000
KEEP_EVENTS = 1_000_000
"""About an hour of 280 requests a second, and 1 GB of Redis at 1 kB an event."""
_BATCH_EVENTS = 1000
_TIMEOUT_S = 2.0
_BACK_OFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)
_FLUSH_TIMEOUT_S = 5.0
_log = logging.getLogger(__name__)


class RedisSink:
    """An ``EventSink`` over the stream ``distillguard:events``. Use it within one event loop."""

    def __init__(self, url: str, *, buffer_events: int = BUFFER_EVENTS, keep_events: int = KEEP_EVENTS) -> None:
        self._redis = connect(url, timeout_s=_TIMEOUT_S)
        self._append = (resources.files("gateway.events") / "lua" / "append.lua").read_text(encoding="utf-8")
        self._buffer: deque[bytes] = deque()
        self._buffer_events = buffer_events
        self._keep_events = keep_events
        self._unsent: list[bytes] = []
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._appended = self._dropped = 0
        self._failures = 0
        self._error: str | None = None

    def append(self, event: Event) -> None:
        """Hand over one event, some 5 µs; one that cannot be said in JSON is counted as dropped."""
        if len(self._buffer) >= self._buffer_events or self._closed:
            self._dropped += 1
            return
        self._appended += 1
        try:
            self._buffer.append(encode(event))
        except Exception as error:  # noqa: BLE001 - nothing in an event may end its request
            self._dropped += 1
            _log.error("event_not_encoded", extra={"event_id": event.id, "reason": type(error).__name__})
            return
        if not self._wake.is_set():
            self._wake.set()
            if self._task is None:
                self._task = asyncio.get_running_loop().create_task(self._send_always(), name="events-redis")

    async def flush(self) -> None:
        """Send now; give up after 5 s."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_TIMEOUT_S):
                while not await self._send():  # noqa: ASYNC110 - the pause between two tries
                    await asyncio.sleep(self._back_off_s())

    async def aclose(self) -> None:
        """Send the rest and close the connection; what cannot be sent is counted as dropped."""
        if self._closed:
            return
        await self.flush()
        self._closed = True
        if self._task is not None:
            await end_tasks([self._task])
        self._dropped += len(self._unsent) + len(self._buffer)
        self._unsent.clear()
        self._buffer.clear()
        with contextlib.suppress(RedisError, OSError):
            await self._redis.aclose()

    def status(self) -> dict[str, JSON]:
        """What was appended and dropped, and the last error while sending fails."""
        return {
            "store": "redis",
            "ok": self._error is None,
            "error": self._error,
            "appended": self._appended,
            "dropped": self._dropped,
            "waiting": len(self._unsent) + len(self._buffer),
        }

    async def _send_always(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(WRITE_EVERY_S if self._error is None else self._back_off_s())
            self._wake.clear()
            if not await self._send():
                self._wake.set()

    def _back_off_s(self) -> float:
        return _BACK_OFF_S[min(self._failures, len(_BACK_OFF_S) - 1)]

    async def _send(self) -> bool:
        """Send all that waits; False where Redis did not take it, and it waits on."""
        async with self._lock:
            while self._unsent or self._buffer:
                if not self._unsent:
                    self._unsent = [self._buffer.popleft() for _ in range(min(len(self._buffer), _BATCH_EVENTS))]
                try:
                    await self._redis.eval(self._append, 1, STREAM, self._keep_events, *self._unsent)
                except (RedisError, OSError, TimeoutError) as error:
                    self._fail(error)
                    return False
                self._unsent = []
                self._error, self._failures = None, 0
            return True

    def _fail(self, error: Exception) -> None:
        """Remember and log the first of a row of failures."""
        if self._error is None:
            _log.error("events_not_sent", extra={"reason": f"{type(error).__name__}: {error}"})
        self._failures += 1
        self._error = f"{type(error).__name__}: {error}"
