"""A raw socket server whose side of each connection is a script, and what tests need around it."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    import httpx


class Peer:
    """The server's side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def head(self) -> bytes:
        """The next request's head, with its last empty line."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> bytes:
        """The next request, head and body as they came over the wire."""
        head = await self.head()
        if b"transfer-encoding: chunked" in head.lower():
            return head + await self.reader.readuntil(b"0\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        return head + await self.reader.readexactly(int(length[1]) if length else 0)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Return when the caller closed the connection, by an end or by a reset."""
        try:
            while await self.reader.read(65_536):
                pass
        except ConnectionError:
            pass

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()


class Server:
    """Where the server listens, and how many connections it saw."""

    def __init__(self) -> None:
        self.url = ""
        self.connections = 0
        self.failures: list[BaseException] = []


@asynccontextmanager
async def serve(
    script: Callable[[Peer], Awaitable[None]], trust: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    """Run ``script`` for each connection; what it raises is raised at the end."""
    server = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        server.connections += 1
        try:
            await script(Peer(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the caller left, or the test is over
        except Exception as error:  # noqa: BLE001 - a script's mistake is raised at the end of the test
            server.failures.append(error)
        finally:
            writer.close()
            tasks.discard(task)

    listener = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=trust)
    port = listener.sockets[0].getsockname()[1]
    server.url = f"{'https' if trust else 'http'}://127.0.0.1:{port}"
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert not server.failures


async def read_all(response: httpx.Response) -> bytes:
    """The whole body, and the response closed."""
    return b"".join([chunk async for chunk in chunks(response)])


async def read_until_failure(response: httpx.Response, kind: type[Exception]) -> tuple[bytes, str]:
    """What came before the failure of that kind, and the failure's text."""
    got = []
    try:
        async for chunk in chunks(response):
            got.append(chunk)  # noqa: PERF401 - a comprehension would lose them at the failure
    except kind as error:
        return b"".join(got), str(error)
    raise AssertionError(f"got a whole reply of {len(got)} chunks, expected {kind.__name__}")


async def chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it comes, and the response closed."""
    try:
        async for chunk in response.stream:  # type: ignore[union-attr]
            yield chunk
    finally:
        await response.aclose()
