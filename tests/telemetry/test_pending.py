"""Counts that wait to be told, against the client library's own."""

from __future__ import annotations

import random

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import generate_latest

from gateway.telemetry.pending import Pending

BOUNDS = (0.1, 1.0, 10.0)


def test_whoever_collects_the_registry_sees_what_was_counted() -> None:
    registry = CollectorRegistry()
    count = Pending(registry).counter(Counter("c", "C.", registry=registry))
    for expected in (1, 2, 3):
        count.value += 1
        assert registry.get_sample_value("c_total") == expected
    assert registry.get_sample_value("c_total") == 3  # told once


@pytest.mark.parametrize("seed", range(20))
def test_observations_are_those_that_the_library_would_have_made(seed: int) -> None:
    rng = random.Random(seed)
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    pending = Pending(ours).histogram(Histogram("h", "H.", buckets=BOUNDS, registry=ours))
    library = Histogram("h", "H.", buckets=BOUNDS, registry=theirs)
    for _ in range(50):
        value = rng.choice((0.0, 0.1, 0.1000001, 1.0, 10.0, 11.0, rng.uniform(0, 20)))
        pending.observe(value)
        library.observe(value)
        if rng.random() < 0.2:
            generate_latest(ours)
    for bound in ("0.1", "1.0", "10.0", "+Inf"):
        found, expected = (registry.get_sample_value("h_bucket", {"le": bound}) for registry in (ours, theirs))
        assert found == expected
    found, expected = (registry.get_sample_value("h_sum") for registry in (ours, theirs))
    assert found == pytest.approx(expected)
    assert ours.get_sample_value("h_count") == 50
