"""A real server around any ASGI app, in a thread of its own, for as long as a ``with`` block lasts.

For demonstrations and tests: 127.0.0.1 on a free port, nothing logged, ended with the block.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Iterator

_START_S = 10.0
_STOP_S = 10.0


class _Server(uvicorn.Server):
    """A uvicorn server that says when it is ready, or that it will never be."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.settled = threading.Event()

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets)
        self.settled.set()


@contextlib.contextmanager
def serve_in_thread(app: Any, *, drain_s: float = 1.0, **config: Any) -> Iterator[str]:
    """Serve ``app`` and yield its base URL, ``http://127.0.0.1:PORT``.

    At the end connections get ``drain_s`` seconds to finish; then they are closed. ``config`` goes to
    ``uvicorn.Config`` (``ssl_certfile``, ``lifespan``, ...). Raises RuntimeError where the server does not start.
    """
    options = {"host": "127.0.0.1", "port": 0, "log_level": "critical", "access_log": False, "ws": "none", **config}
    server = _Server(uvicorn.Config(app, timeout_graceful_shutdown=max(1, round(drain_s)), **options))

    def run() -> None:
        with contextlib.suppress(SystemExit):  # how uvicorn says that it could not start
            server.run()
        server.settled.set()

    thread = threading.Thread(target=run, name="live-server", daemon=True)
    thread.start()
    try:
        if not server.settled.wait(_START_S) or not server.started:
            raise RuntimeError("got a server that did not start, expected one on 127.0.0.1: see its lifespan events")
        scheme = "https" if options.get("ssl_certfile") else "http"
        yield f"{scheme}://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(_STOP_S)
        if thread.is_alive():
            server.force_exit = True
            thread.join(_STOP_S)
