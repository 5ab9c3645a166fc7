"""``distillguard replay`` as an operator calls it: exit codes, pipes, resuming, places of errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from gateway.cli.replay import replay
from gateway.errors import FileErrors
from tests.replay.logs import POLICY, account, request, write_rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policy.yaml").write_text(POLICY)
    write_rows(tmp_path / "accounts.ndjson", [account("a1"), account("marked", "pro")])
    write_rows(tmp_path / "requests.ndjson.gz", [request(1), request(2, "marked"), request(3, model="opus")])
    return tmp_path


def options(folder: Path, requests: str = "requests.ndjson.gz") -> list[str]:
    given = {"policies": "policy.yaml", "accounts": "accounts.ndjson", "out": "out"}
    found = [word for name, value in given.items() for word in (f"--{name}", str(folder / value))]
    return [*found, "--requests", requests if requests == "-" else str(folder / requests)]


def run(folder: Path, *more: str, requests: str = "requests.ndjson.gz", **given: Any) -> Result:
    return CliRunner().invoke(replay, [*options(folder, requests), *more], catch_exceptions=False, **given)


def test_the_summary_is_told_in_words_and_as_json(folder: Path) -> None:
    words, told = run(folder), run(folder, "--json")
    assert words.exit_code == told.exit_code == 0
    assert words.stdout.startswith("3 requests of 2 accounts: 1 allow, 1 mark, 1 refuse\n")
    assert "  plan pro: 1 mark of 1\n" in words.stdout
    assert "  by no-opus: 1 throttled or refused\n" in words.stdout
    summary = orjson.loads(told.stdout)
    assert summary == orjson.loads((folder / "out" / "summary.json").read_bytes())


def test_a_pipe_is_a_log_with_texts_given_beside(folder: Path) -> None:
    texts = write_rows(folder / "elsewhere.ndjson", [{"key": "k", "text": "Hello there"}])
    line = orjson.dumps(request(1, text={"$text": "k"}))
    assert run(folder, "--texts", str(texts), requests="-", input=line).exit_code == 0
    with pytest.raises(FileErrors) as raised:
        run(folder, requests="-", input=line)
    assert str(raised.value).startswith("<stdin>:1:")


def test_what_was_done_is_not_done_again_and_what_was_stopped_is(folder: Path) -> None:
    first = run(folder, "--resume", "--json")
    before = (folder / "out" / "decisions.ndjson.gz").stat().st_mtime_ns
    again = run(folder, "--resume", "--json")
    assert again.stdout == first.stdout
    assert (folder / "out" / "decisions.ndjson.gz").stat().st_mtime_ns == before
    (folder / "out" / "summary.json").unlink()
    (folder / "out" / ".decisions.ndjson.gz.partial").write_bytes(b"left by a kill")
    assert run(folder, "--resume").exit_code == 0
    assert not (folder / "out" / ".decisions.ndjson.gz.partial").exists()
    assert (folder / "out" / "decisions.ndjson.gz").stat().st_mtime_ns > before


def test_progress_ends_well_with_a_total_and_without(folder: Path) -> None:
    assert run(folder, "--progress").exit_code == 0
    assert run(folder, "--progress", requests="-", input=orjson.dumps(request(1))).exit_code == 0


def test_a_bad_line_is_one_line_of_error_and_exit_code_2(folder: Path) -> None:
    bad = write_rows(folder / "bad.ndjson", [request(1), {"id": "r2"}])
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "replay", *options(folder, "bad.ndjson")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f"{bad}:2:1: account: got nothing, expected the account's id\n"
    assert not (folder / "out" / "summary.json").exists()


@pytest.mark.parametrize("name", ["nothing.ndjson", "empty"])
def test_a_log_that_is_not_there_is_told(folder: Path, name: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(FileErrors) as raised:
        run(folder, requests=name)
    assert str(raised.value).startswith(f"{folder / name}:1:1: ")
