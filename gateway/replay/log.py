"""Traffic logs: requests as NDJSON, with long texts kept once in a file beside them.

Reads one line at a time; only the texts that recur are held in memory. A log that cannot
be replayed (a line that is no request, times that go back, a text that is missing) is an error with its
place; a request that the gateway would refuse is not: it is replayed and refused.
"""

from __future__ import annotations

import heapq
import math
import re
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import IO, TYPE_CHECKING, NamedTuple, NoReturn

import orjson

from gateway.errors import FileError, FileErrors
from gateway.files import STDIN, numbered_lines, open_binary, parse_object, read_ndjson
from gateway.types import JSON, Headers, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

TEXT_KEY = "$text"
_TEXT_MARK = b'"$text"'
_IS_LOG = re.compile(r"\.ndjson(\.gz|\.zst)?\Z")
_RECORDING = re.compile(r"requests-\d{8}T\d{6}-\d{3}-(\d+)\.ndjson(?:\.gz|\.zst)?")
_HEADERS_KEPT = 4_096
_TEXT_FILES = ("texts.ndjson.gz", "texts.ndjson", "texts.ndjson.zst")


@dataclass(slots=True)
class Recorded:
    """One request of a log. ``ts`` in seconds since the epoch; ``status`` 0 where the log has none.

    ``method`` and what stands beside them are what the gateway's own recordings
    add: ``country`` where the call came from (else the account's counts), ``body_bytes`` as received.
    """

    id: str
    ts: float
    account: str
    ip: str | None
    headers: Headers
    path: str
    body: dict[str, JSON] = field(repr=False)
    usage: Usage | None = None
    status: int = 0
    method: str = "POST"
    body_bytes: int | None = None
    country: str | None = None
    duration_s: float | None = None
    traits: dict[str, JSON] | None = None
    """Where the texts were left out when the request was recorded: what the analysis saw of them."""


def read_texts(requests: Path, texts: Path | None = None) -> dict[str, str]:
    """The texts that ``requests`` refer to: from ``texts`` where given, else from the file beside the log.

    Raises FileErrors at a line without ``key`` and ``text``.
    """
    found = texts if texts is not None else texts_beside(requests)
    if found is None:
        return {}
    kept: dict[str, str] = {}
    for line, row in read_ndjson(found):
        for name in ("key", "text"):
            if type(row.get(name)) is not str:
                raise _at(found, line, 1, f"{name}: got {_shown(row.get(name))}, expected a text")
        kept[row["key"]] = row["text"]
    return kept


def texts_beside(requests: Path) -> Path | None:
    """The file of long texts in the folder of a log; ``None`` where there is none, or no folder."""
    if str(requests) == STDIN:
        return None
    folder = requests if requests.is_dir() else requests.parent
    beside = (folder / name for name in _TEXT_FILES)
    return next((path for path in beside if path.exists()), None)


def log_files(requests: Path) -> list[Path]:
    """The files of a log: itself, or in a folder its ``requests*.ndjson`` files (packed too) by name."""
    if not requests.is_dir():
        return [requests]
    found = sorted(path for path in requests.glob("requests*") if _IS_LOG.search(path.name))
    if not found:
        raise _at(requests, 1, 1, "got a folder without requests*.ndjson files (.gz, .zst), expected at least one")
    return found


class RequestLog:
    """The requests of a log in its order, once. Raises FileErrors at the first line that is unusable.

    ``skip`` leaves the first so many out (they were read before; only the time of the last is looked at).

    Of recordings (``requests-TIME-NUMBER-PROCESS.ndjson``) each process's files are one log; those of several
    processes are merged by time.
    """

    def __init__(self, path: Path, texts: Mapping[str, str], skip: int = 0) -> None:
        self.path = path
        self._texts = texts
        self._skip = skip
        self._open: dict[Path, IO[bytes]] = {}
        self._before = 0

    def __iter__(self) -> Iterator[Recorded]:
        chains: dict[str, list[Path]] = {}
        for path in log_files(self.path):
            found = _RECORDING.fullmatch(path.name)
            chains.setdefault(found[1] if found else "", []).append(path)
        if len(chains) == 1:
            return self._chain(next(iter(chains.values())), self._skip)
        merged = heapq.merge(*map(self._chain, chains.values()), key=lambda recorded: recorded.ts)
        return islice(merged, self._skip, None)

    def position(self) -> int:
        """How many bytes of the files on disk have been read; 0 for standard input."""
        return self._before + sum(map(_told, self._open.values()))

    def _chain(self, paths: list[Path], skip: int = 0) -> Iterator[Recorded]:
        last_ts, texts = -math.inf, self._texts
        for path in paths:
            with open_binary(path) as file:
                self._open[path] = file
                for line, text in numbered_lines(path, file):
                    skip -= 1
                    if skip > 0:
                        continue
                    recorded = _Line(path, line, text).recorded(texts)
                    if recorded.ts < last_ts:
                        problem = f"got {recorded.ts}, expected at least {last_ts}: sort the log by ts"
                        _Line(path, line, text).wrong("ts", problem)
                    last_ts = recorded.ts
                    if skip < 0:
                        yield recorded
                self._before += _told(self._open.pop(path))


