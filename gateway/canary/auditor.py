"""What a third-party auditor is given: every commitment, the keys of the clusters in question, and no secret.

Owns: writing and reading that file. With it an auditor repeats the whole audit of these clusters, controls included,
and checks that each key is the one that was promised. Invariants: a cluster's key says nothing of another's or of the
secret (HKDF is one-way); a key is shown only if it was promised; every key, digest and link of the chain is verified
when the file is read. Whoever holds a shown key can forge marks with it: reveal it when the suspect's texts are
already in the auditor's hands.
Leaves out: proof of the time, which needs a third party's stamp on the public file (RFC 3161).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.canary.keyring import (
    PUBLIC_FORMAT,
    ClusterCommitment,
    Keyring,
    KeyVersion,
    load_keyring,
    read_body,
    verify_ledger,
)
from gateway.errors import ConfigError
from gateway.settings import Secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RevealedVersion(KeyVersion):
    """A version without its secret: the commitment as it was published, and the keys that were revealed."""

    promised: str
    keys: Mapping[str, bytes]

    @property
    def commitment(self) -> str:
        """As published: it cannot be computed without the secret."""
        return self.promised

    def cluster_key(self, cluster: str) -> bytes:
        """The revealed key. A version in which ``cluster`` was never promised stands for a key that nobody had:
        it costs its part of the correction and finds nothing.
        """
        return self.keys.get(cluster) or hashlib.sha256(f"not promised\n{self.promised}\n{cluster}".encode()).digest()


def reveal(keyring: Keyring, clusters: Iterable[str]) -> dict[str, Any]:
    """The public view of ``keyring`` with the keys of ``clusters``, in each version that promised them.

    Raises ConfigError where a cluster was never promised: its key would prove nothing.
    """
    versions = {version.version: version for version in keyring.versions}
    shown: dict[str, dict[str, str]] = {}
    for cluster in clusters:
        numbers = [entry.version for entry in keyring.ledger if entry.cluster == cluster]
        if not numbers:
            raise ConfigError(
                f"--reveal: got {cluster!r}, which the ledger does not hold, expected a cluster whose key was promised"
            )
        shown[cluster] = {str(number): versions[number].cluster_key(cluster).hex() for number in numbers}
    return {**keyring.public(), "revealed": shown}


def load_for_audit(path: Path, clusters: Iterable[str]) -> Keyring:
    """The keyring, or the auditor's file, at ``path``, to audit ``clusters`` with.

    Raises ConfigError where it is neither, does not keep what it promised, or reveals no key of a cluster asked.
    """
    body = read_body(path)
    if body.get("format") != PUBLIC_FORMAT:
        return load_keyring(path)
    try:
        revealed: dict[str, dict[str, str]] = body.get("revealed", {})
        keyring = Keyring(
            versions=tuple(_version(row, revealed) for row in body["versions"]),
            ledger=tuple(ClusterCommitment(**row) for row in body["clusters"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path}:1:1: got no whole auditor's file ({error!r}), expected one of --reveal") from None
    verify_ledger(path, keyring, known=set(revealed))
    if missing := sorted(set(clusters) - set(revealed)):
        raise ConfigError(
            f"{path}:1:1: got no key of {', '.join(missing)}, expected the keyring, or a file in which the operator "
            f"revealed them (it has: {', '.join(sorted(revealed)) or 'none'})"
        )
    return keyring


def _version(row: Mapping[str, Any], revealed: Mapping[str, Mapping[str, str]]) -> RevealedVersion:
    number = int(row["version"])
    keys = {cluster: bytes.fromhex(by[str(number)]) for cluster, by in revealed.items() if str(number) in by}
    return RevealedVersion(
        version=number,
        secret=Secret(""),
        created_at=float(row["created_at"]),
        inventory=str(row["inventory"]),
        promised=str(row["commitment"]),
        keys=keys,
    )
