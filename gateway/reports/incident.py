"""What one cluster did, added up from its events; pure.

Counted are all requests of the accounts that the verdict names, and those of any account that showed the cluster's
signature. The analysis cannot tell a campaign's own requests from its cover traffic; nor does a report.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from gateway.types import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.standing import ClusterView, Override
    from gateway.types import Event


@dataclass(slots=True)
class Volume:
    """A sum of requests. Tokens are settled ones; cost in millionths of a US dollar."""

    requests: int = 0
    answered: int = 0
    decided_as_suspect: int = 0
    marked: int = 0
    refused: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_microusd: int = 0
    first_s: float | None = None
    last_s: float | None = None

    def add(self, event: Event) -> None:
        """Count one request."""
        self.requests += 1
        self.answered += event.outcome is Outcome.ANSWERED
        self.refused += event.outcome is Outcome.REFUSED
        self.decided_as_suspect += event.level == "suspect"
        self.marked += event.marked
        self.cost_microusd += event.cost_microusd
        if event.usage is not None:
            self.input_tokens += event.usage.input_tokens
            self.output_tokens += event.usage.output_tokens
        self.first_s = event.ts if self.first_s is None else min(self.first_s, event.ts)
        self.last_s = event.ts if self.last_s is None else max(self.last_s, event.ts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """A cluster, what it did and what was done about it. Days are UTC, ``YYYY-MM-DD``."""

    view: ClusterView
    audit: tuple[Override, ...]
    made_at: float
    total: Volume = field(default_factory=Volume)
    days: Mapping[str, Volume] = field(default_factory=dict)
    models: Mapping[str, Volume] = field(default_factory=dict)
    accounts: Mapping[str, Volume] = field(default_factory=dict)
    by_signature: int = 0
    """Requests of accounts that are not members, recognised by the cluster's signature."""
    countries: Mapping[str, int] = field(default_factory=dict)
    plans: Mapping[str, int] = field(default_factory=dict)

    @property
    def cluster(self) -> str:
        """Its name."""
        return self.view.verdict.cluster


def gather(view: ClusterView, audit: Iterable[Override], events: Iterable[Event], made_at: float) -> Incident:
    """Add up a cluster's events; an event's id counts once."""
    members = set(view.verdict.members)
    touching = tuple(one for one in audit if one.subject == view.verdict.cluster or one.subject in members)
    days: dict[str, Volume] = {}
    models: dict[str, Volume] = {}
    accounts: dict[str, Volume] = {name: Volume() for name in view.verdict.members}
    countries: dict[str, set[str]] = {}
    plans: dict[str, set[str]] = {}
    total, by_signature = Volume(), 0
    seen: set[str] = set()
    for event in events:
        account = event.account
        if account is None or event.id in seen or (account not in members and event.cluster != view.verdict.cluster):
            continue
        seen.add(event.id)
        by_signature += account not in members
        countries.setdefault(event.country or "unknown", set()).add(account)
        plans.setdefault(event.plan or "unknown", set()).add(account)
        for volumes, key in ((days, day(event.ts)), (models, event.model or "unknown"), (accounts, account)):
            volumes.setdefault(key, Volume()).add(event)
        total.add(event)
    return Incident(
        view=view,
        audit=touching,
        made_at=made_at,
        total=total,
        days=dict(sorted(days.items())),
        models=_largest_first(models),
        accounts=_largest_first(accounts),
        by_signature=by_signature,
        countries=_counted(countries),
        plans=_counted(plans),
    )


def day(time_s: float) -> str:
    """The day (UTC) of a time."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d")


def evidence_words(incident: Incident) -> list[str]:
    """What the analysis says, a line each: reasons, then the evidence of each family with its numbers."""
    verdict = incident.view.verdict
    numbers = (
        ", ".join(f"{str(name).replace('_', ' ')} {_shown(value)}" for name, value in item.items())
        for item in verdict.evidence
    )
    return [*verdict.reasons, *numbers]


def _shown(value: Any) -> str:
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def _largest_first(volumes: Mapping[str, Volume]) -> dict[str, Volume]:
    return dict(sorted(volumes.items(), key=lambda item: (-item[1].requests, item[0])))


def _counted(groups: Mapping[str, set[str]]) -> dict[str, int]:
    return dict(Counter({name: len(members) for name, members in groups.items()}).most_common())
