"""The admin API's part about clusters: see what the analysis holds, overrule it, read who decided what.

    GET  /api/clusters                         every cluster; ``?level=suspect`` only those
    GET  /api/clusters/ID                      one, with accounts, evidence and decisions
    POST /api/clusters/ID/VERB                 confirm, dismiss, exempt or release; {"who", "why", "until"?}
    POST /api/accounts/ACCOUNT/VERB            the same for one account
    GET  /api/audit                            every decision, the newest first; ``?limit=``

``until`` is a time to come: seconds since the epoch, or RFC 3339 with its zone.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.console.answers import Wrong, api_route, posted
from gateway.standing import SubjectKind, Verb
from gateway.standing.rows import cluster_row, override_row, whole_cluster_row
from gateway.types import Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    from gateway.rooms import Rooms
    from gateway.standing import ClusterView

_MAX_TEXT_CHARS = 2_000
_MAX_AUDIT = 10_000
_FIELDS = {"who", "why", "until"}


def cluster_routes(rooms: Rooms, guard: Callable[[Request], Response | None]) -> list[Route]:
    """The routes; ``guard`` says why a caller may not use them."""
    api = _Clusters(rooms)

    route = partial(api_route, rooms, guard)
    return [
        route("/api/clusters", api.list, "GET"),
        route("/api/clusters/{subject}", api.show, "GET"),
        route("/api/clusters/{subject}/{verb}", api.decide_cluster, "POST"),
        route("/api/accounts/{subject:path}/{verb}", api.decide_account, "POST"),
        route("/api/audit", api.audit, "GET"),
    ]


class _Clusters:
    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    async def list(self, request: Request) -> dict[str, Any]:
        """Every cluster, or those of a level."""
        level = request.query_params.get("level")
        if level is not None and level not in {one.value for one in Level}:
            raise Wrong(400, f"level: got {level!r}, expected none, watch, suspect or confirmed")
        views = self._rooms.standing.clusters(self._rooms.clock.now())
        return {"clusters": [cluster_row(view) for view in views if level in (None, view.level.value)]}

    async def show(self, request: Request) -> dict[str, Any]:
        """One cluster as a whole."""
        view = self._view(request.path_params["subject"])
        return whole_cluster_row(view, await self._rooms.standing.audit())

    async def audit(self, request: Request) -> dict[str, Any]:
        """What people decided, the newest first."""
        text = request.query_params.get("limit", "1000")
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MAX_AUDIT:
            raise Wrong(400, f"limit: got {text[:40]!r}, expected 1 to {_MAX_AUDIT}")
        newest = reversed(await self._rooms.standing.audit())
        return {"audit": [override_row(one) for one, _ in zip(newest, range(int(text)), strict=False)]}

    async def decide_cluster(self, request: Request) -> dict[str, Any]:
        """Record a decision on a cluster."""
        self._view(request.path_params["subject"])
        return await self._decide(request, SubjectKind.CLUSTER)

    async def decide_account(self, request: Request) -> dict[str, Any]:
        """Record a decision on an account; it need not be known yet."""
        return await self._decide(request, SubjectKind.ACCOUNT)

    async def _decide(self, request: Request, kind: SubjectKind) -> dict[str, Any]:
        subject, verb = request.path_params["subject"], request.path_params["verb"]
        if verb not in {one.value for one in Verb}:
            raise Wrong(404, f"got the verb {verb!r}, expected confirm, dismiss, exempt or release")
        given = await _body(request)
        table, now_s = self._rooms.standing, self._rooms.clock.now()
        until = _until(given.get("until"))
        try:
            done = await table.override(
                Verb(verb), kind, subject, who=_text(given, "who"), why=_text(given, "why"), until=until, now_s=now_s
            )
        except KeyError:
            raise Wrong(404, _unknown(subject)) from None
        except ValueError as error:
            raise Wrong(400, str(error)) from None
        return override_row(done)

    def _view(self, cluster: str) -> ClusterView:
        view = self._rooms.standing.cluster(cluster, self._rooms.clock.now())
        if view is None:
            raise Wrong(404, _unknown(cluster))
        return view


def _unknown(cluster: str) -> str:
    return f"got the cluster {cluster[:80]!r}, expected one of /api/clusters"


async def _body(request: Request) -> dict[str, Any]:
    """The posted object. Raises Wrong for anything else."""
    given = await posted(request, "who, why and until", '{"who": "...", "why": "..."}')
    if not isinstance(given, dict) or not given.keys() <= _FIELDS:
        raise Wrong(400, "got other fields, expected an object of who, why and (optionally) until")
    return given


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > _MAX_TEXT_CHARS:
        raise Wrong(400, f"{name}: expected a text of 1 to {_MAX_TEXT_CHARS} characters; it is kept in the audit log")
    return value.strip()


def _until(value: Any) -> float | None:
    """Seconds since the epoch, or ``None`` for never. Raises Wrong."""
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e11:  # noqa: PLR2004 - year 5138
        return float(value)
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            parsed = None
        if parsed is not None and parsed.tzinfo is not None:
            return parsed.timestamp()
    raise Wrong(400, f"until: got {str(value)[:40]!r}, expected seconds since the epoch or RFC 3339 with its zone")
