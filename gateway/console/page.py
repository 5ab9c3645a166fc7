"""The console: one page over the admin API, for people with a browser.

Three files beside this one, sent as they are: nothing is built, and the page loads nothing from elsewhere. They hold no
data; what they show comes from ``/api`` and ``/metrics``, and what people decide goes the same way as from the command
line. Left out: a list of the budgets nearest their limit (no store can tell it without looking at every bucket).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

_FOLDER = Path(__file__).with_name("page")
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/console.css": ("console.css", "text/css; charset=utf-8"),
    "/console.js": ("console.js", "text/javascript; charset=utf-8"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""Scripts and styles of this port only, none within the page: a text that got in as markup could do nothing."""
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_CHALLENGE = 'Basic realm="distillguard: any name, the admin token as password", charset="UTF-8"'
"""RFC 7617: a browser then asks for the token and sends it with each request to this port, until it is closed."""


def page_routes(refused: Callable[[Request], Response | None]) -> list[Route]:
    """The routes of the page's files; ``refused`` says why a caller may not have them."""
    return [Route(path, _sender(refused, *file), methods=["GET"]) for path, file in _FILES.items()]


def _sender(refused: Callable[[Request], Response | None], name: str, kind: str) -> Callable[[Request], Response]:
    def send(request: Request) -> Response:
        if (no := refused(request)) is not None:
            if no.status_code == 401:  # noqa: PLR2004 - HTTP's own number
                no.headers["www-authenticate"] = _CHALLENGE
            return no
        return Response((_FOLDER / name).read_bytes(), headers={"content-type": kind, **_HEADERS})

    return send
