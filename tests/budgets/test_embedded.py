"""Embedded budgets over restarts, kills and torn files."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from gateway.budgets.core import Move
from gateway.budgets.embedded import EmbeddedStore
from gateway.budgets.journal import sync
from gateway.clock import ManualClock
from gateway.types import Amounts, Unit
from tests.budgets.helpers import BUCKET, CALENDAR, DAY_S, LEASE, START_S, budget, charge, lines, requests

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = [
    budget("sliding", 9),
    budget("bucket", 9, algorithm=BUCKET, length_s=3600),
    budget("day", 9, algorithm=CALENDAR, length_s=DAY_S),
    budget("month", 9, algorithm=CALENDAR, length_s=31 * DAY_S),
    budget("long", 9, length_s=45 * DAY_S),
    budget("slots", 9, algorithm=LEASE),
]
ALL = [charge(each) for each in KINDS]


OPENED: list[EmbeddedStore] = []


@pytest.fixture(autouse=True)
def closed_in_the_end() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop()._journal.close()


def opened(folder: Path, seconds: float = 0) -> EmbeddedStore:
    store = EmbeddedStore(ManualClock(START_S + seconds), folder)
    OPENED.append(store)
    store.load()
    return store


def left(store: EmbeddedStore) -> list[int]:
    return [view.remaining for view in store.peek_now(lines(ALL, Amounts()), store.now_us())]


def spend(store: EmbeddedStore, name: str, count: int, *, settled: bool = True) -> None:
    wanted = lines(ALL, requests(count), requests(1))
    assert store.reserve_now(name, wanted, store.now_us()).granted
    if settled:
        store.settle_now(name, wanted, store.now_us())


def test_a_restart_forgets_nothing_that_was_spent(tmp_path: Path) -> None:
    store = opened(tmp_path)
    spend(store, "r1", 4)
    store.flush()
    spend(store, "r2", 2)
    store.flush()
    assert left(opened(tmp_path)) == [3, 3, 3, 3, 3, 9]
    assert left(opened(tmp_path, 400)) == [9, 4, 3, 3, 3, 9]


def test_a_reservation_open_at_a_kill_is_settled_at_its_floor_and_its_slot_is_free(tmp_path: Path) -> None:
    store = opened(tmp_path)
    spend(store, "r1", 2)
    spend(store, "open", 5, settled=False)
    store.flush()
    assert left(store) == [2, 2, 2, 2, 2, 8]
    assert left(opened(tmp_path)) == [6, 6, 6, 6, 6, 9]
    assert left(opened(tmp_path)) == [6, 6, 6, 6, 6, 9]  # and only once


@pytest.mark.parametrize("cut", range(1, 400, 7))
def test_a_torn_end_never_makes_room(tmp_path: Path, cut: int) -> None:
    store = opened(tmp_path)
    spend(store, "r1", 4)
    store.flush()
    spend(store, "r2", 3, settled=False)
    store.flush()
    path = tmp_path / "budgets.journal"
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    again = opened(tmp_path)
    assert all(2 <= remaining <= 9 for remaining in left(again))
    if 2 <= cut < 60:  # the torn line is the reservation: its hold stays
        assert left(again)[:5] == [2] * 5


@pytest.mark.parametrize(
    "line",
    [
        b"\x00\xff\n",
        b"{}\n",
        b"[]\n",
        b'["b"]\n',
        b'["b",7]\n',
        b'["b","k",9,9,9,1]\n',
        b'["b","k",1,9,0,1]\n',
        b'["b","k",2,9,60000000]\n',
        b'["b","k",2,9,60000000,"x",null]\n',
        b'["x","k",1]\n',
    ],
)
def test_a_damaged_line_is_left_out_and_the_rest_is_kept(tmp_path: Path, line: bytes) -> None:
    store = opened(tmp_path)
    spend(store, "r1", 4)
    store.flush()
    path = tmp_path / "budgets.journal"
    path.write_bytes(line + path.read_bytes() + line)
    assert left(opened(tmp_path))[:5] == [5] * 5


def test_the_journal_is_rewritten_while_it_is_written_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.budgets.journal.COMPACT_MIN_BYTES", 20_000)
    monkeypatch.setattr("gateway.budgets.embedded.REWRITTEN_PER_FLUSH", 3)
    store = opened(tmp_path)
    many = budget("many", 1000, length_s=DAY_S)
    sizes = []
    for turn in range(600):
        wanted = lines([charge(many, f"a{turn % 20}")], requests(1))
        assert store.reserve_now(f"r{turn}", wanted, store.now_us()).granted
        store.settle_now(f"r{turn}", wanted, store.now_us())
        store.flush()
        sizes.append((tmp_path / "budgets.journal").stat().st_size)
    assert min(sizes[300:]) < 10_000
    assert max(sizes) < 45_000
    again = opened(tmp_path)
    views = again.peek_now(lines([charge(many, f"a{n}") for n in range(20)], Amounts()), again.now_us())
    assert [view.remaining for view in views] == [970] * 20


def test_a_move_is_done_once_over_restarts(tmp_path: Path) -> None:
    moves = [Move(charge(KINDS[4]), charge(budget("cluster", 9, length_s=45 * DAY_S), "c1"))]
    for turn, expected in enumerate((True, False, False)):
        store = opened(tmp_path)
        if turn == 0:
            spend(store, "r", 4)
        assert store.move_now("join:a1:c1", moves, store.now_us()) is expected
        store.flush()
        (view,) = store.peek_now(lines([moves[0].target], Amounts()), store.now_us())
        assert view.remaining == 5


def test_memory_stays_bounded_when_every_request_brings_a_new_account(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store._max_buckets = 200
    of = budget("of", 5)
    for turn in range(5000):
        store.reserve_now(f"r{turn}", lines([charge(of, f"a{turn}")], requests(1)), store.now_us())
    assert len(store._buckets) <= 200


def test_idle_buckets_and_settled_ids_are_forgotten(tmp_path: Path) -> None:
    store = opened(tmp_path)
    of = budget("of", 5, unit=Unit.REQUESTS)
    for turn in range(1000):
        wanted = lines([charge(of, f"a{turn}")], requests(1))
        store.reserve_now(f"r{turn}", wanted, store.now_us())
        store.settle_now(f"r{turn}", wanted, store.now_us())
    assert isinstance(store._clock, ManualClock)
    store._clock.advance(70)
    for _ in range(4):
        store.sweep_now(store.now_us())
    assert (len(store._buckets), len(store._done), len(store._open)) == (0, 0, 0)


def test_a_process_killed_with_sigkill_loses_at_most_the_last_tenth_of_a_second(tmp_path: Path) -> None:
    program = textwrap.dedent(f"""
        import asyncio, sys
        from pathlib import Path
        from gateway.budgets.embedded import EmbeddedStore
        from gateway.clock import ManualClock
        from tests.budgets.helpers import budget, charge, lines, requests
        async def main():
            store = EmbeddedStore(ManualClock({START_S}), Path(sys.argv[1]))
            await store.open()
            wanted = lines([charge(budget("of", 10**9, length_s=86400))], requests(1))
            for turn in range(10**9):
                await store.reserve(f"r{{turn}}", wanted)
                await store.settle(f"r{{turn}}", wanted)
                if turn % 50 == 0:
                    await asyncio.sleep(0.001)
                    print(turn, flush=True)
        asyncio.run(main())
    """)
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path.cwd())
    assert process.stdout is not None
    told = 0
    for row in process.stdout:
        told = int(row)
        if told >= 20_000:
            break
    process.send_signal(signal.SIGKILL)
    told = max([told, *(int(row) for row in process.stdout)])
    process.wait()
    process.stdout.close()
    store = opened(tmp_path)
    (view,) = store.peek_now(lines([charge(budget("of", 10**9, length_s=86400))], Amounts()), store.now_us())
    kept = 10**9 - view.remaining
    assert 2_000 <= kept <= told + 51


class SmallDisk:
    """A file on a disk with ``room`` bytes left: takes what fits, then refuses, as the system does."""

    def __init__(self, file: Any, room: int) -> None:
        self.file = file
        self.room = room

    def write(self, data: bytes) -> int:
        if data and not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken: int = self.file.write(data[: self.room])
        self.room -= taken
        return taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@pytest.mark.parametrize("room", [0, 1, 10, 60, 150, 300])
def test_a_disk_that_was_full_forgets_nothing_once_it_is_not(tmp_path: Path, room: int) -> None:
    store = opened(tmp_path)
    spend(store, "r1", 1)
    store.flush()
    disk = store._journal._file = SmallDisk(store._journal._file, room)  # type: ignore[assignment]
    spend(store, "r2", 2)
    with pytest.raises(OSError, match="No space"):
        store.flush()
    disk.room = 1 << 20
    store.flush()  # nothing was spent since: what could not be written was kept
    assert left(opened(tmp_path))[:5] == [6] * 5
    store._journal.close()


@pytest.mark.parametrize("room", [0, 40, 400])
def test_a_rewrite_that_a_full_disk_cut_never_replaces_the_whole_file(
    tmp_path: Path, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.budgets.journal.COMPACT_MIN_BYTES", 1)
    store = opened(tmp_path)
    spend(store, "r1", 1)
    begin = store._journal.begin_rewrite

    def on_a_small_disk() -> None:
        begin()
        store._journal._next = SmallDisk(store._journal._next, room)  # type: ignore[assignment]

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr(store._journal, "begin_rewrite", on_a_small_disk)
        for number in range(2, 9):
            spend(store, f"r{number}", 0)
            store.flush()
    for number in range(9, 12):
        spend(store, f"r{number}", 0)
        store.flush()
    assert left(opened(tmp_path))[:5] == [8] * 5


def test_a_reservation_that_is_over_before_the_next_flush_is_not_written_and_one_that_was_is_ended(
    tmp_path: Path,
) -> None:
    store = opened(tmp_path)
    spend(store, "short", 1)
    spend(store, "long", 2, settled=False)
    store.flush()
    path = tmp_path / "budgets.journal"
    assert (b'"short"' in path.read_bytes(), b'"long"' in path.read_bytes()) == (False, True)
    store.settle_now("long", lines(ALL, requests(2)), store.now_us())
    store.flush()
    assert left(opened(tmp_path))[:5] == [6] * 5  # not settled again at its floor of 1


@pytest.mark.parametrize("room", [0, 1, 30, 100, 200])
def test_the_end_of_a_reservation_that_a_full_disk_did_not_take_is_written_later(tmp_path: Path, room: int) -> None:
    store = opened(tmp_path)
    spend(store, "r1", 5, settled=False)
    store.flush()
    store.settle_now("r1", lines(ALL, requests(4)), store.now_us())
    disk = store._journal._file = SmallDisk(store._journal._file, room)  # type: ignore[assignment]
    with pytest.raises(OSError, match="No space"):
        store.flush()
    disk.room = 1 << 20
    store.flush()
    assert left(opened(tmp_path))[:5] == [5] * 5
    store._journal.close()


def test_a_journal_of_one_entry_a_line_is_still_read(tmp_path: Path) -> None:
    store = opened(tmp_path)
    spend(store, "r1", 4)
    store.flush()
    path = tmp_path / "budgets.journal"
    rows = [entry for line in path.read_bytes().splitlines() for entry in orjson.loads(line)]
    path.write_bytes(b"".join([orjson.dumps(row) + b"\n" for row in rows]))
    assert left(opened(tmp_path))[:5] == [5] * 5


async def test_a_running_store_rewrites_its_journal_without_waiting_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.budgets.journal.COMPACT_MIN_BYTES", 1)
    monkeypatch.setattr("gateway.budgets.embedded.FLUSH_S", 3600.0)
    disk, synced_in = threading.Event(), []

    def slow_sync(handle: int) -> None:
        synced_in.append(threading.current_thread())
        assert disk.wait(10)
        sync(handle)

    store = EmbeddedStore(ManualClock(START_S), tmp_path)
    await store.open()
    monkeypatch.setattr("gateway.budgets.embedded.sync", slow_sync)
    before = (tmp_path / "budgets.journal").stat().st_ino
    for number in range(5):
        spend(store, f"r{number}", 1)
        store.flush()
    assert synced_in != [threading.current_thread()]
    assert (tmp_path / "budgets.journal").stat().st_ino == before
    assert store._syncing is not None
    syncing = store._syncing
    disk.set()
    await syncing
    store.flush()
    assert (tmp_path / "budgets.journal").stat().st_ino != before
    assert len(synced_in) == 1
    await store.aclose()
    assert left(opened(tmp_path))[:5] == [4] * 5
