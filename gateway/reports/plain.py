"""An incident as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import orjson

from gateway.reports.incident import evidence_words
from gateway.standing.rows import cluster_row, date, override_row

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.reports.incident import Incident, Volume


def write_json(incident: Incident, *, accounts: bool = True) -> bytes:
    """The report; without ``accounts`` nobody is named, only counted."""
    return orjson.dumps(report_rows(incident, accounts=accounts), option=orjson.OPT_INDENT_2) + b"\n"


def report_rows(incident: Incident, *, accounts: bool) -> dict[str, Any]:
    """The report as plain data."""
    rows = {
        "made_at": date(incident.made_at),
        **cluster_row(incident.view),
        "evidence": evidence_words(incident),
        "decisions": [_decision(row, accounts=accounts) for row in map(override_row, incident.audit)],
        "total": volume_row(incident.total),
        "days": _volumes(incident.days),
        "models": _volumes(incident.models),
        "countries": dict(incident.countries),
        "plans": dict(incident.plans),
        "requests_by_signature_alone": incident.by_signature,
    }
    if accounts:
        rows["members"] = _volumes(incident.accounts)
    return rows


def volume_row(volume: Volume) -> dict[str, Any]:
    """A sum for programs; cost in US dollars."""
    row = asdict(volume)
    row["first_seen"], row["last_seen"] = date(row.pop("first_s")), date(row.pop("last_s"))
    row["cost_usd"] = row.pop("cost_microusd") / 1e6
    return row


def _volumes(volumes: Mapping[str, Volume]) -> dict[str, Any]:
    return {name: volume_row(volume) for name, volume in volumes.items()}


def _decision(row: dict[str, Any], *, accounts: bool) -> dict[str, Any]:
    hidden = not accounts and row["kind"] == "account"
    return row | {"subject": "an account"} if hidden else row
