"""The admin application.

``/livez``, ``/readyz`` and ``/metrics`` need no token: they say nothing of accounts. ``/api/...`` and the console ``/``
need ``DISTILLGUARD_ADMIN_TOKEN`` where one is set, as a bearer or as the password of Basic (a browser's own prompt);
without one the port is bound to loopback, and requests that a browser was tricked into sending (a foreign ``Host`` or
``Origin``) are refused.
"""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

import gateway
from gateway.console.answers import answer, refusal
from gateway.console.clusters import cluster_routes
from gateway.console.explain import explain_routes
from gateway.console.page import page_routes

if TYPE_CHECKING:
    from starlette.requests import Request

    from gateway.rooms import Rooms

_WRONG_TOKENS = RateLimitItemPerMinute(30)
"""Wrong tokens per address and minute before the port stops listening to it: a person mistypes fewer."""

_EXPECTED = "expected 'Authorization: Bearer' with the admin token"
_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


def build_admin(rooms: Rooms) -> Starlette:
    """The admin port of the gateway whose ``rooms`` these are."""
    admin = _Admin(rooms)
    return Starlette(
        routes=[
            Route("/livez", admin.livez),
            Route("/readyz", admin.readyz),
            Route("/metrics", admin.metrics),
            Route("/api/status", admin.status),
            *page_routes(admin.refused),
            *cluster_routes(rooms, admin.refused),
            *explain_routes(rooms, admin.refused),
        ],
        exception_handlers={404: admin.not_found, 405: admin.not_found},
    )


class _Admin:
    def __init__(self, rooms: Rooms) -> None:
        self.rooms = rooms
        self._wrong = MovingWindowRateLimiter(MemoryStorage())

    async def livez(self, request: Request) -> Response:
        """200 while the event loop turns."""
        return answer({"live": True})

    async def readyz(self, request: Request) -> Response:
        """200, or 503 with the reasons."""
        reasons = self.rooms.not_ready()
        return answer({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def metrics(self, request: Request) -> Response:
        """Prometheus' text format."""
        body, content_type = self.rooms.metrics.render()
        return Response(body, headers={"content-type": content_type})

    async def status(self, request: Request) -> Response:
        """What runs here, with which policies, and how its rooms are."""
        if (refused := self.refused(request)) is not None:
            return refused
        return answer({"version": gateway.__version__, **self.rooms.status()})

    async def not_found(self, request: Request, error: Exception) -> Response:
        """One error shape for whatever is not here."""
        status = getattr(error, "status_code", 404)
        return refusal(status, f"{request.method} {request.url.path} is not served on the admin port")

    def refused(self, request: Request) -> Response | None:
        """Why this caller may not use ``/api``, or ``None``."""
        token = self.rooms.settings.admin_token
        if not token:
            origin = request.headers.get("origin")
            if request.url.hostname not in _LOCAL_NAMES or (origin and not _is_local(origin)):
                return refusal(403, "without DISTILLGUARD_ADMIN_TOKEN the API is for this machine only")
            return None
        address = request.client.host if request.client else "unknown"
        if not self._wrong.test(_WRONG_TOKENS, address):
            return refusal(429, "too many wrong tokens from this address; try again in a minute")
        given = request.headers.get("authorization")
        if given is None:  # no guess: a browser asks like this before it prompts for the token
            return refusal(401, _EXPECTED)
        if hmac.compare_digest(_token_in(given), token.encode()):
            return None
        self._wrong.hit(_WRONG_TOKENS, address)
        return refusal(401, _EXPECTED)


def _token_in(authorization: str) -> bytes:
    """The token of ``Bearer TOKEN``, or of Basic's ``NAME:TOKEN`` whatever the name; else nothing.

    >>> _token_in("Basic YW55Ym9keTphOmI=")
    b'a:b'
    """
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except ValueError:
            return b""
    return b""


def _is_local(origin: str) -> bool:
    """Whether a page of this machine asks; ``http://localhost.example`` is none."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme == "http" and parts.username is None and parts.hostname in _LOCAL_NAMES
