"""The seam to Redis: script calls with a hard time limit, batched into pipelines.

Calls made in one turn of the event loop, or while earlier pipelines are under way, travel together. A call
that was given up before its pipeline started is not sent. Nothing is retried here except that a script unknown to the
server (NOSCRIPT after a restart or SCRIPT FLUSH), or an EVALSHA that the server refuses, is sent by EVAL.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from redis.asyncio import RedisCluster
from redis.exceptions import NoScriptError, RedisError, ResponseError

from gateway.errors import StoreError
from gateway.redis_url import connect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from gateway.budgets.scripts import Script

PIPELINES = 4
BATCH = 128


class Link(Protocol):
    """Script calls to a Redis deployment. Every failure is a StoreError."""

    clustered: bool

    async def call(self, script: Script, keys: Sequence[str], args: Sequence[bytes | str]) -> Any:
        """The script's reply within the time limit."""
        ...

    async def ping(self) -> None:
        """Return if a write is taken."""
        ...

    async def aclose(self) -> None:
        """Close all connections."""
        ...


class Call:
    """One script call waiting for its reply."""

    __slots__ = ("args", "future", "keys", "script")

    def __init__(self, script: Script, keys: Sequence[str], args: Sequence[bytes | str], future: Any) -> None:
        self.script = script
        self.keys = keys
        self.args = args
        self.future: asyncio.Future[Any] = future

    def command(self, *, by_text: bool) -> tuple[Any, ...]:
        """EVAL or EVALSHA with its arguments."""
        head = ("EVAL", self.script.text) if by_text else ("EVALSHA", self.script.sha)
        return (*head, len(self.keys), *self.keys, *self.args)


def refused_by_hash(reply: Any) -> bool:
    """Whether sending the script's text may help: unknown hash, or EVALSHA not permitted or renamed away."""
    if not isinstance(reply, ResponseError):
        return False
    text = str(reply).upper()
    return (
        isinstance(reply, NoScriptError)
        or text.startswith("NOSCRIPT")
        or "NO MATCHING SCRIPT" in text
        or "EVALSHA" in text
    )


class RedisLink:
    """One server (or the master that Sentinel names), calls batched into pipelines."""

    clustered = False

    def __init__(self, client: Redis, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._waiting: deque[Call] = deque()
        self._flights: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._by_text = False

    async def call(self, script: Script, keys: Sequence[str], args: Sequence[bytes | str]) -> Any:
        """The script's reply. Raises StoreError after the time limit or whatever went wrong."""
        loop = asyncio.get_running_loop()
        call = Call(script, keys, args, loop.create_future())
        self._waiting.append(call)
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._take_off)
        timer = loop.call_later(self._timeout_s, _expire, loop, call.future, self._timeout_s)
        try:
            return await call.future
        finally:
            timer.cancel()

    async def ping(self) -> None:
        """Raise StoreError unless the server answers and takes writes."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._client.set("dg:ping", "1", ex=60)
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreError(f"store: {_words(error)}, expected an answer to SET") from error

    async def aclose(self) -> None:
        """Let pipelines under way end, then close the connections."""
        if self._flights:
            await asyncio.wait(self._flights, timeout=self._timeout_s)
        for flight in self._flights:
            flight.cancel()
        await self._client.aclose()

    def _take_off(self) -> None:
        self._scheduled = False
        while self._waiting and len(self._flights) < PIPELINES:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            batch = [call for call in batch if not call.future.done()]
            if not batch:
                continue
            flight = asyncio.create_task(self._fly(batch))
            self._flights.add(flight)
            flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        if self._waiting and not self._scheduled:
            self._take_off()

    async def _fly(self, batch: list[Call]) -> None:
        """Send a batch; whatever happens, every call gets a reply or a StoreError."""
        replies: list[Any]
        try:
            async with asyncio.timeout(self._timeout_s):
                replies = await self._send(batch, by_text=self._by_text)
                await self._send_again(batch, replies)
        except (RedisError, OSError, TimeoutError) as error:
            replies = [error] * len(batch)
        except asyncio.CancelledError:
            for call in batch:
                _answer(call.future, StoreError("closing"))
            raise
        for call, reply in zip(batch, replies, strict=True):
            _answer(call.future, reply)

    async def _send_again(self, batch: Sequence[Call], replies: list[Any]) -> None:
        """Send by text what was refused by hash; where that is the server's rule, do so from now on."""
        refused = [position for position, reply in enumerate(replies) if refused_by_hash(reply)]
        if not refused or self._by_text:
            return
        self._by_text = not all("NOSCRIPT" in _words(replies[position]).upper() for position in refused)
        second = await self._send([batch[position] for position in refused], by_text=True)
        for position, reply in zip(refused, second, strict=True):
            replies[position] = reply

    async def _send(self, batch: Sequence[Call], *, by_text: bool) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for call in batch:
            pipeline.execute_command(*call.command(by_text=by_text))
        return await pipeline.execute(raise_on_error=False)


class ClusterLink:
    """Redis Cluster: every call goes to the node of its keys' hash tag."""

    clustered = True

    def __init__(self, client: RedisCluster, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def call(self, script: Script, keys: Sequence[str], args: Sequence[bytes | str]) -> Any:
        """As ``RedisLink.call``."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        call = Call(script, keys, args, future)
        try:
            async with asyncio.timeout(self._timeout_s):
                try:
                    return await self._client.execute_command(*call.command(by_text=False))
                except ResponseError as error:
                    if not refused_by_hash(error):
                        raise
                    return await self._client.execute_command(*call.command(by_text=True))
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreError(f"store: {_words(error)}, expected a reply to {script.name}") from error

    async def ping(self) -> None:
        """Raise StoreError unless a write is taken."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._client.set("dg:ping", "1", ex=60)
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreError(f"store: {_words(error)}, expected an answer to SET") from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def open_link(url: str, timeout_s: float) -> Link:
    """A link for a URL of ``gateway.redis_url``; opens nothing yet. Raises ConfigError for any other URL."""
    client = connect(url, timeout_s=timeout_s)
    if isinstance(client, RedisCluster):
        return ClusterLink(client, timeout_s)
    return RedisLink(client, timeout_s)


def _answer(future: asyncio.Future[Any], reply: Any) -> None:
    if future.done():
        return
    if isinstance(reply, BaseException):
        future.set_exception(StoreError(f"store: {_words(reply)}, expected a reply to a script"))
    else:
        future.set_result(reply)


def _expire(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], timeout_s: float) -> None:
    """Time is up. One more turn of the loop first: where the loop itself was late, the reply may be here."""
    if not future.done():
        loop.call_later(0.001, _give_up, future, timeout_s)


def _give_up(future: asyncio.Future[Any], timeout_s: float) -> None:
    if not future.done():
        future.set_exception(StoreError(f"store: no reply within {timeout_s * 1000:.0f} ms, expected one"))


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
