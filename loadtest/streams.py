"""Callers of streamed replies; a program of its own.

    python -m loadtest.streams read PORT STREAMS REPLIES     read so many whole replies; print what came
    python -m loadtest.streams hold PORT STREAMS             open streams, print how many began, keep them

Events are counted by the blank line that ends each. ``hold`` ends when its standard input is closed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from functools import partial
from typing import cast

import uvloop

from loadtest.texts import prompt

_RAMP_PER_S = 1500
_PROMPT_CHARS = 400
ACCOUNTS = 500


def credential(number: int) -> str:
    """What the caller of that number says it is."""
    return f"sk-stream-{number % ACCOUNTS}"


def _request(number: int) -> bytes:
    import random

    body = json.dumps(
        {
            "model": "gpt-4o-mini",
            "stream": True,
            "max_tokens": 256,
            "messages": [{"role": "user", "content": prompt(random.Random(number), _PROMPT_CHARS)}],  # noqa: S311 - a load
        }
    ).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer %b\r\n"
        b"content-type: application/json\r\nuser-agent: OpenAI/Python 1.109.1\r\ncontent-length: %d\r\n\r\n%b"
        % (credential(number).encode(), len(body), body)
    )


class Caller(asyncio.Protocol):
    """One connection that reads replies one after the other."""

    def __init__(self, number: int, replies: int) -> None:
        self._request = _request(number)
        self._left = replies
        self._tail = b""
        self.events = self.replies = self.errors = 0
        self.began = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it
        self._ask()

    def _ask(self) -> None:
        self._left -= 1
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Count events; ask again after the last chunk."""
        if not self.began:
            self.began = True
            if not data.startswith(b"HTTP/1.1 200"):
                self.errors += 1  # its end is not waited for: it need not come in chunks
                self._finish()
        data = self._tail + data
        self.events += data.count(b"\n\n")
        if data.endswith(b"\r\n0\r\n\r\n"):
            self.replies += 1
            self._tail = b""
            self._finish() if self._left <= 0 else self._ask()
            return
        # Keep what may be the first part of a blank line or of the last chunk, but no blank line twice.
        self._tail = data[-6:]
        self.events -= self._tail.count(b"\n\n")

    def connection_lost(self, exc: Exception | None) -> None:
        """An end before the last reply's is an error."""
        self.errors += not self.done.done()
        self._finish()

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def _open(port: int, streams: int, replies: int) -> list[Caller]:
    loop = asyncio.get_running_loop()
    callers = []
    for number in range(streams):
        _, caller = await loop.create_connection(partial(Caller, number, replies), "127.0.0.1", port)
        callers.append(caller)
        await asyncio.sleep(1 / _RAMP_PER_S)
    return callers


async def _read(port: int, streams: int, replies: int) -> None:
    started_s = time.monotonic()
    callers = await _open(port, streams, replies)
    await asyncio.gather(*(caller.done for caller in callers))
    found = {
        "streams": streams,
        "replies": sum(caller.replies for caller in callers),
        "events": sum(caller.events for caller in callers),
        "errors": sum(caller.errors for caller in callers),
        "seconds": time.monotonic() - started_s,
    }
    print(json.dumps(found))


async def _hold(port: int, streams: int) -> None:
    callers = await _open(port, streams, 1)
    for _ in range(300):
        began = sum(caller.events > 0 for caller in callers)
        if began == streams:
            break
        await asyncio.sleep(0.1)
    print(json.dumps({"began": began, "errors": sum(caller.errors for caller in callers)}), flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    if sys.argv[1] == "read":
        uvloop.run(_read(int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
    else:
        uvloop.run(_hold(int(sys.argv[2]), int(sys.argv[3])))
