"""Keys that the gateway gives out: their shape, their records, and the store's interface.

A key reads ``dg1_ID_SECRETCHECK``: version 1, a public id of 80 bits that may stand in logs, a secret of
160 bits, and a CRC-32 over all before it, so that a truncated key or a scanner's false find is told
without looking anything up. All parts are lower-case base32 (RFC 4648).

Invariants: the secret is shown once and stored nowhere, only its keyed hash; an id is never used twice;
a record, once revoked, stays revoked, and the first revocation's time stands. Leaves out: where records
are kept (``sqlite_store.py``, ``redis_store.py``), and what a gateway believes of them (``book.py``).
"""

from __future__ import annotations

import base64
import secrets
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from gateway.errors import DistillguardError
from gateway.identity.hashing import digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

KEY_KIND = "credential"
PREFIX = "dg1_"
ID_CHARS = 16
SECRET_CHARS = 32
CHECK_CHARS = 7
KEY_CHARS = len(PREFIX) + ID_CHARS + 1 + SECRET_CHARS + CHECK_CHARS
_ID_END = len(PREFIX) + ID_CHARS


class UnknownKey(DistillguardError):
    """No key with this public id was ever made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """What is kept of a key. ``plan`` and ``org`` count for accounts that no directory describes."""

    public_id: str
    secret_hash: bytes = field(repr=False)
    account: str
    org: str | None = None
    plan: str | None = None
    label: str | None = None
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def state(self, now_s: float) -> str:
        """``active``, ``revoked`` or ``expired`` at ``now_s`` (a key is dead at its very expiry)."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and now_s >= self.expires_at:
            return "expired"
        return "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySnapshot:
    """All keys at one moment. ``version`` grows with every write; ``epoch`` names the store itself, so
    that an older state of the same store is told from another store. ``epoch`` is empty, and ``version``
    0, where no key was ever made.
    """

    epoch: str = ""
    version: int = 0
    records: Mapping[str, KeyRecord] = field(default_factory=dict)


def newest_of(records: Iterable[KeyRecord], account: str, now_s: float) -> KeyRecord | None:
    """The last made of an account's good keys: what its keys say of it; ``None`` where it has none."""
    good = (one for one in records if one.account == account and one.state(now_s) == "active")
    return max(good, key=lambda one: one.created_at, default=None)


class KeyStore(Protocol):
    """Where records of keys are kept. All calls block and raise StoreError where the store cannot be asked."""

    name: str
    """For people: the kind of store."""

    def stamp(self) -> object:
        """Cheap to ask; differs from the last one whenever the records may have changed."""
        ...

    def snapshot(self) -> KeySnapshot:
        """All records, as of one moment."""
        ...

    def add(self, record: KeyRecord) -> None:
        """Keep a new record. Raises ValueError where its id is taken."""
        ...

    def revoke(self, public_id: str, now_s: float) -> KeyRecord:
        """Revoke for ever; again is no error and keeps the first time. Raises UnknownKey."""
        ...

    def bind(self, fingerprint: str) -> str:
        """Tie the store to a hash key; answers the fingerprint that holds (the first one while keys exist)."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


def make_key(
    hash_key: bytes,
    account: str,
    *,
    now_s: float,
    org: str | None = None,
    plan: str | None = None,
    label: str | None = None,
    lifetime_s: float | None = None,
) -> tuple[str, KeyRecord]:
    """A new key, to be shown once, and the record to keep. ``lifetime_s`` > 0, or None for ever."""
    head = f"{PREFIX}{_random(10)}_{_random(20)}"
    text = head + _check(head)
    record = KeyRecord(
        public_id=public_id_of(text) or "",
        secret_hash=digest(hash_key, KEY_KIND, text.encode()),
        account=account,
        org=org,
        plan=plan,
        label=label,
        created_at=now_s,
        expires_at=None if lifetime_s is None else now_s + lifetime_s,
    )
    return text, record


def looks_like_key(text: str) -> bool:
    """True for what claims to be a key of the gateway, whole or not."""
    return text.startswith(PREFIX)


def claimed_id(text: str) -> str:
    """What stands where a key's public id would; cheap, and the hash of the whole key decides anyway."""
    return text[len(PREFIX) : _ID_END]


def public_id_of(text: str) -> str | None:
    """The public id of a well-formed key, else None; says nothing about whether the key is good."""
    if len(text) != KEY_CHARS or not text.startswith(PREFIX) or text[_ID_END] != "_":
        return None
    if _check(text[:-CHECK_CHARS]) != text[-CHECK_CHARS:]:
        return None
    return text[len(PREFIX) : _ID_END]


def _random(size: int) -> str:
    """``size`` random bytes (a multiple of 5, so without padding)."""
    return base64.b32encode(secrets.token_bytes(size)).decode().lower()


def _check(head: str) -> str:
    """CRC-32 of ``head`` as seven characters."""
    return (
        base64.b32encode(zlib.crc32(head.encode("utf-8", "replace")).to_bytes(4, "big")).decode().lower()[:CHECK_CHARS]
    )
