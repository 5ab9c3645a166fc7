"""Counts kept as plain numbers until somebody looks at them.

The client library takes a lock and some ten calls for an increment. Here one is an addition; ``Pending.tell`` carries
what was counted since the last time over to the library: whenever its registry is collected, and where several workers
render each other's values also every now and then (``Metrics`` says when). One thread counts and tells.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import CollectorRegistry, Counter, Histogram
    from prometheus_client.metrics_core import Metric


class PendingCounter:
    """Add to ``value``, which is what the library does not know yet."""

    __slots__ = ("_child", "value")

    def __init__(self, child: Counter) -> None:
        self._child = child
        self.value: float = 0

    def tell(self) -> None:
        """Carry ``value`` over."""
        if self.value:
            self._child.inc(self.value)
            self.value = 0


class PendingHistogram:
    """Observations as counts a bucket and their sum."""

    __slots__ = ("_bounds", "_child", "_counts", "_some", "_sum")

    def __init__(self, child: Histogram) -> None:
        self._child = child
        self._bounds: list[float] = child._upper_bounds  # noqa: SLF001 - the library has no way to observe many at once
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0
        self._some = False

    def observe(self, value: float) -> None:
        """Count one observation; a bucket takes what is at most its bound."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value
        self._some = True

    def tell(self) -> None:
        """Carry what was observed over."""
        if not self._some:
            return
        child = self._child
        child._sum.inc(self._sum)  # noqa: SLF001 - as above
        for index, count in enumerate(self._counts):
            if count:
                child._buckets[index].inc(count)  # noqa: SLF001 - as above
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0
        self._some = False


class Pending(Collector):
    """All pending counts of a registry; made before its metrics, so that it is collected before them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._all: list[PendingCounter | PendingHistogram] = []
        registry.register(self)

    def counter(self, child: Counter) -> PendingCounter:
        """A counter to add to instead of ``child`` (a counter whose labels, if any, are given)."""
        made = PendingCounter(child)
        self._all.append(made)
        return made

    def histogram(self, child: Histogram) -> PendingHistogram:
        """A histogram to observe with instead of ``child``."""
        made = PendingHistogram(child)
        self._all.append(made)
        return made

    def tell(self) -> None:
        """Carry everything over."""
        for one in self._all:
            one.tell()

    def collect(self) -> Iterator[Metric]:
        """Nothing of its own: the metrics behind it are up to date then."""
        self.tell()
        return iter(())
