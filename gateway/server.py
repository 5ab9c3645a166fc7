"""Running a gateway: the data port, the admin port, signals, and worker processes.

SIGTERM (or Ctrl-C): not ready, no new connections, open streams go on up to the deadline, reservations are
settled, events flushed, exit 0. A second signal, not within a second, cuts what is left at once.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import logging
import os
import resource
import signal
import socket
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop

from gateway.app import build_app
from gateway.console import build_admin
from gateway.errors import ConfigError
from gateway.protocol import GatewayProtocol
from gateway.rooms import Rooms
from gateway.telemetry import configure_logging
from gateway.workers import supervise

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from gateway.settings import Settings

log = logging.getLogger("gateway.server")

_BACKLOG = 2048

_FILES = 1_048_576
"""Open files wanted; more than a worker can use. Each request under way takes two, and systems begin at 1,024."""
_OWN_FILES = 128
"""Kept for events, stores, the admin port."""

_SAME_WISH_S = 1.0
"""Signals closer than this are one: a terminal, ``timeout`` and supervisors signal the group and the process too."""


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers: one process runs two of them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to ``run_worker``."""
        yield


def serve(settings: Settings, on_ready: Callable[[str, str], None] | None = None) -> int:
    """Run until a signal; returns the exit code. Raises ConfigError where it cannot start.

    ``on_ready`` is told the URLs of the data and the admin port.
    """
    configure_logging(settings.log_level)
    raise_file_limit()
    data, admin = listen(settings.host, settings.port), listen(settings.admin_bind, settings.admin_port)
    if settings.workers == 1:
        return _run(run_worker(settings, data, admin, on_ready))
    with TemporaryDirectory(prefix="distillguard-workers-") as folder:

        def work(served: Callable[[], None]) -> int:
            return _run(run_worker(settings, data, admin, lambda *_: served(), workers_dir=Path(folder)))

        return supervise(settings.workers, work)


def raise_file_limit() -> None:
    """Take as many open files as this process may, as Go's programs do; where it may not, it serves with fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _most_connections() -> int:
    """How many clients may be connected so that each can have a connection to an upstream too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, ((_FILES if soft == resource.RLIM_INFINITY else soft) - _OWN_FILES) // 2)


def _run(worker: Coroutine[Any, Any, int]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(worker)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, not yet listening. Raises ConfigError with the address."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        # With the protocol named, asyncio turns Nagle's algorithm off; else every reply waits 40 ms for an ACK.
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port") from None
    bound.set_inheritable(True)
    return bound


def url_of(bound: socket.socket) -> str:
    """``http://HOST:PORT`` of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def run_worker(
    settings: Settings,
    data: socket.socket,
    admin: socket.socket,
    on_ready: Callable[[str, str], None] | None,
    *,
    workers_dir: Path | None = None,
) -> int:
    """Serve both ports in the running event loop until SIGTERM or SIGINT.

    ``workers_dir`` is where several workers add up their metrics. Raises ConfigError, before anything is
    served, for what the operator has to mend.
    """
    if settings.analysis is None:
        settings = dataclasses.replace(settings, analysis=True)
    rooms = Rooms(settings, workers_dir=workers_dir)
    guard = build_app(settings, rooms=rooms)
    await rooms.start()  # here, so that what is wrong with the configuration is one line and exit code 2
    if not rooms.upstreams:
        await rooms.stop()
        raise ConfigError(
            "upstream: got nothing, expected --upstream URL or an entry with a url in the policies' upstreams"
        )
    servers = [
        _Server(_config(guard, settings, http=GatewayProtocol, lifespan="on")),
        _Server(_config(build_admin(rooms), settings, http="httptools", lifespan="off")),
    ]
    _on_signals(rooms, servers[0])
    _spare_the_collector()
    admin_task = asyncio.create_task(servers[1].serve(sockets=[admin]))
    if on_ready is not None:
        on_ready(url_of(data), url_of(admin))
    log.info("serving", extra={"data": url_of(data), "admin": url_of(admin), "pid": os.getpid()})
    try:
        await servers[0].serve(sockets=[data])
    finally:  # also where the caller cancels us, as the demo does
        await rooms.stop()
        servers[1].should_exit = True
        await admin_task
    log.info("stopped", extra={"pid": os.getpid()})
    return 0


def _spare_the_collector() -> None:
    """Let the garbage collector pass over what lives as long as the process, and look less often.

    By default it looked at every module, policy and account again and again: 15 % of the CPU of a request,
    and pauses of 30 ms. What a request leaves is freed by its reference counts; only cycles wait for a look.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _config(app: object, settings: Settings, *, http: object, lifespan: str) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # uvicorn's alias of an ASGI app is narrower than ASGI's own
        http=http,  # type: ignore[arg-type]
        lifespan=lifespan,  # type: ignore[arg-type]
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=75,  # longer than load balancers keep idle connections (60 s), so that they close first
        timeout_graceful_shutdown=max(1, int(settings.drain_timeout_s)),
        limit_concurrency=_most_connections(),
    )


def _on_signals(rooms: Rooms, server: uvicorn.Server) -> None:
    loop = asyncio.get_running_loop()
    first_s: float | None = None

    def stop() -> None:
        nonlocal first_s
        if first_s is None:
            first_s = loop.time()
        elif loop.time() - first_s > _SAME_WISH_S:
            server.force_exit = True
        rooms.draining = True
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
