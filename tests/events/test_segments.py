from __future__ import annotations

import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING

import pytest
import zstandard

from gateway.clock import ManualClock
from gateway.errors import FileErrors
from gateway.events import encode, list_segments, read_events
from gateway.events.segments import Limits, Segments, forget_old, pack_finished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.types import Event

START_S = 1_771_632_000.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START_S)


@pytest.fixture
def segments(tmp_path: Path, clock: ManualClock) -> Iterator[Segments]:
    made = Segments(tmp_path, clock, Limits(segment_bytes=10, segment_age_s=60))
    yield made
    made.close()


def contents(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in list_segments(folder)]


def unpacked(path: Path) -> bytes:
    return zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())


def test_a_segment_is_named_after_its_time_and_process_and_is_private(segments: Segments, tmp_path: Path) -> None:
    segments.write(b"a\n")
    (path,) = tmp_path.iterdir()
    assert path.name == f"events-20260221T000000-{os.getpid()}.ndjson"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(("more", "files"), [(b"67890\n", 1), (b"678901\n", 2), (b"678901234567890\n", 2)])
def test_a_segment_ends_before_it_is_larger_than_its_limit(
    segments: Segments, tmp_path: Path, more: bytes, files: int
) -> None:
    segments.write(b"123\n")
    segments.write(more)
    assert len(contents(tmp_path)) == files
    assert b"".join(contents(tmp_path)) == b"123\n" + more
    assert segments.rotated == (files == 2)


def test_one_batch_larger_than_a_segment_is_still_written_whole(segments: Segments, tmp_path: Path) -> None:
    segments.write(b"x" * 100 + b"\n")
    assert contents(tmp_path) == [b"x" * 100 + b"\n"]


@pytest.mark.parametrize(("age_s", "files"), [(59.5, 1), (60.0, 2)])
def test_a_segment_ends_at_its_age(
    segments: Segments, tmp_path: Path, clock: ManualClock, age_s: float, files: int
) -> None:
    segments.write(b"a\n")
    clock.advance(age_s)
    segments.write(b"b\n")
    assert len(contents(tmp_path)) == files


def test_segments_of_the_same_second_keep_their_order(segments: Segments, tmp_path: Path) -> None:
    for number in range(13):
        segments.write(b"line %03d\n" % number)
    assert contents(tmp_path) == [b"line %03d\n" % number for number in range(13)]


