"""What a gateway believes of its keys: the last snapshot, and everything it must not forget.

Invariants: a key that was ever seen revoked is never good again in this process, whatever an older
snapshot says (a restored backup, a replica that missed the last write); once keys were seen, the gateway
is strict for good; a store that lost all its keys counts as away, not as one without keys. While the
store is away the last known keys go on for ``OUTLIVE_S`` and are then refused as unavailable (not as
unknown, which would make callers throw good keys away).

Pure: no I/O, no clock. Leaves out: when to look (``refresh.py``), hashing, who asks.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.identity.keys import KeyRecord, KeySnapshot

OUTLIVE_S = 3_600.0
"""An hour, as the analysis may be down: longer than a failover, shorter than a stolen key's working day."""
EMPTIED = "the key store has lost all its keys; restore it, or make new keys with: distillguard keys create"


class KeyBook:
    """The keys as believed now. ``records`` is replaced whole, so that readers in other threads are safe."""

    def __init__(self) -> None:
        self.records: Mapping[str, KeyRecord] = {}
        self.strict = False
        self.version = 0
        self.error: str | None = None
        self.away_since_s: float | None = None
        self._epoch = ""
        self._revoked: dict[str, float] = {}

    def install(self, snapshot: KeySnapshot, mono_s: float) -> tuple[str, ...]:
        """Believe a snapshot read at ``mono_s`` (monotonic).

        Answers the ids that the store holds as good although they were revoked, so that it can be told again.
        """
        if not snapshot.epoch and self._epoch:
            self.failed(EMPTIED, mono_s)
            return ()
        for record in snapshot.records.values():
            if record.revoked_at is not None:
                self._revoked.setdefault(record.public_id, record.revoked_at)
        risen = tuple(
            record.public_id
            for record in snapshot.records.values()
            if record.revoked_at is None and record.public_id in self._revoked
        )
        records = dict(snapshot.records)
        for public_id in risen:
            records[public_id] = dataclasses.replace(records[public_id], revoked_at=self._revoked[public_id])
        self.records = records
        self._epoch, self.version = snapshot.epoch, snapshot.version
        self.strict = self.strict or bool(snapshot.epoch)
        self.seen()
        return risen

    def revoked_at(self, public_id: str) -> float:
        """When a key was first seen revoked. Raises KeyError where it never was."""
        return self._revoked[public_id]

    def seen(self) -> None:
        """The store was asked and had nothing new."""
        self.error, self.away_since_s = None, None

    def failed(self, error: str, mono_s: float) -> None:
        """The store could not be asked at ``mono_s``."""
        self.error = error
        if self.away_since_s is None:
            self.away_since_s = mono_s

    def outlived(self, mono_s: float) -> bool:
        """True where the store has been away for so long that its last known keys no longer count."""
        return self.away_since_s is not None and mono_s - self.away_since_s > OUTLIVE_S
