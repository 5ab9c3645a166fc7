"""A real Redis that freezes, dies, forgets, refuses or is slow: the budget's choice is what happens, in time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gateway.budgets import Budgets
from gateway.budgets.redis_link import RedisLink, open_link
from gateway.budgets.redis_store import RedisStore
from gateway.clock import ManualClock
from gateway.types import Grant, OnStoreError, Refusal, RefusalKind
from tests.budgets.helpers import DAY_S, LEASE, START_S, budget, charge, requests
from tests.redis_server import RedisServer, running_redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from gateway.types import Charge

LIMIT = 2
TIMEOUT_S = 0.15
LATEST_S = 1.5
"""Far above the time limit, far below hanging: the machine may be busy."""


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis() as made:
        yield made


@asynccontextmanager
async def gateway(url: str, timeout_s: float = TIMEOUT_S) -> AsyncIterator[Budgets]:
    """Budgets on a clock of their own (for breaker and heartbeat); Redis has its own time."""
    store = RedisStore(open_link(url, timeout_s))
    made = Budgets(store, ManualClock(START_S))
    try:
        yield made
    finally:
        await made.aclose()


def rule(on_store_error: OnStoreError = OnStoreError.ALLOW, limit: int = LIMIT) -> Charge:
    return charge(budget(f"b-{on_store_error.value}", limit, length_s=DAY_S, on_store_error=on_store_error))


async def reserve_many(budgets: Budgets, of: Charge, count: int, prefix: str) -> list[Grant | Refusal]:
    started = time.perf_counter()
    answers = [await budgets.reserve(f"{prefix}{n}", [of], requests(1)) for n in range(count)]
    assert time.perf_counter() - started < LATEST_S
    return answers


def allow(budgets: Budgets, timeout_s: float) -> None:
    """Change the time limit: patient while nothing is wrong, since the machine may be busy."""
    assert isinstance(budgets.store, RedisStore)
    link = budgets.store._link
    assert isinstance(link, RedisLink)
    link._timeout_s = timeout_s
    if link._timer is not None:  # set for the old limit
        link._timer.cancel()
        link._timer = None


async def recover(budgets: Budgets) -> None:
    allow(budgets, 5.0)
    clock: Any = budgets._clock
    for _ in range(20):
        clock.advance(6)
        await budgets.recover()
        if budgets.status()["ok"] and not budgets.status()["pending_settlements"]:
            return
    raise AssertionError(budgets.status())


FAULTS: dict[str, tuple[Callable[[RedisServer], None], Callable[[RedisServer], None]]] = {
    "frozen": (RedisServer.freeze, RedisServer.thaw),
    "killed": (RedisServer.kill, RedisServer.start),
    "read-only": (
        lambda server: _execute(server, "REPLICAOF", "127.0.0.1", "1"),
        lambda server: _execute(server, "REPLICAOF", "NO", "ONE"),
    ),
    "out of memory": (
        lambda server: _execute(server, "CONFIG", "SET", "maxmemory", "1"),
        lambda server: _execute(server, "CONFIG", "SET", "maxmemory", "0"),
    ),
}


def _execute(server: RedisServer, *command: str) -> None:
    with server.client() as client:
        client.execute_command(*command)


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_rules_choice_is_what_happens_and_the_store_is_used_again(server: RedisServer, fault: str) -> None:
    """Kong/kong#2382, istio/istio#12115, BerriAI/litellm#35273: a frozen Redis hung everything."""
    begin, end = FAULTS[fault]
    async with gateway(server.url, 5.0) as budgets:
        for on_store_error in OnStoreError:
            assert isinstance(
                await budgets.reserve(f"before-{on_store_error}", [rule(on_store_error)], requests(1)), Grant
            )
        begin(server)
        allow(budgets, TIMEOUT_S)
        allowed = await reserve_many(budgets, rule(OnStoreError.ALLOW), 4, "allow")
        denied = await reserve_many(budgets, rule(OnStoreError.DENY), 4, "deny")
        shared = await reserve_many(budgets, rule(OnStoreError.LOCAL_SHARE), 4, "share")
        assert [isinstance(answer, Grant) and answer.degraded for answer in allowed] == [True] * 4
        assert [isinstance(answer, Refusal) and answer.kind is RefusalKind.UNAVAILABLE for answer in denied] == [
            True
        ] * 4
        assert [isinstance(answer, Grant) for answer in shared] == [True, False, False, False]  # one of two is left
        assert not budgets.status()["ok"]
        for grant in (allowed[0], shared[0]):
            assert isinstance(grant, Grant)
            await budgets.settle(grant, requests(1))
        end(server)
        await recover(budgets)
        spent = 0 if fault == "killed" else 1
        for on_store_error, settled in ((OnStoreError.ALLOW, 1), (OnStoreError.LOCAL_SHARE, 1), (OnStoreError.DENY, 0)):
            (balance,) = await budgets.peek([rule(on_store_error)])
            assert balance.remaining == LIMIT - spent - settled, on_store_error
        answer = await budgets.reserve("after", [rule(OnStoreError.DENY)], requests(1))
        assert isinstance(answer, Grant)
        assert not answer.degraded


