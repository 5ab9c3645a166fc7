"""The one shape of answers and errors on the admin port, and of the routes that give them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import Response
from starlette.routing import Route

from gateway.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from gateway.rooms import Rooms


_MAX_BODY_BYTES = 64 * 1024


class Wrong(Exception):
    """A request that cannot be done; ``status`` and the message go to the caller."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def api_route(
    rooms: Rooms,
    refused: Callable[[Request], Response | None],
    path: str,
    act: Callable[[Request], Awaitable[Any]],
    method: str,
) -> Route:
    """A route that answers with what ``act`` returns; ``refused`` says why a caller may not use it."""

    async def endpoint(request: Request) -> Response:
        if (no := refused(request)) is not None:
            return no
        if not hasattr(rooms, "pipeline"):
            return refusal(503, "the gateway is starting; ask again when /readyz says so")
        try:
            return answer(await act(request))
        except Wrong as wrong:
            return refusal(wrong.status, str(wrong))
        except StoreError as error:
            return refusal(503, f"the store cannot be asked, nothing was changed: {error}")

    return Route(path, endpoint, methods=[method])


async def posted(request: Request, expected: str, example: str) -> Any:
    """The posted JSON. Raises Wrong for anything else: ``expected`` names its parts, ``example`` shows it.

    What is posted must be called ``application/json``, which a foreign page cannot send without asking first.
    """
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
        raise Wrong(415, "expected content-type: application/json")
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MAX_BODY_BYTES:
            raise Wrong(413, f"got more than {_MAX_BODY_BYTES} bytes, expected {expected}")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Wrong(400, f"got a body that is no JSON, expected {example}") from None


def answer(value: object, status: int = 200) -> Response:
    """``value`` as JSON."""
    return Response(orjson.dumps(value, default=str), status, {"content-type": "application/json"})


def refusal(status: int, message: str) -> Response:
    """``{"error": {"status", "message"}}``."""
    return answer({"error": {"status": status, "message": message}}, status)
