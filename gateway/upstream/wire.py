"""HTTP/1.1 as bytes: the head of a request and how its body is framed (RFC 9112). Pure; no I/O.

Every head is checked as a whole against the grammar, so that nothing in a header, target or method can end a
line early: what cannot be written safely raises ValueError and is never sent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.types import Headers

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110 section 5.6.2
_HEAD = re.compile(_TOKEN + rb" [\x21-\x7e]+ HTTP/1\.1\r\n(?:" + _TOKEN + rb": [^\x00\r\n]*\r\n)*")
_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
_BODILESS_METHODS = frozenset(("GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "CONNECT"))
CHUNKED = -1
"""A body length that is not known before the body's end."""


def write_head(
    method: str, target: bytes, fields: Headers, body: bytes | None, *, host: bytes = b""
) -> tuple[bytes, int]:
    """A request's head, ready to be sent, and the length that its body must have (``CHUNKED``: unknown).

    ``body`` is ``None`` where it will be streamed; ``host`` is used where ``fields`` name none. The framing is
    ours: ``Content-Length`` where the length is known (declared, or the body is in memory), else chunked (RFC 9112
    section 6). Raises ValueError where a declared length is not one number or not the body's, or where the head
    would not be one well-formed head.
    """
    kept = [field for field in fields if field[0].lower() not in _FRAMING]
    declared: set[bytes] = set()
    if len(kept) < len(fields):
        declared = {value for name, value in fields if name.lower() == b"content-length"}
    if host and not any(name.lower() == b"host" for name, _ in kept):
        kept.insert(0, (b"Host", host))
    length = _body_length(method, body, declared)
    if length == CHUNKED:
        kept.append((b"Transfer-Encoding", b"chunked"))
    elif length or declared or method not in _BODILESS_METHODS:
        kept.append((b"Content-Length", b"%d" % length))
    lines = b"\r\n".join(map(b": ".join, kept))
    start = b"%b %b HTTP/1.1\r\n" % (method.encode("ascii", "replace"), target)
    head = b"%b%b\r\n" % (start, lines) if lines else start
    # The count tells a field that is two well-formed lines from two fields.
    if not _HEAD.fullmatch(head) or head.count(b"\n") != len(kept) + 1:
        raise ValueError("got a method, target or header that is not one line of HTTP/1.1; nothing was sent")
    return head + b"\r\n", length


def _body_length(method: str, body: bytes | None, declared: set[bytes]) -> int:
    """How long the body is or must be."""
    if not declared:
        return CHUNKED if body is None else len(body)
    value = next(iter(declared)) if len(declared) == 1 else b""
    if not value.isdigit() or (body is not None and int(value) != len(body)):
        raise ValueError(f"got a {method} whose Content-Length is not its body's length; nothing was sent")
    return int(value)


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; ``data`` must not be empty (that would end the body)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
