"""A gateway process in little: 32 clients that reserve, stream, overrun, disconnect; told what it does line by line.

Run by ``test_two_processes``: ``worker.py URL NAME REQUESTS TOKENS``, the two limits. A line is ``ID granted``, ``ID spent TOKENS`` or ``refused``.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

from gateway.budgets import Budgets
from gateway.budgets.redis_link import open_link
from gateway.budgets.redis_store import RedisStore
from gateway.clock import SystemClock
from gateway.types import Amounts, Charge, Grant, Unit
from tests.budgets.helpers import DAY_S, LEASE, budget, charge, timed_scripts

CLIENTS = 32
ESTIMATE = 100
MOST = 130
ROUNDS = 30
SLOTS = charge(budget("slots", 60, algorithm=LEASE))


def limits(requests: int, tokens: int) -> list[Charge]:
    """Requests and tokens a day, and slots for most but not all clients."""
    return [
        charge(budget("requests", requests, length_s=DAY_S)),
        charge(budget("tokens", tokens, length_s=DAY_S, unit=Unit.OUTPUT_TOKENS)),
        SLOTS,
    ]


def tell(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def client(budgets: Budgets, name: str, charges: list[Charge]) -> None:
    rng = random.Random(name)
    for turn in range(ROUNDS):
        reservation = f"{name}-{turn}"
        estimate = Amounts(requests=1, output_tokens=ESTIMATE)
        answer = await budgets.reserve(reservation, charges, estimate)
        if not isinstance(answer, Grant):
            tell("refused")
            await asyncio.sleep(0.002)
            continue
        assert not answer.degraded
        tell(reservation, "granted")
        for _ in range(rng.randrange(4)):  # the reply streams
            await asyncio.sleep(0.001)
        if rng.random() < 0.1:
            tell(reservation, "refunded")  # told first: a kill between the two must not look like one too many
            await budgets.refund(answer)  # the upstream was never reached
            continue
        tokens = rng.randrange(1, MOST + 1) if rng.random() < 0.7 else rng.randrange(1, 20)  # or the client hung up
        tell(reservation, "spent", tokens)
        await budgets.settle(answer, Amounts(requests=1, output_tokens=tokens))


async def main(url: str, name: str, charges: list[Charge]) -> None:
    budgets = Budgets(RedisStore(open_link(url, 10.0), timed_scripts()), SystemClock())
    await asyncio.gather(*(client(budgets, f"{name}{number}", charges) for number in range(CLIENTS)))
    await budgets.aclose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], limits(int(sys.argv[3]), int(sys.argv[4]))))
