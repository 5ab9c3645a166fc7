"""The application factory: the guard around the built-in reverse proxy."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from gateway.errors import ConfigError
from gateway.guard import Guard
from gateway.proxy import ReverseProxy
from gateway.rooms import Rooms
from gateway.upstream import UpstreamTimeouts, open_transport

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
    verify = _certificates(settings.upstream_ca_file)

    def real(spec: UpstreamSpec) -> httpx.AsyncBaseTransport:
        return open_transport(
            UpstreamTimeouts(
                connect_s=spec.connect_timeout_s or settings.connect_timeout_s,
                first_byte_s=spec.first_byte_timeout_s or settings.first_byte_timeout_s,
                idle_s=spec.idle_timeout_s or settings.idle_timeout_s,
            ),
            verify=verify,
            max_connections=settings.upstream_connections,
        )

    proxy = ReverseProxy(transport_for or real)
    return Guard(proxy, rooms=rooms if rooms is not None else Rooms(settings), forward=proxy.forward)


def _certificates(path: Path | None) -> bool | str:
    """What upstreams are checked against, as ``open_transport`` takes it. Raises ConfigError where it holds nothing."""
    if path is None:
        return True
    try:
        ssl.create_default_context(cafile=str(path))
    except OSError as error:  # of which ssl.SSLError is one
        why = error.strerror or error
        raise ConfigError(f"upstream_ca_file: got {path}, expected a PEM file of certificates ({why})") from None
    return str(path)
