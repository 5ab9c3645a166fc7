"""Budgets as the request path sees them: what a refusal says, and what happens while the store is away."""

from __future__ import annotations

import asyncio
import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from gateway.budgets import BudgetMetrics, Budgets, MemoryStore, Move, open_budgets
from gateway.clock import ManualClock
from gateway.errors import StoreError
from gateway.settings import Settings
from gateway.types import Amounts, Grant, OnStoreError, Refusal, RefusalKind, Subject, Unit
from tests.budgets.helpers import BUCKET, CALENDAR, DAY_S, LEASE, START_S, budget, charge, requests

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.budgets.core import Decision, Line
    from gateway.types import Charge


class FlakyStore(MemoryStore):
    """A store that can be away (nothing is done), mute (done, but nobody is told) or stuck (until let go)."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.away = False
        self.mute = False
        self.stuck: asyncio.Event | None = None
        self.asked = 0

    async def _trouble(self) -> None:
        self.asked += 1
        if self.away:
            raise StoreError("store: away")
        if self.stuck is not None:
            await self.stuck.wait()

    async def ping(self) -> None:
        await self._trouble()

    async def reserve(self, reservation: str, lines: Sequence[Line]) -> Decision:
        await self._trouble()
        decision = await super().reserve(reservation, lines)
        if self.mute:
            raise StoreError("store: no reply")
        return decision

    async def settle(self, reservation: str, lines: Sequence[Line]) -> None:
        await self._trouble()
        await super().settle(reservation, lines)


class SendingStore(FlakyStore):
    """A store to which settlements are sent; what becomes of one is told later."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.sent: list[asyncio.Future[None]] = []

    def send_settlement(self, reservation: str, lines: Sequence[Line]) -> asyncio.Future[None]:
        if not self.away:
            self.settle_now(reservation, lines, self.now_us())
        self.sent.append(asyncio.get_running_loop().create_future())
        return self.sent[-1]


class Scene:
    def __init__(self, workers: int = 1, store: type[FlakyStore] = FlakyStore) -> None:
        self.clock = ManualClock(START_S)
        self.store = store(self.clock)
        self.registry = CollectorRegistry()
        self.budgets = Budgets(
            self.store, self.clock, workers=workers, metrics=BudgetMetrics(self.registry), rng=random.Random(1)
        )
        self.made = 0

    async def ask(self, *of: Charge, count: int = 1) -> Grant | Refusal:
        self.made += 1
        return await self.budgets.reserve(f"r{self.made}", of, requests(count))

    async def granted(self, *of: Charge, count: int = 1) -> Grant:
        answer = await self.ask(*of, count=count)
        assert isinstance(answer, Grant)
        return answer

    async def refused(self, *of: Charge, count: int = 1) -> Refusal:
        answer = await self.ask(*of, count=count)
        assert isinstance(answer, Refusal)
        return answer

    async def left(self, *of: Charge) -> list[int]:
        return [balance.remaining for balance in await self.budgets.peek(of)]

    async def recover(self) -> None:
        self.store.away = self.store.mute = False
        self.clock.advance(10)
        await self.budgets.recover()

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"distillguard_{name}", labels) or 0.0


@pytest.fixture
def scene() -> Scene:
    return Scene()


# -- what a refusal says ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("of", "kind", "message", "retry_after_s"),
    [
        (budget("b", 1), RefusalKind.RATE_LIMITED, "Rate limit reached for requests per minute. Please try again in 65 s.", 65),
        (budget("b", 1, length_s=3600), RefusalKind.RATE_LIMITED, "Rate limit reached for requests per hour. Please try again in 62 min.", 3700),
        (budget("b", 1, algorithm=BUCKET), RefusalKind.RATE_LIMITED, "Rate limit reached for requests per minute. Please try again in 60 s.", 60),
        (budget("b", 1, algorithm=CALENDAR, length_s=DAY_S), RefusalKind.BUDGET_EXHAUSTED, "Rate limit reached for requests per day. Please try again in 18 h.", 64_000),
        (budget("b", 1, algorithm=CALENDAR, length_s=31 * DAY_S), RefusalKind.BUDGET_EXHAUSTED, "Rate limit reached for requests per month. Please try again in 90 h.", 323_200),
        (budget("b", 1, algorithm=LEASE), RefusalKind.RATE_LIMITED, "Rate limit reached: too many concurrent requests. Please try again in 1 s.", 1),
    ],
)  # fmt: skip
async def test_a_refusal_tells_the_wait_of_the_window_that_refused(
    scene: Scene, of: object, kind: RefusalKind, message: str, retry_after_s: float
) -> None:
    wide = charge(budget("wide", 100))
    mine = charge(of)  # type: ignore[arg-type] # a table
    await scene.granted(wide, mine)
    refusal = await scene.refused(wide, mine)
    assert (refusal.kind, refusal.message, refusal.rule) == (kind, message, "b")
    # START_S is 20 s into a minute and 800 s into an hour: sliding slices end at the next 5 s and 300 s
    assert refusal.retry_after_s == pytest.approx(retry_after_s, abs=300 if retry_after_s == 3700 else 0.1)
    assert [balance.budget.name for balance in refusal.balances] == ["wide", "b"]
    assert [balance.remaining for balance in refusal.balances] == [99, 0]


