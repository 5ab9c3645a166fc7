"""The one shape of answers and errors on the admin port."""

from __future__ import annotations

import orjson
from starlette.responses import Response


def answer(value: object, status: int = 200) -> Response:
    """``value`` as JSON."""
    return Response(orjson.dumps(value, default=str), status, {"content-type": "application/json"})


def refusal(status: int, message: str) -> Response:
    """``{"error": {"status", "message"}}``."""
    return answer({"error": {"status": status, "message": message}}, status)
