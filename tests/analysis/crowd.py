"""Seeded accounts without texts: people, machines and an operator's pool, for what is found without content."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from random import Random
from typing import Any

from gateway.analysis.analyzer import Analyzer
from gateway.analysis.config import AnalysisConfig

DAY, HOUR = 86_400.0, 3_600.0
START = 1_800_000_000.0 - 1_800_000_000.0 % DAY
COUNTRIES = ("DE", "US", "IN", "BR", "FR")
SMALL = AnalysisConfig(phrase_slots_log2=16)
Event = tuple[float, str, dict[str, Any]]


@dataclass
class Crowd:
    """Accounts with directory traits and requests; ``days`` long."""

    seed: int
    days: int = 8
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = Random(self.seed)
        self._fresh = 10**6

    def value(self) -> int:
        """A value that nobody else shows."""
        self._fresh += 1
        return self._fresh

    def add(self, times: list[float], shown: dict[str, Any] | None = None, **known: Any) -> str:
        """An account with requests ``times`` seconds from the start."""
        rng, name = self.rng, f"a{len(self.known)}"
        country = rng.choice(COUNTRIES)
        base = {
            "country": country,
            "phone": country,
            "mail": rng.randint(1, 12) if rng.random() < 0.7 else self.value(),
            "created": START - rng.uniform(0, 300) * DAY,
            "snet": self.value(),
            "pay": self.value(),
        }
        self.known[name] = base | known
        program = rng.randint(1, 12)
        traits = {"net": self.value(), "ja4": 100 * program + rng.randint(0, 3), "prog": program} | (shown or {})
        self.events.extend((START + at, name, traits) for at in times)
        return name

    def some_days(self, since: float = 0.0) -> list[float]:
        """A person's times: every other day, a few questions within an hour or two of the day."""
        rng, at = self.rng, []
        hour = rng.uniform(7, 21)
        for day in range(int(since), self.days):
            if rng.random() < 0.5:
                at += [day * DAY + (hour + rng.uniform(0, 2)) * HOUR for _ in range(rng.randint(1, 4))]
        return at

    def every_day(self, since: float = 0.0, until: float | None = None, per_day: int = 6) -> list[float]:
        """Times spread over every day, as a queue or a machine has them."""
        rng, end = self.rng, self.days if until is None else until
        return [(since + (place + rng.random()) / per_day) * DAY for place in range(int((end - since) * per_day))]

    def people(self, count: int, **known: Any) -> set[str]:
        return {self.add(self.some_days(), **known) for _ in range(count)}

    def machines(self, count: int, shown: dict[str, Any] | None = None, **known: Any) -> set[str]:
        return {self.add(self.every_day(), shown, **known) for _ in range(count)}

    def pool(self, count: int, since: float, until: float | None = None, signs: Random | None = None) -> set[str]:
        """An operator's accounts: steady, each with some of the operator's sign-up and access values.

        ``signs`` decides what the operator's values are; the same ones make a second pool of the same operator.
        """
        rng, own = self.rng, signs or Random(self.seed + 1_000)
        mails, hours = ([own.randint(10**5, 10**6) for _ in range(max(3, count // 15))] for _ in range(2))
        prints, exits = ([own.randint(10**5, 10**6) for _ in range(size)] for size in (2, max(3, count // 10)))
        names = set()
        for _ in range(count):
            known: dict[str, Any] = {}
            shown: dict[str, Any] = {}
            if rng.random() < 0.6:
                known["mail"] = rng.choice(mails)
            if rng.random() < 0.6:
                known["created"] = START - HOUR * (rng.choice(hours) % 2_000) - rng.uniform(0, 1)
            if rng.random() < 0.5:
                shown["ja4"] = rng.choice(prints)
            if rng.random() < 0.4:
                shown["net"] = rng.choice(exits)
            begun = since + rng.uniform(0, 0.5)
            names.add(self.add(self.every_day(begun, until, per_day=6), shown, **known))
        return names

    def run(self, handed_on: int = 0) -> Analyzer:
        """The analyzer after everything; ``handed_on`` times from a worker to the next, by its snapshot."""
        analyzer, events = Analyzer(SMALL), sorted(self.events, key=lambda event: event[:2])
        for place, (ts, account, traits) in enumerate(events):
            if place % (len(events) // (handed_on + 1) + 1) == 0:
                analyzer = pickle.loads(pickle.dumps(analyzer)) if place else analyzer
                for name, known in self.known.items():
                    analyzer.know(name, known)
            if analyzer.due(ts):
                analyzer.tick(ts)
            analyzer.observe(ts, account, traits)
        analyzer.tick(START + self.days * DAY)
        return analyzer
