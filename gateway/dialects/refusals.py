"""Write a refusal in the caller's dialect, so that the official SDKs raise their own errors and retry only
where that is worth it.

What the SDKs do with the header fields (openai 3.54, anthropic 2.12, ``_base_client.py``): ``retry-after-ms``
is read before ``retry-after``; ``x-should-retry`` decides before the status does; openai does not retry
when the wait is over 120 s, anthropic would wait however long it is. So:

* ``retry_after_s`` is given and at most ``MAX_WAIT_S``: ``x-should-retry: true``;
* longer: ``false``, with the true ``retry-after`` (a budget of a day is not waited for);
* ``None``: ``false``, except for 408, 500, 502 and 504, whose field is left out: those may pass by themselves
  and the SDKs back off by their own rule. A 503 with ``None`` is deliberate (a kill switch), so ``false``.

Invariant: the body names no detector, cluster or rule; only ``message``, ``param`` and the code are written.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import orjson

from gateway.dialects.balances import budget_headers
from gateway.dialects.routes import Shape
from gateway.types import JSON, Family, RefusalKind

if TYPE_CHECKING:
    from gateway.dialects.routes import Route
    from gateway.types import Headers, Refusal

MAX_WAIT_S = {Family.OPENAI: 120.0, Family.ANTHROPIC: 60.0}
"""The longest wait that the SDKs are told to sit out."""
_MAX_RETRY_AFTER_S = 366 * 86_400

# status, OpenAI's error type, Anthropic's error type
_KINDS: dict[RefusalKind, tuple[int, str, str]] = {
    RefusalKind.BAD_REQUEST: (400, "invalid_request_error", "invalid_request_error"),
    RefusalKind.UNAUTHENTICATED: (401, "authentication_error", "authentication_error"),
    RefusalKind.FORBIDDEN: (403, "permission_error", "permission_error"),
    RefusalKind.NOT_FOUND: (404, "invalid_request_error", "not_found_error"),
    RefusalKind.METHOD_NOT_ALLOWED: (405, "invalid_request_error", "invalid_request_error"),
    RefusalKind.TIMEOUT: (408, "invalid_request_error", "timeout_error"),
    RefusalKind.TOO_LARGE: (413, "invalid_request_error", "request_too_large"),
    RefusalKind.UNSUPPORTED: (415, "invalid_request_error", "invalid_request_error"),
    RefusalKind.RATE_LIMITED: (429, "rate_limit_error", "rate_limit_error"),
    RefusalKind.BUDGET_EXHAUSTED: (429, "insufficient_quota", "rate_limit_error"),
    RefusalKind.INTERNAL: (500, "server_error", "api_error"),
    RefusalKind.UNAVAILABLE: (503, "server_error", "overloaded_error"),
    RefusalKind.UPSTREAM_FAILED: (502, "server_error", "api_error"),
    RefusalKind.UPSTREAM_TIMEOUT: (504, "server_error", "timeout_error"),
}
_MAY_PASS = frozenset(
    {RefusalKind.TIMEOUT, RefusalKind.INTERNAL, RefusalKind.UPSTREAM_FAILED, RefusalKind.UPSTREAM_TIMEOUT}
)


def write_refusal(family: Family, refusal: Refusal, *, request_id: str, now_s: float) -> tuple[int, Headers, bytes]:
    """Status, header fields (lower case, with content-length) and JSON body. A 405 still needs ``allow``."""
    status, *_ = _KINDS[refusal.kind]
    error = _error(family, refusal)
    if family is Family.ANTHROPIC:
        body = orjson.dumps({"type": "error", "error": error, "request_id": request_id})
    else:
        body = orjson.dumps({"error": error})
    id_name = b"request-id" if family is Family.ANTHROPIC else b"x-request-id"
    headers: Headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (id_name, request_id.encode("ascii", "replace")),
        *_retry_headers(family, refusal),
        *budget_headers(family, refusal.balances, now_s),
    ]
    if refusal.kind is RefusalKind.UNAUTHENTICATED:
        headers.append((b"www-authenticate", b"Bearer"))  # RFC 9110, section 15.5.2
    return status, headers, body


def error_event(route: Route, refusal: Refusal, *, request_id: str, sequence_number: int = 0) -> bytes:
    """The event that ends a broken stream on ``route``, to be put after a whole event.

    Chat and completions get no ``[DONE]``, so that the SDK raises. For Responses ``sequence_number`` is the
    reader's ``next_sequence``; the event has the members of the SDK's ``ResponseErrorEvent`` and an ``error``
    object beside them, on which the SDK raises.
    """
    error = _error(route.family, refusal)
    if route.family is Family.ANTHROPIC:
        data: dict[str, JSON] = {"type": "error", "error": error, "request_id": request_id}
        return b"event: error\ndata: " + orjson.dumps(data) + b"\n\n"
    if route.shape is Shape.RESPONSES:
        flat = {name: error[name] for name in ("code", "message", "param")}
        data = {"type": "error", **flat, "sequence_number": sequence_number, "error": error}
        return b"event: error\ndata: " + orjson.dumps(data) + b"\n\n"
    return b"data: " + orjson.dumps({"error": error}) + b"\n\n"


def _error(family: Family, refusal: Refusal) -> dict[str, JSON]:
    _, openai_type, anthropic_type = _KINDS[refusal.kind]
    if family is Family.ANTHROPIC:
        return {"type": anthropic_type, "message": refusal.message}
    return {"message": refusal.message, "type": openai_type, "param": refusal.param, "code": refusal.kind.value}


def _retry_headers(family: Family, refusal: Refusal) -> Headers:
    wait_s = refusal.retry_after_s
    if wait_s is None or not wait_s < math.inf:
        return [] if refusal.kind in _MAY_PASS else [(b"x-should-retry", b"false")]
    wait_ms = max(1, math.ceil(min(wait_s, _MAX_RETRY_AFTER_S) * 1000))
    return [
        (b"retry-after", b"%d" % -(-wait_ms // 1000)),
        (b"retry-after-ms", b"%d" % wait_ms),
        (b"x-should-retry", b"true" if wait_s <= MAX_WAIT_S[family] else b"false"),
    ]
