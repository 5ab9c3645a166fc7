"""What the guard itself says to a caller, and how it is sent so that it arrives.

A refusal before the body was read either reads the rest off, so that the connection stays usable, or closes it
with time to read the answer (see ``asgi.drain``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.asgi import drain, header, received_path, send_answer, worth_draining
from gateway.dialects import family_of, write_refusal
from gateway.errors import UpstreamTimeout
from gateway.types import Refusal, RefusalKind

if TYPE_CHECKING:
    from gateway.asgi import Receive, Scope, Send
    from gateway.errors import UpstreamError
    from gateway.types import Headers

BROKEN = Refusal(kind=RefusalKind.UPSTREAM_FAILED, message="The model server broke off its reply.")
CUT = Refusal(kind=RefusalKind.UNAVAILABLE, message="The gateway is shutting down; send the request again.")
INTERNAL = Refusal(kind=RefusalKind.INTERNAL, message="The gateway failed to process the request.")
UNAVAILABLE = Refusal(
    kind=RefusalKind.UNAVAILABLE, message="The gateway is temporarily unable to process the request.", retry_after_s=5.0
)


def upstream_failure(error: UpstreamError) -> Refusal:
    """What the caller is told of a model server that failed; no address, no detail."""
    if isinstance(error, UpstreamTimeout):
        return Refusal(kind=RefusalKind.UPSTREAM_TIMEOUT, message="The model server did not answer in time.")
    return Refusal(kind=RefusalKind.UPSTREAM_FAILED, message="The model server could not be reached or broke off.")


def unsupported(encoding: bytes) -> Refusal:
    """The refusal of a compressed request."""
    return Refusal(
        kind=RefusalKind.UNSUPPORTED,
        message=f"Content-Encoding {encoding.decode('latin-1')[:40]!r} is not supported for requests; send plain JSON.",
    )


async def refuse_unopened(scope: Scope, send: Send) -> None:
    """Answer a request that came while the rooms cannot be opened, in its dialect; nothing is written down."""
    family = family_of(received_path(scope), list(scope["headers"]))
    status, headers, body = write_refusal(family, UNAVAILABLE, request_id="unopened", now_s=0.0)
    await send_answer(send, status, [*headers, (b"connection", b"close")], body)


async def send_refusal(
    receive: Receive, send: Send, request: Headers, answer: tuple[int, Headers, bytes], *, whole: bool
) -> None:
    """Send ``answer`` to the ``request`` with those fields; ``whole``: its body was read to its end."""
    status, headers, body = answer
    if not whole and worth_draining(request):
        if (header(request, b"content-length") or b"0") != b"0":
            await drain(receive)
        whole = True
    if whole:
        await send_answer(send, status, headers, body)
        return
    await send_answer(send, status, [*headers, (b"connection", b"close")], body, more_body=True)
    await drain(receive)
    await send({"type": "http.response.body", "body": b"", "more_body": False})
