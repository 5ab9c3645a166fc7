"""Header fields on their way through the guard: what of a request goes to the app, what of a reply to the caller.

Pure, and one pass over the fields each. Hop-by-hop fields are the reverse proxy's affair.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from gateway.dialects import budget_headers, metered_encodings
from gateway.identity import ATTRIBUTION_HEADERS, CREDENTIAL_HEADERS
from gateway.types import Family

if TYPE_CHECKING:
    from gateway.pipeline import Exchange
    from gateway.types import Headers

_OUR_LIMITS = (b"x-ratelimit-", b"anthropic-ratelimit-", b"ratelimit")
_NOTHING: frozenset[bytes] = frozenset()
_DROPPED = {
    (credentials, length, encodings): ATTRIBUTION_HEADERS
    | (CREDENTIAL_HEADERS if credentials else _NOTHING)
    | ({b"content-length", b"transfer-encoding"} if length else _NOTHING)
    | ({b"accept-encoding"} if encodings else _NOTHING)
    for credentials, length, encodings in product((False, True), repeat=3)
}
"""What is dropped of a request, by whether its credential, its framing and its encodings are replaced."""


def to_upstream(exchange: Exchange, key: bytes | None, length: int | None) -> Headers:
    """A request's fields for the app. ``key``: what stands in for the caller's credential, empty for nothing,
    ``None`` where the caller's own is passed on. ``length``: of the body, where that was changed.
    """
    route = exchange.route
    framing = length is not None or (route is not None and not route.has_body)
    drop = _DROPPED[key is not None, framing, route is not None]
    fields = [field for field in exchange.headers if field[0] not in drop]
    if length is not None:
        fields.append((b"content-length", b"%d" % length))
    if exchange.rewrites:
        fields.append((b"accept-encoding", b"identity"))
    elif route is not None:
        for name, value in exchange.headers:
            if name == b"accept-encoding":
                fields.append((name, metered_encodings(value)))
    if key:
        anthropic = exchange.family is Family.ANTHROPIC
        fields.append((b"x-api-key", key) if anthropic else (b"authorization", b"Bearer " + key))
    return fields


def to_caller(exchange: Exchange, headers: Headers, *, keep_length: bool) -> Headers:
    """A reply's fields, with our request id and budgets in place of the upstream account's."""
    balances = exchange.grant.balances if exchange.grant else ()
    own_id = b"request-id" if exchange.family is Family.ANTHROPIC else b"x-request-id"
    number = exchange.id.encode()
    kept = [] if any(name == own_id for name, _ in headers) else [(own_id, number)]
    kept.append((b"x-distillguard-request-id", number))
    for field in headers:
        name = field[0]
        if (keep_length or name != b"content-length") and not (balances and name.startswith(_OUR_LIMITS)):
            kept.append(field)
    return kept + budget_headers(exchange.family, balances, exchange.started_at)
