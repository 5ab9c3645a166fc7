"""``distillguard demo``: a model server, the gateway with the shipped policies, and customers, in one process.

Real HTTP over loopback, nothing downloaded, state in a temporary folder.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import orjson
import uvloop
from rich.console import Console
from rich.live import Live
from rich.rule import Rule

from gateway.demo.live import serve_in_thread
from gateway.demo.model import ModelServer
from gateway.demo.population import Caller, Customer, population, stranger
from gateway.demo.show import LiveView, refusals, totals
from gateway.events import list_segments, read_events
from gateway.server import listen, run_worker, url_of
from gateway.settings import Settings
from gateway.telemetry import configure_logging

if TYPE_CHECKING:
    from gateway.types import Event

_AT_ONCE = 12
_REFRESH_PER_S = 8


def run_demo(*, once: bool, port: int, admin_port: int, policies: Path | None) -> int:
    """Run the demo; with ``once`` return when the customers are done, else stay up until Ctrl-C."""
    configure_logging("error")
    console = Console()
    customers = population()
    with tempfile.TemporaryDirectory(prefix="distillguard-demo-") as folder, serve_in_thread(ModelServer()) as upstream:
        accounts = Path(folder) / "accounts.ndjson"
        accounts.write_bytes(b"".join(orjson.dumps(customer.row()) + b"\n" for customer in customers))
        settings = Settings.load(
            {},
            policies=policies,
            upstream=upstream,
            accounts=accounts,
            state_dir=Path(folder) / "state",
            port=port,
            admin_port=admin_port,
            log_level="error",
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_demo(settings, customers, console, once=once))


async def _demo(settings: Settings, customers: list[Customer], console: Console, *, once: bool) -> int:
    data, admin = listen("127.0.0.1", settings.port), listen("127.0.0.1", settings.admin_port)
    ready = asyncio.Event()
    gateway = asyncio.create_task(run_worker(settings, data, admin, lambda _data, _admin: ready.set()))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([gateway, waiting], return_when=asyncio.FIRST_COMPLETED)
    if gateway.done():
        waiting.cancel()
        return gateway.result()
    console.print("[bold]distillguard demo[/]: a model server, the gateway with its shipped policies, and customers")
    console.print(
        f"gateway {url_of(data)}   admin {url_of(admin)}   model server {settings.upstream}\n", highlight=False
    )
    try:
        await _traffic(url_of(data), url_of(admin), settings, customers, console)
        if not once:
            _invite(console, url_of(data), url_of(admin), customers)
            with suppress(asyncio.CancelledError):
                await asyncio.shield(gateway)
    finally:
        if not gateway.done():
            gateway.cancel()
        await asyncio.gather(gateway, return_exceptions=True)
    return 0


async def _traffic(data: str, admin: str, settings: Settings, customers: list[Customer], console: Console) -> None:
    everyone = [*customers, stranger()]
    view = LiveView(sum(customer.requests for customer in everyone))
    at_once = asyncio.Semaphore(_AT_ONCE)
    started_s = time.perf_counter()
    async with httpx.AsyncClient(base_url=data, timeout=30.0) as client:

        async def act(customer: Customer, seed: int) -> None:
            caller = Caller(customer, client, view.add, random.Random(seed))  # noqa: S311 - a scene, not a secret
            async with at_once:
                async for _ in customer.act(caller):
                    continue

        with Live(view.render(), console=console, refresh_per_second=_REFRESH_PER_S, get_renderable=view.render):
            await asyncio.gather(*(act(customer, seed) for seed, customer in enumerate(everyone)))
        seconds = time.perf_counter() - started_s
        status = (await client.get(f"{admin}/api/status")).json()
    events = await _events(settings, len(view.answers))
    if not console.is_terminal:
        console.print()  # the live view ends without a line feed where it is not redrawn
    console.print(Rule("refused, and why", align="left"))
    console.print(refusals(view.answers, events))
    console.print(Rule("in all", align="left"))
    console.print(totals(view.answers, events, seconds))
    console.print(f"[dim]policy set {status['policy']['hash'][:12]}; {'ready' if status['ready'] else 'not ready'}[/]")


async def _events(settings: Settings, expected: int) -> list[Event]:
    """What the gateway wrote down, once it is on disk (it writes every few hundredths of a second)."""
    events: list[Event] = []
    for _ in range(100):
        events = [event for path in list_segments(settings.state_dir / "events") for event in read_events(path)]
        if len(events) >= expected:
            break
        await asyncio.sleep(0.02)
    return events


def _invite(console: Console, data: str, admin: str, customers: list[Customer]) -> None:
    key = next(customer.key for customer in customers if customer.plan == "pro")
    console.print(Rule("it stays up: try it", align="left"))
    console.print(
        f"curl -N {data}/v1/chat/completions -H 'Authorization: Bearer {key}' \\\n"
        """  -H 'Content-Type: application/json' -d '{"model":"gpt-4o-mini","stream":true,"""
        """"messages":[{"role":"user","content":"Why does bread rise?"}]}'""",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"curl -s {admin}/metrics | grep distillguard_requests", markup=False, highlight=False, soft_wrap=True
    )
    console.print(f"{admin}/ in a browser is the console. Ctrl-C ends it.", highlight=False, soft_wrap=True)
