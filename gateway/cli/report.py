"""``distillguard report``: what one cluster did, why it was acted upon, by whom."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from gateway.settings import Settings
    from gateway.standing import ClusterView, Override

_DAY_S = 86_400.0


@click.command(short_help="An incident report on one cluster.")
@click.argument("cluster")
@click.option("--format", "form", type=click.Choice(["html", "json", "stix"]), default="html", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="File to write [default: standard output].")
@click.option("--days", type=click.FloatRange(min=0), default=90.0, show_default=True, help="How far back to count.")
@click.option("--without-accounts", is_flag=True, help="Name nobody: for sharing with others.")
@click.option("--redis", metavar="URL", help="Where state is shared.")
@click.option("--state-dir", type=click.Path(path_type=Path), help="Where embedded state is kept.")
def report(
    *,
    cluster: str,
    form: str,
    out: Path | None,
    days: float,
    without_accounts: bool,
    redis: str | None,
    state_dir: Path | None,
) -> None:
    """Write an incident report: who, when, evidence in words with numbers, volumes, what was done.

    It holds no prompt, reply, credential or address. HTML is one page without references to elsewhere; STIX is a
    bundle of version 2.1.
    """
    from gateway.files import write_atomically
    from gateway.reports import all_events, gather, write_html, write_json, write_stix
    from gateway.settings import Settings

    settings = Settings.load(state_dir=state_dir, redis=redis)
    now_s = time.time()
    try:
        view, audit = asyncio.run(_standing(settings, cluster, now_s))
        if view is None:
            expected = "expected one of `distillguard clusters list`"
            raise ConfigError(f"{cluster}: got a cluster that is not known, {expected}")
        incident = gather(view, audit, all_events(settings, now_s - days * _DAY_S), now_s)
    except StoreError as error:
        raise ConfigError(str(error)) from None
    write = {"html": write_html, "json": write_json, "stix": write_stix}[form]
    data = write(incident, accounts=not without_accounts)
    if out is None:
        sys.stdout.buffer.write(data)
        return
    try:
        write_atomically(out, data)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written ({error.strerror}); choose another --out") from None
    click.echo(f"{out}: {incident.total.requests:,} requests of {len(view.members):,} accounts", err=True)


async def _standing(settings: Settings, cluster: str, now_s: float) -> tuple[ClusterView | None, list[Override]]:
    from gateway.clock import SystemClock
    from gateway.standing import open_standing

    table = open_standing(settings, SystemClock())
    try:
        await table.refresh()
        return table.cluster(cluster, now_s), await table.audit()
    finally:
        await table.stop()
