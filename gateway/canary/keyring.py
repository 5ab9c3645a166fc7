"""The keyring: secrets that marks are derived from, and what was promised about them beforehand.

Owns: versions of a secret, keys per cluster (HKDF, RFC 5869), counterfactual keys, commitments.
Invariants: a key depends on the secret, its version and the cluster alone; the newest version marks and
every version is audited; a commitment is written with the secret, so before any mark. A commitment binds
the secret and the inventory of slots, and thereby every mark and every counterfactual of every cluster.
The ledger of clusters is a chain of hashes: one cluster's key can be shown later without the others'.
Leaves out: who is marked (policy). The time is the operator's own clock; a judge who must not trust it
wants the public file time-stamped by a third party (RFC 3161) on the day it is made.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson

from gateway.errors import ConfigError
from gateway.files import write_atomically
from gateway.settings import Secret

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path

FORMAT = "distillguard-canary-keyring/1"
PUBLIC_FORMAT = FORMAT + "+public"
SECRET_BYTES = 32
_SALT = b"distillguard/canary/v1"


def hkdf_sha256(secret: bytes, info: bytes, *, salt: bytes, length: int = 32) -> bytes:
    """HKDF with SHA-256 (RFC 5869, sections 2.2 and 2.3). ``length`` in bytes, at most 8,160.

    Raises ValueError when ``length`` is out of range.
    """
    if not 0 < length <= 255 * 32:
        raise ValueError(f"length: got {length} bytes, expected 1 to 8160 (RFC 5869, section 2.3)")
    prk = hmac.new(salt or bytes(32), secret, hashlib.sha256).digest()
    block, out = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        out += block
    return out[:length]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterCommitment:
    """A cluster's key, promised: ``digest`` hides the key; ``chain`` binds the entries before it."""

    cluster: str
    version: int
    committed_at: float
    digest: str
    chain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyVersion:
    """One secret. ``inventory`` is the digest of the slots that it may choose among."""

    version: int
    secret: Secret
    created_at: float
    inventory: str

    @property
    def raw(self) -> bytes:
        """The secret's bytes."""
        return base64.b64decode(self.secret)

    @property
    def commitment(self) -> str:
        """SHA-256 that binds version, secret and inventory; it hides the secret (256 random bits)."""
        text = f"{FORMAT}\n{self.version}\n{self.inventory}\n".encode()
        return hashlib.sha256(b"commit\n" + text + self.raw).hexdigest()

    def cluster_key(self, cluster: str) -> bytes:
        """The cluster's 32-byte key."""
        return hkdf_sha256(self.raw, f"cluster\n{self.version}\n{cluster}".encode(), salt=_SALT)

    def counterfactual_key(self, cluster: str, index: int) -> bytes:
        """Key ``index`` >= 0 of those that were never used to mark: what ``cluster`` might have had.

        It follows from the cluster's key, so that whoever is shown that one can repeat the whole audit.
        """
        return hkdf_sha256(self.cluster_key(cluster), f"counterfactual\n{index}".encode(), salt=_SALT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """Versions of the secret, oldest first, and the ledger of committed clusters."""

    versions: tuple[KeyVersion, ...]
    ledger: tuple[ClusterCommitment, ...] = field(default=())

    @property
    def newest(self) -> KeyVersion:
        """The version that marks."""
        return self.versions[-1]

    def held_out(self, cluster: str, prompt: str | None, share: float) -> bool:
        """Whether ``cluster``'s replies to ``prompt`` stay unmarked, as a control.

        ``share`` in [0, 1] is the part of all prompts that does. By prompt, not by account: whichever of the cluster's
        accounts asks, and however often, the answer is the same, so that comparing accounts shows no mark.
        """
        if share <= 0:
            return False
        text = f"holdout\n{cluster}\n{prompt or ''}".encode("utf-8", "surrogatepass")
        digest = hmac.new(self.newest.raw, text, hashlib.sha256).digest()
        return int.from_bytes(digest[:8], "big") < share * 2**64

    def commit(self, cluster: str, *, now_s: float) -> Keyring:
        """The keyring with ``cluster``'s newest key promised; unchanged where it was before."""
        newest = self.newest
        if any(entry.cluster == cluster and entry.version == newest.version for entry in self.ledger):
            return self
        digest = cluster_digest(newest.cluster_key(cluster), cluster, newest.version)
        before = self.ledger[-1].chain if self.ledger else newest.commitment
        entry = ClusterCommitment(
            cluster=cluster,
            version=newest.version,
            committed_at=now_s,
            digest=digest,
            chain=_chain(before, digest, now_s),
        )
        return replace(self, ledger=(*self.ledger, entry))

    def public(self) -> dict[str, Any]:
        """What an auditor may see: commitments and times, no secret."""
        return {
            "format": PUBLIC_FORMAT,
            "versions": [
                {"version": v.version, "created_at": v.created_at, "inventory": v.inventory, "commitment": v.commitment}
                for v in self.versions
            ],
            "clusters": [_entry(entry) for entry in self.ledger],
        }


def cluster_digest(key: bytes, cluster: str, version: int) -> str:
    """What a cluster's key is promised as; whoever is shown the key can check it."""
    return hashlib.sha256(f"cluster\n{version}\n{cluster}\n".encode() + key).hexdigest()


def _chain(before: str, digest: str, now_s: float) -> str:
    return hashlib.sha256(f"{before}\n{digest}\n{now_s!r}".encode()).hexdigest()


def _entry(entry: ClusterCommitment) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__slots__}


