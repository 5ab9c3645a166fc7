"""The account directory as a file: NDJSON, or CSV where the name says so, packed or not.

Invariants: all bad rows are reported (up to ``MAX_ERRORS``), each with its line and the column of the
field; a file that changes while it is read is not believed. Leaves out: what fields mean
(``directory.py``).
"""

from __future__ import annotations

import csv
import gzip
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import zstandard

from gateway.errors import FileError, FileErrors
from gateway.files import open_binary
from gateway.identity.directory import Account, Directory, DirectoryBuilder, RowError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from gateway.types import JSON

MAX_ERRORS = 100
"""More than a person reads; the last one says how many there were."""
_NUMBERS = ("created_at",)
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_LISTS = ("api_key", "api_key_sha256")
_ROWS_AT_ONCE = 64
"""Half a millisecond's work, after which other threads (the event loop's) get their turn."""
_PACKED_ERRORS = (EOFError, zlib.error, zstandard.ZstdError, gzip.BadGzipFile, OSError)


def load_directory(path: Path) -> Directory:
    """The directory in ``path``; blank lines are skipped. CSV has a header line, empty cells are absent,
    ``verified`` is true or false, several credentials in a cell stand apart by spaces.

    Raises FileErrors with every bad row.
    """
    builder = DirectoryBuilder()
    errors: list[FileError] = []
    count = 0
    rows = _csv_rows(path) if _is_csv(path) else _ndjson_rows(path)
    for line, column, row, source in rows:
        if isinstance(row, str):
            found = FileError(file=str(path), line=line, column=column, message=row)
        else:
            try:
                builder.add(row, line)
                if line % _ROWS_AT_ONCE == 0:
                    time.sleep(0)
                continue
            except RowError as error:
                place = _column(path, source, error.name)
                found = FileError(file=str(path), line=line, column=place, message=f"{error.name}: {error}")
        count += 1
        if count <= MAX_ERRORS:
            errors.append(found)
    if count > MAX_ERRORS:
        errors.append(FileError(file=str(path), line=line, column=1, message=f"{count} rows are wrong in all"))
    if errors:
        raise FileErrors(errors)
    return builder.directory()


def load_accounts(path: Path) -> Mapping[str, Account]:
    """The accounts in ``path`` by their id. Raises FileErrors with every bad row."""
    directory = load_directory(path)
    return {name: account for name in directory if (account := directory.account(name)) is not None}


def account_rows(path: Path) -> Iterator[dict[str, JSON]]:
    """The rows of ``path`` that name an account, as they stand, for the analysis; whoever serves checks them.

    Raises FileErrors where the file cannot be read or unpacked.
    """
    for _, _, row, _ in _csv_rows(path) if _is_csv(path) else _ndjson_rows(path):
        if isinstance(row, dict) and isinstance(row.get("account"), str):
            yield row


def signature(path: Path) -> object:
    """Differs when the file's content may have changed, also behind a symlink; None where it is missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _is_csv(path: Path) -> bool:
    return Path(path.name.removesuffix(".gz").removesuffix(".zst")).suffix == ".csv"


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, from 1. Raises FileErrors where the file cannot be read or unpacked."""
    line = 0
    with open_binary(path) as file:
        try:
            for line, text in enumerate(file, 1):
                yield line, text.removeprefix(b"\xef\xbb\xbf") if line == 1 else text
        except _PACKED_ERRORS as error:
            message = f"cannot be read or unpacked ({error}); replace the file by a whole one"
            raise FileErrors([FileError(file=str(path), line=line + 1, column=1, message=message)]) from None


def _ndjson_rows(path: Path) -> Iterator[tuple[int, int, dict[str, JSON] | str, Any]]:
    """Line, column of what is wrong, the row or the error, and the line's text."""
    for line, text in _lines(path):
        stripped = text.rstrip()
        if not stripped:
            continue
        try:
            row = orjson.loads(stripped)
        except orjson.JSONDecodeError as error:
            yield line, error.colno, f"got no JSON ({error.msg}), expected one object a line", text
            continue
        if isinstance(row, dict):
            yield line, 1, row, text
        else:
            yield line, 1, f"got {type(row).__name__}, expected one JSON object a line", text


def _csv_rows(path: Path) -> Iterator[tuple[int, int, dict[str, JSON] | str, Any]]:
    """The same for CSV; the source is the header's names and the row's cells."""
    last = 0

    def texts() -> Iterator[str]:
        nonlocal last
        for number, text in _lines(path):
            last = number
            yield text.decode("utf-8", "surrogateescape")

    reader = csv.reader(texts(), strict=True)
    names: Sequence[str] | None = None
    while True:
        begin = last + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield begin, 1, f"got a broken row ({error}), expected comma-separated values", None
            continue
        if not cells:
            continue
        if names is None:
            names = [cell.strip() for cell in cells]
            if "account" not in names:
                raise FileErrors([_no_header(path, begin, cells)])
        elif len(cells) > len(names):
            yield begin, 1, f"got {len(cells)} cells, expected {len(names)} as in the header", None
        else:
            yield begin, 1, {name: _cell(name, cell) for name, cell in zip(names, cells, strict=False)}, (names, cells)


def _no_header(path: Path, line: int, cells: Sequence[str]) -> FileError:
    shown = ",".join(cells)[:40]
    message = f"got {shown!r}, expected a header line that names the columns, account among them"
    return FileError(file=str(path), line=line, column=1, message=message)


def _cell(name: str, text: str) -> JSON:
    """A cell as JSON has it; what does not fit stays a text, which the directory then refuses."""
    text = text.strip()
    if not text:
        return None
    if name == "verified":
        return _FLAGS.get(text.lower(), text)
    if name in _LISTS:
        return text.split()
    if name in _NUMBERS:
        try:
            return float(text)
        except ValueError:
            return text
    return text


def _column(path: Path, source: Any, name: str) -> int:
    """Where the field stands in its line, from 1; 1 where the row has no such field."""
    if _is_csv(path):
        names, cells = source
        index = list(names).index(name) if name in names else 0
        return 1 + sum(len(cell) + 1 for cell in cells[:index])
    return max(int(source.find(orjson.dumps(name))), 0) + 1
