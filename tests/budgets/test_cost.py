"""What a request costs here, in calls of functions, and a start: the same on every machine, and a doubling fails."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from gateway.budgets import Budgets
from gateway.budgets.embedded import EmbeddedStore
from gateway.clock import ManualClock
from gateway.types import Amounts, Grant, Unit
from tests.budgets.helpers import DAY_S, LEASE, START_S, budget, charge

if TYPE_CHECKING:
    from pathlib import Path

CALLS = 200
"""Of a reservation and its settlement over six buckets; 161 were counted."""
REQUESTS = 20


async def test_a_request_over_six_buckets_costs_no_more_calls(tmp_path: Path) -> None:
    of = [
        budget("day", 10**9, length_s=DAY_S),
        budget("minute", 10**9),
        budget("in", 10**9, length_s=DAY_S, unit=Unit.INPUT_TOKENS),
        budget("out", 10**9, length_s=DAY_S, unit=Unit.OUTPUT_TOKENS),
        budget("cost", 10**9, length_s=DAY_S, unit=Unit.COST),
        budget("slots", 20, algorithm=LEASE),
    ]
    charges = tuple(charge(each) for each in of)
    reserved = Amounts(requests=1, input_tokens=500, output_tokens=256, cost_microusd=300)
    actual = Amounts(requests=1, input_tokens=400, output_tokens=100, cost_microusd=200)
    clock = ManualClock(START_S)
    store = EmbeddedStore(clock, tmp_path)
    store.load()
    budgets = Budgets(store, clock)
    counted = 0

    def saw(_frame: object, what: str, _arg: object) -> None:
        nonlocal counted
        counted += what in {"call", "c_call"}

    for number in range(REQUESTS):
        before = sys.getprofile()
        if number:  # the first one compiles the charges
            sys.setprofile(saw)
        grant = await budgets.reserve(f"r{number}", charges, reserved)
        assert isinstance(grant, Grant)
        await budgets.settle(grant, actual)
        sys.setprofile(before)
    assert 20 < counted / (REQUESTS - 1) < CALLS
    await budgets.aclose()


def test_a_gateway_that_embeds_its_state_does_not_load_the_client_of_redis() -> None:
    """It is a tenth of the time to start."""
    program = "import sys, gateway.server; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
