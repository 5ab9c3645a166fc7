"""Small things that every ASGI part here needs: message types, reading a body, sending an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote

from gateway.errors import ClientDisconnected, RequestRefused
from gateway.types import Headers, Refusal, RefusalKind

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

UPSTREAM_KEY = "distillguard.upstream"
"""Where the scope tells the reverse proxy which upstream the policy chose."""

BODY_FOLLOWS = "distillguard.body_follows"
"""In ``http.response.start``: the whole body comes with the next message, so that both can go out in one write."""

CALLER_KEY = "distillguard.caller"
"""Where the scope has the ``Caller``, under a server that knows it."""

PUSH_KEY = "distillguard.push"
"""Where the scope has a ``Push`` for the app's reply, if there is one."""

SLOWEST_BODY_BYTES_PER_S = 16 * 1024
"""A body that is slower for longer than the time-out is not read on: some 128 kbit/s."""

_DRAIN_BYTES = 64 * 1024
_LINGER_S = 1.0
_PLAIN = "/:@!$&'()*+,;=~"
"""What stands for itself in a path (RFC 3986, section 3.3), besides letters, digits and ``-._``."""


Push: TypeAlias = Callable[[bytes], bool]
"""Takes a piece of a reply that has begun and is not its last, at once and without a task having to run; False
where it does not take it, so that it has to be sent. Not to be called while a message is being sent.
"""


class Watch(Protocol):
    """Cancels the task that answers a request when its caller's connection is lost."""

    def start(self) -> bool:
        """Cancel it from now on; False where the connection is lost already."""

    def stop(self) -> None:
        """From here on a lost connection is no news."""

    def cancelled(self) -> bool:
        """Whether the cancellation that was just caught is the watch's own, and nobody else's as well."""


class Caller(Watch, Protocol):
    """What our own server knows of a caller besides ASGI, so that nothing has to be waited for to learn it."""

    def whole_body(self, max_bytes: int) -> bytes | None:
        """The request's body, once, where all of it is there and it is not larger; else nothing happens."""

    def answer(self, status: int, fields: Headers, body: bytes) -> bool:
        """Write a whole reply at once; False, and nothing was written, where that has to wait."""

    def is_free(self) -> bool:
        """Whether a piece of a reply without a declared length can be written now."""

    def write(self, piece: bytes) -> None:
        """Write one, where ``is_free``; not empty."""


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first field of that (lower-case) name, or ``None``."""
    for key, value in headers:
        if key == name:
            return value
    return None


def received_path(scope: Scope) -> str:
    """``received_target`` as text, a character a byte."""
    return received_target(scope).decode("latin-1")


def received_target(scope: Scope) -> bytes:
    """The path as received, without the query, below the server's root path; an encoded spelling of it stays encoded.

    ``/v1/chat%2Fcompletions`` must not be taken for a route that the upstream would read otherwise. A server
    that tells only the decoded path (``raw_path`` is optional in ASGI) has it encoded again, so that what is
    decided on is what is forwarded.
    """
    path: bytes | None = scope.get("raw_path")
    if path is None:
        path = quote(scope["path"], safe=_PLAIN).encode()
    elif b"?" in path:
        path = path.split(b"?", 1)[0]
    if (root := scope.get("root_path")) and path.startswith(root.encode() + b"/"):
        path = path.removeprefix(root.encode())
    return path


def whole_target(scope: Scope) -> bytes:
    """``received_target`` with its query."""
    query: bytes = scope.get("query_string", b"")
    return received_target(scope) + b"?" + query if query else received_target(scope)


def declared_length(headers: Headers) -> int | None:
    """``content-length`` where it is there and a plain number."""
    value = header(headers, b"content-length")
    return int(value) if value is not None and value.isdigit() else None


async def read_body(receive: Receive, *, max_bytes: int, timeout_s: float) -> bytes:
    """The whole request body.

    Raises RequestRefused 413 as soon as more than ``max_bytes`` are seen, without reading on; 408 when after
    ``timeout_s`` seconds it has come slower than ``SLOWEST_BODY_BYTES_PER_S``.
    Raises ClientDisconnected when the caller goes away first.
    """
    message = await _first_message(receive, timeout_s)
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > max_bytes:
            raise RequestRefused(too_large(max_bytes))
        return body
    return await _read_on(receive, bytearray(body), max_bytes=max_bytes, timeout_s=timeout_s)


async def _first_message(receive: Receive, timeout_s: float) -> Message:
    try:
        async with asyncio.timeout(timeout_s):
            return _checked(await receive())
    except TimeoutError:
        raise RequestRefused(_too_slow()) from None


async def _read_on(receive: Receive, body: bytearray, *, max_bytes: int, timeout_s: float) -> bytes:
    started_s = asyncio.get_running_loop().time()
    more = True
    try:
        async with asyncio.timeout(None) as limit:
            while more:
                if len(body) > max_bytes:
                    raise RequestRefused(too_large(max_bytes))
                limit.reschedule(started_s + timeout_s + len(body) / SLOWEST_BODY_BYTES_PER_S)
                message = _checked(await receive())
                body += message.get("body", b"")
                more = message.get("more_body", False)
    except TimeoutError:
        raise RequestRefused(_too_slow()) from None
    if len(body) > max_bytes:
        raise RequestRefused(too_large(max_bytes))
    return bytes(body)


def _checked(message: Message) -> Message:
    if message["type"] == "http.disconnect":
        raise ClientDisconnected("the caller closed the connection while its request was read")
    return message


def too_large(max_bytes: int) -> Refusal:
    """The refusal of a body over the limit."""
    return Refusal(kind=RefusalKind.TOO_LARGE, message=f"The request body is larger than {max_bytes} bytes.")


def _too_slow() -> Refusal:
    return Refusal(kind=RefusalKind.TIMEOUT, message="The request body was not received in time.")


async def send_answer(send: Send, status: int, headers: Headers, body: bytes, *, more_body: bool = False) -> None:
    """One whole answer; with ``more_body`` its end is still to be sent (see ``linger``)."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": more_body})


