"""Snapshots that a copy of the process writes: of one moment, whole or not at all, and nobody waits for them.

A draft that is a named pipe holds the copy up: it cannot be opened for writing until somebody reads it.
"""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.analysis.analyzer import Analyzer
from gateway.clock import ManualClock
from gateway.errors import StoreError
from gateway.types import JSON, Event
from gateway.worker import aside as module
from gateway.worker import keeping
from gateway.worker.aside import Aside
from gateway.worker.core import State
from gateway.worker.keeping import Keeper
from gateway.worker.shared import LEASE_S
from gateway.worker.snapshot import SnapshotUnusable, draft_of, read_snapshot, write_snapshot
from gateway.worker.sources import FolderLock, TailSource
from tests.worker.conftest import KEY, MakeSession
from tests.worker.test_child import WITHIN_S, gone
from tests.worker.test_embedded import write

MakeKeeper = Callable[..., Keeper]


def a_state(**more: Any) -> State:
    return State(analyzer=Analyzer(), **more)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "analysis").mkdir()
    return tmp_path / "analysis" / "snapshot"


def kept_at(path: Path) -> State:
    kept = read_snapshot(path, KEY)
    assert kept is not None
    return kept


def files_beside(path: Path) -> dict[str, tuple[int, int]]:
    """Size in bytes and mode of each file of the snapshot's folder."""
    return {one.name: (one.stat().st_size, one.stat().st_mode & 0o777) for one in path.parent.iterdir()}


@pytest.fixture
def held_up(path: Path) -> Iterator[Path]:
    """While this is there, a copy gets no further than opening its draft."""
    os.mkfifo(draft_of(path))
    yield path
    draft_of(path).unlink(missing_ok=True)


@pytest.fixture
def make_keeper(path: Path, tmp_path: Path) -> MakeKeeper:
    def make(held: Callable[[], bool] = lambda: True) -> Keeper:
        return Keeper(TailSource(tmp_path), path, KEY, ManualClock(5.0), held)

    return make


async def test_it_holds_the_state_of_its_moment_whatever_comes_after(path: Path) -> None:
    state = a_state(seen=["r1"], position={"events-1.ndjson": 7})
    aside = Aside(path, state, KEY, 5.0)
    state.seen.append("r2")
    state.analyzer.know("late", {"country": "DE"})
    about = (await aside.wait(), 0o600)
    kept = kept_at(path)
    assert (kept.seen, kept.position) == (["r1"], {"events-1.ndjson": 7})
    assert not kept.analyzer.knows("late")
    assert files_beside(path) == {path.name: about}


async def test_a_copy_that_is_killed_leaves_the_last_snapshot_and_no_draft(held_up: Path) -> None:
    aside = Aside(held_up, a_state(), KEY, 5.0)
    os.kill(aside._pid, signal.SIGKILL)
    with pytest.raises(OSError, match="ended with -9, expected 0"):
        await aside.wait()
    assert files_beside(held_up) == {}


async def test_a_request_to_end_that_reaches_the_copy_too_does_not_end_it(path: Path) -> None:
    aside = Aside(path, a_state(), KEY, 5.0)
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(aside._pid, number)
    assert await aside.wait() > 0
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []).isdisjoint({signal.SIGTERM, signal.SIGINT})


async def test_a_folder_that_was_removed_and_a_state_that_cannot_be_kept_are_said(path: Path) -> None:
    write_snapshot(path, a_state(seen=["old"]), KEY, 4.0)
    with pytest.raises(SnapshotUnusable, match="cannot be kept"):
        await Aside(path, State(analyzer=lambda: None), KEY, 5.0).wait()  # type: ignore[arg-type]
    assert kept_at(path).seen == ["old"]
    assert list(files_beside(path)) == [path.name]
    shutil.rmtree(path.parent)
    with pytest.raises(OSError, match="No such file"):
        await Aside(path, a_state(), KEY, 5.0).wait()


