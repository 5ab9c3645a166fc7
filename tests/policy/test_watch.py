from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anyio
import pytest

from gateway.clock import ManualClock
from gateway.errors import FileErrors
from gateway.policy import PolicySet, PolicyWatcher
from gateway.types import NO_STANDING
from tests.policy.helpers import BASE, asks, caller

if TYPE_CHECKING:
    from pathlib import Path

KILLED = BASE + "access: {kill: '*'}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(BASE, encoding="utf-8")
    return path


def test_an_edit_is_in_force_after_one_look(file: Path) -> None:
    seen: list[PolicySet] = []
    clock = ManualClock(100.0)
    watcher = PolicyWatcher(file, on_change=seen.append, clock=clock)
    assert (watcher.generation, watcher.loaded_at) == (1, 100.0)
    assert not watcher.check_now()
    clock.advance(5)
    file.write_text(KILLED, encoding="utf-8")
    assert watcher.check_now()
    assert seen == [watcher.current]
    assert (watcher.generation, watcher.loaded_at) == (2, 105.0)
    assert watcher.current.decide(caller(), asks(), NO_STANDING, 0.0).refusal is not None


def test_the_last_good_set_stays_while_the_files_are_wrong_and_it_is_said_once(file: Path) -> None:
    said: list[str] = []
    watcher = PolicyWatcher(file, on_error=said.append)
    good = watcher.current
    file.write_text("version: 1\nplan: {}\n", encoding="utf-8")
    assert not watcher.check_now()
    assert not watcher.check_now()
    assert watcher.current is good
    assert watcher.error is not None
    assert "policy.yaml:2:1: got the unknown key 'plan'" in watcher.error
    assert (len(said), watcher.failures, watcher.generation) == (1, 1, 1)
    file.write_text(KILLED, encoding="utf-8")
    assert watcher.check_now()
    assert watcher.error is None


def test_going_back_to_what_is_in_force_clears_the_error_without_a_new_set(file: Path) -> None:
    watcher = PolicyWatcher(file)
    file.write_text("broken: [", encoding="utf-8")
    watcher.check_now()
    file.write_text("# only a comment more\n" + BASE, encoding="utf-8")
    assert not watcher.check_now()
    assert (watcher.error, watcher.generation) == (None, 1)


def test_a_file_that_is_gone_keeps_the_set(file: Path) -> None:
    watcher = PolicyWatcher(file)
    file.unlink()
    assert not watcher.check_now()
    assert watcher.error is not None
    assert "got nothing there" in watcher.error


def test_a_config_map_swap_is_seen_whole(tmp_path: Path) -> None:
    for version, text in (("..v1", BASE), ("..v2", KILLED)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "policy.yaml").write_text(text, encoding="utf-8")
        os.utime(tmp_path / version / "policy.yaml", ns=(1, 1))  # the swap alone must be enough
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    watcher = PolicyWatcher(tmp_path)
    assert not watcher.check_now()
    (tmp_path / "..data_tmp").symlink_to("..v2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert watcher.check_now()
    assert watcher.current.parts.kill == ("*",)


def test_a_new_file_in_the_folder_is_seen(tmp_path: Path, file: Path) -> None:
    watcher = PolicyWatcher(tmp_path)
    assert file.exists()
    (tmp_path / "access.yaml").write_text("version: 1\naccess: {kill: '*'}\n", encoding="utf-8")
    assert watcher.check_now()


def test_an_included_file_is_watched(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    part = tmp_path / "parts" / "access.yaml"
    part.write_text("version: 1\n", encoding="utf-8")
    (tmp_path / "main.yaml").write_text(BASE + "include: [parts/access.yaml]\n", encoding="utf-8")
    watcher = PolicyWatcher(tmp_path / "main.yaml")
    part.write_text("version: 1\naccess: {kill: '*'}\n", encoding="utf-8")
    assert watcher.check_now()


def test_an_included_file_that_was_missing_or_wrong_is_seen_when_it_is_right(tmp_path: Path) -> None:
    main, part = tmp_path / "main.yaml", tmp_path / "parts" / "access.yaml"
    main.write_text(BASE, encoding="utf-8")
    watcher = PolicyWatcher(main)
    main.write_text(BASE + "include: [parts/access.yaml]\n", encoding="utf-8")
    for _ in range(3):
        assert not watcher.check_now()
    assert watcher.failures == 1
    part.parent.mkdir()
    part.write_text("access: {kill: '*'}\n", encoding="utf-8")
    assert not watcher.check_now()
    assert watcher.error is not None
    assert "got no 'version'" in watcher.error
    part.write_text("version: 1\naccess: {kill: '*'}\n", encoding="utf-8")
    assert watcher.check_now()
    assert (watcher.failures, watcher.generation) == (2, 2)


def test_a_look_reads_only_the_folder_and_the_files_of_the_set(tmp_path: Path, file: Path) -> None:
    deep = tmp_path / "other" / "tree"
    deep.mkdir(parents=True)
    watcher = PolicyWatcher(file)
    watcher.check_now()
    (deep / "unrelated.yaml").write_text("broken: [", encoding="utf-8")
    (tmp_path / "neighbour.yaml").write_text("broken: [", encoding="utf-8")
    assert not watcher.check_now()
    assert watcher.error is None


def test_a_start_without_a_good_set_fails(file: Path) -> None:
    file.write_text("version: 3\n", encoding="utf-8")
    with pytest.raises(FileErrors):
        PolicyWatcher(file)


async def test_running_it_puts_an_edit_in_force_and_ends_when_cancelled(file: Path) -> None:
    changed = anyio.Event()
    watcher = PolicyWatcher(file, 0.001, lambda _: changed.set())
    async with anyio.create_task_group() as group:
        group.start_soon(watcher.run)
        await anyio.Path(file).write_text(KILLED, encoding="utf-8")
        with anyio.fail_after(5):
            await changed.wait()
        group.cancel_scope.cancel()
    assert watcher.generation == 2
