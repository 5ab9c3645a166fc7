"""A replay's summary as one HTML page that needs nothing else: tables, and plots as SVG.

Pure: what is shown is the summary and the clusters, escaped. Light and dark follow the reader's system.
"""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from gateway.replay.plots import line, stacked, thin
from gateway.replay.tally import ACTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_WORDS = {"allow": "allowed", "mark": "marked", "throttle": "throttled", "refuse": "refused"}
_ACTED = ACTIONS[1:]
_SHOWN_CLUSTERS = 50
_SHOWN_ROWS = 25
_PERCENT = " %"
_STYLE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1c2430;--soft:#5c6773;--rule:#d9dee4;--panel:#f6f7f9;
--allow:#98a4b3;--mark:#e69f00;--throttle:#3f9fd8;--refuse:#d0491f;--open:#5a6fb0}
@media(prefers-color-scheme:dark){:root{--bg:#14181e;--fg:#e4e8ed;--soft:#9aa5b1;--rule:#2e3640;--panel:#1b2129;
--allow:#667384;--mark:#f0b63a;--throttle:#62b8ea;--refuse:#f0703f;--open:#8fa3e6}}
*{box-sizing:border-box}body{margin:0 auto;max-width:940px;padding:24px 20px 60px;background:var(--bg);color:var(--fg);
font:15px/1.5 system-ui,sans-serif}h1{font-size:24px;margin:0 0 4px}h2{font-size:17px;margin:32px 0 8px}
p{margin:4px 0 10px}.soft{color:var(--soft);font-size:13px}code{font-size:13px}
.tiles{display:flex;flex-wrap:wrap;gap:12px;margin:18px 0}.tile{background:var(--panel);border-radius:8px;
padding:10px 14px;flex:1 1 150px}.tile b{display:block;font-size:21px;font-variant-numeric:tabular-nums}
.tile i{display:inline-block;width:9px;height:9px;border-radius:2px;margin-right:6px}
svg{width:100%;height:auto;display:block}.grid{stroke:var(--rule)}.tick{fill:var(--soft);font-size:11px}
.allow{fill:var(--allow)}.mark{fill:var(--mark)}.throttle{fill:var(--throttle)}.refuse{fill:var(--refuse)}
.open{fill:var(--open)}.area{fill-opacity:.25}.stroke{fill:none;stroke-width:1.5}
.allow.stroke{stroke:var(--allow)}.open.stroke{stroke:var(--open)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}th,td{padding:4px 10px 4px 0;
text-align:left;border-bottom:1px solid var(--rule);vertical-align:top}th{font-weight:600;color:var(--soft);
font-size:13px;white-space:nowrap}.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}td.name{overflow-wrap:anywhere}
.key i{display:inline-block;width:10px;height:10px;border-radius:2px;margin:0 5px 0 12px}
"""


def render(summary: Mapping[str, Any], clusters: Sequence[Mapping[str, Any]]) -> str:
    """The page for a summary of ``run_replay`` and its clusters."""
    title = f"Replay of {summary['requests']:,} requests"
    parts = [
        f"<h1>{title}</h1>",
        _when(summary),
        _tiles(summary),
        _over_time(summary["hours"]),
        _groups("By plan", "plan", summary["by_plan"]),
        _groups("By standing", "level", summary["by_level"]),
        _groups("By model", "model", summary["by_model"]),
        _groups("Rules and budgets that throttled or refused", "rule", summary["by_rule"]),
        _shadow(summary["shadow_refusals"]),
        _concurrency(summary["peak_concurrency"]),
        _top_accounts(summary["top_accounts"]),
        _clusters(clusters),
    ]
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    size = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return f"{head}{size}<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"


def _when(summary: Mapping[str, Any]) -> str:
    return (
        f'<p class="soft">{_time(summary["first_ts"])} to {_time(summary["last_ts"])} UTC; policy set '
        f"<code>{escape(summary['policy'])}</code>; {summary['accounts']:,} accounts; "
        f"{summary['seconds']:,} s, {summary['requests_per_s']:,.0f} requests/s</p>"
    )


def _tiles(summary: Mapping[str, Any]) -> str:
    found = [_tile(summary, name, max(summary["requests"], 1)) for name in ACTIONS]
    held = f'{summary["enforced_clusters"]:,} <span class="soft">of {summary["clusters"]:,}</span>'
    found.append(f'<div class="tile">enforced clusters<b>{held}</b><span class="soft">ever, in this log</span></div>')
    return f'<div class="tiles">{"".join(found)}</div>'


def _tile(summary: Mapping[str, Any], name: str, total: int) -> str:
    count, accounts = summary["actions"][name], summary["accounts_hit"][name]
    colour = f'<i style="background:var(--{name})"></i>'
    told = f'<span class="soft">{_percent(count, total)} of requests, {accounts:,} accounts</span>'
    return f'<div class="tile">{colour}{_WORDS[name]}<b>{count:,}</b>{told}</div>'


def _over_time(hours: Mapping[str, Sequence[int]]) -> str:
    starts = hours["start"]
    total = [sum(values) for values in zip(*(hours[name] for name in ACTIONS), strict=True)]
    first, size, requests = thin(starts, total, sum)
    acted = [(name, thin(starts, hours[name], sum)[2]) for name in _ACTED]
    _, _, together = thin(starts, hours["concurrency"], max)
    per = "hour" if size == 3600 else f"{size // 3600} hours"  # noqa: PLR2004 - seconds of an hour
    key = "".join(f'<i style="background:var(--{name})"></i>{_WORDS[name]}' for name in _ACTED)
    parts = [f"<h2>Requests per {per}</h2>", line(first, size, requests, "allow", f"Requests per {per}")]
    if any(any(values) for _, values in acted):
        parts.append(f'<h2>Not simply allowed, per {per} <span class="soft key">{key}</span></h2>')
        parts.append(stacked(first, size, acted, f"Marked, throttled and refused requests per {per}"))
    parts.append(f"<h2>Replies open together, the most in each {per}</h2>")
    parts.append(line(first, size, together, "open", f"Most replies open together per {per}"))
    parts.append('<p class="soft">Modelled: a reply lasts as long as the log says, else 0.5 s and 20 ms a token.</p>')
    return "".join(parts)


def _groups(title: str, kind: str, rows: Mapping[str, Mapping[str, int]]) -> str:
    if not rows:
        return ""
    heads = [kind, "requests", *(_WORDS[name] for name in ACTIONS), "stopped"]
    body = []
    for name, counts in list(rows.items())[:_SHOWN_ROWS]:
        total = sum(counts.values())
        stopped = counts["throttle"] + counts["refuse"]
        body.append([name, total, *(counts[action] for action in ACTIONS), _percent(stopped, total)])
    more = len(rows) - len(body)
    rest = f'<p class="soft">and {more:,} more in summary.json</p>' if more > 0 else ""
    return f"<h2>{title}</h2>{_table(heads, body)}{rest}"


def _shadow(rows: Mapping[str, int]) -> str:
    if not rows:
        return ""
    words = '<p class="soft">Counted as if enforced, answered as if not.</p>'
    return f"<h2>Would have refused, in shadow</h2>{words}{_table(['rule or budget', 'requests'], rows.items())}"


def _concurrency(peak: Mapping[str, Any]) -> str:
    plans = _table(["plan", "most open together"], peak["by_plan"].items())
    rows = [[row["account"], row["plan"], row["open"]] for row in peak["top_accounts"][:5]]
    busiest = _table(["busiest account", "plan", "most open together"], rows)
    told = f"At most {peak['all']:,} replies were open together, {_time(peak['at'])} UTC."
    return f"<h2>Concurrency</h2><p>{told}</p>{plans}{busiest}"


def _top_accounts(top: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    heads = ["account", "plan", *(_WORDS[name] for name in ACTIONS), "output tokens"]
    parts = []
    for name, rows in top.items():
        if rows:
            found = [[row["account"], row["plan"], *(row[a] for a in ACTIONS), row["output_tokens"]] for row in rows]
            parts.append(f"<h2>Accounts with the most {name.replace('_', ' ')}</h2>{_table(heads, found)}")
    return "".join(parts)


def _clusters(clusters: Sequence[Mapping[str, Any]]) -> str:
    if not clusters:
        return "<h2>Clusters</h2><p>No accounts were found to act as one.</p>"
    rows = [
        [
            cluster["cluster"],
            len(cluster["members"]),
            cluster["level"],
            "never" if cluster["first_enforced_at"] is None else _time(cluster["first_enforced_at"]),
            "; ".join(map(str, cluster["evidence"])),
        ]
        for cluster in sorted(clusters, key=lambda cluster: -len(cluster["members"]))[:_SHOWN_CLUSTERS]
    ]
    return f"<h2>Clusters</h2>{_table(['cluster', 'accounts', 'level', 'first enforced (UTC)', 'evidence'], rows)}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    body = [list(row) for row in rows]
    numbers = [bool(body) and _is_number(body[0][index]) for index in range(len(heads))]
    head = "".join(f"<th{_side(number)}>{escape(name)}</th>" for name, number in zip(heads, numbers, strict=True))
    lines = "".join(
        "<tr>" + "".join(_cell(value, number) for value, number in zip(row, numbers, strict=True)) + "</tr>"
        for row in body
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def _is_number(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and value.endswith(_PERCENT))


def _side(number: bool) -> str:  # noqa: FBT001 - one of two looks of a cell
    return ' class="n"' if number else ""


def _cell(value: Any, number: bool) -> str:  # noqa: FBT001 - as above
    shown = f"{value:,}" if isinstance(value, int) else escape(str(value))
    return f'<td class="{"n" if number else "name"}">{shown}</td>'


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole if whole else 0.0
    return f"{share:.2g}{_PERCENT}" if share < 10 else f"{share:.0f}{_PERCENT}"  # noqa: PLR2004 - two digits


def _time(ts: float) -> str:
    return datetime.fromtimestamp(ts, UTC).strftime("%Y-%m-%d %H:%M")
