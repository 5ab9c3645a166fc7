"""Events kept in files under the state folder, written beside the request path.

``append`` puts an event into a bounded buffer, as the line that it will be: while it is warm in the processor's cache that
costs a fifth of what it costs later in another thread. One thread writes the buffer out every 50 ms, so that a kill
loses less than 100 ms of events; another makes each of these writes durable (``fsync``), so
that a slow disk delays durability against power cuts but not the writing. Neither does more: each time that a thread wants
the interpreter of a busy event loop it is woken in vain several times before it gets it. (A disk that cannot take the bytes, such
as 40 MB/s of events on a busy machine, delays both: the oldest unwritten event was 90 ms old then.) Rotated segments are packed by a
thread that lives as long as its work.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections import deque
from typing import TYPE_CHECKING

from gateway.events.codec import encode
from gateway.events.segments import Limits, Segments, forget_old, pack_finished

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.clock import Clock
    from gateway.types import JSON, Event

WRITE_EVERY_S = 0.05
BUFFER_EVENTS = 50_000
"""Two seconds of 25,000 requests a second, about 100 MiB at 2 kB an event."""
_BATCH_EVENTS = 4096
_FLUSH_TIMEOUT_S = 5.0
_log = logging.getLogger(__name__)


class FileSink:
    """An ``EventSink`` over segments in ``folder``. Opening one packs what earlier processes left."""

    def __init__(
        self, folder: Path, clock: Clock, *, limits: Limits | None = None, buffer_events: int = BUFFER_EVENTS
    ) -> None:
        self._limits = limits or Limits()
        self._clock = clock
        self._segments = Segments(folder, clock, self._limits)
        self._buffer: deque[bytes] = deque()
        self._buffer_events = buffer_events
        self._unwritten = b""
        self._lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._wake = threading.Event()
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self._appended = self._refused = self._lost = 0
        self._error: str | None = None
        self._packer = self._start_packing()
        self._threads = [
            threading.Thread(target=self._write_always, name="events-write", daemon=True),
            threading.Thread(target=self._sync_always, name="events-sync", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def append(self, event: Event) -> None:
        """Hand over one event, some 5 µs; one that cannot be said in JSON is counted as dropped."""
        if len(self._buffer) >= self._buffer_events or self._closing.is_set():
            self._refused += 1
            return
        self._appended += 1
        try:
            self._buffer.append(encode(event))
        except Exception as error:  # noqa: BLE001 - nothing in an event may end its request
            self._lost += 1
            _log.error("event_not_encoded", extra={"event_id": event.id, "reason": type(error).__name__})
            return
        if not self._wake.is_set():
            self._wake.set()

    async def flush(self) -> None:
        """Write and sync now."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(self._flush), _FLUSH_TIMEOUT_S)

    async def aclose(self) -> None:
        """Write the rest, close the segment and end the threads."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._wake.set()
        self._dirty.set()
        await asyncio.to_thread(self._end)

    def status(self) -> dict[str, JSON]:
        """What was appended and dropped, and the last error while writing fails."""
        return {
            "store": "files",
            "ok": self._error is None,
            "error": self._error,
            "appended": self._appended,
            "dropped": self._refused + self._lost,
            "waiting": len(self._buffer),
        }

    def _flush(self) -> None:
        self._write_out()
        self._sync()

    def _end(self) -> None:
        for thread in self._threads:
            thread.join()
        with self._lock:
            self._drain()
            if lost := len(self._buffer) + self._unwritten.count(b"\n"):
                self._lost += lost
                _log.error("events_lost", extra={"count": lost, "reason": self._error})
            try:
                self._segments.close()
            except OSError as error:
                self._fail(error)
        self._packer.join()

    def _write_always(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(WRITE_EVERY_S)
            self._wake.clear()
            self._write_out()
            if self._segments.rotated and not self._packer.is_alive():
                self._segments.rotated = False
                self._packer = self._start_packing()

    def _sync_always(self) -> None:
        while not self._closing.is_set():
            self._dirty.wait()
            self._sync()

    def _write_out(self) -> None:
        with self._lock:
            self._drain()

    def _drain(self) -> None:
        """Write all that waits; on an error keep it for the next time."""
        while self._unwritten or self._buffer:
            if not self._unwritten:
                self._unwritten = self._next_batch()
            try:
                self._segments.write(self._unwritten)
            except OSError as error:
                self._fail(error)
                self._wake.set()
                return
            self._unwritten = b""
            self._error = None
            self._dirty.set()

    def _next_batch(self) -> bytes:
        lines = [self._buffer.popleft() for _ in range(min(len(self._buffer), _BATCH_EVENTS))]
        lines.append(b"")
        return b"\n".join(lines)

    def _sync(self) -> None:
        with self._sync_lock:
            with self._lock:
                self._dirty.clear()
                handle = self._segments.sync_later()
            if handle < 0:
                return
            try:
                os.fsync(handle)
            except OSError as error:
                self._fail(error)
            finally:
                os.close(handle)

    def _start_packing(self) -> threading.Thread:
        thread = threading.Thread(target=self._pack, name="events-pack", daemon=True)
        thread.start()
        return thread

    def _pack(self) -> None:
        try:
            pack_finished(self._segments.folder)
            forget_old(self._segments.folder, self._limits, self._clock.now())
        except OSError as error:
            _log.error("event_segments_not_packed", extra={"reason": str(error)})

    def _fail(self, error: OSError) -> None:
        """Remember and log the first of a row of failures."""
        reason = f"{error.strerror or error} ({self._segments.folder})"
        if self._error is None:
            _log.error("events_not_written", extra={"reason": reason})
        self._error = reason
