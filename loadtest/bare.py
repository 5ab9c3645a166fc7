"""uvicorn alone: answers every request with the plain upstream's reply. What a gateway in Python starts from.

python -m loadtest.bare PORT
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn

from loadtest.servers import REPLY

_BODY = REPLY.encode()
_HEAD = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]


async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - ASGI's own signature
    """Read the request's first part, answer."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": _HEAD})
    await send({"type": "http.response.body", "body": _BODY, "more_body": False})


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        date_header=False,
    )
