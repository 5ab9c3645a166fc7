"""``distillguard analyze``: an analysis worker, when state is shared (or on a state folder, by hand)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from gateway.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from gateway.settings import Settings

_END_WITHIN_S = 20.0


@click.command(short_help="An analysis worker, when state is shared.")
@click.option(
    "--redis", metavar="URL", help="Shared state: events are read from its stream. Several workers: one leads."
)
@click.option("--state-dir", type=click.Path(path_type=Path), help="State folder of a gateway without --redis.")
@click.option("--accounts", type=click.Path(path_type=Path), help="Account directory, as `serve` has it.")
@click.option("--policies", type=click.Path(path_type=Path), help="Policies, for alpha, families and the horizon.")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
@click.option("--once", is_flag=True, help="End when all events are read; then print what is known.")
@click.option("--json", "as_json", is_flag=True, help="With --once: print JSON.")
@click.option(
    "--embedded", is_flag=True, hidden=True, help="End with standard input; tell how it goes on standard output."
)
def analyze(*, once: bool, as_json: bool, embedded: bool, **given: Any) -> None:
    """Find campaigns in the events of the gateways and put verdicts into the table that they read.

    Every option can also be given as DISTILLGUARD_<NAME>. `serve` without --redis runs this by itself.
    """
    from gateway.settings import Settings
    from gateway.telemetry import configure_logging

    settings = Settings.load(**given)
    configure_logging(settings.log_level)
    try:
        status = asyncio.run(_analyze(settings, once=once, embedded=embedded))
    except StoreError as error:
        raise ConfigError(f"redis: {error}; is it reachable from here?") from None
    if once:
        _show(status, as_json=as_json)
    sys.exit(0)


async def _analyze(settings: Settings, *, once: bool, embedded: bool) -> dict[str, Any]:
    from gateway.worker.loop import run_worker

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    last: dict[str, Any] = {}

    def tell(status: dict[str, Any]) -> None:
        last.update(status)
        if embedded:
            with contextlib.suppress(BrokenPipeError):  # a killed gateway hears nothing; standard input says so
                os.write(1, orjson.dumps(status) + b"\n")

    if embedded:
        threading.Thread(target=_end_with_parent, args=(loop, stop), daemon=True).start()
    await run_worker(settings, stop, once=once, tell=tell)
    return last


def _end_with_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Standard input is a pipe that the gateway holds: its end is the gateway's, even by SIGKILL."""
    while os.read(0, 4096):
        continue
    loop.call_soon_threadsafe(stop.set)
    threading.Event().wait(_END_WITHIN_S)
    os._exit(0)  # a long pass must not outlive the gateway; nothing is lost at a kill


def _show(status: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        click.echo(orjson.dumps(status, option=orjson.OPT_INDENT_2).decode())
        return
    click.echo(f"{status.get('observed', 0):,} events observed, {status.get('clusters', 0)} clusters known")
    click.echo("`distillguard clusters list` shows them.")
