"""HTTP/1.1 as bytes: the head of a request and how its body is framed (RFC 9112). Pure; no I/O.

Every head is checked as a whole against the grammar, so that nothing in a header, target or method can end a
line early: what cannot be written safely raises ValueError and is never sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110 section 5.6.2
_START_LINE = re.compile(_TOKEN + rb" [\x21-\x7e]+ HTTP/1\.1\r\n")
_FIELDS = re.compile(rb"(?:" + _TOKEN + rb": [^\x00\r\n]*\r\n)*")
_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
_BODILESS_METHODS = frozenset(("GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "CONNECT"))
CHUNKED = -1
"""A body length that is not known before the body's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A request's head, ready to be sent, and the length that its body must have (``CHUNKED``: unknown)."""

    data: bytes
    body_length: int


def write_head(request: httpx.Request, body: bytes | None) -> Head:
    """The head of ``request``; ``body`` is ``None`` where it will be streamed.

    The framing is ours: ``Content-Length`` where the length is known (declared, or the body is in memory),
    else chunked (RFC 9112 section 6). Raises ValueError where a declared length is not one number or not the
    body's, or where the head would not be one well-formed head.
    """
    fields: list[bytes] = []
    declared: set[bytes] = set()
    host = False
    for name, value in request.headers.raw:
        lower = name.lower()
        if lower in _FRAMING:
            if lower == b"content-length":
                declared.add(value)
            continue
        host = host or lower == b"host"
        fields.append(b"%b: %b\r\n" % (name, value))
    if not host:
        fields.insert(0, b"Host: %b\r\n" % request.url.netloc)
    length = _body_length(request.method, body, declared)
    if length == CHUNKED:
        fields.append(b"Transfer-Encoding: chunked\r\n")
    elif length or declared or request.method not in _BODILESS_METHODS:
        fields.append(b"Content-Length: %d\r\n" % length)
    target = request.extensions.get("target") or request.url.raw_path
    start = b"%b %b HTTP/1.1\r\n" % (request.method.encode("ascii", "replace"), target)
    block = b"".join(fields)
    # The count tells a field that is two well-formed lines from two fields.
    if not _START_LINE.fullmatch(start) or not _FIELDS.fullmatch(block) or block.count(b"\n") != len(fields):
        raise ValueError("got a method, target or header that is not one line of HTTP/1.1; nothing was sent")
    return Head(data=b"%b%b\r\n" % (start, block), body_length=length)


def _body_length(method: str, body: bytes | None, declared: set[bytes]) -> int:
    """How long the body is or must be."""
    if not declared:
        return CHUNKED if body is None else len(body)
    value = declared.pop() if len(declared) == 1 else b""
    if not value.isdigit() or (body is not None and int(value) != len(body)):
        raise ValueError(f"got a {method} whose Content-Length is not its body's length; nothing was sent")
    declared.add(value)
    return int(value)


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; ``data`` must not be empty (that would end the body)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
