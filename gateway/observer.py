"""The request path's side of the analysis: traits of a request, signatures of enforced clusters.

Traits are computed after the reply, unless there is a signature to look for: then before it, once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.analysis.signatures import Signatures
from gateway.analysis.traits import TraitExtractor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.standing import StandingTable
    from gateway.types import JSON, Headers, Identity, RequestFacts

_LOOK_EVERY_S = 60.0
"""How often expiry is looked at where nothing else changed."""


class RequestObserver:
    """An ``Observer`` (see ``pipeline``) over one key and the table of standings; one event loop uses it."""

    def __init__(self, key: bytes, standing: StandingTable) -> None:
        self._extractor = TraitExtractor(key)
        self._standing = standing
        self._signatures = Signatures()
        self._told: list[tuple[str, int, float]] = []
        self._version = -1
        self._look_at_s = 0.0

    def traits(self, facts: RequestFacts, identity: Identity, headers: Headers) -> Mapping[str, JSON]:
        """Keyed hashes, sketches and numbers of one request; some 60 µs for a prompt of 2 kB."""
        return self._extractor.request(facts, identity, headers)

    def account(self, row: Mapping[str, JSON]) -> Mapping[str, JSON]:
        """Traits of one line of the account directory."""
        return self._extractor.account(row)

    def armed(self, now_s: float) -> bool:
        """Whether any enforced cluster has a signature now."""
        if self._standing.version != self._version or now_s >= self._look_at_s:
            self._version = self._standing.version
            self._look_at_s = now_s + _LOOK_EVERY_S
            verdicts = self._standing.enforced_verdicts(now_s)
            told = [(verdict.cluster, verdict.version, verdict.decided_at) for verdict in verdicts]
            if told != self._told:
                self._told, self._signatures = told, Signatures(verdicts)
        return len(self._signatures) > 0

    def match(self, traits: Mapping[str, JSON], now_s: float) -> str | None:
        """The cluster whose signature the traits show, or ``None``."""
        return self._signatures.match(traits) if self.armed(now_s) else None
