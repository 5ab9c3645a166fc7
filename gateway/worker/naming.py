"""Names of clusters that people can rely on, whatever becomes of the analysis' own numbering.

The analyzer numbers what it finds from the start of its memory. People dismiss or exempt a cluster by its name,
so a name must mean the same campaign after a restart without a snapshot, and never another one. A cluster that
is new to this process is therefore compared with those in the standing table, and takes over the name of the one
it continues: shared accounts first, then shared signatures (a replaced pool of the same campaign).
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.types import Verdict

_SAME = 0.5
"""Of the smaller side; two campaigns that share more than half of it are one under any reading."""
_NAME_BYTES = 5


class Names:
    """The public name of each of the analyzer's clusters. ``known`` is plain data, kept with a snapshot."""

    def __init__(self, known: Mapping[str, str] | None = None) -> None:
        self.known = dict(known or {})

    def of(self, found: Verdict, held: Iterable[Verdict]) -> str:
        """The public name of the analyzer's cluster ``found``; ``held`` are the verdicts of the table."""
        name = self.known.get(found.cluster)
        if name is None:
            taken = set(self.known.values())
            free = [verdict for verdict in held if verdict.cluster not in taken]
            name = _continued(found, free) or new_name(found)
            self.known[found.cluster] = name
        return name


def new_name(found: Verdict) -> str:
    """A name of 40 bits from the first accounts and the time: the same again when the same events are read again."""
    text = "\0".join((repr(found.decided_at), *sorted(found.members)))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_NAME_BYTES).digest()
    return "c" + base64.b32encode(digest).decode().lower()


def _continued(found: Verdict, held: Iterable[Verdict]) -> str | None:
    """The name of the verdict whose campaign ``found`` continues, or ``None``."""
    best = max(((_likeness(found, verdict), verdict.cluster) for verdict in held), default=((0.0, 0.0), ""))
    return best[1] if max(best[0]) >= _SAME else None


def _likeness(one: Verdict, other: Verdict) -> tuple[float, float]:
    """Shared accounts, and shared values of signatures, each as a share of the smaller side (0 to 1)."""
    return _share(set(one.members), set(other.members)), _share(_values(one), _values(other))


def _values(verdict: Verdict) -> set[object]:
    return {(kind, item[0]) for kind, items in verdict.signatures.items() for item in items or () if item}


def _share(one: set[object] | set[str], other: set[object] | set[str]) -> float:
    smaller = min(len(one), len(other))
    return len(one & other) / smaller if smaller else 0.0
