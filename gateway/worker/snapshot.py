"""The state of the analysis as one file: made by this gateway, believed only if it is whole, ours and of this code.

A file is a line of JSON (version, fingerprint of the analysis' code, when), zstd-packed pickle, and 32 bytes of
BLAKE2b over all before them under the gateway's hash key. Invariants:

* Nothing is unpickled before the seal was verified; and then only classes of ``gateway.analysis``, numpy's
  arrays and plain containers can come of it, so that even a leaked key is no way in.
* State of other code is not believed: the events are read again instead.

Writing gives other threads their turn every 64 kB. Leaves out: where files are kept (``sources``), who writes (``aside``).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import importlib
import os
import pickle
from functools import lru_cache
from importlib.resources import files
from typing import IO, TYPE_CHECKING, Any, Final, cast

import orjson
import zstandard

from gateway.errors import DistillguardError
from gateway.worker.core import State
from gateway.worker.sources import open_private

if TYPE_CHECKING:
    from pathlib import Path

VERSION: Final = 1
UPLOAD: Final = "upload"
"""Begins the names of snapshots on their way to Redis."""
_ABANDONED_S: Final = 3_600.0
"""Nobody writes or uploads for so long: a copy that writes is ended after a quarter of it."""
_SEAL_BYTES: Final = 32
_CHUNK_BYTES: Final = 1024 * 1024
_MAX_HEAD_BYTES: Final = 4096
_PLAIN: Final = {
    "array": {"array", "_array_reconstructor"},
    "builtins": {"set", "frozenset", "bytearray", "complex", "list", "dict", "int", "float", "object"},
    "collections": {"OrderedDict", "defaultdict", "deque", "Counter"},
    "copyreg": {"_reconstructor"},
    "numpy": {"ndarray", "dtype"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "random": {"Random"},
}
_OURS: Final = ("gateway.analysis.", "gateway.types", "gateway.worker.core")


class SnapshotUnusable(DistillguardError):
    """A snapshot that is damaged, not ours or of other code; the message says which."""


class _Sealed:
    """A file that hashes what is written to it."""

    def __init__(self, file: IO[bytes], key: bytes) -> None:
        self._file = file
        self.hash = _hasher(key)

    def write(self, data: Any) -> int:
        self.hash.update(data)
        return self._file.write(data)


class _Through:
    """A file in pure Python between pickle and packer: the interpreter may switch threads at each piece."""

    def __init__(self, packer: Any) -> None:
        self._packer = packer

    def write(self, data: Any) -> int:
        written: int = self._packer.write(data)
        return written


class _OnlyOurs(pickle.Unpickler):
    """An unpickler that makes nothing but what a state is made of."""

    def find_class(self, module: str, name: str) -> Any:
        """The class. Raises SnapshotUnusable for any other."""
        if name in _PLAIN.get(module, ()):
            return super().find_class(module, name)
        if module.startswith(_OURS) and "." not in name:
            found = getattr(importlib.import_module(module), name, None)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise SnapshotUnusable(f"got {module}.{name} in a snapshot, expected only what the analysis keeps")


def write_snapshot(path: Path, state: State, key: bytes, now_s: float) -> int:
    """Replace ``path`` by the state, whole and on the disk; returns its size in bytes.

    Raises OSError, and SnapshotUnusable where the state holds what cannot be kept; then the old file stays.
    """
    draft = draft_of(path)
    try:
        size = write_draft(draft, state, key, now_s)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return size


def draft_of(path: Path) -> Path:
    """Where this process writes what is to take the place of ``path``."""
    return path.with_name(f".{path.name}.{os.getpid()}.new")


def clear_drafts(path: Path) -> None:
    """Take away what killed processes left unfinished; only where nobody else writes ``path``."""
    for draft in path.parent.glob(f".{path.name}.*.new"):
        draft.unlink(missing_ok=True)


def clear_uploads(folder: Path, now_s: float) -> None:
    """Take away what workers that were killed left on its way to Redis. ``now_s`` is the time of the file system.

    Whose it was is told by age alone: workers of several machines may share the folder, and each has processes of its own.
    """
    for path in [*folder.glob(f"{UPLOAD}-*"), *folder.glob(f".{UPLOAD}-*.new")]:
        with contextlib.suppress(FileNotFoundError):  # another worker was faster
            if path.stat().st_mtime < now_s - _ABANDONED_S:
                path.unlink()


def write_draft(draft: Path, state: State, key: bytes, now_s: float) -> int:
    """Write the state, whole and on the disk; its size in bytes. Raises as ``write_snapshot`` does."""
    try:
        with open_private(draft) as file:
            sealed = _Sealed(file, key)
            head = {"v": VERSION, "code": code_fingerprint(), "at": now_s, "observed": state.observed}
            sealed.write(orjson.dumps(head) + b"\n")
            with zstandard.ZstdCompressor(level=1).stream_writer(sealed, closefd=False) as packer:  # type: ignore[arg-type]  # it only writes
                pickle.Pickler(_Through(packer), protocol=5).dump(state)
            file.write(sealed.hash.digest())
            file.flush()
            os.fsync(file.fileno())
            return file.tell()
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise SnapshotUnusable(f"{draft}: got a state that cannot be kept ({error}), expected plain data") from error


def read_snapshot(path: Path, key: bytes) -> State | None:
    """The state in ``path``; ``None`` where there is no file.

    Raises SnapshotUnusable where it is damaged, sealed with another key, or of other code.
    """
    try:
        with path.open("rb") as file:
            size = _verify(file, key)
            _check_head(file)
            body = _Part(file, size - file.tell())
            with zstandard.ZstdDecompressor().stream_reader(cast("IO[bytes]", body)) as reader:
                state = _OnlyOurs(cast("IO[bytes]", _Buffered(reader))).load()
    except FileNotFoundError:
        return None
    except SnapshotUnusable:
        raise
    except Exception as error:
        raise SnapshotUnusable(f"{path}: got {type(error).__name__} while reading, expected a snapshot") from error
    if not isinstance(state, State):
        raise SnapshotUnusable(f"{path}: got a {type(state).__name__}, expected a state")
    return state


@lru_cache(maxsize=1)
def code_fingerprint() -> str:
    """Names the code whose state this is: the sources of the analysis and of this room's ``core``, and numpy's version."""
    import numpy as np

    digest = hashlib.blake2b(np.__version__.encode(), digest_size=12)
    folder = files("gateway.analysis")
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".py"):
            digest.update(entry.name.encode() + b"\0" + entry.read_bytes())
    digest.update(files("gateway.worker").joinpath("core.py").read_bytes())
    return digest.hexdigest()


class _Part:
    """The next ``size`` bytes of a file."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


