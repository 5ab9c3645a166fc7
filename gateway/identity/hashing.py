"""Keyed hashes: how credentials and addresses are named without being written down.

Owns the gateway's hash key and the one function that uses it. Invariants: hashes of different kinds
never meet (BLAKE2b personalisation); without the key nobody can test a guess against a hash; the key is
made once and all workers of one gateway have the same. Leaves out: who stores the hashes.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.errors import ConfigError
from gateway.identity.redis_link import META, connect, store_errors

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.settings import Settings

KEY_BYTES = 32
MIN_GIVEN_CHARS = 16
"""A shorter text could be guessed, and with it every address of IPv4 behind its hash."""
SHOWN_BYTES = 10
"""80 bits: at a billion values the chance of any two meeting is below 1e-6."""
_KEY_FILE = "hash.key"
_MAX_KIND_BYTES = hashlib.blake2b.PERSON_SIZE


def digest(key: bytes, kind: str, value: bytes) -> bytes:
    """256 bits of BLAKE2b (RFC 7693) under ``key``, personalised by ``kind``.

    Raises ValueError where ``key`` is not 1 to 64 bytes or ``kind`` not 1 to 16 bytes.
    """
    person = kind.encode()
    if not key or not 1 <= len(person) <= _MAX_KIND_BYTES:
        raise ValueError(f"got a key of {len(key)} bytes and kind {kind!r}, expected a key and 1 to 16 bytes of kind")
    return hashlib.blake2b(value, key=key, person=person, digest_size=32).digest()


def digester(key: bytes, kind: str) -> Callable[[bytes], bytes]:
    """``digest`` of one key and kind, at half the price. Raises ValueError as it does."""
    digest(key, kind, b"")
    begun = hashlib.blake2b(key=key, person=kind.encode(), digest_size=32)

    def of(value: bytes) -> bytes:
        hasher = begun.copy()
        hasher.update(value)
        return hasher.digest()

    return of


def shown(digest_bytes: bytes) -> str:
    """The 80 bits of a digest that stand in events, as 16 lower-case letters and digits (base32)."""
    return base64.b32encode(digest_bytes[:SHOWN_BYTES]).decode().lower()


def keyed_hash(key: bytes, kind: str, value: str) -> str:
    """``value`` as 16 characters that only holders of ``key`` can recompute; kinds are kept apart.

    >>> keyed_hash(b"k" * 32, "address", "192.0.2.1") == keyed_hash(b"k" * 32, "device", "192.0.2.1")
    False

    Raises ValueError as ``digest``.
    """
    return shown(digest(key, kind, value.encode("utf-8", "surrogatepass")))


def fingerprint(key: bytes) -> str:
    """Names a hash key without giving it away, so that a store notices another one."""
    return keyed_hash(key, "hash-key", "fingerprint")


def load_hash_key(settings: Settings) -> bytes:
    """The 32-byte key of this gateway: the setting, else the one kept in Redis, else the one in state_dir.

    It is made at the first call; callers that race get the same. Raises ConfigError where it is unusable
    or cannot be kept, StoreError where Redis cannot be asked.
    """
    if settings.hash_key:
        if len(settings.hash_key) < MIN_GIVEN_CHARS:
            raise ConfigError(
                f"hash_key: got {len(settings.hash_key)} characters, expected at least {MIN_GIVEN_CHARS}; "
                "make one with: openssl rand -hex 32"
            )
        return hashlib.blake2b(settings.hash_key.encode(), person=b"given hash key", digest_size=KEY_BYTES).digest()
    if settings.redis:
        return _from_redis(settings.redis)
    return _from_file(Path(settings.state_dir) / _KEY_FILE)


def _from_redis(url: str) -> bytes:
    """The key in Redis; HSETNX decides between workers that start together."""
    with store_errors(url):
        client = connect(url)
        try:
            client.hsetnx(META, "hash_key", secrets.token_hex(KEY_BYTES))
            text = client.hget(META, "hash_key")
        finally:
            client.close()
    return _decode(text or b"", "the hash key in Redis")


def _from_file(path: Path) -> bytes:
    """The key in a file of mode 0600, written whole before it gets its name."""
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _publish(path, secrets.token_hex(KEY_BYTES).encode() + b"\n")
        return _decode(path.read_bytes().strip(), str(path))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be kept or read ({error.strerror}); make state_dir writable or set DISTILLGUARD_HASH_KEY"
        ) from None


def _publish(path: Path, data: bytes) -> None:
    """Give ``data`` the name ``path`` unless another process was first."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()


def _decode(text: bytes, where: str) -> bytes:
    """A kept key from its hexadecimal text."""
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(
            f"{where}: got {len(text)} bytes, expected {2 * KEY_BYTES} hexadecimal digits; restore it from a backup, "
            "or remove it and make all keys again"
        )
    return key
