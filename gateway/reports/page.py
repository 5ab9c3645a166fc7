"""An incident as one HTML page: nothing is loaded from anywhere, everything that came from outside is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from gateway.reports.incident import evidence_words
from gateway.standing.rows import date, override_row
from gateway.types import Level

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.reports.incident import Incident, Volume

_SHOWN_ACCOUNTS = 500
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2430}
h1{font-size:1.6rem;margin-bottom:0}h2{font-size:1.15rem;margin-top:2.2rem}p.lead{color:#556}
table{border-collapse:collapse;width:100%;font-size:.9rem}th,td{text-align:left;padding:.25rem .6rem;
border-bottom:1px solid #dde}th{color:#556;font-weight:600}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.bar{background:#4a6fa5;height:.7rem;min-width:1px}.level{padding:.1rem .5rem;border-radius:.3rem;background:#dde}
.suspect{background:#ffe2b0}.confirmed{background:#f6bcbc}ul{padding-left:1.2rem}
"""
_LEVELS = {
    Level.NONE: "It has no effect on anybody now.",
    Level.WATCH: "Its requests are only watched.",
    Level.SUSPECT: "Its accounts are answered with marked replies and spend as one customer, as the policies say.",
    Level.CONFIRMED: "Its accounts are refused, or treated as the policies say of confirmed clusters.",
}
_READING = (
    "An e-value is how many times likelier the observation is for one operator than for unrelated customers, "
    "bounded so that it reaches 1,000 for at most one in 1,000 benign groups, however often one looks. Families of "
    "evidence that rest on the same requests are averaged; independent ones are multiplied."
)
_COLUMNS = ("requests", "answered", "decided_as_suspect", "marked", "refused", "input_tokens", "output_tokens")


def write_html(incident: Incident, *, accounts: bool = True) -> bytes:
    """The page, in UTF-8; without ``accounts`` nobody is named, only counted."""
    view, verdict, total = incident.view, incident.view.verdict, incident.total
    level = view.level.value
    facts = [
        ("Accounts", f"{len(view.members):,}"),
        ("First request", date(total.first_s) or "none kept"),
        ("Last request", date(total.last_s) or "none kept"),
        ("Verdict of", f"{date(verdict.decided_at)}, version {verdict.version}"),
        ("Holds until", date(verdict.expires_at) or "-"),
        ("Requests", f"{total.requests:,}, of which {total.marked:,} marked and {total.refused:,} refused"),
        ("Tokens", f"{total.input_tokens:,} in, {total.output_tokens:,} out"),
        ("Cost", f"${total.cost_microusd / 1e6:,.2f}"),
        ("Shown the signature only", f"{incident.by_signature:,} requests of accounts that are not members"),
    ]
    if view.replaced_by:
        facts.append(("Merged into", view.replaced_by))
    parts = [
        f"<h1>Cluster {escape(incident.cluster)} <span class='level {level}'>{level}</span></h1>",
        f"<p class='lead'>{_LEVELS[view.level]} Report of {date(incident.made_at)}, times in UTC.</p>",
        _table(("", ""), facts),
        "<h2>Why</h2>",
        f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in evidence_words(incident))}</ul>",
        f"<p>{_READING}</p>",
        "<h2>What people decided</h2>",
        _decisions(incident, accounts=accounts),
        "<h2>Requests by day</h2>",
        _volumes("Day", incident.days, bars=True),
        "<h2>Requests by model</h2>",
        _volumes("Model", incident.models),
        "<h2>Accounts by country and plan</h2>",
        _table(("Country", "Accounts"), ((name, f"{count:,}") for name, count in incident.countries.items())),
        _table(("Plan", "Accounts"), ((name, f"{count:,}") for name, count in incident.plans.items())),
    ]
    if accounts:
        shown = dict(list(incident.accounts.items())[:_SHOWN_ACCOUNTS])
        more = len(incident.accounts) - len(shown)
        parts += ["<h2>Accounts</h2>", _volumes("Account", shown, when=True)]
        parts += [f"<p>and {more:,} more: see the report in JSON.</p>"] if more else []
    return _page(f"Cluster {incident.cluster}", "\n".join(parts))


def _page(title: str, body: str) -> bytes:
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{_STYLE}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    ).encode("utf-8", "replace")


def _decisions(incident: Incident, *, accounts: bool) -> str:
    rows = [override_row(one) for one in incident.audit]
    if not rows:
        return "<p>Nothing yet: what holds is the verdict of the analysis.</p>"
    subject = [row["subject"] if accounts or row["kind"] == "cluster" else "an account" for row in rows]
    cells = (
        (row["at"], row["verb"], name, row["who"], row["why"], row["until"] or "taken back")
        for row, name in zip(rows, subject, strict=True)
    )
    return _table(("When", "Decision", "On", "By", "Why", "Until"), cells)


def _volumes(title: str, volumes: Mapping[str, Volume], *, bars: bool = False, when: bool = False) -> str:
    most = max((volume.requests for volume in volumes.values()), default=0)
    head = [title, *(name.replace("_", " ").capitalize() for name in _COLUMNS)]
    lines = []
    for name, volume in volumes.items():
        cells = [f"<td>{escape(name)}</td>"]
        cells += [f"<td class='n'>{getattr(volume, column):,}</td>" for column in _COLUMNS]
        if when:
            cells += [f"<td>{date(volume.first_s) or '-'}</td><td>{date(volume.last_s) or '-'}</td>"]
        if bars:
            cells.append(f"<td><div class='bar' style='width:{100 * volume.requests / most:.0f}%'></div></td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    extra = ["First", "Last"] if when else [""] if bars else []
    names = "".join(f"<th class='n'>{name}</th>" for name in head[1:])
    tail = "".join(f"<th>{name}</th>" for name in extra)
    return f"<table><tr><th>{head[0]}</th>{names}{tail}</tr>{''.join(lines)}</table>"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    first = f"<tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr>" if any(head) else ""
    lines = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{first}{lines}</table>"
