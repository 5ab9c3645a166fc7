"""The loop of one analysis worker: load what was kept, read, look, publish, keep; until told to stop.

Embedded, the worker holds the state folder's lock; shared, it holds the lease and stands by until it has it.
Heavy steps run in a thread, so that the lease is renewed and standings are saved meanwhile; snapshots are written by a
copy of the process (``aside``), so that reading goes on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gateway.analysis.analyzer import Analyzer
from gateway.analysis.config import AnalysisConfig
from gateway.clock import SystemClock
from gateway.errors import ConfigError, StoreError
from gateway.identity import load_hash_key
from gateway.policy import PolicyWatcher
from gateway.standing import StandingTable, open_standing
from gateway.tasks import end_tasks
from gateway.worker.core import AnalysisWorker, State
from gateway.worker.directory import AccountTraits
from gateway.worker.keeping import Keeper
from gateway.worker.snapshot import UPLOAD, SnapshotUnusable, clear_drafts, clear_uploads, read_snapshot
from gateway.worker.sources import FolderLock, Source, TailSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.clock import Clock
    from gateway.policy import PolicySet
    from gateway.settings import Settings
    from gateway.types import JSON

_log = logging.getLogger(__name__)

_LOOK_AT_FILES_S = 5.0
_TELL_EVERY_S = 2.0
_TRY_AGAIN_S = 0.5
_POLL_S = 2.0
"""How often files of standings are looked at: what people decide does not change what the analysis finds."""


@dataclass(slots=True, kw_only=True)
class Session:
    """One turn at leading: everything between loading the state and giving it up."""

    source: Source
    standing: StandingTable
    directory: AccountTraits
    policies: PolicyWatcher
    key: bytes
    snapshot: Path
    clock: Clock
    held: Callable[[], bool] = lambda: True
    tell: Callable[[dict[str, Any]], Any] | None = None
    worker: AnalysisWorker = field(init=False)
    keeper: Keeper = field(init=False)
    caught_up: bool = False
    error: str | None = None

    async def begin(self) -> None:
        """Load the last state, or none; make the source go on from there."""
        self.keeper = Keeper(self.source, self.snapshot, self.key, self.clock, self.held)
        clear_drafts(self.snapshot)
        state = await self._load()
        state.analyzer.configure(config_of(self.policies.current))
        self.worker = AnalysisWorker(state, self.standing, self.directory.of_event)
        self.worker.since_s = self.clock.now() - state.analyzer.config.horizon_s
        await asyncio.to_thread(lambda: self.worker.know(self.directory.read()))
        await self.source.open(state.position)

    async def _load(self) -> State:
        if await self.source.load(self.snapshot):
            try:
                state = await asyncio.to_thread(read_snapshot, self.snapshot, self.key)
            except SnapshotUnusable as error:
                _log.warning("snapshot_not_used", extra={"reason": str(error)})
                state = None
            if state is not None:
                _log.info("snapshot_loaded", extra={"observed": state.observed})
                return state
        _log.info("no_snapshot", extra={"reading": "the events from the oldest that is kept"})
        return State(analyzer=Analyzer(config_of(self.policies.current)))

    async def step(self) -> bool:
        """Read and look once; False where there was nothing to read.

        Verdicts are held back until the log was read to its end for the first time: what they say in the middle
        of it is old. Raises StoreError.
        """
        events = await self.source.read()
        if not self.held():
            return False
        if events:
            self.keeper.changed = True
            await asyncio.to_thread(self.worker.take, events)
        else:
            self.caught_up = True
            if self.worker.due(now_s := self.clock.now()):
                await asyncio.to_thread(self.worker.tick, now_s)
        if self.caught_up and self.held():
            self.publish()
        return bool(events)

    def publish(self) -> None:
        """Put verdicts that wait into the table of standings."""
        verdicts = self.worker.publish(self.clock.now())
        for verdict in verdicts:
            self.keeper.changed = True
            facts = {"cluster": verdict.cluster, "standing": verdict.level.value, "accounts": len(verdict.members)}
            _log.info("verdict", extra=facts)

    async def begin_to_keep(self) -> None:
        """Publish, save the standings, then take the state: so a state never knows of a verdict that was lost."""
        if self.caught_up:
            self.publish()
        await self.standing.flush()
        await self.keeper.begin(self.worker.state(self.source.position))

    async def keep(self) -> None:
        """The same, and wait until it is kept. Raises StoreError, SnapshotUnusable and OSError."""
        await self.begin_to_keep()
        await self.keeper.settle()

    async def look_at_files(self) -> None:
        """Take over a changed account directory or changed policies."""
        if self.policies.check_now():
            self.worker.analyzer.configure(config_of(self.policies.current))
        if self.directory.changed():
            await asyncio.to_thread(lambda: self.worker.know(self.directory.read()))

    def status(self) -> dict[str, JSON]:
        """What ``/api/status`` shows of the analysis."""
        return {
            "ok": self.error is None,
            "error": self.error,
            "caught_up": self.caught_up,
            "snapshot_at": self.keeper.kept_at_s or None,
            **self.worker.status(),
        }

    async def run(self, stop: asyncio.Event, *, once: bool = False) -> None:
        """Work until ``stop``, until the lead is lost, or, with ``once``, until nothing is left to read."""
        tell_at_s = look_at_s = 0.0
        while not stop.is_set() and self.held():
            try:
                went_on = await self.step()
                await self.keeper.settle(wait=False)
                if self.keeper.due():
                    await self.begin_to_keep()
                self.error = None
            except (StoreError, SnapshotUnusable, OSError) as error:
                self._fail(error)
                await _pause(stop, _TRY_AGAIN_S)
                continue
            if once and not went_on:
                break
            now_s = time.monotonic()
            if now_s >= look_at_s:
                look_at_s = now_s + _LOOK_AT_FILES_S
                await self.look_at_files()
            if self.tell is not None and now_s >= tell_at_s:
                tell_at_s = now_s + _TELL_EVERY_S
                await self._tell()
            if not went_on:
                await _pause(stop, self.source.idle_s)

    async def end(self) -> None:
        """Keep the state a last time, where this worker still leads."""
        if not self.held():
            await self.keeper.give_up()
        try:
            await self.keeper.settle()
            if self.held() and self.keeper.changed:
                await self.keep()
        except (StoreError, SnapshotUnusable, OSError) as error:
            self._fail(error)
        if self.tell is not None:
            await self._tell()

    async def _tell(self) -> None:
        assert self.tell is not None
        try:
            told = self.tell(self.status())
            if asyncio.iscoroutine(told):
                await told
        except (StoreError, OSError):
            return

    def _fail(self, error: Exception) -> None:
        """Say it once; events and verdicts wait where they are."""
        self.keeper.put_off()
        if self.error is None:
            _log.warning("analysis_store_away", extra={"reason": str(error)})
        self.error = str(error)


def config_of(policies: PolicySet) -> AnalysisConfig:
    """The analysis' settings as the policy files have them."""
    analysis = policies.analysis
    return AnalysisConfig(alpha=analysis.alpha, families=analysis.families, horizon_s=analysis.horizon_s)


