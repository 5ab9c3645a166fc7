"""The account directory: who the operator's accounts are, from one file.

Owns the meaning of a row (``--accounts``; the same file is ``replay``'s). Invariants: a directory is whole
or not at all: any bad row is an error that names its place; no credential stands for two accounts.
Credentials are kept as SHA-256 only. Leaves out: reading lines (``accounts_file.py``), watching the file
(``refresh.py``).

Fields beyond those of traffic logs, for operators whose accounts already have keys:

``api_key_sha256``  SHA-256 in hexadecimal of a random credential, or a list of them
``api_key``         the credential itself, or a list: for tests and demonstrations only, since the file then
                    holds secrets
"""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.types import JSON

MAX_ID_CHARS = 256
_COUNTRY = re.compile(r"[A-Z][A-Z0-9]")
_SHA256_HEX = re.compile(r"[0-9a-f]{64}")
_SHOWN_CHARS = 40
Row: TypeAlias = tuple[Any, ...]
"""An account's values in the order of its fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account as the operator describes it. Times in seconds since the epoch."""

    account: str
    created_at: float | None = None
    plan: str | None = None
    org: str | None = None
    email_domain: str | None = None
    payment: str | None = None
    phone_country: str | None = None
    signup_ip: str | None = None
    country: str | None = None
    verified: bool = False
    declared_use: str | None = None


class Directory:
    """All accounts by id, and by the SHA-256 of the credentials that the operator gave them.

    Rows are plain tuples: the garbage collector leaves those alone, where 100,000 objects would stop the
    event loop for 40 ms at each full collection.
    """

    __slots__ = ("_by_credential", "_rows")

    def __init__(self, rows: Mapping[str, Row] | None = None, by_credential: Mapping[bytes, str] | None = None) -> None:
        self._rows = rows or {}
        self._by_credential = by_credential or {}

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def account(self, account_id: str) -> Account | None:
        """What the operator says of an account; None where it is not in the directory."""
        row = self._rows.get(account_id)
        if row is None:
            return None
        return Account(
            account=row[0],
            created_at=row[1],
            plan=row[2],
            org=row[3],
            email_domain=row[4],
            payment=row[5],
            phone_country=row[6],
            signup_ip=row[7],
            country=row[8],
            verified=row[9],
            declared_use=row[10],
        )

    def by_credential(self, sha256: bytes) -> Account | None:
        """Whose credential has this SHA-256."""
        account_id = self._by_credential.get(sha256)
        return None if account_id is None else self.account(account_id)


class RowError(ValueError):
    """A field of a row that cannot be used; ``name`` is the field's."""

    def __init__(self, name: str, message: str) -> None:
        self.name = name
        super().__init__(message)


class DirectoryBuilder:
    """Takes rows one by one and gives a directory; what is wrong between rows is found here."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}
        self._lines: dict[str, int] = {}
        self._by_credential: dict[bytes, str] = {}

    def add(self, row: Mapping[str, JSON], line: int) -> None:
        """Take the row that stands in ``line``. Raises RowError; the row is then not taken."""
        values = read_row(row)
        account = values[0]
        if (first := self._lines.get(account)) is not None:
            raise RowError("account", f"got {account!r} again, expected each account once (first: line {first})")
        credentials = _credentials(row)
        for name, credential in credentials:
            if (other := self._by_credential.get(credential)) is not None:
                raise RowError(
                    name, f"got a credential of {other!r} (line {self._lines[other]}), expected one of its own"
                )
        self._rows[account] = values
        self._lines[account] = line
        for _, credential in credentials:
            self._by_credential[credential] = account

    def directory(self) -> Directory:
        """What was taken."""
        return Directory(self._rows, self._by_credential)


def read_row(row: Mapping[str, JSON]) -> Row:
    """The values of an account's fields. Absent and null fields take the default; unknown ones are ignored.

    Raises RowError at the first field that cannot be used.
    """
    values = []
    for name, read, default in _FIELDS:
        value = row.get(name)
        values.append(default if value is None else read(name, value))
    if values[0] is None:
        raise RowError("account", "got no account, expected its id")
    return tuple(values)


def sha256_of(credential: str) -> bytes:
    """How a directory names a credential."""
    return hashlib.sha256(credential.encode()).digest()


def _credentials(row: Mapping[str, JSON]) -> list[tuple[str, bytes]]:
    """The credentials of a row, each with the field that it came from; twice in one row counts once."""
    found: dict[bytes, str] = {}
    for name in ("api_key_sha256", "api_key"):
        value = row.get(name)
        for text in value if isinstance(value, list) else () if value is None else (value,):
            found.setdefault(_credential(name, text), name)
    return [(name, credential) for credential, name in found.items()]


def _credential(name: str, text: JSON) -> bytes:
    if name == "api_key":
        if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable() or " " in text:
            raise RowError(name, "got an unusable credential, expected visible ASCII characters")
        return sha256_of(text)
    if not isinstance(text, str) or not _SHA256_HEX.fullmatch(text.lower()):
        raise RowError(name, f"got {_shown(text)}, expected the 64 hexadecimal digits of a SHA-256")
    return bytes.fromhex(text)


def _text(name: str, value: JSON) -> str:
    if not isinstance(value, str) or not value or len(value) > MAX_ID_CHARS or not value.isprintable():
        raise RowError(name, f"got {_shown(value)}, expected 1 to {MAX_ID_CHARS} printable characters")
    return value


def _shared(name: str, value: JSON) -> str:
    """A text that many accounts have: kept once."""
    return sys.intern(_text(name, value))


def _country(name: str, value: JSON) -> str:
    if not isinstance(value, str) or not _COUNTRY.fullmatch(value.upper()):
        raise RowError(name, f"got {_shown(value)}, expected a country code of two letters such as DE")
    return sys.intern(value.upper())


def _time(name: str, value: JSON) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise RowError(name, f"got {_shown(value)}, expected seconds since the epoch")
    return float(value)


def _flag(name: str, value: JSON) -> bool:
    if not isinstance(value, bool):
        raise RowError(name, f"got {_shown(value)}, expected true or false")
    return value


_FIELDS: tuple[tuple[str, Callable[[str, JSON], JSON], JSON], ...] = (
    ("account", _text, None),
    ("created_at", _time, None),
    ("plan", _shared, None),
    ("org", _shared, None),
    ("email_domain", _shared, None),
    ("payment", _text, None),
    ("phone_country", _country, None),
    ("signup_ip", _text, None),
    ("country", _country, None),
    ("verified", _flag, False),
    ("declared_use", _shared, None),
)


def _shown(value: JSON) -> str:
    """A value for an error message, on one line and short."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."
