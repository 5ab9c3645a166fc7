"""An embedded model server: OpenAI's and Anthropic's API as a pure ASGI app, for demonstrations and tests.

It is deterministic (the same request gets the same reply), writes the text of ``prose``, keeps the pace that it
is told to, fails on request (``faults``), and remembers what reached it (``requests``). Any model name is known
except ``no-such-model``. Left out: authentication beyond one optional key, images, audio, files.
"""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
import zlib
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.demo import faults
from gateway.demo.ask import Writer, write_prose
from gateway.demo.replies import Call, Dialect, Reply, reply_to

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from gateway.asgi import Receive, Scope, Send


@dataclass(slots=True, kw_only=True)
class Received:
    """A request as it reached the server. ``ended`` is set when its reply is over, however it ended."""

    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    disconnected: bool = False
    ended: threading.Event = field(default_factory=threading.Event, repr=False)

    def header(self, name: str) -> str | None:
        """The first header field of that name."""
        return next((value.decode("latin-1") for key, value in self.headers if key == name.encode()), None)


class ModelServer:
    """The app. Times in seconds.

    ``sleep`` is awaited for every delay above 0. ``compress`` allows gzip where the caller accepts it. ``api_key``,
    where given, is required of every request. ``keep`` requests, and at most ``keep_bytes`` of their bodies, are
    remembered; older ones are forgotten.
    """

    def __init__(  # noqa: PLR0913 - each is a knob of its own, all with defaults
        self,
        *,
        first_token_delay_s: float = 0.0,
        token_delay_s: float = 0.0,
        writer: Writer = write_prose,
        compress: bool = False,
        api_key: str | None = None,
        keep: int = 1_000,
        keep_bytes: int = 64 * 1024 * 1024,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.requests: deque[Received] = deque()
        self._first_token_delay_s = first_token_delay_s
        self._token_delay_s = token_delay_s
        self._writer = writer
        self._compress = compress
        self._api_key = api_key
        self._keep = keep
        self._keep_bytes = keep_bytes
        self._kept_bytes = 0
        self._now = now
        self._sleep = sleep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; complete lifespan; refuse anything else by silence."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        if scope["type"] != "http":
            return
        received = Received(method=scope["method"], path=scope["path"], headers=list(scope["headers"]))
        try:
            received.body = await _read_body(receive)
            self._remember(received)
            answering = asyncio.ensure_future(self._answer(received, send))
            leaving = asyncio.ensure_future(_wait_for_disconnect(receive))
            try:
                await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
                received.disconnected = not answering.done()
            finally:
                leaving.cancel()
                answering.cancel()
                await asyncio.wait({answering, leaving})
            if not answering.cancelled():
                answering.result()
        except _Gone:
            received.disconnected = True
        finally:
            received.ended.set()

    def _remember(self, received: Received) -> None:
        """Keep a request, and forget the oldest beyond the bounds (the last one is always kept)."""
        self.requests.append(received)
        self._kept_bytes += len(received.body)
        while len(self.requests) > max(1, self._keep) or (
            len(self.requests) > 1 and self._kept_bytes > self._keep_bytes
        ):
            self._kept_bytes -= len(self.requests.popleft().body)

    async def _answer(self, received: Received, send: Send) -> None:
        """Make the reply and send it at its pace, with the fault that was asked for."""
        headers = dict(received.headers)
        dialect = Dialect(received.path, headers, received.body)
        if self._api_key is not None and dialect.credential != self._api_key:
            reply, fault = dialect.error(401, "Incorrect API key provided.", code="invalid_api_key"), None
        else:
            asked = Call(method=received.method, path=received.path, headers=headers, body=received.body)
            reply, fault = reply_to(asked, dialect, self._writer, self._now())
        if fault == "hang-first-byte":
            await _forever()
        await self._send(reply, fault, headers, dialect, send)

    async def _send(
        self, reply: Reply, fault: str | None, asked: Mapping[bytes, bytes], dialect: Dialect, send: Send
    ) -> None:
        """Send a reply: streams event by event at the pace, plain ones after the time their tokens would take."""
        packed = self._compress and b"gzip" in asked.get(b"accept-encoding", b"")
        headers = [(b"content-type", reply.kind), (dialect.request_id_header, dialect.request_id), *reply.headers]
        if packed:
            headers += [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]
        if not reply.streams:
            body = gzip.compress(reply.parts[0], mtime=0) if packed else reply.parts[0]
            headers.append((b"content-length", b"%d" % len(body)))
            await self._pause(self._first_token_delay_s)
            await send({"type": "http.response.start", "status": reply.status, "headers": headers})
            if fault in {"break-mid-stream", "hang-mid-stream"}:
                await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
                if fault == "hang-mid-stream":
                    await _forever()
                return
            await send({"type": "http.response.body", "body": body})
            return
        headers.append((b"cache-control", b"no-cache"))
        await send({"type": "http.response.start", "status": reply.status, "headers": headers})
        await self._send_events(reply, fault, dialect, send, packer=_packer() if packed else None)

    async def _send_events(self, reply: Reply, fault: str | None, dialect: Dialect, send: Send, *, packer: Any) -> None:
        """Send the events of a stream, up to where the fault stops it."""
        parts = reply.parts
        if fault is not None and fault.endswith("-mid-stream"):
            parts = parts[: len(parts) // 2]
        elif fault == "no-end":
            parts = parts[:-1]
        if fault == "error-mid-stream":
            parts = [*parts, dialect.error_event(), b""]
        await self._pause(self._first_token_delay_s)
        for part in parts:
            if part:
                await self._pause(self._token_delay_s + (faults.SLOW_TOKEN_S if fault == "slow" else 0.0))
                data = part if packer is None else packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH)
                await send({"type": "http.response.body", "body": data, "more_body": True})
        if fault == "hang-mid-stream":
            await _forever()
        if fault != "break-mid-stream":
            await send({"type": "http.response.body", "body": b"" if packer is None else packer.flush()})

    async def _pause(self, seconds: float) -> None:
        """Wait, if there is anything to wait for."""
        if seconds > 0:
            await self._sleep(seconds)


class _Gone(Exception):
    """The caller left while its request was read."""


def _packer() -> Any:
    """A gzip stream."""
    return zlib.compressobj(wbits=31)


async def _read_body(receive: Receive) -> bytes:
    """The whole body. Raises _Gone."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _wait_for_disconnect(receive: Receive) -> None:
    """Return when the caller has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _forever() -> None:
    """Never return."""
    await asyncio.get_running_loop().create_future()


async def _lifespan(receive: Receive, send: Send) -> None:
    """Nothing to start, nothing to stop."""
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
