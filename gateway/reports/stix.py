"""An incident as a STIX 2.1 bundle (OASIS, 10 June 2021), to share with others who look for the same campaign.

A campaign that uses the attack pattern of MITRE ATLAS (AML.T0024.002, Extract AI Model), what was observed, and,
unless left out, the accounts with an indicator over them. Object ids follow from the verdict (its cluster and when
it was decided), so that a later export of one verdict updates the earlier one (section 3.6); ids of observables
follow from their values (section 2.9). The bundle is marked TLP:AMBER (section 7.2.1.4).
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from gateway.reports.incident import evidence_words

if TYPE_CHECKING:
    from gateway.reports.incident import Incident

_OBSERVABLES: Final = uuid.UUID("00abedb4-aa42-466c-9c01-fed23315a9b7")
"""The namespace of section 2.9."""
_OURS: Final = uuid.uuid5(uuid.NAMESPACE_DNS, "distillguard.invalid")
_AMBER: Final = {
    "type": "marking-definition",
    "spec_version": "2.1",
    "id": "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82",
    "created": "2017-01-20T00:00:00.000Z",
    "definition_type": "tlp",
    "name": "TLP:AMBER",
    "definition": {"tlp": "amber"},
}
_ALWAYS: Final = "2026-01-01T00:00:00.000Z"
_CONSTANT: Final = {"producer", "extract"}
"""Objects that are the same in every bundle; they do not change, so nor do their times."""
_MAX_OBSERVED: Final = 999_999_999
_CONFIDENCE: Final = {"none": 0, "watch": 30, "suspect": 75, "confirmed": 100}
"""Appendix A: 30 is low on the scale of none, low, medium, high; a person's word is 100."""


def write_stix(incident: Incident, *, accounts: bool = True) -> bytes:
    """The bundle; without ``accounts`` nobody is named."""
    objects = _Objects(incident).all(accounts=accounts)
    bundle = {"type": "bundle", "id": f"bundle--{uuid.uuid5(_OURS, repr(objects))}", "objects": objects}
    return orjson.dumps(bundle, option=orjson.OPT_INDENT_2) + b"\n"


class _Objects:
    """The objects of one bundle."""

    def __init__(self, incident: Incident) -> None:
        self._incident = incident
        verdict = incident.view.verdict
        self._key = f"{verdict.cluster} {verdict.decided_at!r}"
        self._created = _time(min(verdict.decided_at, incident.made_at))
        self._modified = _time(incident.made_at)
        self._first = incident.total.first_s or verdict.decided_at
        self._last = incident.total.last_s or verdict.decided_at
        self._producer = _id("identity", "producer")

    def all(self, *, accounts: bool) -> list[dict[str, Any]]:
        """Every object, each before those that refer to it."""
        incident = self._incident
        producer = self._made("identity", "producer", name="distillguard gateway", identity_class="system")
        campaign = self._campaign()
        pattern = self._made(
            "attack-pattern",
            "extract",
            name="Extract AI Model",
            external_references=[{"source_name": "mitre-atlas", "external_id": "AML.T0024.002"}],
        )
        uses = self._relation("uses", campaign, pattern)
        objects = [_AMBER, producer, campaign, pattern, uses]
        if accounts and incident.view.members:
            objects += self._named(campaign)
        about = [one["id"] for one in objects if one["type"] != "marking-definition"]
        report = self._made(
            "report",
            f"report {self._key}",
            name=f"Cluster {incident.cluster}",
            report_types=["campaign"],
            published=self._modified,
            object_refs=about,
        )
        return [*objects, report]

    def _campaign(self) -> dict[str, Any]:
        incident = self._incident
        total = incident.total
        said = "; ".join(evidence_words(incident)) or "no evidence kept"
        return self._made(
            "campaign",
            f"campaign {self._key}",
            name=f"Cluster {incident.cluster}",
            description=(
                f"{len(incident.view.members)} accounts that act as one, {total.requests} requests, "
                f"{total.output_tokens} output tokens, level {incident.view.level.value}. Evidence: {said}"
            ),
            objective="Extraction of a model's behaviour through its API",
            first_seen=_time(self._first),
            last_seen=_time(max(self._first, self._last)),
            confidence=_CONFIDENCE[incident.view.level.value],
        )

    def _named(self, campaign: dict[str, Any]) -> list[dict[str, Any]]:
        """The accounts, that they were observed, and an indicator over them."""
        incident = self._incident
        users = [_account(name) for name in incident.view.members]
        objects = list(users)
        if incident.total.requests:
            observed = self._made(
                "observed-data",
                f"observed {self._key}",
                first_observed=_time(self._first),
                last_observed=_time(max(self._first, self._last)),
                number_observed=min(incident.total.requests, _MAX_OBSERVED),
                object_refs=[user["id"] for user in users],
            )
            objects.append(observed)
        listed = ", ".join(f"'{_quoted(name)}'" for name in incident.view.members)
        indicator = self._made(
            "indicator",
            f"indicator {self._key}",
            name=f"Accounts of cluster {incident.cluster}",
            indicator_types=[
                "malicious-activity" if incident.view.level.value == "confirmed" else "anomalous-activity"
            ],
            pattern=f"[user-account:user_id IN ({listed})]",
            pattern_type="stix",
            valid_from=self._created,
        )
        return [*objects, indicator, self._relation("indicates", indicator, campaign)]

    def _relation(self, kind: str, source: dict[str, Any], target: dict[str, Any]) -> dict[str, Any]:
        ends = {"source_ref": source["id"], "target_ref": target["id"]}
        return self._made(
            "relationship", f"{kind} {ends['source_ref']} {ends['target_ref']}", relationship_type=kind, **ends
        )

    def _made(self, kind: str, key: str, /, **more: Any) -> dict[str, Any]:
        """A domain or relationship object with the properties that all have (section 3.2)."""
        made: dict[str, Any] = {
            "type": kind,
            "spec_version": "2.1",
            "id": _id(kind, key),
            "created": _ALWAYS if key in _CONSTANT else self._created,
            "modified": _ALWAYS if key in _CONSTANT else max(self._created, self._modified),
        }
        if key != "producer":
            made["created_by_ref"] = self._producer
        return {**made, "object_marking_refs": [_AMBER["id"]], **more}


def _account(name: str) -> dict[str, Any]:
    """A user account (section 6.18); its id follows from ``user_id`` as RFC 8785 writes it."""
    value = orjson.dumps({"user_id": name}).decode()
    return {
        "type": "user-account",
        "spec_version": "2.1",
        "id": f"user-account--{uuid.uuid5(_OBSERVABLES, value)}",
        "user_id": name,
        "object_marking_refs": [_AMBER["id"]],
    }


def _id(kind: str, name: str) -> str:
    return f"{kind}--{uuid.uuid5(_OURS, name)}"


def _quoted(text: str) -> str:
    """A string of the pattern language (section 9.1): backslash and quote escaped."""
    return text.replace("\\", "\\\\").replace("'", "\\'")


def _time(time_s: float) -> str:
    """RFC 3339 with milliseconds, UTC."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(time_s % 1 * 1000):03d}Z"
