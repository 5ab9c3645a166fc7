"""Each model API on the wire: bytes in, facts and bytes out, without I/O, a clock or a lock.

    find_route -> read_request -> (edit_body) -> read_reply -> ReplyReader
                        |                              |
                     Refusal  -> write_refusal      error_event, PING

``routes`` is the table that everything else is driven by. A ``ReplyReader`` is fed the upstream's chunks as
they come, tells what to give the client, and meters what was spent.
"""

from __future__ import annotations

from gateway.dialects.balances import budget_headers
from gateway.dialects.decoding import METERED_ENCODINGS, metered_encodings
from gateway.dialects.edit import BodyEdit, edit_body
from gateway.dialects.instruct import may_instruct
from gateway.dialects.prose import TextWriter
from gateway.dialects.reader import ReplyReader
from gateway.dialects.refusals import error_event, write_refusal
from gateway.dialects.replies import read_reply
from gateway.dialects.request import facts_of, read_request
from gateway.dialects.routes import ROUTES, Route, allowed_methods, family_of, find_route, path_known
from gateway.dialects.sse import PING

__all__ = [
    "METERED_ENCODINGS",
    "PING",
    "ROUTES",
    "BodyEdit",
    "ReplyReader",
    "Route",
    "TextWriter",
    "allowed_methods",
    "budget_headers",
    "edit_body",
    "error_event",
    "facts_of",
    "family_of",
    "find_route",
    "may_instruct",
    "metered_encodings",
    "path_known",
    "read_reply",
    "read_request",
    "write_refusal",
]
