"""Verdicts and overrides in files under the state folder, for one machine.

``verdicts.json`` is replaced as a whole; ``audit.ndjson`` is only ever appended to, by ``clusters`` and the admin
API, and holds the overrides. Both are written under one lock (``flock``), so that the analysis, the gateway and
the command line may write at once. A line that a kill tore off is ended by the next writer and skipped by
readers; it was never acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from gateway.errors import StoreError
from gateway.files import sync_folder, write_atomically
from gateway.standing.overrides import Override, decode_override, encode_override
from gateway.standing.store import Changes
from gateway.standing.verdicts import decode_verdict, encode_verdict, supersedes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from pathlib import Path

    from gateway.types import Verdict

_T = TypeVar("_T")
POLL_S = 0.2
VERSION = 1


class FileStore:
    """A ``StandingStore`` in ``folder``, which is made when something is written."""

    name = "files"

    def __init__(self, folder: Path, poll_s: float = POLL_S) -> None:
        self._folder = folder
        self._poll_s = poll_s
        self._verdict_file = folder / "verdicts.json"
        self._audit_file = folder / "audit.ndjson"
        self.bad_lines = 0
        """Lines of the audit log that could not be read, the last time."""

    async def read(self) -> Changes:
        """Both files, as they are now."""
        return await _in_thread(self._read)

    async def save(self, verdicts: Sequence[Verdict]) -> None:
        """Merge ``verdicts`` into the file."""
        await _in_thread(self._save, verdicts)

    async def record(self, override: Override) -> None:
        """Append one line to the audit log."""
        await _in_thread(self._record, override)

    async def forget(self, clusters: Sequence[str]) -> None:
        """Take clusters out of the file."""
        await _in_thread(self._forget, clusters)

    async def follow(self) -> AsyncIterator[Changes]:
        """The whole, whenever one of the files is another than before."""
        seen = self._stamps()
        yield await self.read()
        while True:
            await asyncio.sleep(self._poll_s)
            if (stamps := self._stamps()) != seen:
                seen = stamps
                yield await self.read()

    async def aclose(self) -> None:
        """Nothing stays open."""

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        """What tells that a file was replaced or appended to."""
        stamps: list[tuple[int, int, int] | None] = []
        for path in (self._verdict_file, self._audit_file):
            try:
                facts = path.stat()
                stamps.append((facts.st_mtime_ns, facts.st_size, facts.st_ino))
            except OSError:
                stamps.append(None)
        return stamps

    def _read(self) -> Changes:
        return Changes(verdicts=tuple(self._read_verdicts().values()), overrides=self._read_overrides(), whole=True)

    def _read_verdicts(self) -> dict[str, Verdict]:
        try:
            page = orjson.loads(self._verdict_file.read_bytes())
            return {row["cluster"]: decode_verdict(row) for row in page["verdicts"]}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{self._verdict_file}: got a file that is not ours ({error}); move it away") from error

    def _read_overrides(self) -> tuple[Override, ...]:
        found = []
        bad = 0
        try:
            lines = self._audit_file.read_bytes().split(b"\n")[:-1]  # what has no newline yet is not there yet
        except FileNotFoundError:
            lines = []
        for line in lines:
            try:
                found.append(decode_override(line))
            except ValueError:
                bad += 1
        self.bad_lines = bad
        return tuple(found)

    def _save(self, verdicts: Sequence[Verdict]) -> None:
        with self._locked():
            held = self._read_verdicts()
            for verdict in verdicts:
                if supersedes(verdict, held.get(verdict.cluster)):
                    held[verdict.cluster] = verdict
            self._write(held)

    def _forget(self, clusters: Sequence[str]) -> None:
        with self._locked():
            held = self._read_verdicts()
            self._write({name: verdict for name, verdict in held.items() if name not in set(clusters)})

    def _write(self, held: dict[str, Verdict]) -> None:
        rows = b",\n".join(encode_verdict(verdict) for verdict in held.values())
        write_atomically(self._verdict_file, b'{"v":%d,"verdicts":[\n%b\n]}\n' % (VERSION, rows))

    def _record(self, override: Override) -> None:
        with self._locked(), self._audit_file.open("ab+") as file:
            os.fchmod(file.fileno(), 0o600)
            torn = b""
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                torn = b"" if file.read(1) == b"\n" else b"\n"
            file.write(torn + encode_override(override) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self._folder)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, over processes."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


async def _in_thread(work: Callable[..., _T], *args: Any) -> _T:
    """Files are read and written beside the event loop. Raises StoreError for OSError."""
    try:
        return await asyncio.to_thread(work, *args)
    except OSError as error:
        raise StoreError(f"{error.filename or 'standing files'}: {error.strerror or error}") from error
