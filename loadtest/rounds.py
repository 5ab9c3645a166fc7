"""Rounds: measure several servers in alternation, reject what collapsed, report medians.

A figure of one server stands beside the others' from the same minutes, because a busy machine makes all of
them dearer. A round in which something failed, or in which the measured process did not get the processor, says
nothing about the server: it is thrown away and repeated, never averaged in.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_REPEATS = 3
"""How often a collapsed round is repeated; after that the scenario has no figure."""


class CollapsedError(Exception):
    """A round that must not be counted, with the reason."""


@dataclass(slots=True)
class Rounds:
    """Figures by server and name, every round's kept."""

    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    rejected: list[str] = field(default_factory=list)

    def take(self, count: int, measures: Mapping[str, Callable[[], Mapping[str, float]]]) -> None:
        """``count`` rounds of every measure, alternating."""
        for _ in range(count):
            for server, measure in measures.items():
                self._once(server, measure)

    def _once(self, server: str, measure: Callable[[], Mapping[str, float]]) -> None:
        for _ in range(MAX_REPEATS):
            try:
                found = measure()
            except CollapsedError as collapsed:
                self.rejected.append(f"{server}: {collapsed}")
                continue
            for name, value in found.items():
                self.figures.setdefault(server, {}).setdefault(name, []).append(value)
            return

    def median(self, server: str, name: str) -> float | None:
        """The median over rounds; ``None`` where every round collapsed."""
        values = self.figures.get(server, {}).get(name)
        return statistics.median(values) if values else None

    def ratio(self, server: str, other: str, name: str) -> float | None:
        """How many times ``other``'s figure ``server``'s is."""
        one, two = self.median(server, name), self.median(other, name)
        return one / two if one is not None and two else None

    def as_json(self) -> dict[str, Any]:
        """Raw figures, medians and what was rejected."""
        medians = {
            server: {name: self.median(server, name) for name in names} for server, names in self.figures.items()
        }
        return {"rounds": self.figures, "medians": medians, "rejected": self.rejected}
