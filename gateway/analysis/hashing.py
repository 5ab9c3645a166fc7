"""Keyed hashes: the only form in which values of customers enter the analysis.

A hash is 60 bits of BLAKE2b under the deployment's key, so that nobody without the key can test a guess,
and small enough for JSON readers with 64-bit integers. Kinds are separated by a prefix: the same text as an
address and as a mail domain gives two unrelated hashes.
"""

from __future__ import annotations

from hashlib import blake2b

BITS = 60
_SHIFT = 64 - BITS


def keyed(key: bytes, kind: str, value: str) -> int:
    """Hash of ``value`` as a ``kind``; 0 <= result < 2**60. ``key`` has at most 64 bytes."""
    digest = blake2b(f"{kind}\0{value}".encode("utf-8", "surrogatepass"), key=key, digest_size=8).digest()
    return int.from_bytes(digest, "little") >> _SHIFT
