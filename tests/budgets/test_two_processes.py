"""Two gateway processes on one Redis, 64 clients at once, one process killed in the middle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.budgets import Budgets
from gateway.budgets.redis_link import open_link
from gateway.budgets.redis_store import RedisStore
from gateway.clock import SystemClock
from tests.budgets.helpers import START_S, set_time, timed_scripts
from tests.budgets.worker import CLIENTS, ESTIMATE, MOST, SLOTS, limits

if TYPE_CHECKING:
    from tests.redis_server import RedisServer

ROOT = Path(__file__).parents[2]
KILLED_AFTER = 60


def start(url: str, name: str, requests: int, tokens: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.budgets.worker", url, name, str(requests), str(tokens)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("requests", "most_tokens"), [(250, 10**9), (10**9, 15_000)], ids=["requests", "tokens"])
async def test_admitted_is_at_most_the_limit_with_64_clients_and_a_killed_worker(
    shared_redis: RedisServer, redis_url: str, capsys: pytest.CaptureFixture[str], requests: int, most_tokens: int
) -> None:
    """Requests: never one too many. Tokens: at most what was in flight and underestimated (docs/budgets.md)."""
    with shared_redis.client() as client:
        set_time(client, START_S * 1_000_000)
        doomed, healthy = (start(redis_url, name, requests, most_tokens) for name in ("doomed", "healthy"))
        assert doomed.stdout is not None
        assert healthy.stdout is not None
        told = [doomed.stdout.readline() for _ in range(KILLED_AFTER)]
        doomed.kill()
        told += doomed.stdout.readlines() + healthy.stdout.readlines()
        assert healthy.wait() == 0
        doomed.wait()
        doomed.stdout.close()
        healthy.stdout.close()

        rows = [line.split() for line in told if line.endswith("\n")]
        granted = {row[0] for row in rows if row[1:2] == ["granted"]}
        refunded = {row[0] for row in rows if row[1:2] == ["refunded"]}
        spent = {row[0]: int(row[2]) for row in rows if row[1:2] == ["spent"]}
        lost = {name for name in granted - refunded - set(spent) if name.startswith("doomed")}
        assert granted - refunded - set(spent) == lost
        tokens = sum(spent.values())
        bound = most_tokens + 2 * CLIENTS * (MOST - ESTIMATE)
        assert len(granted - refunded) <= requests
        assert tokens <= bound
        assert any(row == ["refused"] for row in rows)

        # the dead worker's slots are free and its holds are settled at their floors 30 s after its last sign of life
        budgets = Budgets(RedisStore(open_link(redis_url, 10.0), timed_scripts()), SystemClock())
        held = SLOTS.budget.limit - (await budgets.peek([SLOTS]))[0].remaining
        assert len(lost) <= held <= len(lost) + CLIENTS
        set_time(client, (START_S + 31) * 1_000_000)
        abandoned = await budgets.store.reap()
        balances = [balance.remaining for balance in await budgets.peek(limits(requests, most_tokens))]
        await budgets.aclose()
    assert abandoned == held
    assert balances[2] == SLOTS.budget.limit
    assert balances[1] >= max(0, most_tokens - tokens)
    if requests == 250:
        assert balances[0] == 0
        assert requests - held <= len(granted - refunded)
    with capsys.disabled():
        print(
            f"\n64 clients, 2 processes: {len(granted)} granted, {len(refunded)} refunded, {held} held by the killed worker; "
            f"requests {len(granted - refunded)} of {requests}, tokens {tokens} of {most_tokens} "
            f"(bound {bound})"
        )
