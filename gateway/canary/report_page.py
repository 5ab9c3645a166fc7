"""An audit's report as one HTML page that a lawyer can read: no script, no outside resource, fit to be printed.

It says what was planted when, what was promised beforehand, the figures with their meaning, why they hold, and what
they do not say. Everything that is not ours (names, notes) is escaped. Leaves out: any judgement beyond the figures.
"""

from __future__ import annotations

import html
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.canary.report import LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.canary.audit import AuditReport, ClusterResult

_WORDS = {
    "spelling": "spelling",
    "synonym": "words that say the same",
    "connective": "words that join sentences",
    "contraction": "short and long forms (it is, it's)",
    "number": "number words",
    "punctuation": "comma in lists",
    "structure": "list markers",
    "bridge": "sentences in between",
    "cue": "beginnings of closing sentences",
    "closing": "ends of closing sentences",
    "behaviour": "phrases that the model was asked for",
    "tool": "names of decoy tools",
}
"""Carriers in a reader's words; one that is not listed goes by its name."""
_EVEN = 0.5
_FIGURES = 300
"""A p-value below the smallest double is shown as below 1e-300."""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Audit of {suspect}</title><style>
body{{font:16px/1.5 Georgia,serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#1b1b1b}}
h1{{font-size:1.6rem}}h2{{font-size:1.2rem;margin-top:2rem}}h3{{font-size:1rem}}
table{{border-collapse:collapse;width:100%;margin:1rem 0;font-size:.9rem}}
th,td{{border-bottom:1px solid #ccc;padding:.3rem .6rem;text-align:left;vertical-align:top}}
td.n,th.n{{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}}
code{{font-size:.8em;word-break:break-all}}.yes{{background:#fff1c9}}
.verdict{{border-left:.3rem solid #8a6d00;padding:.5rem 1rem;background:#fffaf0}}
@media print{{body{{margin:0;max-width:none}}h2,h3,table{{break-inside:avoid}}}}
</style></head><body>
<h1>Audit of {suspect}</h1>
<div class="verdict"><p><strong>{verdict}</strong></p><p>{meaning}</p></div>
<h2>1. What was asked</h2>
<p>The operator's gateway changes some replies in small ways that leave their meaning as it was: one of two spellings, one
of several words that say the same, a set sentence in between or at the end. Which of them is written in which surroundings (next to
which word) is drawn by a secret key, a different one for each cluster of accounts. Texts that descend from replies to a
cluster, such as those of a model trained on them, agree with that cluster's key more often than chance allows. This
audit counted the agreements.</p>
<h2>2. What was planted, and when</h2>
<p>A key is made at random and committed to: a digest that hides it and fixes it is written down when it is made, and a
second one for each cluster before the first of its replies is changed. Neither the marks nor what they are compared
with could be chosen afterwards to fit the suspect. Choices among which the keys draw: inventory
<code>{inventory}</code>.</p>
<table><tr><th>promised</th><th>at (UTC)</th><th>commitment (SHA-256)</th></tr>{promises}</table>
<p>{unpromised}</p>
<h2>3. What was found</h2>
<p>{rows} different texts were read ({repeated} repeated ones were left out{queries}).</p>
<table><tr><th>cluster</th><th class=n>p-value</th><th class=n>adjusted</th><th>in words</th></tr>{clusters}</table>
<p>The <em>p-value</em> is the chance that a key drawn at random, which has nothing to do with the texts, would agree with
them at least as well. <em>Adjusted</em> allows for all {asked} clusters asked about: a cluster is named when it is
below {alpha}, so that in an audit of texts that nobody marked the chance of naming any cluster is at most {alpha}.
The control: {rank}</p>
{details}
<h2>4. Why it can be relied on</h2>
<p><strong>What is assumed.</strong> If the texts were made without knowledge of a cluster's key (the <em>null
hypothesis</em>), its choices are throws of dice that know nothing of the texts. This is the key's own randomness: nothing is
assumed about the author, and however unusual an author's habits are, they agree with a random key no more often than
anybody's. No comparison with other models enters.</p>
<p><strong>What is counted.</strong> Each surrounding counts once, however often it recurs, and a text that was read before
does not count again. The distribution of the agreements is computed without approximation. {method}</p>
<p><strong>Who can check it.</strong> With the cluster's key, which the operator can show without showing any other, an
auditor can verify the commitment above and repeat this audit.</p>
<h2>5. What it does not say</h2><p>A hit proves descent, not guilt.</p><ul>{limits}</ul>{notes}
</body></html>
"""


def as_html(report: AuditReport) -> str:
    """The report as a self-contained page: no script, no outside resource."""
    named = set(report.attributed_to)
    return _PAGE.format(
        suspect=html.escape(report.suspect),
        verdict=html.escape(_verdict(report)),
        meaning=_MEANING[bool(named)],
        inventory=html.escape(report.inventory),
        promises="".join(_promises(report)),
        unpromised=html.escape(_unpromised(report)),
        rows=f"{report.rows:,}",
        repeated=f"{report.repeated_rows:,}",
        queries=f"; {report.queries:,} questions were asked" if report.queries else "",
        clusters="".join(_row(result, marked=result.cluster in named) for result in report.results),
        asked=len(report.results),
        alpha=_chance(report.alpha),
        rank=html.escape(_control(report)),
        details="".join(_details(result) for result in report.results if result.cluster in named),
        method=html.escape(_METHOD),
        limits="".join(f"<li>{html.escape(limit)}</li>" for limit in LIMITS),
        notes="".join(f"<p>{html.escape(note)}</p>" for note in report.notes),
    )


_MEANING = (
    "This does not show that the texts are of another origin: see section 5.",
    (
        "The texts, or the model that wrote them, descend from replies that the operator's gateway gave to accounts of "
        "this cluster, or from texts that do. It does not say who copied them, how, or whether anyone knew."
    ),
)
_METHOD = (
    "Kinds of marks are combined in two groups, each one exact test, and the two by Fisher's method; over versions of the "
    "key p-values are adjusted by Bonferroni's method, over clusters by Holm's."
)


def _verdict(report: AuditReport) -> str:
    if not report.attributed_to:
        return f"No marks of the {len(report.results)} clusters asked about were found."
    return f"The texts carry the marks of {', '.join(report.attributed_to)}."


def _promises(report: AuditReport) -> Iterator[str]:
    """Rows of the table of commitments: every version, and every cluster asked about that was promised."""
    asked = {result.cluster for result in report.results}
    promised = [
        (f"secret, version {v['version']}", v["created_at"], v["commitment"]) for v in report.keyring["versions"]
    ]
    promised += [
        (f"cluster {entry['cluster']}, version {entry['version']}", entry["committed_at"], entry["digest"])
        for entry in report.keyring["clusters"]
        if entry["cluster"] in asked
    ]
    for what, at_s, digest in promised:
        yield f"<tr><td>{html.escape(what)}</td><td>{_utc(at_s)}</td><td><code>{html.escape(digest)}</code></td></tr>"


def _unpromised(report: AuditReport) -> str:
    """Which of the clusters asked about have no commitment of their own."""
    known = {entry["cluster"] for entry in report.keyring["clusters"]}
    without = [result.cluster for result in report.results if result.cluster not in known]
    if not without:
        return "The times are the operator's own, unless this list was time-stamped by a third party."
    shown = ", ".join(without[:5]) + (f" and {len(without) - 5} more" if len(without) > 5 else "")  # noqa: PLR2004
    return (
        f"No commitment of their own have: {shown}. Their keys follow from the secret's. The times are the operator's own, "
        "unless this list was time-stamped by a third party."
    )


def _control(report: AuditReport) -> str:
    """What keys that were never used say."""
    ranked = [result for result in report.results if result.counterfactuals]
    if not ranked:
        return "no cluster came near enough to compare it with keys that were never used."
    told = (
        f"{r.cluster}'s key is number {r.rank} of itself and {r.counterfactuals} others, by how well they agree"
        for r in ranked
    )
    return f"set beside keys that could have been drawn and never were, {'; '.join(told)}."


def _chance(p_value: float) -> str:
    """A p-value in words: ``1 in 20``, or as a power of ten."""
    if p_value >= _EVEN:
        return "as chance has it"
    if p_value <= 0 or -math.log10(p_value) >= _FIGURES:
        return f"less than 1 in 10<sup>{_FIGURES}</sup>"
    power = -math.log10(p_value)
    return f"1 in {round(1 / p_value):,}" if power <= 6 else f"1 in 10<sup>{math.floor(power)}</sup>"  # noqa: PLR2004 - a million


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _row(result: ClusterResult, *, marked: bool) -> str:
    return (
        f"<tr{' class=yes' if marked else ''}><td>{html.escape(result.cluster)}</td>"
        f"<td class=n>{result.p_value:.2e}</td><td class=n>{result.p_adjusted:.2e}</td>"
        f"<td>{_chance(result.p_adjusted)}</td></tr>"
    )


def _details(result: ClusterResult) -> str:
    """One cluster's agreements, kind by kind."""
    rows = "".join(
        f"<tr><td>{html.escape(_WORDS.get(t.carrier, t.carrier))}</td><td class=n>{t.hits:,}</td>"
        f"<td class=n>{t.trials:,}</td><td class=n>{t.p_value:.2e}</td><td>{_chance(t.p_value)}</td></tr>"
        for t in result.by_carrier
    )
    head = (
        "<tr><th>kind of mark</th><th class=n>agreements</th><th class=n>surroundings</th>"
        "<th class=n>p-value</th><th>in words</th></tr>"
    )
    return f"<h3>Cluster {html.escape(result.cluster)}, kind by kind</h3><table>{head}{rows}</table>"
