"""Keys of gateways that share state: three hashes in one slot of Redis.

``records`` holds what was said when a key was made and is never written again; ``revoked`` holds when it
was revoked, first come first kept; ``meta`` holds the store's epoch, version and the last write's name.
So no late writer can overwrite a revocation with an older record. Only plain commands in MULTI/EXEC are
used, which work where scripts are refused. Leaves out: polling, and what a gateway believes after a
failover (``book.py``).
"""

from __future__ import annotations

import dataclasses
import logging
import secrets
from typing import TYPE_CHECKING, Any

import orjson

from gateway.errors import StoreError
from gateway.identity.keys import KeyRecord, KeySnapshot, UnknownKey
from gateway.identity.redis_link import META, RECORDS, REVOKED, connect, shown_url, store_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

_log = logging.getLogger(__name__)
_KEPT = ("account", "org", "plan", "label", "created_at", "expires_at")


class RedisKeyStore:
    """The store at ``url`` (any form of ``redis_url``). Safe to call from any thread.

    Raises ConfigError for another form, StoreError where a cluster's first node cannot be asked.
    """

    name = "redis"

    def __init__(self, url: str) -> None:
        self._url = url
        with store_errors(url):
            self._client = connect(url)

    def stamp(self) -> object:
        """Epoch, version and the name of the last write (so that a failover's other history is noticed)."""
        with store_errors(self._url):
            return tuple(self._client.hmget(META, ["epoch", "version", "write"]))

    def snapshot(self) -> KeySnapshot:
        """All records, read in one transaction."""
        with store_errors(self._url), self._client.pipeline(transaction=True) as calls:
            calls.hmget(META, ["epoch", "version"])
            calls.hgetall(RECORDS)
            calls.hgetall(REVOKED)
            (epoch, version), records, revoked = calls.execute()
        read = {}
        for name, text in records.items():
            try:
                read[name.decode()] = self._record(name, text, revoked)
            except StoreError as error:
                _log.error("%s", error)  # one bad record must not stop revocations of the others
        return KeySnapshot(epoch=(epoch or b"").decode(), version=int(version or 0), records=read)

    def add(self, record: KeyRecord) -> None:
        """Keep a new record. Raises ValueError where its id is taken."""
        kept: dict[str, Any] = {name: getattr(record, name) for name in _KEPT}
        kept["secret_hash"] = record.secret_hash.hex()
        with store_errors(self._url), self._client.pipeline(transaction=True) as calls:
            calls.hsetnx(RECORDS, record.public_id, orjson.dumps(kept))
            _count(calls)
            made = calls.execute()[0]
        if not made:
            raise ValueError(f"got the id {record.public_id} again, expected a new one")
        if record.revoked_at is not None:
            self.revoke(record.public_id, record.revoked_at)

    def revoke(self, public_id: str, now_s: float) -> KeyRecord:
        """Revoke for ever; the first time stands. Raises UnknownKey."""
        with store_errors(self._url):
            text = self._client.hget(RECORDS, public_id)
            if text is None:
                raise UnknownKey(f"no key has the public id {public_id}")
            with self._client.pipeline(transaction=True) as calls:
                calls.hsetnx(REVOKED, public_id, repr(now_s))
                calls.hget(REVOKED, public_id)
                _count(calls)
                time_s = calls.execute()[1]
        return self._record(public_id.encode(), text, {public_id.encode(): time_s})

    def bind(self, fingerprint: str) -> str:
        """The fingerprint that holds: the given one while there are no keys."""
        with store_errors(self._url):
            if self._client.hlen(RECORDS) == 0:
                self._client.hset(META, "fingerprint", fingerprint)
            else:
                self._client.hsetnx(META, "fingerprint", fingerprint)
            return str(self._client.hget(META, "fingerprint").decode())

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _record(self, name: bytes, text: bytes, revoked: Mapping[bytes, bytes]) -> KeyRecord:
        """A record from what is kept. Raises StoreError where another program wrote it."""
        try:
            kept = orjson.loads(text)
            record = KeyRecord(
                public_id=name.decode(),
                secret_hash=bytes.fromhex(kept["secret_hash"]),
                **{field: kept[field] for field in _KEPT},
            )
            time_s = revoked.get(name)
            return record if time_s is None else dataclasses.replace(record, revoked_at=float(time_s))
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"key store {shown_url(self._url)}: the record {name!r} is damaged ({error}); remove it from {RECORDS}"
            ) from None


def _count(calls: Any) -> None:
    """One more write, under a name of its own; the first one names the store."""
    calls.hsetnx(META, "epoch", secrets.token_hex(8))
    calls.hincrby(META, "version", 1)
    calls.hset(META, "write", secrets.token_hex(8))