async def run_worker(
    settings: Settings,
    stop: asyncio.Event,
    *,
    once: bool = False,
    tell: Callable[[dict[str, Any]], Any] | None = None,
    clock: Clock | None = None,
) -> None:
    """One worker, until ``stop``. Raises ConfigError for what the operator has to mend, StoreError at the start
    where Redis cannot be asked.
    """
    key = await asyncio.to_thread(load_hash_key, settings)
    policies = PolicyWatcher(settings.policies)
    clock = clock if clock is not None else SystemClock()
    work = _shared if settings.redis else _embedded
    await work(settings, stop, key=key, policies=policies, clock=clock, once=once, tell=tell)


async def _embedded(settings: Settings, stop: asyncio.Event, *, once: bool, tell: Any, **common: Any) -> None:
    folder = settings.state_dir / "analysis"
    lock = FolderLock(folder / "lock")
    while not lock.take():
        if once:
            raise ConfigError(f"{folder}: another worker reads this state folder; stop it, or leave it to it")
        if tell is not None:
            tell({"ok": True, "standby": True})
        await _pause(stop, _TRY_AGAIN_S)
        if stop.is_set():
            return
    try:
        await _lead(settings, stop, TailSource(settings.state_dir / "events"), once=once, tell=tell, **common)
    finally:
        lock.release()


async def _shared(settings: Settings, stop: asyncio.Event, *, once: bool, tell: Any, **common: Any) -> None:
    from gateway.worker.shared import GroupSource, Lease

    assert settings.redis is not None
    name = _worker_name()
    lease = Lease(settings.redis, name)
    folder = _snapshot_path(settings).parent
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    clear_uploads(folder, time.time())
    try:
        while not stop.is_set():
            try:
                leads = await lease.take()
            except StoreError as error:
                if once:
                    raise
                _log.warning("analysis_store_away", extra={"reason": str(error)})
                leads = False
            if not leads:
                if tell is not None:
                    tell({"ok": True, "standby": True})
                await _pause(stop, _TRY_AGAIN_S)
                continue
            _log.info("leading", extra={"worker": name})
            renewing = asyncio.create_task(lease.keep_taking(), name="analysis-lease")
            source = GroupSource(settings.redis, name)
            try:
                await _lead(
                    settings, stop, source, once=once, tell=_both(tell, source), held=lambda: lease.held, **common
                )
            except StoreError as error:
                if once:
                    raise
                _log.warning("lead_given_up", extra={"reason": str(error)})
            finally:
                await end_tasks([renewing])
            if once:
                return
    finally:
        try:
            await lease.release()
        except StoreError as error:
            _log.warning("lease_not_released", extra={"reason": str(error)})
        await lease.aclose()


async def _lead(settings: Settings, stop: asyncio.Event, source: Source, *, once: bool, **common: Any) -> None:
    """One session over ``source``, from loading to keeping."""
    key, clock = common["key"], common["clock"]
    standing = open_standing(settings, clock, poll_s=_POLL_S)
    await standing.start()
    session = Session(
        source=source,
        standing=standing,
        directory=AccountTraits(settings.accounts, key),
        snapshot=_snapshot_path(settings),
        **common,
    )
    try:
        await session.begin()
        await session.run(stop, once=once)
        await session.end()
    finally:
        if settings.redis:
            session.snapshot.unlink(missing_ok=True)
        await standing.stop()
        await source.aclose()


def _snapshot_path(settings: Settings) -> Path:
    """Where the state is kept; with Redis only on its way there, one file a process."""
    name = f"{UPLOAD}-{_worker_name()}" if settings.redis else "snapshot"
    return settings.state_dir / "analysis" / name


def _worker_name() -> str:
    """This process among those of all machines."""
    return f"{os.uname().nodename}-{os.getpid()}"


def _both(tell: Callable[[dict[str, Any]], Any] | None, source: Any) -> Callable[[dict[str, Any]], Any]:
    """Tell the parent, where there is one, and whoever looks into Redis."""
    import orjson

    async def told(status: dict[str, Any]) -> None:
        if tell is not None:
            tell(status)
        await source.tell(orjson.dumps(status))

    return told


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait, but not once ``stop`` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return
