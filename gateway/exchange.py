"""One request and what becomes of it, as it goes down the path (see ``pipeline``)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.types import NO_STANDING, Outcome, Standing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.canary import ReplyMarks
    from gateway.dialects import ReplyReader, Route
    from gateway.policy import PassThrough
    from gateway.types import JSON, Family, Grant, Headers, Identity, Plan, Refusal, RequestFacts, Usage


@dataclass(slots=True, eq=False)
class Exchange:
    """One request and what became of it; filled from top to bottom as it goes down the path."""

    id: str
    family: Family
    method: str
    path: str
    started_at: float
    started_s: float
    ended_s: float = 0.0
    route: Route | None = None
    pass_through: PassThrough | None = None
    identity: Identity | None = None
    facts: RequestFacts | None = None
    standing: Standing = NO_STANDING
    headers: Headers = field(default_factory=list)
    signature: str | None = None
    """The enforced cluster whose signature the request shows, where the account has no standing of its own."""
    plan: Plan | None = None
    grant: Grant | None = None
    marks: ReplyMarks | None = None
    held_out: bool = False
    """The reply stays unmarked as a control, though the plan marks."""
    reader: ReplyReader | None = None
    traits: Mapping[str, JSON] | None = None
    usage_added: bool = False
    """We asked for usage in the stream; the caller did not, so its event is removed again."""
    sent_upstream: bool = False
    first_byte_s: float | None = None
    status: int = 0
    outcome: Outcome = Outcome.FAILED
    refusal: Refusal | None = None
    usage: Usage | None = None
    cost_microusd: int = 0
    settled: bool = False

    @property
    def rewrites(self) -> bool:
        """The reply's text or events may have to change, so it must not come compressed."""
        hidden = self.plan is not None and self.plan.hide_reasoning
        return self.usage_added or hidden or self.marks is not None

    @property
    def route_name(self) -> str:
        """The route's name, ``pass_through`` or ``unknown``: a bounded set, for labels."""
        if self.route is not None:
            return self.route.name
        return "pass_through" if self.pass_through is not None else "unknown"


def new_id() -> str:
    """An id that nobody can guess: 96 random bits, taken from the system for many requests at a time."""
    if not _ids:
        block = os.urandom(_ID_BYTES * _IDS_AT_A_TIME).hex()
        _ids.extend(block[at : at + 2 * _ID_BYTES] for at in range(0, len(block), 2 * _ID_BYTES))
    return "req_" + _ids.pop()


_ID_BYTES = 12
_IDS_AT_A_TIME = 256
_ids: list[str] = []
os.register_at_fork(after_in_child=_ids.clear)  # else two workers would hand out the same
