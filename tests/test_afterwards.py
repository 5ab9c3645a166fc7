"""What is over is written down in order, soon, once, and whatever one of them does."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

import pytest

from gateway.afterwards import MOST, WAIT_S, Afterwards
from gateway.exchange import Exchange


class Over:
    """As much of an exchange as is looked at here."""

    def __init__(self, number: int) -> None:
        self.id = f"req_{number}"


def over(count: int) -> list[Exchange]:
    return [cast("Exchange", Over(number)) for number in range(count)]


class Steps:
    """Two steps that remember whom they saw; the first fails for some."""

    def __init__(self, fails: frozenset[str] = frozenset()) -> None:
        self.seen: list[tuple[str, str]] = []
        self._fails = fails

    def look(self, exchange: Exchange) -> None:
        self.seen.append(("look", exchange.id))
        if exchange.id in self._fails:
            raise LookupError(exchange.id)

    def write(self, exchange: Exchange) -> None:
        self.seen.append(("write", exchange.id))

    @property
    def written(self) -> list[str]:
        return [name for step, name in self.seen if step == "write"]


def timers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, Any]]:
    """The timers that are set from now on; none runs by itself."""
    found: list[tuple[float, Any]] = []
    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda delay, call: found.append((delay, call)))
    return found


async def test_as_many_as_fit_into_one_go_are_written_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    steps, timed = Steps(), timers(monkeypatch)
    afterwards = Afterwards(steps.look, steps.write)
    for exchange in over(MOST - 1):
        afterwards.add(exchange)
    assert steps.seen == []
    afterwards.add(over(MOST)[-1])
    ids = [f"req_{number}" for number in range(MOST)]
    assert steps.seen == [("look", name) for name in ids] + [("write", name) for name in ids]
    assert [delay for delay, _ in timed] == [WAIT_S]  # one for all


async def test_a_single_request_waits_for_the_timer_only_and_the_next_sets_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps, timed = Steps(), timers(monkeypatch)
    afterwards = Afterwards(steps.look, steps.write)
    for number, exchange in enumerate(over(2)):
        afterwards.add(exchange)
        assert len(timed) == number + 1
        timed[-1][1]()
        assert len(steps.written) == number + 1


async def test_a_timer_that_comes_after_a_flush_finds_what_came_since(monkeypatch: pytest.MonkeyPatch) -> None:
    steps, timed = Steps(), timers(monkeypatch)
    afterwards = Afterwards(steps.look, steps.write)
    first, second = over(2)
    afterwards.add(first)
    afterwards.flush()
    afterwards.add(second)
    assert (steps.written, len(timed)) == (["req_0"], 1)
    timed[0][1]()
    assert steps.written == ["req_0", "req_1"]
    afterwards.flush()
    assert steps.written == ["req_0", "req_1"]


async def test_one_that_cannot_be_looked_at_is_written_and_so_are_those_behind_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    steps = Steps(frozenset({"req_1"}))
    afterwards = Afterwards(steps.look, steps.write)
    with caplog.at_level(logging.ERROR, "gateway.afterwards"):
        for exchange in over(3):
            afterwards.add(exchange)
        afterwards.flush()
    assert steps.written == ["req_0", "req_1", "req_2"]
    assert [record.message for record in caplog.records] == ["request not written down"]
