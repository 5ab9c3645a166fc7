"""The seam to Redis: script calls with a hard time limit, all over one connection, in pipelines.

Calls are answered in order. One that finds the connection idle is sent at once; those made while others are open wait
for the end of the event loop's turn and are sent with one write, so that concurrent requests share its cost. redis-py
finds, opens, encrypts and authenticates the connection (and with Sentinel asks for the primary whenever it connects);
then its streams are used directly, with hiredis.

* A call fails with StoreError when its time is up; its reply is then passed over when it comes, so that a
  slow server costs no connection. A connection that owes a reply for longer is dropped.
* Nothing is retried, except that a script is sent by EVAL where the server does not know its hash
  (a restart, SCRIPT FLUSH) or refuses EVALSHA (then from the start).
* An event loop that was late itself is given that time again: it is not the store that was slow.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import hiredis
from redis.asyncio import RedisCluster
from redis.exceptions import RedisError

from gateway.budgets.core import BucketBroken
from gateway.errors import StoreError
from gateway.redis_url import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis.asyncio import Redis

    from gateway.budgets.scripts import Script

CONNECT_S = 1.0
"""To open a connection, beside the calls that wait for it: handshakes take several round trips."""
GRACE_S = 0.005
"""How late a timer may fire before the loop counts as late."""
OWED_S = 1.0
"""How long past its time a reply is still expected before the connection is given up."""
BROKEN = ("WRONGTYPE", "ERR user_script")
"""How Redis 7 begins the error of a script that met a value it cannot count."""


class Link(Protocol):
    """Script calls to a Redis deployment. Every failure is a StoreError."""

    clustered: bool

    async def call(self, script: Script, keys: Sequence[str], args: Sequence[bytes | str]) -> Any:
        """The script's reply within the time limit."""
        ...

    def send(self, script: Script, keys: Sequence[str], args: Sequence[bytes | str]) -> asyncio.Future[Any] | None:
        """The same call, written before this returns; ``None`` where that cannot be done and nothing was."""
        ...

    async def ping(self) -> None:
        """Return if a write is taken."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class Call:
    """One command waiting for its reply."""

    __slots__ = ("by_text", "command", "deadline", "future", "script")

    def __init__(
        self, command: tuple[Any, ...], script: Script | None, future: asyncio.Future[Any], deadline: float
    ) -> None:
        self.command = command
        self.script = script
        self.future = future
        self.deadline = deadline
        self.by_text = False

    def packed(self, *, by_text: bool) -> bytes:
        """The bytes to send: ``command`` after EVAL and the text, or EVALSHA and the hash."""
        if self.script is None:
            return hiredis.pack_command(self.command)  # type: ignore[no-any-return] # untyped upstream
        self.by_text = by_text
        head = ("EVAL", self.script.text) if by_text else ("EVALSHA", self.script.sha)
        return hiredis.pack_command(head + self.command)  # type: ignore[no-any-return] # untyped upstream

    def fail(self, what: str) -> None:
        """StoreError, unless there is an answer already."""
        if not self.future.done():
            self.future.set_exception(StoreError(f"store: {what}, expected a reply"))


class Wire(asyncio.Protocol):
    """One open connection: commands go out, replies come back in the same order."""

    def __init__(self, connection: Any, answer: Callable[[Call, Any], None]) -> None:
        # redis-py offers no way to take a connection's streams over; from here on they are this object's to close
        reader: asyncio.StreamReader = connection._reader  # noqa: SLF001 - as above
        self._writer: asyncio.StreamWriter = connection._writer  # noqa: SLF001 - as above
        connection._reader = connection._writer = None  # noqa: SLF001 - as above
        self._answer = answer
        self._replies = hiredis.Reader()
        self.waiting: deque[Call] = deque()
        self.closed = False
        self._lost = asyncio.Event()
        self._transport = self._writer.transport
        self._transport.set_protocol(self)
        self._transport.resume_reading()
        if reader.at_eof():
            self.close("the connection was closed")

    def send(self, calls: Sequence[Call], *, by_text: bool) -> None:
        """Write all of them at once."""
        self.waiting.extend(calls)
        self._transport.write(b"".join([call.packed(by_text=by_text) for call in calls]))

    def data_received(self, data: bytes) -> None:
        """Hand out the replies that are whole."""
        replies, waiting, answer = self._replies, self.waiting, self._answer
        try:
            replies.feed(data)
            while (reply := replies.gets()) is not False:
                if type(reply) is not hiredis.PushNotification:
                    answer(waiting.popleft(), reply)
        except (hiredis.HiredisError, IndexError) as error:
            self.close(f"the connection broke ({error})")

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        self.close("the connection was closed" if exc is None else f"the connection broke ({exc})")
        self._lost.set()

    def close(self, what: str) -> None:
        """Fail every call that waits; safe to call twice."""
        self.closed = True
        while self.waiting:
            self.waiting.popleft().fail(what)
        self._transport.close()

    async def aclose(self) -> None:
        """Close and wait for the end."""
        self.close("the gateway is closing")
        await self._lost.wait()


class RedisLink:
    """One server, or the primary that Sentinel names."""

    clustered = False

    def __init__(self, client: Redis, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._outbox: deque[Call] = deque()
        self._wire: Wire | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._scheduled = False
        self._timer: asyncio.Handle | None = None
        self._due = 0.0
        """When the timer should fire. Kept here: uvloop gives a handle without ``when`` for a time within this ms."""
        self._late_once = False
        self._by_text = False

    async def call(self, script: Script, keys: Sequence[str], args: Sequence[bytes | str]) -> Any:
        """The script's reply. Raises StoreError after the time limit or whatever went wrong."""
        return await self._submit((len(keys), *keys, *args), script)

    def send(self, script: Script, keys: Sequence[str], args: Sequence[bytes | str]) -> asyncio.Future[Any] | None:
        """The future reply, or StoreError; ``None`` while other calls are open, whose company is cheaper."""
        return self._submit((len(keys), *keys, *args), script) if self._idle else None

    async def ping(self) -> None:
        """Raise StoreError unless the server takes a write."""
        await self._submit(("SET", "dg:ping", "1", "EX", 60), None)

    async def aclose(self) -> None:
        """Fail what waits, close the connection."""
        if self._timer is not None:
            self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._connecting
        while self._outbox:
            self._outbox.popleft().fail("the gateway is closing")
        if self._wire is not None:
            await self._wire.aclose()
        await self._client.aclose()

    def _submit(self, command: tuple[Any, ...], script: Script | None) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        call = Call(command, script, loop.create_future(), loop.time() + self._timeout_s)
        if self._idle and self._wire is not None:
            self._wire.send((call,), by_text=self._by_text)
        else:
            self._outbox.append(call)
            if not self._scheduled:
                self._scheduled = True
                loop.call_soon(self._flush)
        if self._timer is None:
            self._look_at(loop, call.deadline)
        return call.future

    @property
    def _idle(self) -> bool:
        """There is a connection and nothing is open on it: a call would wait for company in vain."""
        wire = self._wire
        return wire is not None and not wire.closed and not wire.waiting and not self._outbox

    def _flush(self) -> None:
        """Send what was called since the last turn; without a connection, open one."""
        self._scheduled = False
        wire = self._wire
        if wire is None or wire.closed:
            if self._connecting is None:
                self._connecting = asyncio.create_task(self._connect(), name="budgets-redis-connect")
            return
        calls = [call for call in self._outbox if not call.future.done()]
        self._outbox.clear()
        if calls:
            wire.send(calls, by_text=self._by_text)

    async def _connect(self) -> None:
        connection = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call] # untyped upstream
        try:
            async with asyncio.timeout(CONNECT_S):
                await connection.connect()
        except (RedisError, OSError, TimeoutError) as error:
            while self._outbox:
                self._outbox.popleft().fail(f"no connection ({str(error) or type(error).__name__})")
        else:
            self._wire = Wire(connection, self._answer)
            self._flush()
        finally:
            self._connecting = None

    def _answer(self, call: Call, reply: Any) -> None:
        if not isinstance(reply, hiredis.ReplyError):
            if not call.future.done():
                call.future.set_result(reply)
            return
        words = str(reply)
        wire = self._wire
        if call.script is not None and not call.by_text and refused_by_hash(words) and wire is not None:
            self._by_text = self._by_text or not words.startswith("NOSCRIPT")
            wire.send([call], by_text=True)
            return
        if words.startswith(BROKEN) and not call.future.done():
            call.future.set_exception(BucketBroken(f"store: {words}, expected a bucket"))
        call.fail(words)
        if words.startswith(("READONLY", "LOADING", "MASTERDOWN")) and wire is not None:
            wire.close(words)  # a primary that was demoted: connecting again finds the new one

    def _look_at(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._due = due
        self._timer = loop.call_at(due, self._expire)

    def _expire(self) -> None:
        """The oldest call's time is up, unless the loop was late: then replies may be here, only not read yet."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        late_s = now - self._due
        if late_s > GRACE_S and not self._late_once:
            self._late_once = True
            self._look_at(loop, now + min(late_s, self._timeout_s) + GRACE_S)
            return
        self._late_once = False
        self._timer = None
        waiting = self._wire.waiting if self._wire is not None else ()
        for call in (*waiting, *self._outbox):
            if call.deadline <= now:
                call.fail(f"no reply within {self._timeout_s * 1000:.0f} ms")
            elif not call.future.done():
                self._look_at(loop, call.deadline)
                break
        if waiting and waiting[0].deadline + OWED_S < now and self._wire is not None:
            self._wire.close("the server owes replies")


class ClusterLink:
    """Redis Cluster: every call goes to the node of its keys' hash tag."""

    clustered = True

    def __init__(self, client: RedisCluster, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def call(self, script: Script, keys: Sequence[str], args: Sequence[bytes | str]) -> Any:
        """As ``RedisLink.call``."""
        rest = (len(keys), *keys, *args)
        try:
            async with asyncio.timeout(self._timeout_s):
                try:
                    return await self._client.execute_command("EVALSHA", script.sha, *rest)
                except RedisError as error:
                    if not refused_by_hash(str(error)):
                        raise
                    return await self._client.execute_command("EVAL", script.text, *rest)
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreError(f"store: {str(error) or 'no reply in time'}, expected a reply to {script.name}") from error

    def send(self, script: Script, keys: Sequence[str], args: Sequence[bytes | str]) -> None:
        """Nothing: which connection it is takes a wait."""

    async def ping(self) -> None:
        """Raise StoreError unless a write is taken."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._client.set("dg:ping", "1", ex=60)
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreError(f"store: {str(error) or 'no reply in time'}, expected an answer to SET") from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def refused_by_hash(words: str) -> bool:
    """Whether sending the script's text may help: unknown hash, or EVALSHA not permitted or renamed away."""
    upper = words.upper()
    return upper.startswith("NOSCRIPT") or "NO MATCHING SCRIPT" in upper or "EVALSHA" in upper


def open_link(url: str, timeout_s: float) -> Link:
    """A link for a URL of ``gateway.redis_url``; opens nothing yet. Raises ConfigError for any other URL."""
    client = connect(url, timeout_s=max(timeout_s, CONNECT_S))
    if isinstance(client, RedisCluster):
        return ClusterLink(client, timeout_s)
    return RedisLink(client, timeout_s)
