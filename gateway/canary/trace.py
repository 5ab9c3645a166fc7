"""Tracing a leaked file: which recorded replies it holds, verbatim or lightly edited.

Owns: fingerprints of replies and the ledger that keeps them. A fingerprint is a set of 64-bit keyed hashes of word
groups, chosen by winnowing (Schleimer, Wilkerson, Aiken, SIGMOD 2003, section 4): any run of ``GROUP_WORDS + WINDOW - 1``
words that two texts share puts a common hash into both. Words are compared by their letters, so case, signs
and formatting do not matter. Invariants: no text is kept, and without the key nobody can look a text up in the
ledger. A match says that texts share words; the report counts how many, and names clusters by their replies.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from gateway.canary.keyring import hkdf_sha256
from gateway.files import read_ndjson

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from gateway.canary.keyring import Keyring

GROUP_WORDS = 4
WINDOW = 4
MIN_SHARED = 3
MIN_CONTAINED = 0.25
"""Share of a leaked row's fingerprint that a recorded reply must hold to be named."""
_COMMON = 0.002
_COMMON_AT_LEAST = 20
"""A hash in more replies than this (and this share of all) is a turn of phrase and finds nothing."""
_WORD = re.compile(r"[a-z0-9]+")


def trace_key(keyring: Keyring) -> bytes:
    """The ledger's key: of the oldest version, so that rotation leaves the ledger readable."""
    return hkdf_sha256(keyring.versions[0].raw, b"trace", salt=b"distillguard/canary/v1")


def fingerprint(text: str, key: bytes) -> list[int]:
    """The text's winnowed hashes, sorted; empty for fewer than ``GROUP_WORDS`` words."""
    words = _WORD.findall(text.lower())
    hashes = [
        int.from_bytes(
            hashlib.blake2b(" ".join(words[i : i + GROUP_WORDS]).encode(), key=key, digest_size=8).digest(), "big"
        )
        for i in range(len(words) - GROUP_WORDS + 1)
    ]
    if len(hashes) <= WINDOW:
        return sorted({min(hashes)} if hashes else ())
    return sorted({min(hashes[i : i + WINDOW]) for i in range(len(hashes) - WINDOW + 1)})


def ledger_line(reply_id: str, cluster: str, reply: str, key: bytes, **more: Any) -> bytes:
    """One line of a ledger: who received it and its fingerprint; ``more`` (account, time) is kept beside."""
    row = {"id": reply_id, "cluster": cluster, **more, "hashes": [f"{h:016x}" for h in fingerprint(reply, key)]}
    return orjson.dumps(row) + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A leaked row and the recorded reply that holds most of it; ``contained`` in [0, 1]."""

    row: int
    reply: str
    cluster: str
    shared: int
    contained: float


class Ledger:
    """Recorded fingerprints, ready to be searched."""

    def __init__(self, rows: Iterable[dict[str, Any]]) -> None:
        self._replies: list[tuple[str, str]] = []
        self._holders: dict[int, list[int]] = defaultdict(list)
        for index, row in enumerate(rows):
            self._replies.append((str(row["id"]), str(row["cluster"])))
            for text in row["hashes"]:
                self._holders[int(text, 16)].append(index)
        self._common = max(_COMMON_AT_LEAST, int(_COMMON * len(self._replies)))

    @classmethod
    def load(cls, path: Path) -> Ledger:
        """Read a ledger file. Raises FileErrors."""
        return cls(row for _, row in read_ndjson(path))

    def find(self, row: int, text: str, key: bytes) -> Match | None:
        """The reply that shares most with ``text``, or ``None`` where none shares enough."""
        hashes = [h for h in fingerprint(text, key) if len(self._holders.get(h, ())) <= self._common]
        shared = Counter(index for h in hashes for index in self._holders.get(h, ()))
        if not shared:
            return None
        index, count = max(shared.items(), key=lambda item: (item[1], -item[0]))
        contained = count / len(hashes)
        if count < min(MIN_SHARED, len(hashes)) or contained < MIN_CONTAINED:
            return None
        reply, cluster = self._replies[index]
        return Match(row=row, reply=reply, cluster=cluster, shared=count, contained=round(contained, 4))


def trace_report(suspect: str, rows: int, matches: list[Match]) -> dict[str, Any]:
    """What was found, by cluster and row by row."""
    clusters = Counter(match.cluster for match in matches)
    return {
        "suspect": suspect,
        "rows": rows,
        "matched": len(matches),
        "clusters": [{"cluster": cluster, "rows": count} for cluster, count in clusters.most_common()],
        "matches": [{name: getattr(match, name) for name in match.__slots__} for match in matches],
    }
