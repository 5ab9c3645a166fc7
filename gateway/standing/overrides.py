"""What people decided about clusters and accounts; it wins over the analysis.

An override is a line of an append-only log, which is at once the audit trail and the state: of the overrides on
one subject the newest counts, and none is ever changed or removed. To take one back, record ``release``.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import orjson

VERSION = 1


class Verb(StrEnum):
    """What a person says of a cluster or an account."""

    CONFIRM = "confirm"
    """It is a campaign: its accounts stand at ``confirmed``."""
    DISMISS = "dismiss"
    """The verdict is wrong: the cluster has no effect, whatever the analysis says of it."""
    EXEMPT = "exempt"
    """These accounts may do this: the ones it has now are never limited, in this or another cluster."""
    RELEASE = "release"
    """What was said before no longer holds: the analysis decides again."""


_DONE = {Verb.CONFIRM: "confirmed", Verb.DISMISS: "dismissed", Verb.EXEMPT: "exempted", Verb.RELEASE: "released"}


class SubjectKind(StrEnum):
    """What an override is about."""

    CLUSTER = "cluster"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """One decision of a person. ``members`` are a cluster's accounts at that time; ``until`` ends it
    (``None``: it holds until another one on the same subject).
    """

    verb: Verb
    kind: SubjectKind
    subject: str
    who: str
    why: str
    at: float
    until: float | None = None
    members: tuple[str, ...] = ()
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def order(self) -> tuple[float, str]:
        """Of two on one subject the higher counts; the id decides a tie, the same way everywhere."""
        return self.at, self.id

    @property
    def words(self) -> str:
        """For the list of reasons."""
        return f"{_DONE[self.verb]} by {self.who}: {self.why}"


def encode_override(override: Override) -> bytes:
    """One line without its newline."""
    return orjson.dumps({"v": VERSION, **asdict(override)})


def decode_override(line: bytes | str) -> Override:
    """The override of a line. Raises ValueError where it is none."""
    row = orjson.loads(line)
    try:
        values: dict[str, Any] = {name: row[name] for name in ("subject", "who", "why", "at", "until", "id")}
        return Override(
            verb=Verb(row["verb"]), kind=SubjectKind(row["kind"]), members=tuple(row.get("members") or ()), **values
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"got an override that cannot be read ({error})") from error
