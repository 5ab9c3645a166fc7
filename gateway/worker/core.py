"""Feeds the analyzer and publishes its verdicts: no I/O of its own, driven by whoever reads the events.

Invariants: an event counts once (its id is remembered among the last ``SEEN_EVENTS``); passes happen in the
events' own time, so that reading a log again gives the same verdicts, and by the clock only when there is
nothing to read; a verdict that is published has a higher version than the one it replaces, also after a restart.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from gateway.standing.verdicts import encode_verdict
from gateway.worker.naming import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from gateway.analysis.analyzer import Analyzer
    from gateway.analysis.known import Known
    from gateway.standing import StandingTable
    from gateway.types import JSON, Event, Verdict

SEEN_EVENTS = 200_000
"""Ids remembered; several times what is read between two snapshots, and all that a worker could see twice."""


@dataclasses.dataclass(slots=True)
class State:
    """All that has to survive a kill; ``position`` is the source's own."""

    analyzer: Analyzer
    names: dict[str, str] = dataclasses.field(default_factory=dict)
    seen: list[str] = dataclasses.field(default_factory=list)
    held: list[Verdict] = dataclasses.field(default_factory=list)
    """Verdicts that wait to be published."""
    position: JSON = None
    observed: int = 0
    last_event_s: float = 0.0


class AnalysisWorker:
    """One analyzer and its table of standings. ``take`` may run in a thread; ``publish`` belongs to the event loop."""

    def __init__(self, state: State, standing: StandingTable, describe: Callable[[Event], Known] | None = None) -> None:
        """``describe`` gives what an event says of an account that no directory knows."""
        self.analyzer = state.analyzer
        self._describe = describe
        self.observed = state.observed
        self.last_event_s = state.last_event_s
        self.passes = 0
        self.published = 0
        self.since_s = 0.0
        """Older events are not entered: what a log that is read again holds from before the horizon."""
        self._names = Names(state.names)
        self._seen: OrderedDict[str, None] = OrderedDict.fromkeys(state.seen)
        self._standing = standing
        self._held: dict[str, Verdict] = {verdict.cluster: verdict for verdict in state.held}

    def know(self, rows: Iterable[tuple[str, Mapping[str, JSON]]]) -> None:
        """Enter traits of accounts of the directory."""
        for account, traits in rows:
            self.analyzer.know(account, traits)

    def take(self, events: Sequence[Event]) -> None:
        """Enter events in their order; what the passes between them find waits for ``publish``.

        Events without an account or without traits (refused early, exempt by policy) are skipped.
        """
        for event in events:
            if event.account is None or event.traits is None or event.id in self._seen or event.ts < self.since_s:
                continue
            self._seen[event.id] = None
            self.tick(event.ts)
            described = None
            if self._describe is not None and not self.analyzer.knows(event.account):
                described = self._describe(event)
            self.analyzer.observe(event.ts, event.account, event.traits, described)
            self.observed += 1
            self.last_event_s = max(self.last_event_s, event.ts)
        while len(self._seen) > SEEN_EVENTS:
            self._seen.popitem(last=False)

    def due(self, now_s: float) -> bool:
        """Whether ``tick`` has something to do."""
        return self.analyzer.due(now_s)

    def tick(self, now_s: float) -> None:
        """A pass if one is due. Call it with the clock's time only while there is nothing to read."""
        if self.analyzer.due(now_s):
            self.passes += 1
            self._held |= {verdict.cluster: verdict for verdict in self.analyzer.tick(now_s)}

    def publish(self, now_s: float) -> list[Verdict]:
        """Put what was found into the table of standings; returns it under its public names."""
        if not self._held:
            return []
        found, self._held = list(self._held.values()), {}
        held = {view.verdict.cluster: view.verdict for view in self._standing.clusters(now_s)}
        for verdict in found:  # all before any: one may have taken over another that is new, too
            self._names.of(verdict, held.values())
        verdicts = []
        for verdict in found:
            named = self._named(verdict, held)
            if not _same(named, held.get(named.cluster)):
                verdicts.append(named)
                held[named.cluster] = named
        self._standing.apply(verdicts)
        self.published += len(verdicts)
        return verdicts

    def state(self, position: JSON) -> State:
        """What to keep, given where the source is."""
        return State(
            analyzer=self.analyzer,
            names=dict(self._names.known),
            seen=list(self._seen),
            held=list(self._held.values()),
            position=position,
            observed=self.observed,
            last_event_s=self.last_event_s,
        )

    def status(self) -> dict[str, Any]:
        """For people and metrics."""
        return {
            "observed": self.observed,
            "last_event_at": self.last_event_s or None,
            "passes": self.passes,
            "published": self.published,
            "clusters": len(self._names.known),
        }

    def _named(self, verdict: Verdict, held: Mapping[str, Verdict]) -> Verdict:
        """The verdict under its public name, with a version above the one in the table."""
        name = self._names.of(verdict, held.values())
        merged = tuple(self._names.known[local] for local in verdict.replaces if local in self._names.known)
        old = held.get(name)
        version = max(verdict.version, old.version + 1 if old else 1)
        return dataclasses.replace(verdict, cluster=name, version=version, replaces=merged)


def _same(new: Verdict, old: Verdict | None) -> bool:
    """Whether a verdict says nothing that the table does not hold: a log that is read again repeats itself."""
    if old is None:
        return False
    return encode_verdict(dataclasses.replace(new, version=old.version)) == encode_verdict(old)