async def test_the_longest_wait_is_told_when_several_refuse(scene: Scene) -> None:
    short, long = charge(budget("short", 1)), charge(budget("long", 1, length_s=DAY_S))
    await scene.granted(short, long)
    assert (await scene.refused(short, long)).rule == "long"
    assert (await scene.refused(long, short)).rule == "long"


async def test_a_request_larger_than_the_whole_limit_is_told_so_and_not_to_wait(scene: Scene) -> None:
    of = charge(budget("b", 100, unit=Unit.OUTPUT_TOKENS))
    answer = await scene.budgets.reserve("r", [of], Amounts(requests=1, output_tokens=101))
    assert isinstance(answer, Refusal)
    assert answer.retry_after_s is None
    assert answer.message == (
        "Rate limit reached for output tokens per minute. This request may use up to 101 output tokens, "
        "the limit allows 100 at once: shorten it or lower its maximum output."
    )


@pytest.mark.parametrize("subject", [Subject.CLUSTER, Subject.ADDRESS])
@pytest.mark.parametrize("count", [1, 999])
async def test_a_cluster_never_shows_in_a_refusal(scene: Scene, subject: Subject, count: int) -> None:
    """Beside its rule, which goes to the event only, the refusal is one that the account's own budget could give."""
    own = [
        charge(budget("rpm", 500)),
        charge(budget("rpd", 5000, length_s=DAY_S)),
        charge(budget("slots", 9, algorithm=LEASE)),
    ]
    hidden = charge(budget("hidden", 3, length_s=7 * DAY_S, subject=subject), "c77")
    await scene.granted(hidden, *own, count=3)
    refusal = await scene.refused(hidden, *own, count=count)
    assert refusal.rule == "hidden"
    assert refusal.kind is RefusalKind.BUDGET_EXHAUSTED
    assert refusal.message.startswith("Rate limit reached for requests per day. Please ")
    assert "c77" not in repr(refusal.balances) + refusal.message
    shown = {balance.budget.name: balance.remaining for balance in refusal.balances}
    assert shown == {"rpm": 497, "rpd": 0, "slots": 8}
    grant = await scene.granted(*own, hidden, count=0)
    assert [balance.budget.name for balance in grant.balances] == ["rpm", "rpd", "slots"]


async def test_a_cluster_alone_is_refused_without_any_balance(scene: Scene) -> None:
    hidden = charge(budget("hidden", 1, subject=Subject.CLUSTER), "c77")
    await scene.granted(hidden)
    refusal = await scene.refused(hidden)
    assert (refusal.kind, refusal.balances) == (RefusalKind.RATE_LIMITED, ())
    assert refusal.message.startswith("Rate limit reached. Please try again in ")


async def test_a_shadow_budget_is_reported_and_not_shown(scene: Scene) -> None:
    shadow, real = charge(budget("shadow", 1, shadow=True)), charge(budget("real", 9))
    await scene.granted(shadow, real)
    grant = await scene.granted(shadow, real)
    assert grant.shadowed == ("shadow",)
    assert [balance.budget.name for balance in grant.balances] == ["real"]
    assert scene.metric("budget_shadow_refusals_total") == 1


# -- the states of a reservation ---------------------------------------------------------------------------


async def test_settle_and_refund_in_any_order_count_once(scene: Scene) -> None:
    of = charge(budget("b", 10))
    first, second = await scene.granted(of, count=4), await scene.granted(of, count=4)
    await scene.budgets.settle(first, requests(3))
    await scene.budgets.refund(first)
    await scene.budgets.refund(second)
    await scene.budgets.settle(second, requests(9))
    assert await scene.left(of) == [7]