def worth_draining(headers: Headers) -> bool:
    """Whether an unread body is small and on its way, so that reading it keeps the connection alive."""
    if header(headers, b"expect") is not None:
        return False
    length = declared_length(headers)
    if length is None:
        return header(headers, b"transfer-encoding") is None
    return length <= _DRAIN_BYTES


async def drain(receive: Receive) -> None:
    """Read and drop the rest of a body, for at most a second and 64 KiB.

    Before an answer it keeps the connection usable. After one that closes the connection, it gives the
    caller the time to read the answer: closing with unread bytes resets the connection, and the answer
    is lost (RFC 9112, section 9.6).
    """
    seen = 0
    try:
        async with asyncio.timeout(_LINGER_S):
            while seen <= _DRAIN_BYTES:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                seen += len(message.get("body", b""))
    except TimeoutError:
        return


class Pinger:
    """Keeps a silent stream alive: calls ``ping`` after each ``interval_s`` without a message.

    A ping and a message never overlap: what comes while a ping is sent waits for it.
    """

    def __init__(self, ping: Callable[[], Awaitable[None]], interval_s: float) -> None:
        self._ping = ping
        self._interval_s = interval_s
        self._loop = asyncio.get_running_loop()
        self._last_s = self._loop.time()
        self._sending = False
        self._task: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(interval_s, self._look)

    def passed(self) -> bool:
        """Note a message that is passed on at once; False where it may not be, because a ping is on its way."""
        if self._task is not None and not self._task.done():
            return False
        self._last_s = self._loop.time()
        return True

    async def pass_on(self, send: Send, message: Message) -> None:
        """Send a message, after a ping that is on its way."""
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task])
        self._sending = True
        try:
            await send(message)
        finally:
            self._sending = False
            self._last_s = self._loop.time()

    def stop(self) -> None:
        """No more pings."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _look(self) -> None:
        silent_s = self._loop.time() - self._last_s
        if silent_s >= self._interval_s and not self._sending:
            self._task = self._loop.create_task(self._safely())
            silent_s = 0.0
        self._timer = self._loop.call_later(max(self._interval_s - silent_s, 0.01), self._look)

    async def _safely(self) -> None:
        try:
            await self._ping()
        except OSError:
            return  # the caller is gone; whoever sends the next event finds out
        finally:
            self._last_s = self._loop.time()
