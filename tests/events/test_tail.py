from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import FileErrors
from gateway.events import EventTail, encode
from gateway.events.segments import pack_finished

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.types import Event

    MakeEvent = Callable[..., Event]


@pytest.fixture
def add(tmp_path: Path, make_event: MakeEvent) -> Callable[[int, str], Path]:
    """Adds the events of these numbers to a segment of a day."""

    def write(day: int, numbers: str) -> Path:
        path = tmp_path / f"events-2026022{day}T000000-7.ndjson"
        with path.open("ab") as file:
            for number in numbers:
                file.write(encode(make_event(int(number))) + b"\n")
        return path

    return write


def numbers(events: list[Event]) -> str:
    return "".join(event.id[1:] for event in events)


def test_every_event_is_read_once_over_rotation_packing_and_restarts(tmp_path: Path, add: Callable[..., Path]) -> None:
    tail = EventTail(tmp_path)
    assert tail.read() == []
    add(1, "01")
    assert numbers(tail.read()) == "01"
    add(1, "2")
    add(2, "3")
    assert numbers(tail.read()) == "23"
    again = EventTail(tmp_path, tail.position)
    assert again.read() == []
    add(2, "4")
    pack_finished(tmp_path)
    assert numbers(again.read()) == "4"
    assert again.read() == []
    add(3, "5")
    assert numbers(EventTail(tmp_path, again.position).read()) == "5"
    assert numbers(EventTail(tmp_path).read()) == "012345"


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6, 7])
def test_a_limit_splits_the_log_without_loss(tmp_path: Path, add: Callable[..., Path], limit: int) -> None:
    add(1, "012")
    add(2, "345")
    tail = EventTail(tmp_path)
    parts = []
    while part := tail.read(limit):
        assert len(part) <= limit
        parts.append(numbers(part))
        tail = EventTail(tmp_path, tail.position)
    assert "".join(parts) == "012345"


def test_a_line_that_is_being_written_is_read_when_it_is_whole(
    tmp_path: Path, add: Callable[..., Path], make_event: MakeEvent
) -> None:
    path = add(1, "0")
    tail = EventTail(tmp_path)
    line = encode(make_event(1)) + b"\n"
    with path.open("ab") as file:
        file.write(line[:20])
        file.flush()
        assert numbers(tail.read()) == "0"
        assert tail.read() == []
        file.write(line[20:])
    assert numbers(tail.read()) == "1"


def test_forgotten_segments_leave_the_position(tmp_path: Path, add: Callable[..., Path]) -> None:
    path = add(1, "0")
    tail = EventTail(tmp_path)
    tail.read()
    path.unlink()
    add(2, "1")
    assert numbers(tail.read()) == "1"
    assert list(tail.position) == ["events-20260222T000000-7.ndjson"]


def test_damage_is_an_error_after_the_events_before_it_were_given(tmp_path: Path, add: Callable[..., Path]) -> None:
    add(1, "0")
    with add(2, "1").open("ab") as file:
        file.write(b"damage\n")
    add(2, "2")
    tail = EventTail(tmp_path)
    assert numbers(tail.read()) == "01"
    for _ in range(2):
        with pytest.raises(FileErrors, match=r"events-20260222T000000-7\.ndjson:1:1: "):
            tail.read()
