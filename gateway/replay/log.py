"""Traffic logs: accounts and requests as NDJSON, with long texts kept once in a file beside them.

Reads one line at a time; only the texts that recur and the accounts are held in memory. A log that cannot
be replayed (a line that is no request, times that go back, a text that is missing) is an error with its
place; a request that the gateway would refuse is not: it is replayed and refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.errors import FileError, FileErrors
from gateway.files import STDIN, read_ndjson
from gateway.identity import Account, load_accounts
from gateway.types import JSON, Headers, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

TEXT_KEY = "$text"
_TEXT_FILES = ("texts.ndjson.gz", "texts.ndjson", "texts.ndjson.zst")


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The account directory of a log: as the policies see it, and the rows as the analysis does."""

    known: Mapping[str, Account]
    rows: Mapping[str, Mapping[str, JSON]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One request of a log. ``ts`` in seconds since the epoch; ``status`` 0 where the log has none."""

    id: str
    ts: float
    account: str
    ip: str | None
    headers: Headers
    path: str
    body: dict[str, JSON] = field(repr=False)
    body_bytes: int = 0
    usage: Usage | None = None
    status: int = 0


def read_accounts(path: Path) -> Accounts:
    """Load an accounts file. Raises FileErrors with every bad row."""
    known = load_accounts(path)
    if ".csv" in path.suffixes:
        return Accounts(known=known, rows={})
    return Accounts(known=known, rows={row["account"]: row for _, row in read_ndjson(path)})


def read_requests(path: Path) -> Iterator[Recorded]:
    """The requests of a log in its order. Raises FileErrors at the first line that is unusable."""
    texts = _texts_beside(path)
    last_ts = float("-inf")
    for line, row in read_ndjson(path):
        recorded = _recorded(path, line, row, texts)
        if recorded.ts < last_ts:
            raise _wrong(path, line, f"ts: got {recorded.ts}, expected at least {last_ts}: sort the log by ts")
        last_ts = recorded.ts
        yield recorded


def _texts_beside(path: Path) -> dict[str, str]:
    if str(path) == STDIN:
        return {}
    for name in _TEXT_FILES:
        found = path.parent / name
        if found.exists():
            return {str(row["key"]): str(row["text"]) for _, row in read_ndjson(found)}
    return {}


def _recorded(path: Path, line: int, row: dict[str, JSON], texts: Mapping[str, str]) -> Recorded:
    try:
        headers = row.get("headers") or {}
        return Recorded(
            id=str(row["id"]),
            ts=float(row["ts"]),
            account=str(row["account"]),
            ip=row.get("ip"),
            headers=[
                (name.lower().encode(), str(value).encode("latin-1", "replace")) for name, value in headers.items()
            ],
            path=str(row["path"]),
            body=_expand(dict(row["body"]), texts),
            usage=_usage(row.get("usage")),
            status=int(row.get("status") or 0),
        )
    except KeyError as error:
        missing = error.args[0]
        if isinstance(missing, _MissingText):
            raise _wrong(path, line, f"$text: got {missing}, expected a key of texts.ndjson beside the log") from None
        raise _wrong(path, line, f"{missing}: got nothing, expected it in every request") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise _wrong(path, line, f"{error}; expected a request as the format of traffic logs has it") from None


class _MissingText(str):
    """The key of a text that is not there."""

    __slots__ = ()


def _expand(value: JSON, texts: Mapping[str, str]) -> JSON:
    """``value`` with every ``{"$text": KEY}`` replaced by its text."""
    if isinstance(value, dict):
        if len(value) == 1 and TEXT_KEY in value:
            key = value[TEXT_KEY]
            if key not in texts:
                raise KeyError(_MissingText(key))
            return texts[key]
        return {name: _expand(item, texts) if isinstance(item, dict | list) else item for name, item in value.items()}
    return [_expand(item, texts) if isinstance(item, dict | list) else item for item in value]


def _usage(value: JSON) -> Usage | None:
    if not isinstance(value, dict):
        return None
    return Usage(
        input_tokens=int(value.get("input_tokens") or 0),
        output_tokens=int(value.get("output_tokens") or 0),
        reported=True,
    )


def _wrong(path: Path, line: int, message: str) -> FileErrors:
    return FileErrors([FileError(file=str(path), line=line, column=1, message=message)])
