"""Clusters and decisions of people as rows: the one shape that the admin API and ``clusters --json`` print."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.standing import ClusterView, Override


def cluster_row(view: ClusterView) -> dict[str, Any]:
    """A cluster without its accounts. ``level`` is what holds now; ``verdict`` what the analysis said."""
    verdict = view.verdict
    return {
        "cluster": verdict.cluster,
        "level": view.level.value,
        "verdict": verdict.level.value,
        "accounts": len(view.members),
        "decided_at": date(verdict.decided_at),
        "expires_at": date(verdict.expires_at),
        "version": verdict.version,
        "reasons": list(verdict.reasons),
        "replaced_by": view.replaced_by,
        "override": override_row(view.override) if view.override else None,
    }


def whole_cluster_row(view: ClusterView, audit: Iterable[Override]) -> dict[str, Any]:
    """The same with accounts, evidence, and the decisions on it or on one of its accounts."""
    members = set(view.verdict.members)
    touching = [one for one in audit if one.subject == view.verdict.cluster or one.subject in members]
    return cluster_row(view) | {
        "members": list(view.members),
        "evidence": [dict(item) for item in view.verdict.evidence],
        "audit": [override_row(one) for one in touching],
    }


def override_row(override: Override) -> dict[str, Any]:
    """A decision; ``accounts`` is how many it named."""
    return {
        "id": override.id,
        "verb": override.verb.value,
        "kind": override.kind.value,
        "subject": override.subject,
        "who": override.who,
        "why": override.why,
        "at": date(override.at),
        "until": date(override.until),
        "accounts": len(override.members),
    }


def date(time_s: float | None) -> str | None:
    """RFC 3339, UTC, whole seconds."""
    return None if time_s is None else datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
