"""Budgets as the request path uses them: reserve, settle, refund, heartbeat.

Invariants
* A refused request costs nothing in any bucket.
* A reservation is settled at most once that counts, however often and in whatever order it is tried.
* No call waits longer than the store's time limit, and none asks a store whose breaker is open.
* While the store cannot be asked each budget's ``on_store_error`` decides, here and nowhere else; what is
  spent meanwhile is settled in the store when it is back (up to ``PENDING`` settlements, then counted as lost).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from gateway.budgets.breaker import Breaker
from gateway.budgets.core import BucketBroken, Decision, Line, Renewal, Shapes, by_unit, floors_of, lines_of
from gateway.budgets.embedded import EmbeddedStore
from gateway.budgets.joins import Joins
from gateway.budgets.metrics import BudgetMetrics
from gateway.budgets.refusals import balances, refuse, shadowed
from gateway.budgets.shares import Shares
from gateway.budgets.windows import SECOND_US
from gateway.errors import StoreError
from gateway.types import Amounts, Balance, Charge, Grant, OnStoreError, Refusal, RefusalKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.budgets.core import Move, Store
    from gateway.clock import Clock
    from gateway.settings import Settings

log = logging.getLogger(__name__)
BEAT_S = 10.0
PROBE_S = 0.1
RENEW_AFTER_S = 5.0
PENDING = 20_000
PENDING_PER_TURN = 256
DENIED = "The service cannot check your limits at the moment. Please try again."


class Live:
    """A reservation of this worker that is not settled: for the heartbeat."""

    __slots__ = ("charges", "floors", "reserved", "since_s")

    def __init__(self, charges: tuple[Charge, ...], reserved: Amounts, floors: tuple[int, ...], since_s: float) -> None:
        self.charges = charges
        self.reserved = reserved
        self.floors = floors
        self.since_s = since_s


class Budgets:
    """See the module. Made by ``open_budgets``, or around any store in tests."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        workers: int = 1,
        metrics: BudgetMetrics | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.store = store
        self.metrics = metrics or BudgetMetrics()
        self._clock = clock
        self._worker = uuid4().hex
        self._expected_workers = max(1, workers)
        self._workers = self._expected_workers
        self._breaker = Breaker((rng or random.SystemRandom()).random)
        self._shapes = Shapes()
        self._shares = Shares(clock, self._shapes)
        self._joins = Joins()
        self._in_process = store.in_process
        self._live: dict[str, Live] = {}
        self._sent: set[asyncio.Future[Any]] = set()
        """Settlements on their way."""
        self._pending: OrderedDict[str, tuple[tuple[Charge, ...], Amounts]] = OrderedDict()
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Open the store and start the heartbeat and the probe. A store that is away does not stop the start."""
        await self.store.open()
        try:
            await self.store.ping()
        except StoreError as error:
            self._failed("open", error)
        self._tasks = [
            asyncio.create_task(self._every(BEAT_S, self.beat), name="budgets-beat"),
            asyncio.create_task(self._every(PROBE_S, self.recover), name="budgets-recover"),
        ]

    async def aclose(self) -> None:
        """Settle what is pending as far as the store takes it, stop, close."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        if self._sent:
            await asyncio.wait(self._sent)
        if not self._breaker.is_open:
            await self._settle_pending()
        if self._pending:
            self.metrics.uncharged.labels("closed_while_store_down").inc(len(self._pending))
        await self.store.aclose()

    async def reserve(self, reservation: str, charges: Sequence[Charge], amounts: Amounts) -> Grant | Refusal:
        """Charge every bucket, or none. Never raises for a store's failure: ``on_store_error`` decides then."""
        kept = tuple(charges)
        spent = by_unit(amounts)
        floors = floors_of(spent)
        lines = lines_of(self._shapes.rows(kept), spent, floors)
        if self._breaker.is_open:
            return self._without_store(reservation, kept, amounts, lines)
        started_s = self._clock.monotonic()
        try:
            decision = await self._ask(reservation, kept, lines)
        except StoreError as error:
            self._failed("reserve", error)
            return self._without_store(reservation, kept, amounts, lines, asked=True)
        except asyncio.CancelledError:
            self._later(reservation, kept, Amounts())
            raise
        self._breaker.succeeded()
        now_s = self._clock.monotonic()
        self.metrics.store_seconds.observe(now_s - started_s)
        if not self._in_process:
            self._shares.heard(lines, decision, now_s)
        if not decision.granted:
            self.metrics.refused.inc()
            return refuse(lines, decision)
        self.metrics.granted.value += 1
        self._live[reservation] = Live(kept, amounts, floors, now_s)
        return self._grant(reservation, kept, amounts, lines, decision)

    async def settle(self, grant: Grant, actual: Amounts) -> None:
        """Replace what was reserved by ``actual``. Idempotent. Never raises for a store's failure: it is kept
        and tried again when the store is back. Callers shield it from cancellation.

        Returns when it is settled or, with a store that answers in order, when the settlement was written to it.
        """
        self._live.pop(grant.reservation, None)
        if not grant.charges:
            return
        if grant.degraded:
            self._shares.settle(grant.reservation, grant.charges, actual, self._workers)
        if not self._send(grant.reservation, grant.charges, actual):
            await self._settle(grant.reservation, grant.charges, actual)

    async def refund(self, grant: Grant) -> None:
        """Give everything back: the request never reached the upstream."""
        await self.settle(grant, Amounts())

    def heartbeat(self, grant: Grant, seen: Amounts | None = None) -> None:
        """Note that a request is alive and what was seen to flow so far (``None``: no news). Cheap, no I/O: the
        worker's next beat carries it to the store, where it becomes what is charged if this worker dies.
        """
        live = self._live.get(grant.reservation)
        if live is not None and seen is not None:
            live.floors = by_unit(seen)

    async def peek(self, charges: Sequence[Charge]) -> tuple[Balance, ...]:
        """Balances of all ``charges``, hidden ones too: not for callers. Raises StoreError."""
        lines = self._shapes.lines(charges, Amounts(), Amounts())
        views = await self.store.peek(lines)
        return tuple(
            Balance(budget=line.shape.budget, remaining=view.remaining, reset_s=view.reset_us / SECOND_US)
            for line, view in zip(lines, views, strict=True)
        )

    async def move(self, move_id: str, moves: Sequence[Move]) -> bool:
        """Carry spending between buckets, once per ``move_id`` over all workers. False: it was done before.
        Raises StoreError; trying again with the same id is safe.
        """
        return await self.store.move(move_id, moves)

    def status(self) -> dict[str, Any]:
        """For readiness and the admin API."""
        return {
            "store": self.store.name,
            "ok": not self._breaker.is_open,
            "breaker": self._breaker.state,
            "open_reservations": len(self._live),
            "pending_settlements": len(self._pending),
            "workers": self._workers,
        }

    async def beat(self) -> None:
        """One heartbeat: renew this worker's open reservations, abandon those of dead workers, count workers."""
        self.metrics.open.set(len(self._live))
        if self._breaker.is_open:
            return
        now_s = self._clock.monotonic()
        renewals = [
            Renewal(reservation, lines_of(self._shapes.rows(live.charges), by_unit(live.reserved), live.floors))
            for reservation, live in self._live.items()
            if now_s - live.since_s >= RENEW_AFTER_S
        ]
        try:
            await self.store.renew(renewals)
            self.metrics.abandoned.inc(await self.store.reap())
            self._workers = max(self._expected_workers, await self.store.workers(self._worker))
        except StoreError as error:
            self._failed("beat", error)
        self.metrics.workers.set(self._workers)

    async def recover(self) -> None:
        """Probe a store whose breaker is open, when it is time; then settle what was kept, bit by bit."""
        if self._breaker.is_open:
            if not self._breaker.probe_due(self._clock.monotonic()):
                return
            try:
                await self.store.ping()
            except StoreError as error:
                self._failed("ping", error)
                return
            self._breaker.succeeded()
        await self._settle_pending()

    # -- parts -----------------------------------------------------------------------------------------

    async def _ask(self, reservation: str, charges: tuple[Charge, ...], lines: Sequence[Line]) -> Decision:
        """Reserve; where the account is new in its cluster, what it spent goes first, in the same round trip."""
        joining = None
        for line in lines:
            if line[1].of_cluster:
                joining = self._joins.wanted(charges)
                break
        if joining is None:
            return await self.store.reserve(reservation, lines)
        move_id, moves = joining
        _, decision = await asyncio.gather(self.store.move(move_id, moves), self.store.reserve(reservation, lines))
        self._joins.done(move_id)
        return decision

    def _grant(
        self,
        reservation: str,
        charges: tuple[Charge, ...],
        amounts: Amounts,
        lines: Sequence[Line],
        decision: Decision,
        *,
        degraded: bool = False,
    ) -> Grant:
        in_shadow: tuple[str, ...] = ()
        for view in decision.views:
            if view[2]:  # what is granted and would have to wait is in shadow
                in_shadow = shadowed(lines, decision)
                self.metrics.shadowed.inc()
                break
        return Grant(
            reservation=reservation,
            balances=balances(lines, decision),
            shadowed=in_shadow,
            degraded=degraded,
            charges=charges,
            reserved=amounts,
        )

    def _without_store(
        self,
        reservation: str,
        charges: tuple[Charge, ...],
        amounts: Amounts,
        lines: Sequence[Line],
        *,
        asked: bool = False,
    ) -> Grant | Refusal:
        """Decide by each budget's ``on_store_error``. ``asked``: the store may have charged, without an answer."""
        denying = next(
            (line for line in lines if line.shape.budget.on_store_error is OnStoreError.DENY and not line.shape.shadow),
            None,
        )
        answer: Grant | Refusal
        if denying is not None:
            answer = Refusal(
                kind=RefusalKind.UNAVAILABLE, message=DENIED, rule=denying.shape.budget.name, retry_after_s=1.0
            )
            self.metrics.decisions.labels("denied", "fallback").inc()
        else:
            answer = self._by_shares(reservation, charges, amounts)
        if asked and isinstance(answer, Refusal):
            self._later(reservation, charges, Amounts())
        return answer

    def _by_shares(self, reservation: str, charges: tuple[Charge, ...], amounts: Amounts) -> Grant | Refusal:
        lines, decision = self._shares.reserve(reservation, charges, amounts, self._workers)
        if not decision.granted:
            self.metrics.decisions.labels("refused", "fallback").inc()
            return refuse(lines, decision)
        self.metrics.decisions.labels("granted", "fallback").inc()
        self._live[reservation] = Live(charges, amounts, floors_of(by_unit(amounts)), self._clock.monotonic())
        return self._grant(reservation, charges, amounts, lines, decision, degraded=True)

    def _send(self, reservation: str, charges: tuple[Charge, ...], actual: Amounts) -> bool:
        """Send a settlement where the store can, without waiting for its answer: what comes later finds it done."""
        if self._in_process or self._breaker.is_open:
            return False
        sent = self.store.send_settlement(reservation, self._shapes.lines(charges, actual))
        if sent is None:
            return False
        self._sent.add(sent)
        sent.add_done_callback(partial(self._answered, reservation, charges, actual))
        return True

    def _answered(
        self, reservation: str, charges: tuple[Charge, ...], actual: Amounts, sent: asyncio.Future[Any]
    ) -> None:
        self._sent.discard(sent)
        error = sent.exception()
        if error is None:
            self._shares.closed(reservation)
        elif isinstance(error, StoreError):
            self._unsettled(reservation, charges, actual, error)
        else:
            raise error

    def _unsettled(self, reservation: str, charges: tuple[Charge, ...], actual: Amounts, error: StoreError) -> None:
        """A settlement failed: keep it, unless its bucket will never take it."""
        self._failed("settle", error)
        if isinstance(error, BucketBroken):
            self.metrics.uncharged.labels("bucket_broken").inc()
        else:
            self._later(reservation, charges, actual)

    async def _settle(self, reservation: str, charges: tuple[Charge, ...], actual: Amounts) -> bool:
        if self._breaker.is_open:
            self._later(reservation, charges, actual)
            return False
        try:
            await self.store.settle(reservation, self._shapes.lines(charges, actual))
        except StoreError as error:
            self._unsettled(reservation, charges, actual, error)
            if not isinstance(error, BucketBroken):
                return False
        except asyncio.CancelledError:
            self._later(reservation, charges, actual)
            raise
        self._shares.closed(reservation)
        return True

    def _later(self, reservation: str, charges: tuple[Charge, ...], actual: Amounts) -> None:
        """Keep a settlement for when the store is back; the first one kept for an id counts."""
        self._pending.setdefault(reservation, (charges, actual))
        while len(self._pending) > PENDING:
            lost, _ = self._pending.popitem(last=False)
            self._shares.closed(lost)
            self.metrics.uncharged.labels("store_down_too_long").inc()
        self.metrics.pending.set(len(self._pending))

    async def _settle_pending(self) -> None:
        for _ in range(min(PENDING_PER_TURN, len(self._pending))):
            reservation, (charges, actual) = self._pending.popitem(last=False)
            if not await self._settle(reservation, charges, actual):
                break
        self.metrics.pending.set(len(self._pending))

    def _failed(self, call: str, error: StoreError) -> None:
        self.metrics.store_errors.labels(call).inc()
        if isinstance(error, BucketBroken):  # one subject's trouble must not open the breaker for all
            log.error("budgets: %s", error)
            return
        self._breaker.failed(self._clock.monotonic())

    @staticmethod
    async def _every(pause_s: float, step: Any) -> None:
        while True:
            await asyncio.sleep(pause_s)
            try:
                await step()
            except Exception:  # the next turn must come whatever happened in this one
                log.exception("budgets: a turn of the background work failed")


def open_budgets(settings: Settings, clock: Clock, metrics: BudgetMetrics | None = None) -> Budgets:
    """Budgets in Redis where settings name one, else in this process. Opens nothing yet: ``await open()``.

    Raises ConfigError for a Redis URL of an unknown form.
    """
    store: Store
    if settings.redis:
        from gateway.budgets.redis_link import open_link  # the client costs 150 ms to import
        from gateway.budgets.redis_store import RedisStore

        store = RedisStore(open_link(settings.redis, settings.store_timeout_s))
    else:
        store = EmbeddedStore(clock, settings.state_dir)
    return Budgets(store, clock, workers=settings.workers, metrics=metrics)
