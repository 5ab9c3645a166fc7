"""The one seam to the model server: httpx's transport API, and a fast transport behind it."""

from __future__ import annotations

from gateway.upstream.inprocess import InProcessTransport
from gateway.upstream.interface import Origin, Reply, TranslatingTransport, UpstreamTimeouts, origin_of
from gateway.upstream.transport import open_transport

__all__ = [
    "InProcessTransport",
    "Origin",
    "Reply",
    "TranslatingTransport",
    "UpstreamTimeouts",
    "open_transport",
    "origin_of",
]
