"""The one seam to the model server: httpx's transport API, and a fast transport behind it."""

from __future__ import annotations

from gateway.upstream.inprocess import InProcessTransport
from gateway.upstream.interface import TranslatingTransport, UpstreamTimeouts
from gateway.upstream.transport import open_transport

__all__ = ["InProcessTransport", "TranslatingTransport", "UpstreamTimeouts", "open_transport"]