async def test_a_wait_that_is_cancelled_ends_the_copy(held_up: Path) -> None:
    aside = Aside(held_up, a_state(), KEY, 5.0)
    waiting = asyncio.create_task(aside.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert gone(aside._pid)
    assert files_beside(held_up) == {}


async def test_a_copy_that_is_stuck_is_given_up(held_up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_S", 0.0)
    aside = Aside(held_up, a_state(), KEY, 5.0)
    with pytest.raises(TimeoutError):
        await aside.wait()
    assert gone(aside._pid)


async def test_the_copy_holds_neither_locks_nor_pipes_of_this_process(held_up: Path, tmp_path: Path) -> None:
    """Else a worker that is killed would keep its folder locked, and its gateway waiting, until the copy ends."""
    lock, other = FolderLock(tmp_path / "lock"), FolderLock(tmp_path / "lock")
    assert lock.take()
    ours, theirs = os.pipe()
    aside = Aside(held_up, a_state(), KEY, 5.0)
    os.close(theirs)
    assert select.select([ours], [], [], WITHIN_S)[0] == [ours]
    assert os.read(ours, 1) == b""
    os.close(ours)
    lock.release()
    assert other.take()
    other.release()
    os.kill(aside._pid, 0)  # it is still there
    os.kill(aside._pid, signal.SIGKILL)
    with pytest.raises(OSError, match="-9"):
        await aside.wait()


async def test_without_memory_for_a_copy_it_is_written_all_the_same(
    path: Path, make_keeper: MakeKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> int:
        raise OSError("cannot allocate memory")

    monkeypatch.setattr("os.fork", fork)
    keeper = make_keeper()
    keeper.changed = True
    await keeper.begin(a_state(seen=["r1"]))
    await keeper.settle()
    assert kept_at(path).seen == ["r1"]
    assert (keeper.changed, keeper.kept_at_s) == (False, 5.0)


async def test_one_at_a_time_and_not_again_at_once(
    held_up: Path, make_keeper: MakeKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "FIRST_AFTER_S", 0.0)
    keeper = make_keeper()
    assert not keeper.due()
    keeper.changed = True
    assert keeper.due()
    await keeper.begin(a_state())
    keeper.changed = True
    assert not keeper.due()
    await keeper.settle(wait=False)  # it is under way: nothing to say yet
    await keeper.give_up()
    assert keeper.changed
    assert not keeper.due()
    assert keeper.kept_at_s == 0.0


async def test_a_snapshot_of_one_who_leads_no_more_counts_nowhere(path: Path, make_keeper: MakeKeeper) -> None:
    keeper = make_keeper(held=lambda: False)
    await keeper.begin(a_state())
    with pytest.raises(StoreError, match="another analysis worker leads"):
        await keeper.settle()
    assert keeper.changed


async def test_reading_goes_on_while_a_snapshot_is_written_and_the_snapshot_knows_nothing_of_it(
    folder: Path, make_session: MakeSession, events: list[Event]
) -> None:
    await write(folder, events[:97])
    session = await make_session()
    assert await session.step()
    before: JSON = session.source.position
    os.mkfifo(draft_of(session.snapshot))
    await session.begin_to_keep()
    await write(folder, events[97:190])
    while session.worker.observed < 190:
        await session.step()
    draft_of(session.snapshot).unlink()
    await session.keeper.give_up()
    await session.keep()
    again = await make_session()
    assert again.worker.observed == 190
    assert before != again.source.position


async def test_what_a_killed_worker_left_half_written_is_taken_away(folder: Path, make_session: MakeSession) -> None:
    left = folder / "state" / "analysis" / ".snapshot.99999999.new"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    await make_session()
    assert not left.exists()


def test_the_first_snapshot_comes_soon_so_that_a_lead_that_is_lost_again_and_again_gets_on() -> None:
    assert keeping.FIRST_AFTER_S < LEASE_S
