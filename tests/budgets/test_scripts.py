"""The Lua scripts: their contracts, the one difference that tests make, and what they leave in Redis."""

from __future__ import annotations

import difflib
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest

from gateway.budgets.redis_link import open_link
from gateway.budgets.redis_store import RedisStore
from gateway.budgets.scripts import NAMES, script_texts
from gateway.types import Amounts, Unit
from tests.budgets.helpers import (
    BUCKET,
    CALENDAR,
    DAY_S,
    LEASE,
    REAL_TIME,
    TEST_TIME,
    budget,
    charge,
    lines,
    requests,
    timed_scripts,
)
from tests.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.redis_server import RedisServer

FOLDER = resources.files("gateway.budgets") / "lua"
PRELUDES = {"windows", "records", "moves"}


def test_every_script_is_one_file_and_every_file_is_a_script_or_a_prelude() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.lua" for name in {*NAMES, *PRELUDES}}


@pytest.mark.parametrize("name", NAMES)
def test_a_script_begins_with_its_contract(name: str) -> None:
    text = (FOLDER / f"{name}.lua").read_text()
    head = text[: next(at for at, line in _lines(text) if not line.startswith("--"))]
    assert head.startswith(f"-- {name}.lua: ")
    for part in ("KEYS", "ARGV", "Returns", "Guarantee"):
        assert f"\n-- {part}" in head, f"{name}.lua does not say its {part}"


def _lines(text: str) -> Iterator[tuple[int, str]]:
    at = 0
    for line in text.splitlines(keepends=True):
        yield at, line
        at += len(line)


def test_time_is_all_that_tests_change_in_a_script() -> None:
    timed = timed_scripts()
    for name, text in script_texts().items():
        assert text.count(REAL_TIME) == 1
        changed = [
            line for line in difflib.ndiff(text.splitlines(), getattr(timed, name).text.splitlines()) if line[0] in "+-"
        ]
        assert changed == [f"-   local time = {REAL_TIME}", f"+   local time = {TEST_TIME}"]


async def test_a_bucket_lives_as_long_as_it_counts_and_little_longer(shared_redis: RedisServer, redis_url: str) -> None:
    """Kong/kong#14995: an expiry in the wrong unit."""
    store = RedisStore(open_link(redis_url, 5.0))
    kinds = {
        "sliding": (budget("sliding", 9), 60, 67),
        "long": (budget("long", 9, length_s=45 * DAY_S), 45 * DAY_S, 49 * DAY_S),
        "bucket": (budget("bucket", 9, algorithm=BUCKET, length_s=900), 99, 102),
        "day": (budget("day", 9, algorithm=CALENDAR, length_s=DAY_S), 0, DAY_S + 2),
        "month": (budget("month", 9, algorithm=CALENDAR, length_s=31 * DAY_S), 0, 31 * DAY_S + 2),
        "slots": (budget("slots", 9, algorithm=LEASE), 55, 61),
    }
    wanted = lines([charge(of) for of, _, _ in kinds.values()], requests(1))
    assert (await store.reserve("r", wanted)).granted
    with shared_redis.client() as client:
        for line, (_, least, most) in zip(wanted, kinds.values(), strict=True):
            assert least <= client.ttl(f"dg:b:{line.key}") <= most, line.key
        await store.settle("r", [line._replace(amount=0) for line in wanted])
        left = {key.decode() for key in client.keys("*") if b"ping" not in key}
        assert left <= {"dg:r:r", *(f"dg:b:{line.key}" for line in wanted if "sliding" not in line.key)}
        assert 290 <= client.ttl("dg:r:r") <= 300
    await store.aclose()


async def test_a_bucket_stays_small(shared_redis: RedisServer, redis_url: str) -> None:
    store = RedisStore(open_link(redis_url, 5.0), timed_scripts())
    of = charge(budget("tokens", 10**12, length_s=45 * DAY_S, unit=Unit.OUTPUT_TOKENS))
    with shared_redis.client() as client:
        for turn in range(40):
            client.mset({"test:s": 1_772_000_000 + turn * 4 * DAY_S, "test:us": 0})
            wanted = lines([of], Amounts(output_tokens=10**9 + turn))
            assert (await store.reserve(f"r{turn}", wanted)).granted
        used = client.memory_usage(f"dg:b:{wanted[0].key}")
        assert isinstance(used, int)
        assert used <= 400
    await store.aclose()


async def test_a_new_primary_named_by_sentinel_is_used(tmp_path: Path) -> None:
    of = charge(budget("b", 9, length_s=DAY_S))
    at_once = ("--repl-diskless-sync-delay", "0")  # by default a primary waits 5 s for more replicas
    with running_redis(*at_once) as primary, running_redis("--replicaof", "127.0.0.1", str(primary.port)) as replica:
        config = tmp_path / "sentinel.conf"
        config.write_text(f"sentinel monitor main 127.0.0.1 {primary.port} 1\n")
        with running_redis(str(config), "--sentinel", first=True) as sentinel, primary.client() as one:
            store = RedisStore(open_link(f"redis+sentinel://127.0.0.1:{sentinel.port}/main", 5.0))
            assert (await store.reserve("r1", lines([of], requests(2)))).granted
            assert one.wait(1, 4_000) == 1
            _fail_over(primary, replica, sentinel)
            with pytest.raises(Exception, match="READONLY"):
                await store.reserve("r2", lines([of], requests(2)))
            decision = await store.reserve("r3", lines([of], requests(2)))
            assert decision.views[0].remaining == 5
            await store.aclose()


def _fail_over(primary: RedisServer, replica: RedisServer, sentinel: RedisServer) -> None:
    """What a failover ends in: the roles are swapped and the sentinel names the new primary."""
    clients: list[Any] = [server.client() for server in (primary, replica, sentinel)]
    old, new, names = clients
    new.execute_command("REPLICAOF", "NO", "ONE")
    old.execute_command("REPLICAOF", "127.0.0.1", replica.port)
    names.execute_command("SENTINEL", "REMOVE", "main")
    names.execute_command("SENTINEL", "MONITOR", "main", "127.0.0.1", replica.port, 1)
    for client in clients:
        client.close()
