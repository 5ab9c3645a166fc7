"""Keys of an embedded gateway: one SQLite file that the server reads while ``keys`` writes.

Invariants: a write is one transaction, so a reader sees all of it or nothing; a write by another process
is noticed by ``PRAGMA data_version``, a replaced file by its inode. Leaves out: hashing, and what a
gateway believes when the file goes back in time (``book.py``).
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateway.errors import StoreError
from gateway.identity.keys import KeyRecord, KeySnapshot, UnknownKey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BUSY_S = 2.0
"""How long to wait for another writer; each holds the file for about a millisecond."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS keys (
    public_id TEXT PRIMARY KEY,
    secret_hash BLOB NOT NULL,
    account TEXT NOT NULL,
    org TEXT,
    plan TEXT,
    label TEXT,
    created_at REAL NOT NULL,
    expires_at REAL,
    revoked_at REAL
) STRICT;
"""
_COLUMNS = "public_id, secret_hash, account, org, plan, label, created_at, expires_at, revoked_at"


class SqliteKeyStore:
    """The file ``path``, made with mode 0600 where it is missing. One lock: calls may come from any thread.

    Raises StoreError where it cannot be made or opened.
    """

    name = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._inode = 0
        self._db: sqlite3.Connection | None = None
        with self._connection():
            pass

    def stamp(self) -> object:
        """The file's inode, its data version, and what this connection itself changed."""
        with self._connection() as db:
            (version,) = db.execute("PRAGMA data_version").fetchone()
            return self._inode, version, db.total_changes

    def snapshot(self) -> KeySnapshot:
        """All records, read in one transaction."""
        with self._connection() as db, _transaction(db, "BEGIN"):
            meta = dict(db.execute("SELECT name, value FROM meta"))
            rows = db.execute(f"SELECT {_COLUMNS} FROM keys").fetchall()  # noqa: S608 - a constant
        records = {row["public_id"]: KeyRecord(**dict(row)) for row in rows}
        return KeySnapshot(epoch=meta.get("epoch", ""), version=int(meta.get("version", 0)), records=records)

    def add(self, record: KeyRecord) -> None:
        """Keep a new record. Raises ValueError where its id is taken."""
        row = tuple(getattr(record, name.strip()) for name in _COLUMNS.split(","))
        with self._connection() as db, _transaction(db, "BEGIN IMMEDIATE"):
            try:
                db.execute(f"INSERT INTO keys ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608
            except sqlite3.IntegrityError:
                raise ValueError(f"got the id {record.public_id} again, expected a new one") from None
            _count(db)

    def revoke(self, public_id: str, now_s: float) -> KeyRecord:
        """Revoke for ever; the first time stands. Raises UnknownKey."""
        with self._connection() as db, _transaction(db, "BEGIN IMMEDIATE"):
            changed = db.execute(
                "UPDATE keys SET revoked_at = ? WHERE public_id = ? AND revoked_at IS NULL", (now_s, public_id)
            ).rowcount
            if changed:
                _count(db)
            row = db.execute(f"SELECT {_COLUMNS} FROM keys WHERE public_id = ?", (public_id,)).fetchone()  # noqa: S608
        if row is None:
            raise UnknownKey(f"no key has the public id {public_id}")
        return KeyRecord(**dict(row))

    def bind(self, fingerprint: str) -> str:
        """The fingerprint that holds: the given one while there are no keys."""
        with self._connection() as db, _transaction(db, "BEGIN IMMEDIATE"):
            (empty,) = db.execute("SELECT NOT EXISTS (SELECT 1 FROM keys)").fetchone()
            verb = "REPLACE" if empty else "IGNORE"
            db.execute(f"INSERT OR {verb} INTO meta VALUES ('hash_key', ?)", (fingerprint,))  # noqa: S608
            (held,) = db.execute("SELECT value FROM meta WHERE name = 'hash_key'").fetchone()
        return str(held)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._disconnect()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """The open file, opened again where another one took its name; failures become StoreError."""
        with self._lock:
            try:
                yield self._opened()
            except (sqlite3.Error, OSError) as error:
                self._disconnect()
                raise StoreError(f"key store {self._path} cannot be used: {error}") from error

    def _opened(self) -> sqlite3.Connection:
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            inode = -1
        if self._db is None or inode != self._inode:
            self._disconnect()
            self._path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            self._db = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.executescript(_SCHEMA)
            self._inode = self._path.stat().st_ino
        return self._db

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


@contextmanager
def _transaction(db: sqlite3.Connection, begin: str) -> Iterator[None]:
    """All or nothing."""
    db.execute(begin)
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _count(db: sqlite3.Connection) -> None:
    """One more write; the first one names the store."""
    db.execute("INSERT OR IGNORE INTO meta VALUES ('epoch', ?)", (secrets.token_hex(8),))
    db.execute(
        "INSERT INTO meta VALUES ('version', '1') "
        "ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)"
    )
