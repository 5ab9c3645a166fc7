"""Guessing is slowed down; good keys behind the same address are not."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import ManualClock
from gateway.identity import failures as module
from gateway.identity.failures import FailureLimiter

HERE = "203.0.113.9"


def fail(limiter: FailureLimiter, count: int, block: str = HERE) -> None:
    for _ in range(count):
        limiter.failed(block)


@pytest.mark.parametrize(("failed", "blocked"), [(0, False), (1, False), (4, False), (5, True), (6, True)])
def test_the_limit_is_where_it_says(clock: ManualClock, failed: int, blocked: bool) -> None:
    limiter = FailureLimiter(clock, limit=5)
    fail(limiter, failed)
    assert limiter.blocks(HERE, b"c") is blocked
    assert limiter.blocks("203.0.113.10", b"c") is False
    assert limiter.refused == int(blocked)


def test_a_key_that_was_good_from_there_goes_on_while_guesses_are_refused(clock: ManualClock) -> None:
    limiter = FailureLimiter(clock, limit=2)
    limiter.succeeded(HERE, b"good")
    fail(limiter, 5)
    assert not limiter.blocks(HERE, b"good")
    assert limiter.blocks(HERE, b"other")
    limiter.succeeded("198.51.100.1", b"other")
    assert limiter.blocks(HERE, b"other"), "good elsewhere is not good here"


def test_the_time_to_wait_is_enough_and_not_too_much(clock: ManualClock) -> None:
    for burst_at_s in (0.0, 1.0, 30.0, 59.0):
        clock.advance(120.0 - clock.monotonic() % 60 + burst_at_s)
        limiter = FailureLimiter(clock, limit=10)
        fail(limiter, 10)
        wait_s = limiter.retry_after_s(HERE)
        assert 0 < wait_s <= 60.001
        clock.advance(max(0.0, wait_s - 0.01))
        assert limiter.blocks(HERE, b"c")
        clock.advance(0.02)
        assert not limiter.blocks(HERE, b"c")
        assert limiter.retry_after_s(HERE) == 0


def test_waiting_helps_also_where_two_windows_weigh(clock: ManualClock) -> None:
    limiter = FailureLimiter(clock, limit=10)
    clock.advance(60.0 - clock.monotonic() % 60)
    fail(limiter, 8)
    clock.advance(67.0)
    fail(limiter, 8)
    assert limiter.blocks(HERE, b"c")
    wait_s = limiter.retry_after_s(HERE)
    clock.advance(wait_s - 0.01)
    assert limiter.blocks(HERE, b"c")
    clock.advance(0.02)
    assert not limiter.blocks(HERE, b"c")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 4)), max_size=40))
def test_the_window_is_the_weighted_sum_of_two(steps: list[tuple[float, int]]) -> None:
    clock, counts, limit = ManualClock(0.0), dict[int, int](), 6
    limiter = FailureLimiter(clock, limit=limit)
    for advance_s, failed in steps:
        clock.advance(advance_s)
        for _ in range(failed):
            window, into_s = divmod(clock.monotonic(), 60)
            weight = counts.get(int(window) - 1, 0) * (60 - into_s) / 60 + counts.get(int(window), 0)
            assert limiter.blocks(HERE, b"c") is (weight >= limit)
            if math.floor(weight) < limit:
                counts[int(window)] = counts.get(int(window), 0) + 1
            limiter.failed(HERE)


def test_a_million_addresses_do_not_fill_the_memory(clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GOOD", 50)
    limiter = FailureLimiter(clock, limit=1)
    for number in range(module.MAX_ADDRESSES + 10):
        limiter.failed(f"block-{number}")
        limiter.succeeded(f"block-{number}", b"c")
    assert limiter.addresses == module.MAX_ADDRESSES
    assert not limiter.blocks("block-9", b"x"), "the oldest is forgotten"
    assert limiter.blocks("block-10", b"x")
    assert len(limiter._good) == 50
