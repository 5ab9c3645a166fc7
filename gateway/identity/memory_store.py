"""A key store in memory: the fake that tests use, held to the real ones' conformance suite."""

from __future__ import annotations

import dataclasses
import secrets
from typing import TYPE_CHECKING

from gateway.identity.keys import KeyRecord, KeySnapshot, UnknownKey

if TYPE_CHECKING:
    from gateway.errors import StoreError


class MemoryKeyStore:
    """Records in a dictionary; ``failure``, while set, is raised by every call."""

    name = "memory"

    def __init__(self) -> None:
        self.failure: StoreError | None = None
        self._fingerprint = ""
        self._state = KeySnapshot()

    def stamp(self) -> object:
        """The version."""
        return self.snapshot().version

    def snapshot(self) -> KeySnapshot:
        """The records as they are."""
        if self.failure is not None:
            raise self.failure
        return self._state

    def add(self, record: KeyRecord) -> None:
        """Keep a new record. Raises ValueError where its id is taken."""
        if record.public_id in self.snapshot().records:
            raise ValueError(f"got the id {record.public_id} again, expected a new one")
        self._write(record)

    def revoke(self, public_id: str, now_s: float) -> KeyRecord:
        """Revoke for ever. Raises UnknownKey."""
        record = self.snapshot().records.get(public_id)
        if record is None:
            raise UnknownKey(f"no key has the public id {public_id}")
        if record.revoked_at is None:
            record = dataclasses.replace(record, revoked_at=now_s)
            self._write(record)
        return record

    def bind(self, fingerprint: str) -> str:
        """The fingerprint that holds."""
        if not self.snapshot().records:
            self._fingerprint = fingerprint
        return self._fingerprint

    def restore(self, snapshot: KeySnapshot) -> None:
        """Go back to an earlier state, as a restored backup or a late replica does."""
        self._state = snapshot

    def close(self) -> None:
        """Nothing is open."""

    def _write(self, record: KeyRecord) -> None:
        self._state = KeySnapshot(
            epoch=self._state.epoch or secrets.token_hex(8),
            version=self._state.version + 1,
            records={**self._state.records, record.public_id: record},
        )