def test_a_full_disk_leaves_no_half_line_behind(
    segments: Segments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments.write(b"a\n")
    really = os.write
    left = 3

    def write(handle: int, data: bytes) -> int:
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = really(handle, bytes(data[:left]))
        left -= done
        return done

    with monkeypatch.context() as full:
        full.setattr(os, "write", write)
        with pytest.raises(OSError, match="No space left"):
            segments.write(b"bcdef\n")
    assert contents(tmp_path) == [b"a\n"]
    segments.write(b"bcdef\n")
    assert contents(tmp_path) == [b"a\nbcdef\n"]


def test_where_a_half_line_cannot_be_cut_off_a_new_segment_is_begun(
    segments: Segments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    segments.write(b"a\n")
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", fail)
        broken.setattr(os, "ftruncate", fail)
        with pytest.raises(OSError, match="Input/output"):
            segments.write(b"b\n")
    segments.write(b"b\n")
    assert contents(tmp_path) == [b"a\n", b"b\n"]


def test_a_living_writers_segment_is_not_packed(segments: Segments, tmp_path: Path) -> None:
    segments.write(b"a\n")
    assert pack_finished(tmp_path) == []
    segments.close()
    (packed,) = pack_finished(tmp_path)
    assert list(tmp_path.iterdir()) == [packed]
    assert unpacked(packed) == b"a\n"


def test_a_packer_that_is_faster_than_the_lock_costs_no_event(
    segments: Segments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = fcntl.flock
    packed: list[Path] = []

    def flock(handle: int, how: int) -> None:
        if not packed:
            packed.append(tmp_path)
            packed.extend(pack_finished(tmp_path))
        really(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    segments.write(b"a\n")
    assert len(packed) == 2
    assert [path.read_bytes() for path in list_segments(tmp_path) if path.suffix != ".zst"] == [b"a\n"]


def test_packing_drops_the_torn_last_line_of_a_killed_writer(tmp_path: Path) -> None:
    path = tmp_path / "events-20260221T000000-7.ndjson"
    path.write_bytes(b'{"v":1}\n{"v":')
    (packed,) = pack_finished(tmp_path)
    assert unpacked(packed) == b'{"v":1}\n'


def test_a_segment_without_any_whole_line_packs_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "events-20260221T000000-7.ndjson").write_bytes(b'{"v":')
    (packed,) = pack_finished(tmp_path)
    assert list(read_events(packed)) == []


def test_a_kill_between_packing_and_removing_counts_nothing_twice(
    tmp_path: Path, make_event: Callable[..., Event]
) -> None:
    path = tmp_path / "events-20260221T000000-7.ndjson"
    line = encode(make_event(1)) + b"\n"
    path.write_bytes(line)
    packed = path.with_name(path.name + ".zst")
    packed.write_bytes(zstandard.ZstdCompressor().compress(line))
    assert list_segments(tmp_path) == [packed]
    assert pack_finished(tmp_path) == [packed]
    assert not path.exists()
    assert list(read_events(packed)) == [make_event(1)]


def test_a_half_packed_file_of_a_killed_packer_is_no_segment(tmp_path: Path) -> None:
    (tmp_path / ".events-20260221T000000-7.ndjson.zst.new").write_bytes(b"half")
    (tmp_path / "events-notes.txt").touch()
    assert list_segments(tmp_path) == []
    assert pack_finished(tmp_path) == []


def test_a_name_that_was_used_and_packed_is_not_used_again(segments: Segments, tmp_path: Path) -> None:
    taken = tmp_path / f"events-20260221T000000-{os.getpid()}.ndjson.zst"
    taken.write_bytes(b"")
    segments.write(b"a\n")
    assert {path.name for path in tmp_path.iterdir()} == {
        taken.name,
        f"events-20260221T000000-{os.getpid()}-1.ndjson",
    }


def test_a_name_that_is_packed_away_while_we_look_at_it_is_not_used_again(
    segments: Segments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the new segment hides behind the packed one: nobody reads it, and packing drops it."""
    taken = tmp_path / f"events-20260221T000000-{os.getpid()}.ndjson"
    taken.write_bytes(b"old\n")
    really = os.open

    def open_after_packing(path: Path, flags: int, *mode: int) -> int:
        if taken.exists() and flags & os.O_EXCL:
            pack_finished(tmp_path)
        return really(path, flags, *mode)

    monkeypatch.setattr(os, "open", open_after_packing)
    segments.write(b"new\n")
    assert [path.name for path in list_segments(tmp_path)] == [f"{taken.name}.zst", f"{taken.stem}-1.ndjson"]
    assert {path.name for path in tmp_path.iterdir()} == {f"{taken.name}.zst", f"{taken.stem}-1.ndjson"}


def packed_files(folder: Path, sizes_and_ages: list[tuple[int, float]]) -> list[Path]:
    """Packed segments from oldest to newest, with these sizes in bytes and ages in days."""
    paths = []
    for number, (size, age_days) in enumerate(sizes_and_ages):
        path = folder / f"events-2026022{number}T000000-7.ndjson.zst"
        path.write_bytes(b"x" * size)
        os.utime(path, (START_S - age_days * 86_400,) * 2)
        paths.append(path)
    return paths


@pytest.mark.parametrize(("keep_bytes", "removed"), [(29, 1), (30, 0), (31, 0), (20, 1), (19, 2), (0, 3)])
def test_the_oldest_go_when_all_are_too_large(tmp_path: Path, keep_bytes: int, removed: int) -> None:
    paths = packed_files(tmp_path, [(10, 3), (10, 2), (10, 1)])
    gone = forget_old(tmp_path, Limits(keep_bytes=keep_bytes), START_S)
    assert sorted(gone) == paths[:removed]
    assert list_segments(tmp_path) == paths[removed:]


@pytest.mark.parametrize(("keep_days", "removed"), [(3.1, 0), (3.0, 0), (2.9, 1), (0.5, 3)])
def test_the_oldest_go_when_they_are_too_old(tmp_path: Path, keep_days: float, removed: int) -> None:
    paths = packed_files(tmp_path, [(10, 3), (10, 2), (10, 1)])
    assert sorted(forget_old(tmp_path, Limits(keep_days=keep_days), START_S)) == paths[:removed]


def test_what_is_not_packed_is_never_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "events-20260221T000000-7.ndjson"
    path.write_bytes(b"x" * 100)
    os.utime(path, (0, 0))
    assert forget_old(tmp_path, Limits(keep_bytes=0, keep_days=0), START_S) == []
    assert path.exists()


def test_reading_goes_on_where_it_ended_also_after_packing(tmp_path: Path, make_event: Callable[..., Event]) -> None:
    path = tmp_path / "events-20260221T000000-7.ndjson"
    lines = [encode(make_event(number)) + b"\n" for number in range(5)]
    path.write_bytes(b"".join(lines[:3]) + lines[3][:10])
    reader = read_events(path)
    assert [event.id for event in reader] == ["r0", "r1", "r2"]
    assert reader.offset == sum(map(len, lines[:3]))
    path.write_bytes(b"".join(lines))
    (packed,) = pack_finished(tmp_path)
    again = read_events(packed, reader.offset)
    assert [event.id for event in again] == ["r3", "r4"]
    assert list(read_events(packed, again.offset)) == []
    assert list(read_events(packed, again.offset + 1_000)) == []


def test_a_cut_at_any_byte_loses_the_last_event_and_no_other(tmp_path: Path, make_event: Callable[..., Event]) -> None:
    path = tmp_path / "events-20260221T000000-7.ndjson"
    first, last = (encode(make_event(number)) + b"\n" for number in (1, 2))
    for cut in range(len(last)):
        path.write_bytes(first + last[:cut])
        assert list(read_events(path)) == [make_event(1)]
    path.write_bytes(first + last)
    assert list(read_events(path)) == [make_event(1), make_event(2)]


def test_a_line_that_is_no_event_is_named_by_its_place(tmp_path: Path, make_event: Callable[..., Event]) -> None:
    path = tmp_path / "events-20260221T000000-7.ndjson"
    first = encode(make_event(1)) + b"\n"
    path.write_bytes(first + b"{}\n")
    reader = read_events(path)
    assert next(reader) == make_event(1)
    with pytest.raises(FileErrors) as caught:
        next(reader)
    problem = "got a line that is no event, expected a JSON object with a version"
    assert str(caught.value) == f"{path}:2:1: {problem}; the line is at byte {len(first)}"
