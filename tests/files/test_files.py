from __future__ import annotations

import gzip
import io
import json
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import zstandard

from gateway import files
from gateway.errors import FileErrors

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [{"n": n, "text": "é\n" * n} for n in range(50)]
PLAIN = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def two_frames(data: bytes) -> bytes:
    """Zstd data as `cat a.zst b.zst` makes it: the reader must not stop after the first frame."""
    half = data.index(b"\n", len(data) // 2) + 1
    pack = zstandard.ZstdCompressor().compress
    return pack(data[:half]) + pack(data[half:])


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.ndjson", PLAIN),
        ("a.ndjson", PLAIN.rstrip(b"\n")),
        ("a.ndjson", b"\xef\xbb\xbf" + PLAIN),
        ("a.ndjson.gz", gzip.compress(PLAIN)),
        ("a.ndjson.gz", gzip.compress(PLAIN[:51]) + gzip.compress(PLAIN[51:])),
        ("a.ndjson.zst", zstandard.ZstdCompressor().compress(PLAIN)),
        ("a.ndjson.zst", two_frames(PLAIN)),
    ],
)
def test_rows_come_back_with_their_line_numbers_in_every_packing(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    assert list(files.read_ndjson(path)) == list(enumerate(ROWS, start=1))


def test_blank_lines_are_skipped_but_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(b'\n{"a":1}\r\n   \n{"a":2}')
    assert list(files.read_ndjson(path)) == [(2, {"a": 1}), (4, {"a": 2})]


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").touch()
    assert list(files.read_ndjson(tmp_path / "a.ndjson")) == []


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        (b"[1]", 1, "got a list, expected one JSON object a line"),
        (b'"x"', 1, "got a string, expected one JSON object a line"),
        (b"true", 1, "got a boolean, expected one JSON object a line"),
        (b"null", 1, "got null, expected one JSON object a line"),
        (b"1.5", 1, "got a number, expected one JSON object a line"),
        (b'{"a":}', 6, "got '{\"a\":}', expected one JSON object a line (unexpected character, expected a JSON value)"),
    ],
)
def test_a_bad_line_is_named_by_file_line_and_column(tmp_path: Path, line: bytes, column: int, message: str) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(b'{"a":1}\n' + line + b"\n")
    rows = files.read_ndjson(path)
    assert next(rows) == (1, {"a": 1})
    with pytest.raises(FileErrors) as caught:
        next(rows)
    assert str(caught.value) == f"{path}:2:{column}: {message}"


def test_not_utf8_is_an_error_and_not_a_guess(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(b'{"a":"\xff"}\n')
    with pytest.raises(FileErrors, match=r"a\.ndjson:1:\d+: "):
        list(files.read_ndjson(path))


@pytest.mark.parametrize(
    ("name", "packed"),
    [("a.ndjson.gz", gzip.compress(PLAIN)), ("a.ndjson.zst", zstandard.ZstdCompressor().compress(PLAIN))],
)
def test_something_else_under_a_packed_name_is_an_error(tmp_path: Path, name: str, packed: bytes) -> None:
    path = tmp_path / name
    for data in (b"not packed at all", packed[: len(packed) // 2], packed[:20] + b"\0" * 40 + packed[60:]):
        path.write_bytes(data)
        with pytest.raises(FileErrors, match=r"the packed data is damaged or cut off"):
            list(files.read_ndjson(path))


def test_a_missing_file_and_a_folder_are_errors_of_the_operator(tmp_path: Path) -> None:
    with pytest.raises(FileErrors, match=r"none\.ndjson:1:1: cannot be read: No such file or directory"):
        list(files.read_ndjson(tmp_path / "none.ndjson"))
    with pytest.raises(FileErrors, match=r":1:1: cannot be read: Is a directory"):
        list(files.read_ndjson(tmp_path))


def test_a_line_that_never_ends_stops_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 10)
    path = tmp_path / "a.ndjson"
    path.write_bytes(b'{"a":123}\n{"a":1234}\n')
    rows = files.read_ndjson(path)
    assert next(rows) == (1, {"a": 123})
    with pytest.raises(FileErrors, match=r":2:1: got a line of more than 10 bytes"):
        next(rows)


def test_standard_input_is_a_file_called_minus(tmp_path: Path) -> None:
    program = "import pathlib, gateway.files as f; print(list(f.read_ndjson(pathlib.Path('-'))))"
    run = subprocess.run([sys.executable, "-c", program], input=b'{"a":1}\n', capture_output=True, check=True)
    assert run.stdout == b"[(1, {'a': 1})]\n"


def test_a_replaced_file_is_whole_private_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.json"
    files.write_atomically(path, b"one")
    files.write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_replacement_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    files.write_atomically(path, b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_open_binary_reads_plain_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"\0\1")
    with files.open_binary(path) as file:
        assert isinstance(file, io.BufferedReader)
        assert file.read() == b"\0\1"
