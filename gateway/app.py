"""The application factory: the guard around the built-in reverse proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.guard import Guard
from gateway.proxy import ReverseProxy
from gateway.rooms import Rooms
from gateway.upstream import UpstreamTimeouts, open_transport

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from gateway.policy import UpstreamSpec
    from gateway.settings import Settings


def build_app(
    settings: Settings,
    *,
    rooms: Rooms | None = None,
    transport_for: Callable[[UpstreamSpec], httpx.AsyncBaseTransport] | None = None,
) -> Guard:
    """The gateway as one ASGI application; it opens what it needs at start-up or with its first request.

    ``transport_for`` stands in for the real transport, for a model server in the same process
    (``lambda spec: TranslatingTransport(httpx.ASGITransport(app))``). Raises ConfigError for settings that
    cannot work together.
    """
    settings.check()

    def real(spec: UpstreamSpec) -> httpx.AsyncBaseTransport:
        return open_transport(
            UpstreamTimeouts(
                connect_s=spec.connect_timeout_s or settings.connect_timeout_s,
                first_byte_s=spec.first_byte_timeout_s or settings.first_byte_timeout_s,
                idle_s=spec.idle_timeout_s or settings.idle_timeout_s,
            )
        )

    return Guard(ReverseProxy(transport_for or real), rooms=rooms if rooms is not None else Rooms(settings))
