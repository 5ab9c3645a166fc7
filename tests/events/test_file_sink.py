from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from gateway.clock import SystemClock
from gateway.events import FileSink, list_segments, open_events, read_events
from gateway.events.segments import Limits, Segments
from gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from gateway.types import Event

CHILD = """
import sys, time
from pathlib import Path
from gateway.clock import SystemClock
from gateway.events import FileSink
from gateway.types import Event, Outcome
sink = FileSink(Path(sys.argv[1]), SystemClock())
number = 0
while sys.stdin.buffer.read(1):
    event = Event(id=str(number), ts=time.time(), outcome=Outcome.ANSWERED, family="openai", route="r", status=200,
                  traits={"pad": "x" * 2000})
    sink.append(event)
    sum(range(20_000))  # what else a request costs: some 3,000 a second, about what one worker can answer
    sys.stdout.write(f"{event.ts!r}\\n")
    sys.stdout.flush()
    number += 1
"""


@pytest.fixture
async def sink(tmp_path: Path) -> AsyncIterator[FileSink]:
    made = FileSink(tmp_path, SystemClock(), buffer_events=3)
    yield made
    await made.aclose()


def kept(folder: Path) -> list[Event]:
    return [event for path in list_segments(folder) for event in read_events(path)]


def killed_writer(folder: Path) -> tuple[list[float], float]:
    """Times of the events that a process appended before it was killed, and when that was."""
    command = [sys.executable, "-c", CHILD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        times: list[float] = []
        while not times or times[-1] - times[0] < 0.4:
            child.stdin.write(b".")
            child.stdin.flush()
            times.append(float(child.stdout.readline()))
        killed_at = time.time()
        os.kill(child.pid, signal.SIGKILL)
    return times, killed_at


def test_a_kill_loses_at_most_the_last_100_ms_and_corrupts_nothing(tmp_path: Path) -> None:
    ages = []
    for attempt in range(3):  # the median: a machine that is busy elsewhere may stop any one writer for a while
        folder = tmp_path / str(attempt)
        times, killed_at = killed_writer(folder)
        events = kept(folder)
        assert [event.id for event in events] == [str(number) for number in range(len(events))]
        assert [event.ts for event in events] == times[: len(events)]
        lost = times[len(events) :]
        ages.append(killed_at - lost[0] if lost else 0.0)
    assert statistics.median(ages) <= 0.1


async def test_a_new_process_packs_what_a_killed_one_left_and_adds_nothing_to_it(
    tmp_path: Path, make_event: Callable[..., Event]
) -> None:
    (tmp_path / "events").mkdir()
    old = tmp_path / "events" / "events-20260221T000000-7.ndjson"
    old.write_bytes(b'{"v":1,"id":"old","ts":1,"outcome":"failed","family":"openai","route":"r","status":500}\n{"v":1,')
    sink = open_events(Settings(state_dir=tmp_path), SystemClock())
    sink.append(make_event(1))
    await sink.aclose()
    packed, new = list_segments(tmp_path / "events")
    assert packed.name == "events-20260221T000000-7.ndjson.zst"
    assert [event.id for event in read_events(packed)] == ["old"]
    assert [event.id for event in read_events(new)] == ["r1"]


async def test_flush_means_that_it_is_there(sink: FileSink, tmp_path: Path, make_event: Callable[..., Event]) -> None:
    sink.append(make_event(1))
    await sink.flush()
    assert kept(tmp_path) == [make_event(1)]
    await sink.flush()
    assert sink.status() == {"store": "files", "ok": True, "error": None, "appended": 1, "dropped": 0, "waiting": 0}


@pytest.mark.parametrize(("appended", "dropped"), [(2, 0), (3, 0), (4, 1), (9, 6)])
async def test_a_disk_that_hangs_costs_events_and_is_counted_but_never_waited_for(
    sink: FileSink, tmp_path: Path, make_event: Callable[..., Event], appended: int, dropped: int
) -> None:
    with sink._lock:  # the writer is inside a write that does not return
        for number in range(appended):
            sink.append(make_event(number))
        assert sink.status()["dropped"] == dropped
    await sink.flush()
    assert [event.id for event in kept(tmp_path)] == [f"r{number}" for number in range(appended - dropped)]


async def test_a_disk_that_was_full_gets_all_events_in_order_when_it_is_not(
    sink: FileSink, tmp_path: Path, make_event: Callable[..., Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Segments, "write", full)
        sink.append(make_event(1))
        sink.append(make_event(2))
        await sink.flush()
        status = sink.status()
        assert (status["ok"], status["error"]) == (False, f"No space left on device ({tmp_path})")
    sink.append(make_event(3))
    await sink.flush()
    assert [event.id for event in kept(tmp_path)] == ["r1", "r2", "r3"]
    assert sink.status()["ok"]


async def test_a_disk_that_is_full_to_the_end_loses_events_loudly(
    sink: FileSink,
    make_event: Callable[..., Event],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Segments, "write", full)
    for number in range(2):
        sink.append(make_event(number))
    await sink.flush()
    sink.append(make_event(2))
    await sink.aclose()
    assert sink.status()["dropped"] == 3
    assert [record.count for record in caplog.records if record.message == "events_lost"] == [3]  # type: ignore[attr-defined]


async def test_an_event_that_json_cannot_say_costs_itself_alone(
    sink: FileSink, tmp_path: Path, make_event: Callable[..., Event]
) -> None:
    sink.append(make_event(1))
    sink.append(make_event(2, traits={"bad": object()}))
    sink.append(make_event(3))
    await sink.flush()
    assert [event.id for event in kept(tmp_path)] == ["r1", "r3"]
    assert sink.status()["dropped"] == 1


async def test_what_comes_after_the_end_is_counted_as_dropped(sink: FileSink, make_event: Callable[..., Event]) -> None:
    await sink.aclose()
    sink.append(make_event(1))
    assert sink.status()["dropped"] == 1


async def test_closing_writes_what_waits(sink: FileSink, tmp_path: Path, make_event: Callable[..., Event]) -> None:
    for number in range(3):
        sink.append(make_event(number))
    await sink.aclose()
    await sink.aclose()
    assert len(kept(tmp_path)) == 3


async def test_rotation_packs_in_the_background_and_keeps_every_event(
    tmp_path: Path, make_event: Callable[..., Event]
) -> None:
    sink = FileSink(tmp_path, SystemClock(), limits=Limits(segment_bytes=2_000))
    for number in range(50):
        sink.append(make_event(number))
        if number % 10 == 9:
            await sink.flush()
    await sink.aclose()
    assert [event.id for event in kept(tmp_path)] == [f"r{number}" for number in range(50)]
    assert len(list_segments(tmp_path)) > 3


def test_the_log_holds_one_json_object_a_line(tmp_path: Path) -> None:
    times, _ = killed_writer(tmp_path)
    (path,) = list_segments(tmp_path)
    rows = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    assert [row["ts"] for row in rows] == times[: len(rows)]


async def test_event_files_beyond_what_the_operator_keeps_are_removed(
    tmp_path: Path, make_event: Callable[..., Event]
) -> None:
    (tmp_path / "events").mkdir()
    old = tmp_path / "events" / "events-20200101T000000-7.ndjson"
    old.write_bytes(b"x\n")
    sink = open_events(Settings(state_dir=tmp_path, events_keep_bytes=0), SystemClock())
    sink.append(make_event(1))
    await sink.aclose()
    assert [path.suffix for path in list_segments(tmp_path / "events")] == [".ndjson"]
    assert not old.exists()
