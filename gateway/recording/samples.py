"""Requests in full, sealed: each line of a samples file can be read with the key alone, and changed by nobody.

A sealed line says in the clear what it takes to find and to forget it (id, time, account, cluster, level, which key);
everything else of the recorded request, its body as received first of all, is under AES-256-GCM (NIST SP 800-38D)
with a nonce of its own, bound to what stands in the clear but for ``ts``, which a late line may have moved. One key
seals at most 2**32 lines with random nonces (section 8.3): change it before that.

Leaves out: which requests are kept, and for how long (policies say that).
"""

from __future__ import annotations

import base64
import os
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson

from gateway.errors import ConfigError
from gateway.policy.parts import is_key

if TYPE_CHECKING:
    from collections.abc import Mapping

_NONCE_BYTES = 12
_CLEAR = ("id", "account", "cluster", "level", "key")


def make_key() -> str:
    """A fresh key: 32 bytes in base64."""
    return base64.b64encode(os.urandom(32)).decode()


class SealBroken(Exception):
    """A line that this key did not seal, or that was changed since."""


class Sealer:
    """Seals and opens lines under one key. Raises ConfigError unless it is 32 bytes in base64."""

    def __init__(self, key: str) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 40 ms, and most gateways keep no samples

        if not is_key(key):
            raise ConfigError("got a key of samples of another form, expected 32 bytes in base64")
        secret = base64.b64decode(key)
        self.name = blake2b(secret, digest_size=4, person=b"samples").hexdigest()
        """Tells keys apart; says nothing of the key."""
        self._cipher = AESGCM(secret)

    def seal(self, row: Mapping[str, Any], *, cluster: str | None, level: str) -> dict[str, Any]:
        """A recorded request as a sealed line."""
        told = {"id": row["id"], "account": row["account"], "cluster": cluster, "level": level, "key": self.name}
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, orjson.dumps(row, option=_OPTIONS), _bound(told))
        return {**told, "ts": row["ts"], "sealed": base64.b64encode(sealed).decode()}

    def open(self, line: Mapping[str, Any]) -> dict[str, Any]:
        """The recorded request of a sealed line, at the line's time. Raises SealBroken."""
        from cryptography.exceptions import InvalidTag

        try:
            data = base64.b64decode(line["sealed"], validate=True)
            found = self._cipher.decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _bound(line))
        except (InvalidTag, KeyError, TypeError, ValueError):
            raise SealBroken(f"got a line that was not sealed with the key {self.name}, or was changed since") from None
        row: dict[str, Any] = orjson.loads(found)
        return {**row, "ts": line["ts"]}


_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def _bound(line: Mapping[str, Any]) -> bytes:
    return orjson.dumps([line.get(name) for name in _CLEAR])