async def test_a_store_that_comes_back_empty_charges_open_reservations_in_full_and_once(server: RedisServer) -> None:
    of, slots = rule(limit=9), charge(budget("slots", 3, algorithm=LEASE))
    async with gateway(server.url, 5.0) as budgets:
        grant = await budgets.reserve("open", [of, slots], requests(5))
        assert isinstance(grant, Grant)
        server.kill()
        server.start()
        clock: Any = budgets._clock
        clock.advance(10)
        await budgets.beat()
        if not budgets.status()["ok"] or (await budgets.peek([slots]))[0].remaining == 3:
            await recover(budgets)
            await budgets.beat()  # the first beat met the closed connection
        assert [balance.remaining for balance in await budgets.peek([of, slots])] == [9, 2]
        await budgets.settle(grant, requests(4))
        await budgets.settle(grant, requests(4))
        assert [balance.remaining for balance in await budgets.peek([of, slots])] == [5, 3]


async def test_script_flush_is_not_noticed(server: RedisServer) -> None:
    of = rule(limit=9)
    async with gateway(server.url, 5.0) as budgets:
        for turn in range(3):
            _execute(server, "SCRIPT", "FLUSH")
            grants = await asyncio.gather(*(budgets.reserve(f"{turn}-{n}", [of], requests(1)) for n in range(3)))
            assert all(isinstance(grant, Grant) and not grant.degraded for grant in grants)
        assert (await budgets.peek([of]))[0].remaining == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--rename-command", "EVALSHA", ""),
        ("--rename-command", "SCRIPT", ""),
        ("--user", "default", "on", "nopass", "~*", "+@all", "-evalsha", "-script"),
    ],
    ids=["EVALSHA renamed", "SCRIPT renamed", "EVALSHA and SCRIPT not permitted"],
)
async def test_scripts_are_sent_by_eval_where_evalsha_or_script_is_refused(options: tuple[str, ...]) -> None:
    """BerriAI/litellm#32232."""
    of = rule(limit=9)
    with running_redis(*options) as server:
        async with gateway(server.url, 5.0) as budgets:
            for n in range(3):
                grant = await budgets.reserve(f"r{n}", [of], requests(2))
                assert isinstance(grant, Grant)
                assert not grant.degraded
                await budgets.settle(grant, requests(1))
            assert (await budgets.peek([of]))[0].remaining == 6


