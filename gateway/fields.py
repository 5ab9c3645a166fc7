"""Header fields on their way through the guard: what of a request goes to the app, what of a reply to the caller.

Pure, and one pass over the fields each. Hop-by-hop fields are the reverse proxy's affair.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from gateway.dialects import budget_headers, metered_encodings
from gateway.forwarding import NOT_FORWARDED, end_to_end
from gateway.identity import ATTRIBUTION_HEADERS, CREDENTIAL_HEADERS
from gateway.types import Family

if TYPE_CHECKING:
    from gateway.pipeline import Exchange
    from gateway.types import Headers

_OUR_LIMITS = (b"x-ratelimit-", b"anthropic-ratelimit-", b"ratelimit")
_NOTHING: frozenset[bytes] = frozenset()
_DROPPED = {
    (credentials, length, encodings, on_the_way): ATTRIBUTION_HEADERS
    | (CREDENTIAL_HEADERS if credentials else _NOTHING)
    | ({b"content-length", b"transfer-encoding"} if length else _NOTHING)
    | ({b"accept-encoding"} if encodings else _NOTHING)
    | (NOT_FORWARDED if on_the_way else _NOTHING)
    for credentials, length, encodings, on_the_way in product((False, True), repeat=4)
}
"""What is dropped of a request, by whether its credential, its framing, its encodings and its host are replaced."""


def to_upstream(exchange: Exchange, key: bytes | None, length: int | None, *, forwarded: bool = False) -> Headers:
    """A request's fields for the app. ``key``: what stands in for the caller's credential, empty for nothing,
    ``None`` where the caller's own is passed on. ``length``: of the body, where that was changed. ``forwarded``: they
    go to another host as they are, so without those that a reverse proxy drops, and the transport frames the body.
    """
    route = exchange.route
    framing = forwarded or length is not None or (route is not None and not route.has_body)
    drop = _DROPPED[key is not None, framing, route is not None, forwarded]
    fields = (
        end_to_end(exchange.headers, drop) if forwarded else [one for one in exchange.headers if one[0] not in drop]
    )
    if length is not None and not forwarded:
        fields.append((b"content-length", b"%d" % length))
    if exchange.rewrites:
        fields.append((b"accept-encoding", b"identity"))
    elif route is not None and b"accept-encoding" in dict(exchange.headers):
        fields += [(name, metered_encodings(value)) for name, value in exchange.headers if name == b"accept-encoding"]
    if key:
        anthropic = exchange.family is Family.ANTHROPIC
        fields.append((b"x-api-key", key) if anthropic else (b"authorization", b"Bearer " + key))
    return fields


def to_caller(exchange: Exchange, headers: Headers, *, keep_length: bool) -> Headers:
    """A reply's fields, with our request id and budgets in place of the upstream account's."""
    balances = exchange.grant.balances if exchange.grant else ()
    own_id = b"request-id" if exchange.family is Family.ANTHROPIC else b"x-request-id"
    number = exchange.id.encode()
    kept = [] if own_id in dict(headers) else [(own_id, number)]
    kept.append((b"x-distillguard-request-id", number))
    if balances:
        kept += [field for field in headers if not field[0].startswith(_OUR_LIMITS)]
    else:
        kept += headers
    if not keep_length:
        kept = [field for field in kept if field[0] != b"content-length"]
    return kept + budget_headers(exchange.family, balances, exchange.started_at)