def new_keyring(*, inventory: str, now_s: float, secret: bytes | None = None) -> Keyring:
    """A keyring of one version; ``secret`` (32 bytes) comes from the system's randomness unless given."""
    return Keyring(versions=(_version(1, inventory, now_s, secret),))


def rotate(keyring: Keyring, *, inventory: str, now_s: float, secret: bytes | None = None) -> Keyring:
    """The keyring with a new newest version; old ones stay, so that old replies can be audited."""
    version = _version(keyring.newest.version + 1, inventory, now_s, secret)
    return replace(keyring, versions=(*keyring.versions, version))


def _version(number: int, inventory: str, now_s: float, secret: bytes | None) -> KeyVersion:
    raw = secrets.token_bytes(SECRET_BYTES) if secret is None else secret
    if len(raw) != SECRET_BYTES:
        raise ValueError(f"secret: got {len(raw)} bytes, expected {SECRET_BYTES}")
    text = Secret(base64.b64encode(raw).decode())
    return KeyVersion(version=number, secret=text, created_at=now_s, inventory=inventory)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the keyring at ``path`` against every other process that changes it; blocks until it is free.

    Whoever loads, changes and saves does all three inside: two promises at once would else lose one. The lock is a
    file of its own, as saving replaces the keyring's. Raises OSError where the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def save_keyring(path: Path, keyring: Keyring) -> None:
    """Write the keyring, readable by its owner only; the old file stays whole until the new one is."""
    body = {
        "format": FORMAT,
        "versions": [
            {
                "version": v.version,
                "created_at": v.created_at,
                "inventory": v.inventory,
                "commitment": v.commitment,
                "secret": str(v.secret),
            }
            for v in keyring.versions
        ],
        "clusters": [_entry(entry) for entry in keyring.ledger],
    }
    write_atomically(path, orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n", mode=0o600)


def read_body(path: Path) -> dict[str, Any]:
    """The JSON object at ``path``. Raises ConfigError where there is none."""
    try:
        body = orjson.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(
            f"{path}:1:1: cannot be read ({error.strerror}), expected a keyring of `canary keygen`"
        ) from None
    except orjson.JSONDecodeError as error:
        raise ConfigError(
            f"{path}:{error.lineno}:{error.colno}: got no JSON, expected a keyring of `canary keygen`"
        ) from None
    if not isinstance(body, dict):
        raise ConfigError(f"{path}:1:1: got no JSON object, expected a keyring of `canary keygen`")
    return body


def load_keyring(path: Path) -> Keyring:
    """Read a keyring and verify every commitment in it.

    Raises ConfigError where the file cannot be read, is no keyring, or does not keep what it promised.
    """
    body = read_body(path)
    try:
        if body["format"] != FORMAT:
            raise ConfigError(f"{path}:1:1: got format {body['format']!r}, expected {FORMAT!r}")
        keyring = Keyring(
            versions=tuple(_read_version(path, row) for row in body["versions"]),
            ledger=tuple(ClusterCommitment(**row) for row in body["clusters"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}:1:1: got no whole keyring ({error!r}), expected one of `canary keygen`") from None
    if not keyring.versions:
        raise ConfigError(f"{path}:1:1: got a keyring without versions, expected at least one")
    verify_ledger(path, keyring)
    return keyring


def _read_version(path: Path, row: dict[str, Any]) -> KeyVersion:
    version = KeyVersion(
        version=int(row["version"]),
        secret=Secret(row["secret"]),
        created_at=float(row["created_at"]),
        inventory=str(row["inventory"]),
    )
    if len(version.raw) != SECRET_BYTES:
        raise ValueError(f"secret of {len(version.raw)} bytes")
    if not hmac.compare_digest(version.commitment, str(row["commitment"])):
        raise ConfigError(
            f"{path}:1:1: version {version.version} does not match its commitment; restore the file from a copy"
        )
    return version


def verify_ledger(path: Path, keyring: Keyring, *, known: Container[str] | None = None) -> None:
    """Raise ConfigError at the first entry whose digest or chain does not follow from the keys.

    ``known`` names the clusters whose keys are there (default: all); of the others only the chain is verified.
    """
    versions = {v.version: v for v in keyring.versions}
    before: str | None = None
    for entry in keyring.ledger:
        version = versions.get(entry.version)
        if version is None:
            raise ConfigError(f"{path}:1:1: cluster {entry.cluster!r} names version {entry.version}, which is not here")
        start = before if before is not None else version.commitment
        digest = entry.digest
        if known is None or entry.cluster in known:
            digest = cluster_digest(version.cluster_key(entry.cluster), entry.cluster, entry.version)
        if entry.digest != digest or entry.chain != _chain(start, digest, entry.committed_at):
            raise ConfigError(
                f"{path}:1:1: the ledger is broken at cluster {entry.cluster!r}; restore the file from a copy"
            )
        before = entry.chain