async def test_a_key_that_is_no_bucket_troubles_its_own_subject_only(server: RedisServer) -> None:
    broken, healthy = rule(OnStoreError.DENY, limit=9), charge(rule(OnStoreError.DENY, limit=9).budget, "a2")
    async with gateway(server.url, 5.0) as budgets:
        held = await budgets.reserve("held", [broken], requests(1))
        assert isinstance(held, Grant)
        with server.client() as client:
            (key,) = client.keys("dg:b:*a1*")
            for value in (b"not msgpack", b"\x93\x01", b"\x05"):
                client.set(key, value)
                for turn in range(5):
                    answer = await budgets.reserve(f"broken-{value!r}-{turn}", [broken], requests(1))
                    assert isinstance(answer, Refusal)
                    assert answer.kind is RefusalKind.UNAVAILABLE
            client.delete(key)
            client.lpush(key, "a list")
            assert isinstance(await budgets.reserve("list", [broken], requests(1)), Refusal)
            await budgets.settle(held, requests(2))
            assert budgets.status()["ok"]
            assert isinstance(await budgets.reserve("healthy", [healthy], requests(1)), Grant)
            client.delete(key)
        await recover(budgets)
        assert isinstance(await budgets.reserve("mended", [broken], requests(1)), Grant)


class SlowLine:
    """A TCP proxy that holds back what the server says."""

    def __init__(self, port: int, delay_s: float) -> None:
        self._port = port
        self._delay_s = delay_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._connected, "127.0.0.1", 0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, forth]
        pumps = [
            asyncio.create_task(self._pump(reader, forth, 0)),
            asyncio.create_task(self._pump(back, writer, self._delay_s)),
        ]
        self._tasks.update(pumps)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
        while data := await reader.read(65_536):
            asyncio.get_running_loop().call_later(delay_s, writer.write, data)
        asyncio.get_running_loop().call_later(delay_s, writer.close)

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        for writer in self._writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def test_a_store_slow_by_200_ms_is_given_up_within_the_limit_and_charges_nothing_twice(
    server: RedisServer,
) -> None:
    of, denied = rule(OnStoreError.ALLOW, limit=9), rule(OnStoreError.DENY, limit=9)
    line = SlowLine(server.port, 0.2)
    proxy = await line.serve()
    port = proxy.sockets[0].getsockname()[1]
    async with gateway(f"redis://127.0.0.1:{port}/0") as budgets:
        answers = await reserve_many(budgets, of, 3, "slow")
        assert all(isinstance(answer, Grant) and answer.degraded for answer in answers)
        refusals = await reserve_many(budgets, denied, 3, "denied")
        assert all(isinstance(answer, Refusal) for answer in refusals)
        for answer in answers:
            assert isinstance(answer, Grant)
            await budgets.settle(answer, requests(1))
        line._delay_s = 0
        await recover(budgets)
        assert [balance.remaining for balance in await budgets.peek([of, denied])] == [6, 9]
    proxy.close()
    await line.aclose()


async def test_many_calls_to_a_frozen_store_all_end_in_time(server: RedisServer) -> None:
    async with gateway(server.url, 5.0) as budgets:
        await budgets.reserve("warm", [rule()], requests(1))
        server.freeze()
        allow(budgets, TIMEOUT_S)
        started = time.perf_counter()
        answers = await asyncio.gather(*(budgets.reserve(f"r{n}", [rule()], requests(1)) for n in range(500)))
        assert time.perf_counter() - started < LATEST_S
        assert all(isinstance(answer, Grant) and answer.degraded for answer in answers)
        server.thaw()


async def test_a_late_event_loop_is_not_a_late_store(server: RedisServer) -> None:
    async with gateway(server.url, 5.0) as budgets:
        await budgets.reserve("warm", [rule(limit=99)], requests(1))
        allow(budgets, 0.05)
        waiting = asyncio.create_task(budgets.reserve("r", [rule(limit=99)], requests(1)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        started = time.perf_counter()
        while time.perf_counter() - started < 0.08:
            pass  # something else keeps the loop busy
        answer = await waiting
        assert isinstance(answer, Grant)
        assert not answer.degraded
