"""The audit: whose marks a suspect carries, as p-values that hold whatever the suspect.

Owns: from evidence and a keyring to a report. What is tested is in ``exact.py`` (the null and why it is exact) and
``evidence.py`` (trials). Over versions of the keyring the smallest p-value counts, times their number
(Bonferroni); over the clusters asked p-values are adjusted by Holm's method, which holds for any dependence. A
cluster is attributed when its adjusted p-value is below alpha. Counterfactual keys, committed to with the keyring
and never used, are tested beside it as a control that a reader can follow without mathematics.
Leaves out: asking an endpoint (``endpoint.py``), printing (``report.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.canary.evidence import CarrierTest, Collector, Evidence, make_trials
from gateway.canary.slots import load_inventory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.canary.keyring import Keyring, KeyVersion

ALPHA = 1e-6
"""Chance of naming any cluster wrongly in one audit, at most."""
COUNTERFACTUALS = 99
"""Keys that could have been used: the true one ranks first by chance once in a hundred audits."""
_NOTABLE = 0.01
"""Counterfactual keys are only asked where there is something to explain: they cost as much as a hundred clusters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterResult:
    """One cluster's answer. ``rank`` is the true key's among itself and the counterfactual keys (1: first);
    none were asked where the p-value says nothing.
    """

    cluster: str
    version: int
    p_value: float
    p_adjusted: float
    e_value: float
    by_carrier: tuple[CarrierTest, ...]
    rank: int
    counterfactuals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """Everything an audit found, and what a reader needs to check it."""

    suspect: str
    queries: int
    rows: int
    repeated_rows: int
    alpha: float
    results: tuple[ClusterResult, ...]
    attributed_to: tuple[str, ...]
    keyring: dict[str, Any]
    inventory: str
    notes: tuple[str, ...] = ()


def judge(
    collector: Collector,
    keyring: Keyring,
    clusters: Sequence[str],
    *,
    suspect: str,
    queries: int = 0,
    alpha: float = ALPHA,
    e_values: dict[str, float] | None = None,
    notes: Sequence[str] = (),
) -> AuditReport:
    """Test every cluster against what ``collector`` has read.

    Null per cluster: the suspect's texts were made without knowledge of the cluster's key. Exact; one trial is one
    distinct context. ``e_values``: those of a sequential audit; then 1 / e is the p-value, as the exact one does
    not hold where the data decided when to stop.
    """
    evidence = Evidence(make_trials(collector))
    found = [_test(evidence, keyring, cluster, (e_values or {}).get(cluster)) for cluster in clusters]
    adjusted = holm([result.p_value for result in found])
    results = tuple(
        ClusterResult(
            cluster=r.cluster,
            version=r.version,
            p_value=r.p_value,
            p_adjusted=p,
            e_value=r.e_value,
            by_carrier=r.by_carrier,
            rank=r.rank,
            counterfactuals=r.counterfactuals,
        )
        for r, p in zip(found, adjusted, strict=True)
    )
    return AuditReport(
        suspect=suspect,
        queries=queries,
        rows=collector.rows,
        repeated_rows=collector.repeated,
        alpha=alpha,
        results=results,
        attributed_to=tuple(r.cluster for r in results if r.p_adjusted < alpha),
        keyring=keyring.public(),
        inventory=load_inventory().digest,
        notes=(*notes, *_notes(keyring)),
    )


def _test(evidence: Evidence, keyring: Keyring, cluster: str, e_value: float | None) -> ClusterResult:
    tests = [(version, *evidence.test(version.cluster_key(cluster))) for version in keyring.versions]
    version, p_value, carriers = min(tests, key=lambda found: found[1])
    if e_value is not None:
        p_value = 1 / max(1.0, e_value) / len(tests)
    total = evidence.total(version.cluster_key(cluster))
    asked = COUNTERFACTUALS if p_value <= _NOTABLE else 0
    others = [evidence.total(version.counterfactual_key(cluster, i)) for i in range(asked)]
    return ClusterResult(
        cluster=cluster,
        version=version.version,
        p_value=min(1.0, p_value * len(tests)),
        p_adjusted=1.0,
        e_value=evidence.e_value(version.cluster_key(cluster)) / len(tests) if e_value is None else e_value,
        by_carrier=tuple(carriers),
        rank=1 + sum(other >= total for other in others),
        counterfactuals=asked,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment (S. Holm 1979): family-wise error under any dependence.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [1.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


def _notes(keyring: Keyring) -> tuple[str, ...]:
    digest = load_inventory().digest
    strange: list[KeyVersion] = [v for v in keyring.versions if v.inventory not in {digest, ""}]
    return tuple(
        f"version {v.version} of the keyring was made for inventory {v.inventory[:12]}, this program has {digest[:12]}: "
        "marks of changed slots are not found; the p-values stay valid"
        for v in strange
    )