class _Buffered:
    """What the unpickler asks of a file, over a reader that has no lines."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, size: int) -> bytes:
        parts = []
        while size > 0 and (part := self._reader.read(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def readline(self) -> bytes:
        line = bytearray()
        while (byte := self._reader.read(1)) and byte != b"\n":
            line += byte
        return bytes(line + byte)


def _verify(file: IO[bytes], key: bytes) -> int:
    """The size without the seal; the file is at its start again. Raises SnapshotUnusable."""
    size = file.seek(0, os.SEEK_END) - _SEAL_BYTES
    file.seek(0)
    seal = _hasher(key)
    rest = _Part(file, max(size, 0))
    while chunk := rest.read(_CHUNK_BYTES):
        seal.update(chunk)
    if size < 0 or not hmac.compare_digest(seal.digest(), file.read(_SEAL_BYTES)):
        raise SnapshotUnusable(f"{file.name}: got a snapshot that is damaged or of another gateway, expected our seal")
    file.seek(0)
    return size


def _check_head(file: IO[bytes]) -> None:
    """Read past the first line. Raises SnapshotUnusable where it names other code."""
    head = orjson.loads(file.readline(_MAX_HEAD_BYTES))
    if head.get("v") != VERSION or head.get("code") != code_fingerprint():
        raise SnapshotUnusable(f"{file.name}: got the state of another release of the analysis, expected this one's")


def _hasher(key: bytes) -> hashlib.blake2b:
    return hashlib.blake2b(key=key, digest_size=_SEAL_BYTES, person=b"analysis state")
