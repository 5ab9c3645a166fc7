"""An audit's report as JSON, as text and as one HTML page that explains itself.

Leaves out: any judgement beyond the figures. The page says what was planted when, the null, the commitment, the
figures and the limits.
"""

from __future__ import annotations

import html
from datetime import UTC, datetime
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
            "combination": "one exact test over the trials of all carriers",
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


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Audit of {suspect}</title><style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}}
table{{border-collapse:collapse;width:100%;margin:1rem 0}}th,td{{border:1px solid #bbb;padding:.3rem .6rem;text-align:left}}
td.n{{text-align:right;font-variant-numeric:tabular-nums}}code{{font-size:.85em;word-break:break-all}}
.yes{{background:#fff1c9}}</style></head><body>
<h1>Audit of {suspect}</h1>
<p><strong>{verdict}</strong></p>
<h2>The question</h2>
<p>Some replies of the operator's models were changed in small ways that leave their meaning as it was: one of two
spellings, one of several words that say the same, a closing sentence. Which of them is written in which surroundings
is drawn by a secret key, a different one for each cluster of accounts. Texts that descend from replies to a cluster
agree with that cluster's key more often than chance allows. This audit counted the agreements.</p>
<h2>The figures</h2>
<p>{rows} different texts were read ({repeated} repeated ones were left out; {queries} questions were asked).
The p-value is the chance that a key drawn at random would agree at least as well. All clusters together, the chance of
naming one wrongly is at most {alpha}.</p>
<table><tr><th>cluster</th><th>p-value</th><th>adjusted for all clusters asked</th>
<th>rank among keys that were not used</th></tr>{clusters}</table>
{details}
<h2>Why the p-value is exact</h2>
<p>If the texts were made without the key, the key's choices are coin throws that know nothing of the texts, whatever the
author's habits are. Each surrounding counts once, however often it recurs; the distribution of the agreements is computed
without approximation. No comparison with other models' habits enters.</p>
<h2>What was promised beforehand</h2>
<p>Each secret was committed to when it was made, before any mark. Inventory of choices:
<code>{inventory}</code>.</p>
<table><tr><th>version</th><th>made (UTC)</th><th>commitment (SHA-256)</th></tr>{versions}</table>
<h2>Limits</h2><ul>{limits}</ul>{notes}
</body></html>
"""


def as_html(report: AuditReport) -> str:
    """The report as a self-contained page: no script, no outside resource."""
    named = set(report.attributed_to)
    verdict = (
        f"The texts carry the marks of {', '.join(report.attributed_to)}."
        if named
        else "The marks of none of the clusters asked were found."
    )
    return _PAGE.format(
        suspect=html.escape(report.suspect),
        verdict=html.escape(verdict),
        rows=report.rows,
        repeated=report.repeated_rows,
        queries=report.queries,
        alpha=f"{report.alpha:g}",
        clusters="".join(_row(result, marked=result.cluster in named) for result in report.results),
        details="".join(_details(result) for result in report.results if result.cluster in named),
        inventory=html.escape(report.inventory),
        versions="".join(
            f"<tr><td class=n>{v['version']}</td><td>{_utc(v['created_at'])}</td><td><code>{v['commitment']}</code></td></tr>"
            for v in report.keyring["versions"]
        ),
        limits="".join(f"<li>{html.escape(limit)}</li>" for limit in LIMITS),
        notes="".join(f"<p>{html.escape(note)}</p>" for note in report.notes),
    )


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _row(result: ClusterResult, *, marked: bool) -> str:
    return (
        f"<tr{' class=yes' if marked else ''}><td>{html.escape(result.cluster)}</td>"
        f"<td class=n>{result.p_value:.2e}</td><td class=n>{result.p_adjusted:.2e}</td>"
        f"<td class=n>{_rank(result) or '-'}</td></tr>"
    )


def _details(result: ClusterResult) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(t.carrier)}</td><td class=n>{t.hits}</td><td class=n>{t.trials}</td>"
        f"<td class=n>{t.p_value:.2e}</td></tr>"
        for t in result.by_carrier
    )
    head = "<tr><th>kind of mark</th><th>agreements</th><th>surroundings</th><th>p-value</th></tr>"
    return f"<h3>{html.escape(result.cluster)}</h3><table>{head}{rows}</table>"
