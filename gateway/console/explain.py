"""Why a request is decided as it is: a past one by its id, or one that the operator describes.

    GET  /api/explain/ID                       a past request: its event, and what the policies in force make of it now;
                                               ``?at=SECONDS``, when it was made, where events are in Redis
    POST /api/explain                          {"subject": {"account": "a7", ...}, "request": {"model": "m", ...},
                                               "standing"?: {"level": "suspect", "cluster"?: "c1"}, "at"?: SECONDS}

What is posted has the form of a case of ``policy explain --case``. Where it leaves something out, the directory says
who the account is and the table of standings what is held of it. Balances are those of now: one look at the store,
which charges nothing. An event says what was decided then; it keeps no texts, caps or sizes, so conditions on those
are explained as for a request without them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.console.answers import Wrong, api_route, posted
from gateway.errors import StoreError
from gateway.events.search import STREAM_EVENTS, find_event, find_in_stream
from gateway.policy.cases import LiveCase
from gateway.policy.explain import explain
from gateway.policy.messages import validate_value
from gateway.types import Family, Identity, Level, RequestFacts, Standing

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from gateway.rooms import Rooms
    from gateway.types import Event

NOT_KEPT = "address, caps and sizes are not in an event: conditions on them are explained as for a request without"
_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_HIDDEN = frozenset(("traits", "credential"))
_OF_DIRECTORY = {
    "plan": "plan", "organisation": "org", "country": "country", "verified": "verified", "declared_use": "declared_use",
    "age_days": "created_at",
}  # fmt: skip
"""Keys of a described subject -> what they are called in the directory and in an identity."""


def explain_routes(rooms: Rooms, refused: Callable[[Request], Response | None]) -> list[Route]:
    """The routes; ``refused`` says who may not ask."""
    api = _Explain(rooms)

    route = partial(api_route, rooms, refused)
    return [route("/api/explain", api.given, "POST"), route("/api/explain/{request_id}", api.past, "GET")]


class _Explain:
    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def past(self, request: Request) -> dict[str, Any]:
        """The event of a past request, and its explanation under the policies in force."""
        name = request.path_params["request_id"]
        if not _ID.fullmatch(name):
            raise Wrong(404, f"got no event {name[:128]!r}, expected the id of a request")
        event = await self._find(name, _seconds(request.query_params.get("at")))
        recorded = {
            spec.name: getattr(event, spec.name) for spec in dataclasses.fields(event) if spec.name not in _HIDDEN
        }
        same = event.policy == self._rooms.policies.current.hash
        told: dict[str, Any] = {
            "recorded": recorded, "same_policy": same, "not_kept": NOT_KEPT, "explanation": None, "words": "",
            "balances": None,
        }  # fmt: skip
        if event.account is None or not event.model:
            return told
        facts = RequestFacts(family=Family(event.family), route=event.route, model=event.model, stream=event.stream)
        standing = Standing(level=Level(event.level), cluster=event.cluster)
        return told | await self._explained(self._caller(event), facts, standing, event.ts)

    async def given(self, request: Request) -> dict[str, Any]:
        """The explanation of a request that is described in the body."""
        case = await _case(request)
        now_s = case.at if case.at is not None else self._rooms.clock.now()
        identity = case.subject.identity(now_s)
        if (known := self._rooms.identities.account(identity.account)) is not None:
            told = case.subject.model_fields_set
            looked_up = {name: getattr(known, name) for key, name in _OF_DIRECTORY.items() if key not in told}
            identity = dataclasses.replace(identity, **looked_up)
        standing = (
            case.standing.standing()
            if case.standing is not None
            else self._rooms.standing.of(identity.account, self._rooms.clock.now())
        )
        return await self._explained(identity, case.request.facts(), standing, now_s)

    async def _find(self, name: str, at_s: float | None) -> Event:
        """Raises Wrong where there is no such event, or the store of events cannot be asked."""
        rooms = self._rooms
        await rooms.events.flush()
        if not rooms.settings.redis:
            event = await asyncio.to_thread(find_event, rooms.settings.state_dir / "events", name)
            hint = ""
        else:
            try:
                event = await find_in_stream(rooms.settings.redis, name, at_s)
            except StoreError as error:
                raise Wrong(503, f"the store of events cannot be asked: {error}") from None
            which = f"the newest {STREAM_EVENTS:,} events; ?at=SECONDS says when it was made"
            hint = (
                f" among {which}" if at_s is None else f" among the first {STREAM_EVENTS:,} events from {at_s:.0f} on"
            )
        if event is None:
            raise Wrong(
                404,
                f"got no event {name!r}{hint}, expected the id of a request (x-distillguard-request-id or x-request-id of its reply)",
            )
        return event

    async def _explained(
        self, identity: Identity, facts: RequestFacts, standing: Standing, now_s: float
    ) -> dict[str, Any]:
        """The explanation with balances of now, as values and in words."""
        rooms = self._rooms
        policies = rooms.policies.current
        found = explain(policies, identity, facts, standing, now_s)
        plan = policies.decide(identity, facts, standing, now_s)
        balances = "as of now"
        try:
            needs = rooms.pipeline.estimator.estimate(facts, plan)
            found = found.with_balances(await rooms.budgets.peek(plan.charges), needs)
        except StoreError as error:
            balances = f"the store of budgets cannot be asked: {error}"
        return {"explanation": found.to_dict(), "words": found.to_text(), "balances": balances}

    def _caller(self, event: Event) -> Identity:
        """The caller as the event and the directory know it."""
        assert event.account is not None
        account = self._rooms.identities.account(event.account)
        return Identity(
            account=event.account,
            plan=account.plan if account else event.plan,
            org=event.org,
            country=event.country,
            verified=account.verified if account else False,
            declared_use=account.declared_use if account else None,
            created_at=account.created_at if account else None,
        )


def _seconds(text: str | None) -> float | None:
    """Seconds since the epoch of ``?at=``. Raises Wrong."""
    if text is None:
        return None
    try:
        at_s = float(text)
    except ValueError:
        at_s = -1.0
    if not 0 <= at_s < 1e11:  # noqa: PLR2004 - the year 5138
        raise Wrong(400, f"at: got {text[:40]!r}, expected seconds since the epoch")
    return at_s


async def _case(request: Request) -> LiveCase:
    """The posted case. Raises Wrong with every mistake of it."""
    given = await posted(request, "subject, request and standing", '{"subject": {...}, "request": {...}}')
    found = validate_value(given, LiveCase)
    if isinstance(found, list):
        raise Wrong(400, "; ".join(found))
    return found
