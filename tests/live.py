"""A whole gateway over real sockets for a test: model server, policies, accounts, admin port."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from gateway.app import build_app
from gateway.console import build_admin
from gateway.demo.live import serve_in_thread
from gateway.demo.model import ModelServer
from gateway.events import list_segments, read_events
from gateway.protocol import GatewayProtocol
from gateway.rooms import Rooms
from gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.types import Event

ROOMY = """\
version: 1
plans:
  free:
    budgets:
      - limit: 100_000/day
prices:
  "*": {input: 1.0, output: 2.0}
"""
"""Policies that get in nobody's way."""


@dataclass(frozen=True, kw_only=True)
class Live:
    """A gateway that listens, and what is behind it."""

    url: str
    upstream_url: str
    model: ModelServer
    rooms: Rooms
    policies: Path

    @property
    def settings(self) -> Settings:
        return self.rooms.settings

    def events(self) -> list[Event]:
        """What is on disk; the sink is closed with the gateway, so ask after the ``with`` block for all."""
        return [event for path in list_segments(self.settings.state_dir / "events") for event in read_events(path)]


@contextmanager
def live_gateway(
    folder: Path,
    *,
    policies: str | Path = ROOMY,
    accounts: list[dict[str, Any]] | None = None,
    model: ModelServer | None = None,
    upstream: str | None = None,
    **settings: Any,
) -> Iterator[Live]:
    """Serve a gateway on a free port of 127.0.0.1 until the block ends; everything it writes is in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    policy_file = policies if isinstance(policies, Path) else folder / "policy.yaml"
    if isinstance(policies, str):
        policy_file.write_text(policies)
    if accounts is not None:
        (folder / "accounts.ndjson").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in accounts))
        settings["accounts"] = folder / "accounts.ndjson"
    model = model if model is not None else ModelServer()
    with ExitStack() as stack:
        upstream_url = upstream or stack.enter_context(serve_in_thread(model))
        loaded = Settings.load({}, policies=policy_file, upstream=upstream_url, state_dir=folder / "state", **settings)
        rooms = Rooms(loaded)
        app = build_app(loaded, rooms=rooms)
        url = stack.enter_context(serve_in_thread(app, http=GatewayProtocol, lifespan="on", server_header=False))
        yield Live(url=url, upstream_url=upstream_url, model=model, rooms=rooms, policies=policy_file)


@contextmanager
def live_admin(live: Live) -> Iterator[str]:
    """The admin port of a live gateway."""
    with serve_in_thread(build_admin(live.rooms), lifespan="off") as url:
        yield url
