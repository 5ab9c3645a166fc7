"""``Guard``: the gateway as pure ASGI middleware around any app that speaks a model API.

It reads the request, asks the pipeline, lets the wrapped app answer, and meters the answer as it passes: one request
is a ``Call``. The wrapped app is the built-in reverse proxy (``distillguard serve``), or a model server's own app.

Websockets and routes that no policy lists are refused.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.call import Call
from gateway.errors import ConfigError, DistillguardError, StoreError
from gateway.refusing import refuse_unopened
from gateway.rooms import Rooms
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.asgi import ASGIApp, Message, Receive, Scope, Send
    from gateway.forwarding import Forward

log = logging.getLogger("gateway.guard")


class Guard:
    """ASGI middleware: budgets, access rules and evidence in front of ``app``.

    Takes only the wrapped app; settings come from ``DISTILLGUARD_*`` in the environment, so that
    ``vllm serve --middleware gateway.Guard`` works. ``rooms`` and ``forward`` (the reverse proxy's, where that is
    ``app``) are for ``build_app``, which has settings.
    """

    def __init__(self, app: ASGIApp, rooms: Rooms | None = None, forward: Forward | None = None) -> None:
        self.app = app
        self.rooms = rooms if rooms is not None else Rooms(Settings.load())
        self._forward = forward

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Guard http; refuse websockets; pass lifespan through, with the rooms opened before the app."""
        if scope["type"] == "http":
            if not self.rooms.is_open:
                try:
                    await self.rooms.start()
                except DistillguardError as error:
                    log.error("cannot start", extra={"error": str(error)})  # noqa: TRY400 - no trace wanted
                    await refuse_unopened(scope, send)
                    return
            await Call(self.app, self.rooms, scope, receive, send, self._forward).run()
        elif scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "not served here"})
        else:
            raise ConfigError(f"got an ASGI scope of type {scope['type']!r}, expected http, websocket or lifespan")

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def opening() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.rooms.start()
            return message

        async def closing(message: Message) -> None:
            if message["type"] in {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
                await self.rooms.stop()
            await send(message)

        try:
            await self.app(scope, opening, closing)
        except (ConfigError, StoreError) as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
