"""Latency without coordinated omission: requests leave at fixed moments; a program of its own.

    python -m loadtest.open_loop PORT REQUESTS_FILE PER_S SECONDS

A request's latency counts from the moment at which it was due, so a server (or a client) that stalls pays for
every request that it held up. A request that finds no free connection opens one.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from collections import deque
from pathlib import Path
from typing import cast

import uvloop

_WARM = 0.1
"""Share of the requests, at the start, that is sent and not counted."""
_REST_S = 10.0


class Caller(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, free: deque[Caller]) -> None:
        self._free = free
        self._buffer = b""
        self._due_s = 0.0
        self._answered: list[float] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it

    def send(self, request: bytes, due_s: float, answered: list[float]) -> None:
        """Send a request; its latency goes to ``answered``."""
        self._due_s, self._answered, self._buffer = due_s, answered, b""
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Wait for the whole reply; its length is always declared here."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or b"0")
        if len(body) < length or self._answered is None:
            return
        good = head.startswith(b"HTTP/1.1 200")
        self._answered.append(time.monotonic() - self._due_s if good else float("inf"))
        self._answered = None
        self._free.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """A request under way is an error."""
        if self._answered is not None:
            self._answered.append(float("inf"))
        if self in self._free:
            self._free.remove(self)


def read_requests(path: Path) -> list[bytes]:
    """The requests of ``load.write_requests`` as bytes on the wire."""
    found = []
    for line in path.read_bytes().splitlines():
        key, _, body = line.partition(b"\t")
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer %b\r\n" % key
        head += b"content-type: application/json\r\nuser-agent: OpenAI/Python 1.109.1\r\ncontent-length: %d\r\n\r\n"
        found.append(head % len(body) + body)
    return found


async def _run(port: int, requests: list[bytes], per_s: float, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    free: deque[Caller] = deque()
    answered: list[float] = []
    warm: list[float] = []
    count = int(per_s * seconds)
    started_s = time.monotonic() + 0.1
    for index in range(count):
        due_s = started_s + index / per_s
        if (wait_s := due_s - time.monotonic()) > 0:
            await asyncio.sleep(wait_s)
        if free:
            caller = free.pop()
        else:
            _, caller = await loop.create_connection(lambda: Caller(free), "127.0.0.1", port)
        caller.send(requests[index % len(requests)], due_s, warm if index < count * _WARM else answered)
    until_s = time.monotonic() + _REST_S
    while len(answered) + len(warm) < count and time.monotonic() < until_s:  # noqa: ASYNC110 - many callers, one pause
        await asyncio.sleep(0.01)
    errors = count - len(answered) - len(warm) + sum(value == float("inf") for value in answered + warm)
    ordered = sorted(answered)
    found = {
        "requests": count,
        "seconds": time.monotonic() - started_s,
        "errors": errors,
        "p50_ms": 1000 * ordered[len(ordered) // 2],
        "p99_ms": 1000 * ordered[int(len(ordered) * 0.99)],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    gc.disable()
    uvloop.run(_run(int(sys.argv[1]), read_requests(Path(sys.argv[2])), float(sys.argv[3]), float(sys.argv[4])))
