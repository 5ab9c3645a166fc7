"""The rooms of one gateway, opened together, in the order in which a request passes them.

Composition only: which store, sink and table the settings ask for. Opening happens once, in the running
event loop (at lifespan start-up, or with the first request where a server sends no lifespan).
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from gateway.afterwards import Afterwards
from gateway.budgets import BudgetMetrics, Estimator, open_budgets, self_test
from gateway.canary import Marker
from gateway.clock import Clock, SystemClock
from gateway.errors import ConfigError
from gateway.events import open_events
from gateway.identity import open_identities
from gateway.observer import RequestObserver
from gateway.pipeline import Pipeline
from gateway.policy import PolicySet, PolicyWatcher, UpstreamSpec
from gateway.recording import Recorder
from gateway.standing import open_standing
from gateway.tasks import end_tasks
from gateway.telemetry import Metrics
from gateway.worker.child import AnalysisChild

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.pipeline import Exchange
    from gateway.settings import Settings
    from gateway.types import JSON
    from gateway.worker.elsewhere import SharedAnalysis

log = logging.getLogger("gateway.rooms")

DEFAULT_UPSTREAM = "default"

_LAST_CALLS_S = 5.0
"""How long calls that were cut at shutdown may take to settle; a settlement is one call to the store."""

_TELL_EVERY_S = 5.0
_TOLD_AT_ONCE = 500
"""Calls looked at before others get their turn: about 2 ms."""


class Rooms:
    """Everything behind one guard; ``pipeline`` is there once ``start`` has returned."""

    pipeline: Pipeline
    policies: PolicyWatcher

    def __init__(self, settings: Settings, *, clock: Clock | None = None, workers_dir: Path | None = None) -> None:
        self.settings = settings
        self.clock = clock if clock is not None else SystemClock()
        self.metrics = Metrics(workers_dir=workers_dir)
        self._budget_metrics = BudgetMetrics(self.metrics.registry, self.metrics.uncharged, self.metrics.pending)
        self.draining = False
        self._calls: set[Exchange] = set()
        self._idle: asyncio.Event | None = None
        """Made when the last call is waited for."""
        self._opening: asyncio.Task[None] | None = None
        self._closing: AsyncExitStack | None = None
        self._upstreams: dict[str, UpstreamSpec] = {}
        self.analysis: AnalysisChild | SharedAnalysis | None = None
        self.recorder: Recorder | None = None
        self.over = Afterwards(self._look, self._write_down)
        """What is over and was not written down yet."""

    @property
    def is_open(self) -> bool:
        """Whether ``start`` has nothing to do."""
        return self._closing is not None

    async def start(self) -> None:
        """Open the rooms; at once where they are open.

        Raises ConfigError or FileErrors for what the operator has to mend, StoreError where Redis cannot be
        asked: to every caller alike. What was opened is closed again, and the next call tries anew.
        """
        if self._closing is not None:
            return
        opening = self._opening
        if opening is None:
            opening = self._opening = asyncio.get_running_loop().create_task(self._open())
        try:
            await asyncio.shield(opening)
        finally:
            if opening.done():
                self._opening = None

    async def _open(self) -> None:
        async with AsyncExitStack() as stack:
            self.pipeline = await self._open_pipeline(stack)
            watching = asyncio.get_running_loop().create_task(self.policies.run())
            telling = asyncio.get_running_loop().create_task(self._tell_flows())
            stack.push_async_callback(end_tasks, [watching, telling])
            self._start_analysis(stack)
            await self._start_recording(stack)
            self._closing = stack.pop_all()
        self.metrics.watch("standing", self.standing.status)
        self.metrics.watch("budgets", self.budgets.status)
        self.metrics.watch("events", self._events_status)
        log.info("ready", extra={"policy": self.policies.current.hash, "strict": self.identities.strict})

    def _start_analysis(self, stack: AsyncExitStack) -> None:
        """Where state is embedded the analysis is our child; where it is shared we look how it goes. Nothing waits."""
        settings = self.settings
        if settings.redis and settings.analysis is not False:
            from gateway.worker.elsewhere import SharedAnalysis  # the client costs 150 ms to import

            self.analysis = SharedAnalysis(settings.redis)
            stack.push_async_callback(self.analysis.aclose)
        elif settings.analysis and not settings.redis:
            self.analysis = AnalysisChild(settings)
            stack.push_async_callback(asyncio.to_thread, self.analysis.stop)
        else:
            return
        self.analysis.start()
        self.metrics.watch("analysis", self.analysis.status)

    async def _start_recording(self, stack: AsyncExitStack) -> None:
        """Record live traffic where the settings name a folder; the policies in force say what is kept."""
        if self.settings.record is None:
            return
        key, policies = self.identities.hash_key, self.policies
        self.recorder = await asyncio.to_thread(
            Recorder, self.settings.record, key, self.clock, lambda: policies.current.parts.recording
        )
        stack.push_async_callback(asyncio.to_thread, self.recorder.close)
        self.metrics.watch("recording", self.recorder.status)

    async def _open_pipeline(self, stack: AsyncExitStack) -> Pipeline:
        """Open room after room; each is closed by ``stack``, the last one first."""
        settings, clock = self.settings, self.clock
        self.policies = PolicyWatcher(
            settings.policies,
            settings.reload_interval_s,
            on_change=self._policies_changed,
            on_error=self._policies_wrong,
            clock=clock,
        )
        if problems := self_test(self.policies.current.budgets):
            raise ConfigError("policies: got budgets that cannot refuse: " + "; ".join(problems))
        self._policies_changed(self.policies.current)
        self.identities = await asyncio.to_thread(open_identities, settings, clock)
        stack.push_async_callback(self.identities.stop)
        await self.identities.start()
        marker = await asyncio.to_thread(_open_marker, settings, clock)
        if marker is not None:
            stack.push_async_callback(asyncio.to_thread, marker.close)
        self.standing = open_standing(settings, clock)
        stack.push_async_callback(self.standing.stop)
        await self.standing.start()
        self.events = open_events(settings, clock)
        stack.push_async_callback(self.events.aclose)
        self.budgets = open_budgets(settings, clock, self._budget_metrics)
        stack.push_async_callback(self.budgets.aclose)
        await self.budgets.open()
        return Pipeline(
            identities=self.identities,
            policies=self.policies,
            standing=self.standing,
            budgets=self.budgets,
            estimator=Estimator(),
            events=self.events,
            metrics=self.metrics,
            clock=clock,
            observer=RequestObserver(self.identities.hash_key, self.standing),
            marker=marker,
            hash_address=self.identities.hash_address,
        )

    async def stop(self) -> None:
        """Wait for the last calls, settle, flush and close; safe to call twice or before ``start``."""
        self.draining = True
        if self._closing is None:
            return
        closing, self._closing = self._closing, None
        try:
            async with asyncio.timeout(_LAST_CALLS_S):
                while self._calls:
                    self._idle = asyncio.Event()
                    await self._idle.wait()
        except TimeoutError:
            log.warning("calls still open at shutdown", extra={"calls": len(self._calls)})
        self.over.flush()
        await closing.aclose()

    def begin(self, exchange: Exchange) -> None:
        """A call has come in."""
        self._calls.add(exchange)
        self.metrics.began()

    async def end(self, exchange: Exchange) -> None:
        """A call is over: settle, have it written down."""
        try:
            await self.pipeline.settle(exchange)
        finally:
            exchange.ended_s = self.clock.monotonic()
            self.over.add(exchange)
            self._calls.discard(exchange)
            if self._idle is not None and not self._calls:
                self._idle.set()

    def _look(self, exchange: Exchange) -> None:
        self.pipeline.look(exchange)

    def _write_down(self, exchange: Exchange) -> None:
        try:
            self.pipeline.write_down(exchange)
            if self.recorder is not None:
                self.recorder.record(exchange)
        finally:
            self.metrics.ended()

    async def flush(self) -> None:
        """Write down what is over, and return when that is durable (see ``events.interface``)."""
        self.over.flush()
        await self.events.flush()

    def _events_status(self) -> dict[str, JSON]:
        """With all that is over written down: a page of metrics counts every reply that was given before it."""
        self.over.flush()
        return self.events.status()

    async def _tell_flows(self) -> None:
        """Tell the budgets every now and then what has flowed: what is charged if this process is killed."""
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            for number, exchange in enumerate(list(self._calls)):
                self.pipeline.tell_flow(exchange)
                if number % _TOLD_AT_ONCE == _TOLD_AT_ONCE - 1:
                    await asyncio.sleep(0)

    def upstream_of(self, exchange: Exchange) -> UpstreamSpec | None:
        """The upstream that the plan (or the passed-through route) chose; ``None`` where it has no URL."""
        if exchange.plan is not None:
            return self._upstreams.get(exchange.plan.upstream)
        if exchange.pass_through is not None:
            return self._upstreams.get(exchange.pass_through.upstream)
        return None

    @property
    def upstreams(self) -> tuple[str, ...]:
        """Names of the upstreams that have a URL."""
        return tuple(self._upstreams)

    def upstream_credential(self, exchange: Exchange) -> bytes:
        """What stands in for the caller's key at the upstream: the upstream's own, or the settings'."""
        spec = self.upstream_of(exchange)
        return ((spec.api_key if spec else None) or self.settings.upstream_api_key).encode()

    def not_ready(self) -> list[str]:
        """Why no traffic should come here; empty when ready."""
        if self.draining:
            return ["draining: the gateway is shutting down"]
        if self._closing is None:
            return ["starting: the rooms are not open yet"]
        if not self.budgets.status()["ok"]:
            return ["store: the budgets' store cannot be asked; each budget's on_store_error decides"]
        if self.identities.keys_outlived:
            return ["keys: the key store is away for too long; keys are refused, as they may have been revoked"]
        return []

    def status(self) -> dict[str, object]:
        """What ``/api/status`` shows."""
        reasons = self.not_ready()
        if self._closing is None:
            return {"ready": False, "reasons": reasons}
        return {
            "ready": not reasons,
            "reasons": reasons,
            "active_requests": len(self._calls),
            "policy": {
                "hash": self.policies.current.hash,
                "generation": self.policies.generation,
                "loaded_at": self.policies.loaded_at,
                "error": self.policies.error,
            },
            "upstreams": {name: spec.url for name, spec in self._upstreams.items()},
            "identity": self.identities.status(),
            "budgets": self.budgets.status(),
            "events": self.events.status(),
            "standing": self.standing.status(),
            "recording": self.recorder.status() if self.recorder is not None else {"state": "off"},
            "analysis": self.analysis.status() if self.analysis is not None else {"state": "off"},
        }

    def _policies_changed(self, policies: PolicySet) -> None:
        """Resolve the upstreams anew: one without a URL of its own is the one that ``--upstream`` names."""
        specs = dict(policies.upstreams)
        specs.setdefault(DEFAULT_UPSTREAM, UpstreamSpec(name=DEFAULT_UPSTREAM))
        urls = {name: spec.url or self.settings.upstream for name, spec in specs.items()}
        self._upstreams = {name: dataclasses.replace(specs[name], url=url) for name, url in urls.items() if url}
        self.metrics.policy_loaded(policies.hash)
        log.info("policies in force", extra={"policy": policies.hash})

    def _policies_wrong(self, why: str) -> None:
        self.metrics.policy_reload_failed()
        log.error("policies not taken over; the last good set stays in force", extra={"error": why})


def _open_marker(settings: Settings, clock: Clock) -> Marker | None:
    """The keyring of this gateway: the given one; else, where the state is its own, one in the state folder.

    Gateways that share their state must share a keyring too, which only the operator can give them.
    """
    if settings.keyring is not None:
        return Marker(settings.keyring, clock, ledger=settings.ledger)
    if settings.redis:
        log.warning("no --keyring: replies are not marked, whatever the policies say")
        return None
    return Marker(settings.state_dir / "keyring.json", clock, make=True, ledger=settings.ledger)
