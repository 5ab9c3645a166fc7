"""Marking one reply: the code behind ``canary mark`` and behind live replies.

Owns: the values ``Marked`` and ``MarkRecord``, and the way from a keyring and a cluster to a writer.
Invariant: a whole reply is marked by the streaming writer, so both paths give the same text.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.canary.writer import Mark, MarkWriter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.canary.keyring import Keyring, KeyVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """A reply as its cluster receives it, and the choices planted in it."""

    reply: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkRecord:
    """What an event says of a marked reply: no text, only whose key and how many marks of each carrier."""

    cluster: str
    version: int
    marks: Mapping[str, int]


def make_writer(
    keyring: Keyring, cluster: str, *, prompt: str | None = None, carriers: Sequence[str] = ()
) -> MarkWriter:
    """A writer for one reply (one choice, content block or output item) to ``cluster``.

    ``prompt`` is the user's last text; where its answer's wording is what was asked for (code, translation,
    verse), the writer changes nothing. ``carriers`` names those that the policy allows; none: all.
    """
    key = _cluster_key(keyring.newest, cluster)
    return MarkWriter(key, prompt=prompt, carriers=frozenset(carriers))


@functools.lru_cache(maxsize=4096)
def _cluster_key(version: KeyVersion, cluster: str) -> bytes:
    return version.cluster_key(cluster)


def mark_reply(
    keyring: Keyring, cluster: str, prompt: str | None, reply: str, *, carriers: Sequence[str] = ()
) -> Marked:
    """``reply`` as ``cluster`` would have received it. Deterministic for keyring, cluster and arguments."""
    writer = make_writer(keyring, cluster, prompt=prompt, carriers=carriers)
    text = writer.feed(reply) + writer.finish()
    return Marked(reply=text, marks=tuple(writer.marks))
