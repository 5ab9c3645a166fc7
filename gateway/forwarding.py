"""From the guard to the reverse proxy and back, without ASGI's messages in between where both are ours.

A request whose body is whole is handed over as an ``Outgoing``, and the reply comes back as the upstream's own
``Reply``; that saves the messages, a copy of the scope and two passes over the header fields. Through ASGI (another
app behind the guard, a body that comes bit by bit) the same functions are used.
Leaves out: what is decided and metered (``call``), connections (``upstream``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.asgi import BODY_FOLLOWS, declared_length

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable

    from gateway.asgi import Push, Send, Watch
    from gateway.policy import UpstreamSpec
    from gateway.types import Headers
    from gateway.upstream import Reply

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""RFC 9110, section 7.6.1: fields for one connection only; so are those that ``Connection`` names."""


NOT_FORWARDED = HOP_BY_HOP | {
    b"host",
    b"expect",
    b"forwarded",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-real-ip",
}
"""What an upstream gets of nobody, or from the reverse proxy itself."""


class Outgoing(NamedTuple):
    """A request as it is to be forwarded: ``target`` as received, below the server's root path, with its query;
    ``fields`` without those ``NOT_FORWARDED``.
    """

    upstream: UpstreamSpec | None
    method: str
    target: bytes
    fields: Headers
    body: bytes | AsyncIterable[bytes]


class Forward(Protocol):
    """How an app can be asked without ASGI's messages: the built-in reverse proxy can, as ``app.forward``."""

    async def __call__(self, request: Outgoing, watch: Watch, deliver: Callable[[Reply], Awaitable[None]]) -> None:
        """Send ``request``, have its reply delivered, and close it. ``watch`` cancels both when the caller is gone.

        Raises ClientDisconnected then, UpstreamError where the upstream fails, and what ``deliver`` raises.
        """
        ...


async def send_on(reply: Reply, send: Send, push: Push | None) -> None:
    """Pass a reply on as it comes. Where its length is declared, its last bytes are sent as the last, so
    that the guard can settle before the caller has them all.
    """
    fields = end_to_end(reply.fields)
    whole = reply.whole
    await send({"type": "http.response.start", "status": reply.status, "headers": fields, BODY_FOLLOWS: whole})
    if whole:
        await send({"type": "http.response.body", "body": reply.take(), "more_body": False})
        return
    left = declared_length(fields)
    if left is None and push is not None:
        reply.push_to(push)
    async for chunk in reply:
        left = None if left is None else left - len(chunk)
        await send({"type": "http.response.body", "body": chunk, "more_body": left != 0})
    if left != 0:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def end_to_end(fields: Headers, drop: frozenset[bytes] = HOP_BY_HOP) -> Headers:
    """The fields that are meant for the other end: without ``drop`` and those that ``connection`` names.

    >>> end_to_end([(b"connection", b"close, X-Secret"), (b"x-secret", b"1"), (b"accept", b"*/*")])
    [(b'accept', b'*/*')]
    """
    kept = [field for field in fields if field[0] not in drop]
    if b"connection" in dict(fields):
        for name, value in fields:
            if name == b"connection" and (named := {part.strip().lower() for part in value.split(b",")} - _PLAIN):
                kept = [field for field in kept if field[0] not in named]
    return kept


_PLAIN = frozenset({b"close", b"keep-alive"})
"""What ``Connection`` mostly says, and no field that is forwarded."""
