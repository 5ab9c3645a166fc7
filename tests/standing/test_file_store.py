from __future__ import annotations

import asyncio
import multiprocessing
import stat
from typing import TYPE_CHECKING

import pytest

from gateway.errors import StoreError
from gateway.standing import Override, SubjectKind, Verb
from gateway.standing.file_store import FileStore
from gateway.standing.overrides import encode_override

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.types import Verdict

NOW_S = 1_800_000_000.0


def said(number: int) -> Override:
    return Override(
        verb=Verb.CONFIRM,
        kind=SubjectKind.ACCOUNT,
        subject=f"a{number}",
        who="eve",
        why="seen",
        at=NOW_S,
        id=str(number),
    )


def record_many(folder: Path, first: int) -> None:
    """What one of several processes does."""
    store = FileStore(folder)
    for number in range(first, first + 25):
        asyncio.run(store.record(said(number)))


def test_the_log_survives_several_writers_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=record_many, args=(tmp_path, first)) for first in (0, 25, 50)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    store = FileStore(tmp_path)
    held = asyncio.run(store.read()).overrides
    assert sorted(int(one.id) for one in held) == list(range(75))
    assert store.bad_lines == 0


async def test_a_line_that_a_kill_tore_off_harms_no_other(tmp_path: Path) -> None:
    whole = encode_override(said(1)) + b"\n"
    for cut in range(1, len(whole)):
        (tmp_path / "audit.ndjson").write_bytes(encode_override(said(0)) + b"\n" + whole[:cut])
        store = FileStore(tmp_path)
        assert (await store.read()).overrides == (said(0),)
    await store.record(said(2))
    held = (await store.read()).overrides
    assert held in {(said(0), said(1), said(2)), (said(0), said(2))}
    assert (tmp_path / "audit.ndjson").read_bytes().endswith(encode_override(said(2)) + b"\n")


async def test_a_foreign_line_is_skipped_and_counted(tmp_path: Path) -> None:
    (tmp_path / "audit.ndjson").write_bytes(b"hello\n" + encode_override(said(0)) + b"\n{}\n")
    store = FileStore(tmp_path)
    assert (await store.read()).overrides == (said(0),)
    assert store.bad_lines == 2


async def test_a_foreign_file_of_verdicts_is_an_error_and_is_not_overwritten(
    tmp_path: Path, verdict: Callable[..., Verdict]
) -> None:
    path = tmp_path / "verdicts.json"
    path.write_bytes(b"[]")
    for act in (FileStore(tmp_path).read(), FileStore(tmp_path).save([verdict()])):
        with pytest.raises(StoreError, match=r"verdicts\.json: got a file that is not ours .*; move it away"):
            await act
    assert path.read_bytes() == b"[]"


async def test_files_are_for_the_operator_alone(tmp_path: Path, verdict: Callable[..., Verdict]) -> None:
    store = FileStore(tmp_path / "standing")
    await store.save([verdict()])
    await store.record(said(1))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "standing").iterdir()}
    assert modes == {"verdicts.json": 0o600, "audit.ndjson": 0o600, "lock": 0o600}


async def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "standing").write_bytes(b"a file")
    with pytest.raises(StoreError, match=r"standing"):
        await FileStore(tmp_path / "standing").record(said(1))
