from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import zstandard

from gateway.analysis.analyzer import Analyzer
from gateway.types import Event, Verdict
from gateway.worker import snapshot
from gateway.worker.core import State
from gateway.worker.snapshot import SnapshotUnusable, code_fingerprint, read_snapshot, write_snapshot
from tests.worker.conftest import KEY
from tests.worker.scenario import BEGIN_S, DAY_S


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "analysis").mkdir()
    return tmp_path / "analysis" / "snapshot"


def written(path: Path, **more: Any) -> bytes:
    write_snapshot(path, State(analyzer=Analyzer(), names={"c1": "cold"}, seen=["r1"], **more), KEY, 5.0)
    return path.read_bytes()


def test_there_is_none_at_first(path: Path) -> None:
    assert read_snapshot(path, KEY) is None


def test_an_analyzer_goes_on_as_if_it_had_never_been_put_away(
    path: Path, town: Any, observer: Any, events: list[Event], told: dict[str, Verdict]
) -> None:
    analyzer = Analyzer()
    for row in town.rows:
        analyzer.know(row["account"], observer.account(row))
    found: dict[str, Verdict] = {}
    for number, event in enumerate(events):
        if number % 117 == 100:
            write_snapshot(path, State(analyzer=analyzer), KEY, event.ts)
            state = read_snapshot(path, KEY)
            assert state is not None
            analyzer = state.analyzer
        if analyzer.due(event.ts):
            found |= {verdict.cluster: verdict for verdict in analyzer.tick(event.ts)}
        assert event.account is not None
        assert event.traits is not None
        analyzer.observe(event.ts, event.account, event.traits)
    found |= {verdict.cluster: verdict for verdict in analyzer.tick(BEGIN_S + 4 * DAY_S)}
    assert found == told
    assert found


def test_a_state_folder_that_was_removed_is_not_made_again(path: Path) -> None:
    path.parent.rmdir()
    with pytest.raises(FileNotFoundError):
        written(path)
    assert not path.parent.exists()


def test_the_rest_of_the_state_comes_back(path: Path) -> None:
    written(path, position={"events-1.ndjson": 77}, observed=9, last_event_s=3.5)
    state = read_snapshot(path, KEY)
    assert state is not None
    assert (state.names, state.seen, state.position) == ({"c1": "cold"}, ["r1"], {"events-1.ndjson": 77})
    assert (state.observed, state.last_event_s) == (9, 3.5)


def test_only_its_owner_may_read_it_and_no_draft_is_left(path: Path) -> None:
    written(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_one_and_no_draft(path: Path) -> None:
    before = written(path)
    with pytest.raises(SnapshotUnusable, match="cannot be kept"):
        write_snapshot(path, State(analyzer=lambda: None), KEY, 6.0)  # type: ignore[arg-type]
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("place", [0, 40, 1000, -33, -32, -1])
def test_a_flipped_bit_anywhere_is_seen_before_anything_is_made(path: Path, place: int) -> None:
    data = bytearray(written(path))
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(SnapshotUnusable, match="expected our seal"):
        read_snapshot(path, KEY)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 500])
def test_a_torn_file_is_seen(path: Path, size: int) -> None:
    path.write_bytes(written(path)[:size])
    with pytest.raises(SnapshotUnusable, match="expected our seal"):
        read_snapshot(path, KEY)


def test_the_state_of_another_gateway_is_not_believed(path: Path) -> None:
    written(path)
    with pytest.raises(SnapshotUnusable, match="of another gateway"):
        read_snapshot(path, b"x" * 32)


def test_the_state_of_other_code_is_not_believed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(path)
    monkeypatch.setattr(snapshot, "code_fingerprint", lambda: "0" * 24)
    with pytest.raises(SnapshotUnusable, match="another release"):
        read_snapshot(path, KEY)


class Evil:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


def sealed(body: bytes) -> bytes:
    """What somebody who knows the key could make."""
    data = b'{"v":1,"code":"%s"}\n' % code_fingerprint().encode() + zstandard.ZstdCompressor().compress(body)
    return data + hashlib.blake2b(data, key=KEY, digest_size=32, person=b"analysis state").digest()


@pytest.mark.parametrize(
    "evil",
    [
        Evil(os.system, "touch pwned"),
        Evil(eval, "open('pwned', 'w')"),
        Evil(getattr, "x", "y"),
        Evil(Path, "x"),
        Evil(snapshot.write_snapshot, Path("pwned")),
    ],
)
def test_even_with_the_key_no_code_comes_out_of_a_snapshot(
    path: Path, evil: Evil, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path.write_bytes(sealed(pickle.dumps(evil)))
    with pytest.raises(SnapshotUnusable, match="expected only what the analysis keeps"):
        read_snapshot(path, KEY)
    assert not (tmp_path / "pwned").exists()


def test_a_name_with_a_dot_reaches_no_module_behind_ours(path: Path) -> None:
    path.write_bytes(sealed(b"\x80\x04\x8c\x19gateway.analysis.analyzer\x8c\x07np.load\x93."))
    with pytest.raises(SnapshotUnusable, match=r"got gateway\.analysis\.analyzer\.np\.load"):
        read_snapshot(path, KEY)


def test_something_else_than_a_state_is_refused(path: Path) -> None:
    path.write_bytes(sealed(pickle.dumps([1, 2])))
    with pytest.raises(SnapshotUnusable, match="got a list, expected a state"):
        read_snapshot(path, KEY)


def test_what_killed_workers_left_on_its_way_is_taken_away_but_nothing_that_a_living_one_may_still_write(
    tmp_path: Path,
) -> None:
    ages = {"upload-h-1": 3_601.0, ".upload-h-1.1.new": 3_601.0, "upload-h-2": 3_599.0, "snapshot": 9e5, "lock": 9e5}
    for name, age_s in ages.items():
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (BEGIN_S - age_s, BEGIN_S - age_s))
    snapshot.clear_uploads(tmp_path, BEGIN_S)
    assert {path.name for path in tmp_path.iterdir()} == {"upload-h-2", "snapshot", "lock"}
    snapshot.clear_uploads(tmp_path / "none", BEGIN_S)
