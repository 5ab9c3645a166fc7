"""Why a past request was decided as it was: its event, and what the policies in force make of it now.

The event says what was decided and by which rule; the explanation decides once more with the policies of today, so
the two may differ (``same_policy`` tells). An event keeps no texts, caps or sizes: conditions on those are explained
as for a request without them. Where state is shared the events are in Redis and are not searched here.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from gateway.console.answers import answer, refusal
from gateway.errors import StoreError
from gateway.events import decode, list_segments
from gateway.files import open_binary
from gateway.policy.explain import explain
from gateway.types import Family, Identity, Level, RequestFacts, Standing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

    from gateway.rooms import Rooms
    from gateway.types import Event

NOT_KEPT = "address, caps and sizes are not in an event: conditions on them are explained as for a request without"
_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_HIDDEN = frozenset(("traits", "credential"))


def explain_routes(rooms: Rooms, refused: Callable[[Request], Response | None]) -> list[Route]:
    """``GET /api/explain/{request_id}``; ``refused`` says who may not ask."""

    async def explain_past(request: Request) -> Response:
        if (no := refused(request)) is not None:
            return no
        name = request.path_params["request_id"]
        if rooms.settings.redis:
            return refusal(501, "events are in Redis and are not searched here: use a gateway with its own state")
        if not _ID.fullmatch(name) or rooms.not_ready():
            return refusal(404, f"got no event {name[:128]!r}, expected the id of a request")
        await rooms.events.flush()
        event = await asyncio.to_thread(find_event, rooms.settings.state_dir / "events", name)
        if event is None:
            return refusal(404, f"got no event {name!r}, expected the id of a request (x-distillguard-request-id)")
        return answer(await explained(rooms, event))

    return [Route("/api/explain/{request_id}", explain_past)]


def find_event(folder: Path, name: str) -> Event | None:
    """The event of a request, newest segments first; reads every line, so not for an event loop."""
    needle = b'"id":"%b"' % name.encode()
    for segment in reversed(list_segments(folder)):
        with open_binary(segment) as file:
            for line in file:
                if needle in line and line.endswith(b"\n") and (event := decode(line)).id == name:
                    return event
    return None


async def explained(rooms: Rooms, event: Event) -> dict[str, Any]:
    """The event, and its explanation under the policies in force, with balances of now."""
    policies = rooms.policies.current
    recorded = {spec.name: getattr(event, spec.name) for spec in dataclasses.fields(event) if spec.name not in _HIDDEN}
    told: dict[str, Any] = {
        "recorded": recorded,
        "same_policy": event.policy == policies.hash,
        "not_kept": NOT_KEPT,
        "explanation": None,
    }
    if event.account is None or not event.model:
        return told
    standing = Standing(level=Level(event.level), cluster=event.cluster)
    facts = RequestFacts(family=Family(event.family), route=event.route, model=event.model, stream=event.stream)
    identity = _identity(rooms, event)
    explanation = explain(policies, identity, facts, standing, event.ts)
    plan = policies.decide(identity, facts, standing, event.ts)
    try:
        explanation = explanation.with_balances(await rooms.budgets.peek(plan.charges))
    except StoreError:
        told["not_kept"] += "; the store of budgets cannot be asked for balances"
    return told | {"explanation": explanation.to_dict(), "words": explanation.to_text()}


def _identity(rooms: Rooms, event: Event) -> Identity:
    """The caller as the event and the directory know it."""
    assert event.account is not None
    account = rooms.identities.account(event.account)
    return Identity(
        account=event.account,
        plan=account.plan if account else event.plan,
        org=event.org,
        country=event.country,
        verified=account.verified if account else False,
        declared_use=account.declared_use if account else None,
        created_at=account.created_at if account else None,
    )
