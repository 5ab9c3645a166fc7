"""An audit's report as JSON and as text.

Leaves out: any judgement beyond the figures; the page for readers who are no engineers (``report_page.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.canary.audit import AuditReport, ClusterResult

TEST_NAME = "exact keyed-choice test"
NULL = (
    "the texts were made without knowledge of the cluster's key; "
    "the key's choices in the texts' distinct contexts are then independent and uniform"
)
LIMITS = (
    "A hit proves that the suspect's texts descend from replies marked for the cluster, or from a text that does.",
    "It does not say who trained the suspect, how the replies were obtained, or that anyone knew of it.",
    "No hit proves nothing: too few texts, another domain, or heavy rewriting may have removed the marks.",
    "The p-values rest on the key having been secret and random. Whoever knew the key could have produced a hit.",
    "Times are the operator's own unless the public keyring was time-stamped by a third party.",
)


def as_json(report: AuditReport) -> dict[str, Any]:
    """The report in the format of ``audit.json``."""
    return {
        "suspect": report.suspect,
        "queries": report.queries,
        "rows": report.rows,
        "repeated_rows": report.repeated_rows,
        "results": [_result(result) for result in report.results],
        "alpha": report.alpha,
        "attributed_to": list(report.attributed_to),
        "method": {
            "test": TEST_NAME,
            "null": NULL,
            "combination": "one exact test over each of two families of carriers, and Fisher's method over the two",
            "adjustment": "Bonferroni over keyring versions, Holm over clusters",
        },
        "inventory": report.inventory,
        "keyring": report.keyring,
        "notes": list(report.notes),
        "limits": list(LIMITS),
    }


def _result(result: ClusterResult) -> dict[str, Any]:
    return {
        "cluster": result.cluster,
        "p_value": result.p_value,
        "p_adjusted": result.p_adjusted,
        "e_value": result.e_value,
        "key_version": result.version,
        "rank_among_counterfactuals": _rank(result),
        "by_carrier": [
            {"carrier": t.carrier, "p_value": t.p_value, "trials": t.trials, "hits": t.hits, "test": TEST_NAME}
            for t in result.by_carrier
        ],
    }


def _rank(result: ClusterResult) -> str | None:
    """``1/100``: first among itself and 99 keys that were not used; ``None`` where those were not asked."""
    return f"{result.rank}/{result.counterfactuals + 1}" if result.counterfactuals else None


def as_text(report: AuditReport) -> str:
    """The report for a terminal."""
    lines = [
        f"suspect      {report.suspect}",
        f"read         {report.rows} different replies ({report.repeated_rows} repeated), {report.queries} queries",
        f"attributed   {', '.join(report.attributed_to) or 'to no cluster'} (alpha {report.alpha:g}, all clusters together)",
        "",
        f"{'CLUSTER':<20} {'P':>10} {'ADJUSTED':>10} {'RANK':>8}  BY CARRIER (hits/trials: p)",
    ]
    for result in report.results:
        carriers = ", ".join(f"{t.carrier} {t.hits}/{t.trials}: {t.p_value:.1e}" for t in result.by_carrier)
        rank = _rank(result) or "-"
        lines.append(
            f"{result.cluster:<20} {result.p_value:>10.1e} {result.p_adjusted:>10.1e} {rank:>8}  {carriers or '-'}"
        )
    return "\n".join([*lines, "", *report.notes, *(f"note: {limit}" for limit in LIMITS)])