async def test_a_caller_that_goes_away_while_the_store_is_asked_is_charged_nothing(scene: Scene) -> None:
    of = charge(budget("b", 10))
    scene.store.stuck = asyncio.Event()
    task = asyncio.create_task(scene.ask(of))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    scene.store.stuck = None
    await scene.store.reserve("r1", scene.budgets._shapes.lines([of], requests(1), requests(1)))
    await scene.budgets.recover()
    assert await scene.left(of) == [10]


async def test_a_settlement_that_is_cancelled_is_carried_out_all_the_same(scene: Scene) -> None:
    of = charge(budget("b", 10))
    grant = await scene.granted(of, count=5)
    scene.store.stuck = asyncio.Event()
    task = asyncio.create_task(scene.budgets.settle(grant, requests(2)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    scene.store.stuck = None
    await scene.budgets.recover()
    assert await scene.left(of) == [8]


async def test_the_beat_keeps_long_requests_alive_and_ends_those_of_dead_workers(scene: Scene) -> None:
    of = charge(budget("tokens", 100, length_s=DAY_S, unit=Unit.OUTPUT_TOKENS))
    slots = charge(budget("slots", 5, algorithm=LEASE))
    amounts = Amounts(requests=1, output_tokens=30)
    mine = await scene.budgets.reserve("mine", [of, slots], amounts)
    other = Budgets(scene.store, scene.clock)
    theirs = await other.reserve("theirs", [of, slots], amounts)
    assert isinstance(mine, Grant)
    assert isinstance(theirs, Grant)
    other.heartbeat(theirs, Amounts(requests=1, output_tokens=12))
    for _ in range(4):
        scene.clock.advance(10)
        await scene.budgets.beat()
        if scene.clock.now() == START_S + 10:
            await other.beat()  # its last one
    assert await scene.left(of, slots) == [58, 4]
    assert scene.metric("reservations_abandoned_total") == 1
    await other.settle(theirs, Amounts(requests=1, output_tokens=20))  # it was only frozen
    await scene.budgets.settle(mine, Amounts(requests=1, output_tokens=1))
    assert await scene.left(of, slots) == [79, 5]


async def test_an_account_that_joins_a_cluster_brings_what_it_spent_once_over_all_workers(scene: Scene) -> None:
    day, hour = charge(budget("day", 99, length_s=DAY_S)), charge(budget("hour", 99, length_s=3600))
    tokens = charge(budget("tokens", 99, unit=Unit.OUTPUT_TOKENS))
    theirs = charge(budget("theirs", 10, length_s=3 * 3600, subject=Subject.CLUSTER), "c1")
    slots = charge(budget("slots", 9, algorithm=LEASE, subject=Subject.CLUSTER), "c1")
    await scene.granted(day, tokens, count=5)
    await scene.granted(day, hour, tokens)
    assert await scene.left(theirs) == [10]
    refusal = await scene.refused(day, hour, tokens, theirs, slots, count=5)
    assert refusal.rule == "theirs"
    assert await scene.left(day, theirs) == [93, 4]
    await scene.granted(day, hour, tokens, theirs, slots)
    other = Budgets(scene.store, scene.clock)
    assert isinstance(await other.reserve("other", [day, theirs], requests(1)), Grant)
    assert await scene.left(day, theirs) == [91, 2]
    merged = charge(theirs.budget, "c2")
    await scene.granted(day, merged)
    assert await scene.left(day, merged) == [90, 1]


async def test_a_cluster_that_fills_through_quiet_accounts_is_refused_as_one_customer(scene: Scene) -> None:
    """Twenty accounts, each far below its own limit, had spent together what one cluster may."""
    own = budget("own", 100, length_s=DAY_S)
    cluster = charge(budget("cluster", 60, length_s=DAY_S, subject=Subject.CLUSTER), "c1")
    for member in range(20):
        await scene.granted(charge(own, f"a{member}"), count=3)
    answers = [await scene.ask(charge(own, f"a{member}"), cluster) for member in range(20)]
    assert isinstance(answers[0], Grant)
    assert isinstance(answers[-1], Refusal)
    assert await scene.left(cluster) == [0]


async def test_a_move_asked_for_by_hand_is_done_once(scene: Scene) -> None:
    mine, theirs = charge(budget("mine", 10)), charge(budget("theirs", 10, subject=Subject.CLUSTER), "c1")
    await scene.budgets.settle(await scene.granted(mine, count=6), requests(6))
    assert await scene.budgets.move("a1->c1", [Move(mine, theirs)])
    assert not await scene.budgets.move("a1->c1", [Move(mine, theirs)])
    assert await scene.left(mine, theirs) == [4, 4]


# -- while the store is away -------------------------------------------------------------------------------


async def test_allow_answers_and_the_spending_is_settled_later(scene: Scene) -> None:
    of = charge(budget("b", 3, length_s=DAY_S, on_store_error=OnStoreError.ALLOW))
    scene.store.away = True
    grants = [await scene.granted(of) for _ in range(5)]
    assert all(grant.degraded for grant in grants)
    for grant in grants[:2]:
        await scene.budgets.settle(grant, requests(1))
    assert scene.budgets.status()["pending_settlements"] == 2
    await scene.recover()
    assert await scene.left(of) == [1]
    for grant in grants[2:]:
        await scene.budgets.settle(grant, requests(1))
    assert await scene.left(of) == [0]
    assert (await scene.refused(of)).rule == "b"


async def test_deny_refuses_as_unavailable_and_costs_nothing_afterwards(scene: Scene) -> None:
    of = charge(budget("b", 3, length_s=DAY_S, on_store_error=OnStoreError.DENY))
    scene.store.mute = True  # the store charges, the reply is lost
    refusal = await scene.refused(of)
    assert refusal.kind is RefusalKind.UNAVAILABLE
    assert refusal.retry_after_s == 1.0
    assert refusal.message == "The service cannot check your limits at the moment. Please try again."
    await scene.recover()
    assert await scene.left(of) == [3]


async def test_a_shadow_budget_denies_nobody(scene: Scene) -> None:
    scene.store.away = True
    await scene.granted(charge(budget("b", 0, shadow=True, on_store_error=OnStoreError.DENY)))


@pytest.mark.parametrize(("limit", "workers", "share"), [(10, 1, 10), (10, 4, 2), (3, 4, 0), (4, 4, 1)])
async def test_local_share_never_gives_more_than_the_limit_over_all_workers(
    limit: int, workers: int, share: int
) -> None:
    """BerriAI/litellm#35533: limit x replicas."""
    scene = Scene(workers)
    of = charge(budget("b", limit, length_s=DAY_S))
    slots = charge(budget("slots", limit, algorithm=LEASE))
    scene.store.away = True
    answers = [await scene.ask(of) for _ in range(limit + 1)]
    assert [isinstance(answer, Grant) for answer in answers] == [True] * share + [False] * (limit + 1 - share)
    held = [await scene.ask(slots) for _ in range(limit + 1)]
    assert sum(isinstance(answer, Grant) for answer in held) == share


@pytest.mark.parametrize(("burst", "workers", "share"), [(8, 4, 2), (4, 4, 1), (3, 4, 0), (0, 4, 25)])
async def test_a_share_of_a_burst_is_never_the_whole_burst_again(burst: int, workers: int, share: int) -> None:
    scene = Scene(workers)
    of = charge(budget("b", 100, algorithm=BUCKET, burst=burst))
    scene.store.away = True
    answers = [await scene.ask(of) for _ in range(30)]
    assert sum(isinstance(answer, Grant) for answer in answers) == share


async def test_a_store_that_is_away_for_a_moment_gives_nobody_a_second_budget() -> None:
    """Both workers know that 4 of 10 are left: each may give 2 of them, not half of 10."""
    scene = Scene(2)
    of = charge(budget("b", 10, length_s=DAY_S))
    for _ in range(6):
        await scene.granted(of)
    scene.store.away = True
    answers = [await scene.ask(of) for _ in range(5)]
    assert [isinstance(answer, Grant) for answer in answers] == [True, True, False, False, False]
    for answer in answers[:2]:
        assert isinstance(answer, Grant)
        await scene.budgets.settle(answer, requests(1))
    scene.store.away = False
    await scene.recover()
    assert await scene.left(of) == [2]
    await scene.granted(of)  # the store's word counts again: one is left
    scene.store.away = True
    assert isinstance(await scene.ask(of), Refusal)  # half of one, rounded down


async def test_an_exhausted_budget_stays_exhausted_while_the_store_is_away_until_its_window_is_over(
    scene: Scene,
) -> None:
    of = charge(budget("b", 2, length_s=60))
    await scene.granted(of)
    await scene.granted(of)
    scene.store.away = True
    assert isinstance(await scene.ask(of), Refusal)
    scene.clock.advance(61.0)
    await scene.granted(of)


async def test_a_share_is_given_back_by_settlement_too(scene: Scene) -> None:
    slots = charge(budget("slots", 1, algorithm=LEASE))
    scene.store.away = True
    grant = await scene.granted(slots)
    await scene.refused(slots)
    await scene.budgets.settle(grant, requests(1))
    await scene.granted(slots)


async def test_a_reply_that_was_lost_is_not_charged_twice(scene: Scene) -> None:
    of = charge(budget("b", 10, length_s=DAY_S, on_store_error=OnStoreError.ALLOW))
    scene.store.mute = True
    grant = await scene.granted(of, count=4)
    assert grant.degraded
    scene.store.mute = False
    await scene.budgets.settle(grant, requests(3))
    await scene.budgets.settle(grant, requests(3))
    assert await scene.left(of) == [7]


async def test_the_breaker_stops_asking_and_one_probe_at_a_time_finds_the_store_again(scene: Scene) -> None:
    of = charge(budget("b", 1000, on_store_error=OnStoreError.ALLOW))
    scene.store.away = True
    for _ in range(10):
        await scene.granted(of)
    assert scene.store.asked == 3
    assert scene.budgets.status()["breaker"] == "open"
    assert not scene.budgets.status()["ok"]
    assert scene.metric("store_errors_total", call="reserve") == 3
    pauses = []
    for _ in range(400):
        before = scene.store.asked
        await scene.budgets.recover()
        if scene.store.asked > before:
            pauses.append(scene.clock.now())
        scene.clock.advance(0.05)
    gaps = [later - earlier for earlier, later in pairwise(pauses)]
    assert gaps[0] < 0.6
    assert 2.5 <= gaps[-1] <= 5.1
    await scene.recover()
    assert scene.budgets.status()["breaker"] == "closed"
    assert scene.budgets.status()["ok"]
    assert not (await scene.granted(of)).degraded


async def test_settlements_kept_while_the_store_is_away_are_bounded_and_what_is_lost_is_counted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.budgets.facade.PENDING", 10)
    of = charge(budget("b", 1000, on_store_error=OnStoreError.ALLOW))
    scene.store.away = True
    for _ in range(15):
        await scene.budgets.settle(await scene.granted(of), requests(1))
    assert scene.budgets.status()["pending_settlements"] == 10
    assert scene.metric("uncharged_total", reason="store_down_too_long") == 5
    await scene.recover()
    assert await scene.left(of) == [990]


async def test_a_gateway_starts_without_its_store_and_says_so(scene: Scene) -> None:
    scene.store.away = True
    await scene.budgets.open()
    assert scene.metric("store_errors_total", call="open") == 1
    await scene.granted(charge(budget("b", 5)))
    await scene.budgets.aclose()


async def test_embedded_budgets_open_close_and_remember(tmp_path: Path) -> None:
    of = charge(budget("b", 5, length_s=DAY_S))
    clock = ManualClock(START_S)
    for expected in (5, 3, 1):
        budgets = open_budgets(Settings(state_dir=tmp_path), clock)
        await budgets.open()
        assert [balance.remaining for balance in await budgets.peek([of])] == [expected]
        grant = await budgets.reserve(f"r{expected}", [of], requests(1))
        assert isinstance(grant, Grant)
        await budgets.settle(grant, requests(2))
        await budgets.aclose()


async def test_a_settlement_that_was_sent_is_waited_for_by_nobody_but_the_end() -> None:
    scene = Scene(store=SendingStore)
    assert isinstance(scene.store, SendingStore)
    of = charge(budget("b", 10))
    grant = await scene.granted(of, count=4)
    await scene.budgets.settle(grant, requests(1))
    assert await scene.left(of) == [9]
    closing = asyncio.create_task(scene.budgets.aclose())
    await asyncio.sleep(0)
    assert not closing.done()
    scene.store.sent[0].set_result(None)
    await closing
    assert scene.budgets.status()["pending_settlements"] == 0


async def test_a_settlement_that_was_sent_into_a_failing_store_is_made_when_it_is_back() -> None:
    scene = Scene(store=SendingStore)
    assert isinstance(scene.store, SendingStore)
    of = charge(budget("b", 10))
    grant = await scene.granted(of, count=4)
    scene.store.away = True
    await scene.budgets.settle(grant, requests(1))
    assert scene.budgets.status()["pending_settlements"] == 0
    scene.store.sent[0].set_exception(StoreError("store: away"))
    await asyncio.sleep(0)
    assert scene.budgets.status()["pending_settlements"] == 1
    assert scene.metric("store_errors_total", call="settle") == 1
    await scene.recover()
    assert await scene.left(of) == [9]
    assert scene.budgets.status()["pending_settlements"] == 0
