"""The table that closes the loop: the request path asks it, the analysis and people fill it.

Reading is in memory and never waits. Two tasks keep it true: one follows the store, one saves what was applied
here. While the store is away the table goes on with what it knows, until that expires. Leaves out: who decides
(room ``analysis``), what a level means for a request (room ``policy``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from gateway.errors import StoreError
from gateway.standing.book import Book, ClusterView
from gateway.standing.overrides import Override, SubjectKind, Verb
from gateway.standing.store import MemoryStore, StandingStore
from gateway.tasks import end_tasks
from gateway.types import Level, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.clock import Clock
    from gateway.standing.store import Changes
    from gateway.types import JSON

KEEP_EXPIRED_S = 90 * 86_400.0
"""How long a cluster stays in lists after its verdict ended: as long as events are kept."""
_TRY_AGAIN_S = 0.5
_log = logging.getLogger(__name__)


class StandingTable:
    """Standings of accounts. ``apply`` and ``of`` work without ``start`` too: then nothing is kept or followed."""

    def __init__(self, store: StandingStore | None = None, clock: Clock | None = None) -> None:
        self._store: StandingStore = store or MemoryStore()
        self._clock = clock
        self._book = Book()
        self.of = self._book.of
        """``of(account, now_s) -> Standing``, about 0.3 µs."""
        self._mine: dict[str, Verdict] = {}
        self._unsaved: dict[str, Verdict] = {}
        self._save_wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._error: str | None = None

    @property
    def version(self) -> int:
        """Grows with every change."""
        return self._book.version

    async def start(self) -> None:
        """Read the store once (an absent store is reported by ``status``), then follow it."""
        with contextlib.suppress(StoreError):
            await self.refresh()
        self._tasks = [
            asyncio.create_task(self._follow_always(), name="standing-follow"),
            asyncio.create_task(self._save_always(), name="standing-save"),
        ]

    async def stop(self) -> None:
        """Save what is not saved, end the tasks, close the store."""
        await end_tasks(self._tasks)
        self._tasks = []
        with contextlib.suppress(StoreError):
            await self.flush()
        await self._store.aclose()

    def apply(self, verdicts: Iterable[Verdict]) -> None:
        """Take over verdicts of the analysis; in force at once, saved soon after."""
        for verdict in self._book.add_verdicts(verdicts):
            self._mine[verdict.cluster] = self._unsaved[verdict.cluster] = verdict
        if self._unsaved:
            self._save_wake.set()

    async def override(
        self,
        verb: Verb,
        kind: SubjectKind,
        subject: str,
        *,
        who: str,
        why: str,
        until: float | None = None,
        now_s: float,
    ) -> Override:
        """Record what a person decided; in force here at once, elsewhere within 0.5 s.

        Raises KeyError where the cluster is not known, ValueError where a reason or name is missing or
        ``until`` is not a time to come, StoreError where it could not be recorded (and is not in force).
        """
        if not who.strip() or not why.strip():
            raise ValueError("got an empty name or reason, expected who decides and why")
        if until is not None and until <= now_s:
            raise ValueError("got an end that has passed, expected a time to come")
        members: tuple[str, ...] = ()
        if kind is SubjectKind.CLUSTER:
            view = self._book.cluster(subject, now_s)
            if view is None:
                raise KeyError(subject)
            members = view.members
        old = self._book.override_of(kind, subject)
        at = max(now_s, old.at + 1e-6) if old else now_s  # a clock set back must not make the newest one lose
        override = Override(
            verb=verb, kind=kind, subject=subject, who=who, why=why, at=at, until=until, members=members
        )
        await self._store.record(override)
        self._book.add_overrides([override])
        return override

    def clusters(self, now_s: float) -> list[ClusterView]:
        """Every cluster that is known."""
        return self._book.clusters(now_s)

    def cluster(self, name: str, now_s: float) -> ClusterView | None:
        """One cluster, or ``None``."""
        return self._book.cluster(name, now_s)

    def overrides(self) -> list[Override]:
        """The override in force or ended last, for each subject; oldest first."""
        return self._book.overrides()

    def enforced(self, now_s: float) -> list[ClusterView]:
        """The clusters that stand at ``suspect`` or above."""
        return [view for view in self._book.clusters(now_s) if view.level.rank >= Level.SUSPECT.rank]

    def enforced_verdicts(self, now_s: float) -> list[Verdict]:
        """The verdicts on these: their signatures are what the request path looks for."""
        return self._book.enforced_verdicts(now_s)

    async def audit(self) -> list[Override]:
        """Every override ever recorded, oldest first. Raises StoreError."""
        return sorted((await self._store.read()).overrides, key=lambda override: override.order)

    async def refresh(self) -> None:
        """Read the whole store now. Raises StoreError."""
        try:
            self._take(await self._store.read())
        except StoreError as error:
            self._fail(error)
            raise

    async def flush(self) -> None:
        """Save now what was applied here. Raises StoreError; what was not saved is tried again later."""
        batch = dict(self._unsaved)
        if not batch:
            return
        try:
            await self._store.save(list(batch.values()))
        except StoreError as error:
            self._fail(error)
            raise
        for name, verdict in batch.items():
            if self._unsaved.get(name) is verdict:
                del self._unsaved[name]

    def status(self) -> dict[str, JSON]:
        """For /readyz, /api/status and metrics."""
        return {
            "store": self._store.name,
            "ok": self._error is None,
            "error": self._error,
            "clusters": len(self._book.verdicts()),
            "overrides": len(self._book.overrides()),
            "unsaved": len(self._unsaved),
        }

    def _take(self, changes: Changes) -> None:
        """Learn from the store; put back what it lost of what was applied here."""
        self._error = None
        self._book.add_verdicts(changes.verdicts)
        self._book.add_overrides(changes.overrides)
        if changes.whole and self._mine:
            held = {verdict.cluster: verdict.version for verdict in changes.verdicts}
            lost = {name: own for name, own in self._mine.items() if held.get(name, -1) < own.version}
            if lost:
                self._unsaved |= lost
                self._save_wake.set()

    async def _follow_always(self) -> None:
        while True:
            try:
                async with contextlib.aclosing(self._store.follow()) as stream:  # type: ignore[type-var]
                    async for changes in stream:
                        self._take(changes)
            except StoreError as error:
                self._fail(error)
            await asyncio.sleep(_TRY_AGAIN_S)

    async def _save_always(self) -> None:
        while True:
            await self._save_wake.wait()
            self._save_wake.clear()
            try:
                await self.flush()
                await self._forget()
            except StoreError:
                await asyncio.sleep(_TRY_AGAIN_S)
                self._save_wake.set()

    async def _forget(self) -> None:
        """Drop what ended long ago, here and in the store."""
        if self._clock is None:
            return
        ended = self._book.forget(self._clock.now() - KEEP_EXPIRED_S)
        for name in ended:
            self._mine.pop(name, None)
        if ended:
            await self._store.forget(ended)

    def _fail(self, error: StoreError) -> None:
        if self._error is None:
            _log.warning("standing_store_away", extra={"reason": str(error)})
        self._error = str(error)
