"""Both stores against a model that remembers every spending as it happened and increments nothing."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from gateway.budgets.core import Move
from gateway.budgets.memory import MemoryStore
from gateway.budgets.redis_link import open_link
from gateway.budgets.redis_store import RedisStore
from gateway.clock import ManualClock
from gateway.types import Amounts, Budget, Unit
from tests.budgets.helpers import (
    BUCKET,
    CALENDAR,
    DAY_S,
    SLIDING,
    START_S,
    budget,
    charge,
    lines,
    set_time,
    timed_scripts,
)

if TYPE_CHECKING:
    from redis import Redis

    from gateway.budgets.core import Decision
    from tests.redis_server import RedisServer

US = 1_000_000
BUDGETS = (
    budget("minute", 10),
    budget("long", 40, length_s=45 * DAY_S),
    budget("tokens", 100, unit=Unit.TOTAL_TOKENS, length_s=3600),
    budget("steady", 6, algorithm=BUCKET, length_s=60, burst=3),
    budget("steady-tokens", 70, algorithm=BUCKET, length_s=60, unit=Unit.TOTAL_TOKENS),
    budget("day", 30, algorithm=CALENDAR, length_s=DAY_S),
    budget("month", 60, algorithm=CALENDAR, length_s=31 * DAY_S),
    budget("seen", 4, shadow=True),
)


class Model:
    """One bucket: (time, amount) of everything spent, summed up anew whenever it is asked."""

    def __init__(self, of: Budget) -> None:
        self.of = of
        self.spends: list[list[int]] = []

    def used(self, now: int) -> Fraction:
        length = self.of.window.length_s * US
        if self.of.window.algorithm is SLIDING:
            piece = -(-length // 12)
            return Fraction(sum(a for t, a in self.spends if t // piece >= now // piece - 12))
        if self.of.window.algorithm is CALENDAR:
            parts = 3 if self.of.window.length_s == DAY_S else 2
            date = [
                datetime.fromtimestamp(t / US, UTC).timetuple()[:parts] for t in (now, *(t for t, _ in self.spends))
            ]
            return Fraction(sum(a for (_, a), d in zip(self.spends, date[1:], strict=True) if d == date[0]))
        level, last = Fraction(0), 0
        for at, amount in sorted(self.spends):
            level, last = max(Fraction(0), level - (at - last) * Fraction(self.of.limit, length)) + amount, at
        return max(Fraction(0), level - (now - last) * Fraction(self.of.limit, length))

    def fits(self, now: int, amount: int) -> bool:
        capacity = self.of.window.burst or self.of.limit
        return amount == 0 or self.used(now) + amount <= capacity + Fraction(1, 500_000)


class Budgeting(RuleBasedStateMachine):
    """Two gateways on one Redis, and the memory store beside them, do the same things at the same time."""

    client: Redis
    runner: asyncio.Runner
    gateways: tuple[RedisStore, RedisStore]

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock(START_S)
        self.memory = MemoryStore(self.clock)
        self.models = {of.name: Model(of) for of in BUDGETS}
        self.ceilings = {of.name: Model(of) for of in BUDGETS}
        self.live: dict[str, tuple[list[Budget], Amounts, dict[str, list[list[int]]]]] = {}
        self.made = 0

    @initialize()
    def empty(self) -> None:
        self.client.flushall()
        self.tell_time()

    def tell_time(self) -> None:
        set_time(self.client, self.now)

    @property
    def now(self) -> int:
        return self.memory.now_us()

    def both(self, method: str, *args: Any, gateway: int = 0) -> Any:
        ours = self.runner.run(getattr(self.memory, method)(*args))
        theirs = self.runner.run(getattr(self.gateways[gateway], method)(*args))
        assert ours == theirs
        return ours

    @rule(seconds=st.sampled_from([0.000001, 4.999999, 5, 61, 3600, DAY_S / 2, DAY_S, 4 * DAY_S]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.tell_time()

    @rule(
        chosen=st.sampled_from([{0, 1, 2, 3, 4, 5, 6, 7}, {0, 2, 7}, {1, 5, 6}, {3, 4}, {5}, {6, 7}]),
        count=st.sampled_from([1, 1, 2, 3, 4, 0]),
        tokens=st.sampled_from([7, 20, 33, 1, 0, 70, 71, 100, 101]),
        gateway=st.integers(0, 1),
    )
    def reserve(self, chosen: set[int], count: int, tokens: int, gateway: int) -> None:
        of = [BUDGETS[index] for index in sorted(chosen)]
        amounts = Amounts(requests=count, output_tokens=tokens)
        self.made += 1
        name = f"r{self.made}"
        decision: Decision = self.both("reserve", name, lines([charge(each) for each in of], amounts), gateway=gateway)
        for each, view in zip(of, decision.views, strict=True):
            amount = amounts.of(each.unit)
            if view.wait_us == 0:
                assert self.models[each.name].fits(self.now, amount), f"over the limit of {each.name}"
            else:
                assert not self.ceilings[each.name].fits(self.now, amount), f"{each.name} refused what fits"
        assert decision.granted == all(
            view.wait_us == 0 for each, view in zip(of, decision.views, strict=True) if not each.shadow
        )
        if decision.granted:
            spent: dict[str, list[list[int]]] = {}
            for each in of:
                spent[each.name] = []
                for model in (self.models, self.ceilings):
                    entry = [self.now, amounts.of(each.unit)]
                    model[each.name].spends.append(entry)
                    spent[each.name].append(entry)
            self.live[name] = (of, amounts, spent)

    @rule(data=st.data(), gateway=st.integers(0, 1), times=st.integers(1, 2))
    def settle(self, data: st.DataObject, gateway: int, times: int) -> None:
        if not self.live:
            return
        name = data.draw(st.sampled_from(sorted(self.live)))
        count, tokens = data.draw(st.integers(0, 5)), data.draw(st.sampled_from([0, 1, 30, 71, 120]))
        of, reserved, spent = self.live.pop(name)
        actual = Amounts(requests=count, output_tokens=tokens)
        for _ in range(times):
            self.both("settle", name, lines([charge(each) for each in of], actual), gateway=gateway)
        for each in of:
            before, after = reserved.of(each.unit), actual.of(each.unit)
            exact, ceiling = spent[each.name]
            if after > before:
                for model in (self.models, self.ceilings):
                    model[each.name].spends.append([self.now, after - before])
            else:
                exact[1] = after
                if each.window.algorithm is not BUCKET:  # GCRA may give back later than it could, never sooner
                    ceiling[1] = after

    @invariant()
    def balances_agree(self) -> None:
        asked = lines([charge(each) for each in BUDGETS], Amounts())
        if not self.made:
            return
        views = self.both("peek", asked)
        for each, view in zip(BUDGETS, views, strict=True):
            capacity = each.window.burst or each.limit
            most = capacity - self.models[each.name].used(self.now)
            least = capacity - self.ceilings[each.name].used(self.now)
            slack = Fraction(1, 500_000)
            assert max(0, (least - slack) // 1) <= view.remaining <= max(0, (most + slack) // 1), each.name


@pytest.mark.timeout(120)
def test_two_gateways_and_the_memory_store_do_what_the_model_says(shared_redis: RedisServer) -> None:
    with asyncio.Runner() as runner, shared_redis.client() as client:
        stores = tuple(RedisStore(open_link(shared_redis.url, 5.0), timed_scripts()) for _ in range(2))
        machine = type(
            "Machine", (Budgeting,), {"client": client, "runner": runner, "gateways": stores, "TestCase": None}
        )
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=90,
                stateful_step_count=40,
                deadline=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
        for store in stores:
            runner.run(store.aclose())


PAIRS = [(source, target) for source in BUDGETS for target in BUDGETS if source.unit is target.unit]


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=lambda of: of.name)
async def test_both_stores_carry_the_same_from_every_window_to_every_other(
    shared_redis: RedisServer, redis_url: str, source: Budget, target: Budget
) -> None:
    rng = random.Random(f"{source.name}-{target.name}")
    clock = ManualClock(START_S + rng.randrange(DAY_S))
    memory, redis = MemoryStore(clock), RedisStore(open_link(redis_url, 5.0), timed_scripts())
    of = [charge(source, "from"), charge(target, "to"), charge(target, "old")]
    with shared_redis.client() as client:
        for turn in range(12):
            clock.advance(rng.choice([0.3, 4, 31, 1700]))
            set_time(client, memory.now_us())
            wanted = lines(rng.sample(of, 2), Amounts(requests=rng.randrange(1, 3), output_tokens=rng.randrange(1, 30)))
            answers = [await store.reserve(f"r{turn}", wanted) for store in (memory, redis)]
            assert answers[0] == answers[1]
            if turn % 4 == 3:
                moves = [Move(of[0], of[1], deduct=of[2], keep=turn != 7)]
                assert await memory.move(f"m:{turn}", moves) == await redis.move(f"m:{turn}", moves)
            views = [await store.peek(lines(of, Amounts())) for store in (memory, redis)]
            assert views[0] == views[1]
    await redis.aclose()