def _told(file: object) -> int:
    """Where the file on disk stands that ``file`` unpacks."""
    for name in ("raw", "_raw", "fileobj"):
        file = getattr(file, name, None) or file
    try:
        return int(file.tell())  # type: ignore[attr-defined]
    except (OSError, ValueError):
        return 0


class _Line(NamedTuple):
    """A line and its place."""

    path: Path
    number: int
    text: bytes

    def recorded(self, texts: Mapping[str, str]) -> Recorded:
        """The request in it. Raises FileErrors."""
        row = parse_object(self.path, self.number, self.text)
        for name, kind, expected in _REQUIRED:
            if type(row.get(name)) is not kind:
                self.wrong(name, f"got {_shown(row.get(name))}, expected {expected}")
        ts: JSON = row.get("ts")
        if type(ts) not in _NUMBER or not 0 <= ts < math.inf:
            self.wrong("ts", f"got {_shown(ts)}, expected seconds since the epoch")
        for name, kinds, expected in _OPTIONAL:
            value = row.get(name)
            if value is not None and type(value) not in kinds:
                self.wrong(name, f"got {_shown(value)}, expected {expected}")
        body = row["body"]
        if _TEXT_MARK in self.text:
            try:
                _expand(body, texts)
            except KeyError as error:
                key = error.args[0]
                column = self.text.find(orjson.dumps(key)) + 1
                problem = f"$text: got {_shown(key)}, expected a key of texts.ndjson beside the log"
                raise _at(self.path, self.number, max(column, 1), problem) from None
        return Recorded(
            id=row["id"],
            ts=float(ts),
            account=row["account"],
            ip=row.get("ip"),
            headers=self._headers(row.get("headers") or {}),
            path=row["path"],
            body=body,
            usage=self._usage(row.get("usage")),
            status=row.get("status") or 0,
            method=row.get("method") or "POST",
            body_bytes=row.get("body_bytes"),
            country=row.get("country"),
            duration_s=row.get("duration_s"),
            traits=row.get("traits"),
        )

    def _headers(self, headers: dict[str, JSON]) -> Headers:
        found = []
        for name, value in headers.items():
            if type(value) is not str:
                self.wrong(name, f"got {_shown(value)}, expected a header's text")
            found.append(_header(name, value))
        return found

    def _usage(self, value: dict[str, JSON] | None) -> Usage | None:
        if not value:
            return None
        inputs, outputs = value.get("input_tokens") or 0, value.get("output_tokens") or 0
        for name, count in (("input_tokens", inputs), ("output_tokens", outputs)):
            if type(count) is not int or count < 0:
                self.wrong(name, f"got {_shown(count)}, expected a whole number >= 0")
        return Usage(input_tokens=inputs, output_tokens=outputs, reported=True)

    def wrong(self, name: str, message: str) -> NoReturn:
        """Raise FileErrors at the field ``name``."""
        column = self.text.find(orjson.dumps(name) + b":")
        raise _at(self.path, self.number, max(column, 0) + 1, f"{name}: {message}")


@lru_cache(maxsize=_HEADERS_KEPT)
def _header(name: str, value: str) -> tuple[bytes, bytes]:
    """A header as ASGI has it; programs send the same ones over and over."""
    return name.lower().encode(), value.encode("latin-1", "replace")


_NUMBER = (float, int)
_REQUIRED = (
    ("id", str, "a text that names the request"),
    ("account", str, "the account's id"),
    ("path", str, "the path of the request"),
    ("body", dict, "the request's JSON object"),
)
_OPTIONAL = (
    ("ip", (str,), "an address or null"),
    ("headers", (dict,), "an object of texts"),
    ("usage", (dict,), "an object with input_tokens and output_tokens"),
    ("status", (int,), "a status code"),
    ("method", (str,), "a method such as POST"),
    ("body_bytes", (int,), "a whole number"),
    ("country", (str,), "a country such as DE"),
    ("duration_s", (int, float), "seconds"),
    ("traits", (dict,), "an object of keyed hashes"),
)


def read_requests(path: Path, texts: Path | None = None, skip: int = 0) -> RequestLog:
    """The requests of a log; ``-`` is standard input. Raises FileErrors for unusable texts, and while iterating."""
    return RequestLog(path, read_texts(path, texts), skip)


def _expand(value: JSON, texts: Mapping[str, str]) -> None:
    """Replace every ``{"$text": KEY}`` within a freshly parsed ``value`` by its text. Raises KeyError for an unknown key."""
    places = value.items() if type(value) is dict else enumerate(value)
    for place, item in places:
        kind = type(item)
        if kind is dict:
            if TEXT_KEY in item and len(item) == 1:
                value[place] = _text(item[TEXT_KEY], texts)
            else:
                _expand(item, texts)
        elif kind is list:
            _expand(item, texts)


def _text(key: JSON, texts: Mapping[str, str]) -> str:
    if type(key) is not str:
        raise KeyError(key)
    return texts[key]


def _shown(value: JSON) -> str:
    """A value of a log in a message, cut short; texts of requests are no secrets of the operator's own machine."""
    if value is None:
        return "nothing"
    text = orjson.dumps(value).decode()
    return text if len(text) <= 40 else f"{text[:40]}..."  # noqa: PLR2004 - enough to find it


def _at(path: Path, line: int, column: int, message: str) -> FileErrors:
    name = "<stdin>" if str(path) == STDIN else str(path)
    return FileErrors([FileError(file=name, line=line, column=column, message=message)])
