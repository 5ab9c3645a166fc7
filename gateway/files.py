"""Files, read and written so that a crash or a bad line is seen and never half believed.

Owns: newline-delimited JSON (plain, gzip or zstd by the file's ending, ``-`` for standard input), and
whole files that are replaced atomically. Invariants: a bad line is an error that names its place; a file
written here is either the old one or the new one, whole and on the disk. Leaves out: what lines mean.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import tempfile
import zlib
from typing import IO, TYPE_CHECKING, Any, cast

import orjson
import zstandard

from gateway.errors import FileError, FileErrors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.types import JSON

STDIN = "-"
MAX_LINE_BYTES = 256 * 1024 * 1024
"""Longer than any request that a gateway accepts; a compressed bomb without newlines stops here."""
_SHOWN_CHARS = 40
_PACKED_ERRORS = (EOFError, zlib.error, zstandard.ZstdError, gzip.BadGzipFile)


def open_binary(path: Path) -> IO[bytes]:
    """Open for reading: unpacked where the name ends in ``.gz`` or ``.zst``; ``-`` is standard input.

    Raises FileErrors (line 1, column 1) when the file cannot be opened.
    """
    if str(path) == STDIN:
        return sys.stdin.buffer
    try:
        if path.suffix == ".gz":
            return cast("IO[bytes]", gzip.GzipFile(path, "rb"))
        raw = path.open("rb")
    except OSError as error:
        raise _unreadable(path, 1, f"cannot be read: {error.strerror or error}") from None
    if path.suffix == ".zst":
        return io.BufferedReader(_ZstdFile(raw), buffer_size=256 * 1024)
    return raw


class _ZstdFile(io.RawIOBase):
    """Zstandard frames, one after the other; unlike the library's reader it tells a cut frame from the end."""

    _STEP_BYTES = 4096
    """Unpacked at a time: four bytes may stand for 128 KiB, so a bomb costs 128 MiB at most."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._packed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._raw.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` with what comes next; 0 at the end. Raises EOFError inside a frame."""
        while not self._ready:
            self._packed = self._packed or self._raw.read(self._STEP_BYTES)
            if not self._packed:
                if self._frame is not None:
                    raise EOFError("the last frame has no end")
                return 0
            self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._ready = memoryview(self._frame.decompress(self._packed))
            self._packed = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


def read_ndjson(path: Path) -> Iterator[tuple[int, dict[str, JSON]]]:
    """The objects of a file with their line numbers, from 1; blank lines are skipped.

    Raises FileErrors at the first line that is not one JSON object, is longer than ``MAX_LINE_BYTES``,
    or where the packed data is damaged or ends early.
    """
    with open_binary(path) as file:
        for line, text in numbered_lines(path, file):
            yield line, parse_object(path, line, text)


def numbered_lines(path: Path, file: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines of ``file`` (opened from ``path``) that are not blank, with their numbers, from 1.

    Raises FileErrors at a line longer than ``MAX_LINE_BYTES``, or where the packed data is damaged.
    """
    line = 0
    while True:
        try:
            text = file.readline(MAX_LINE_BYTES + 1)
        except _PACKED_ERRORS as error:
            raise _unreadable(path, line + 1, f"the packed data is damaged or cut off ({error})") from None
        except OSError as error:
            raise _unreadable(path, line + 1, f"cannot be read: {error.strerror or error}") from None
        if not text:
            return
        line += 1
        if len(text) > MAX_LINE_BYTES:
            raise _unreadable(path, line, f"got a line of more than {MAX_LINE_BYTES} bytes, expected one object")
        if line == 1:
            text = text.removeprefix(b"\xef\xbb\xbf")
        if text.strip():
            yield line, text


def write_atomically(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace ``path`` by ``data``: readers see the old file or the new one, and after a crash too.

    The folder is made where it is missing. ``mode`` is the file's permissions. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)  # noqa: PTH105 - the atomic call, spelt as the operating system does
    except BaseException:
        os.unlink(name)  # noqa: PTH108 - a name, not a Path
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable (a new or renamed name survives a power cut). Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def parse_object(path: Path, line: int, text: bytes) -> dict[str, JSON]:
    """One line as an object. Raises FileErrors with the column where it is none."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        shown = text[:_SHOWN_CHARS].decode("utf-8", "replace").rstrip("\r\n")
        message = f"got {shown!r}, expected one JSON object a line ({error.msg})"
        raise _unreadable(path, line, message, column=error.colno) from None
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}.get(type(value), "a number")
        raise _unreadable(path, line, f"got {kind}, expected one JSON object a line")
    return value


def _unreadable(path: Path, line: int, message: str, *, column: int = 1) -> FileErrors:
    """The error for one place of a file."""
    name = "<stdin>" if str(path) == STDIN else str(path)
    return FileErrors([FileError(file=name, line=line, column=column, message=message)])
