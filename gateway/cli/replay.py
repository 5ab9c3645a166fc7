"""``distillguard replay``: a recorded log through the policies and the analysis, before they go live."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

_SHOW_EVERY = 500


@click.command(short_help="A recorded log through policies and analysis.")
@click.option("--policies", type=click.Path(path_type=Path), help="Policy folder [default: the shipped one].")
@click.option("--accounts", type=click.Path(path_type=Path), required=True, help="Account directory of the log.")
@click.option("--requests", type=click.Path(path_type=Path), required=True, help="The log; - reads standard input.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the results.")
@click.option("--progress", is_flag=True, help="Show how far it is.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def replay(*, policies: Path | None, accounts: Path, requests: Path, out: Path, progress: bool, as_json: bool) -> None:
    """Replay recorded traffic through the same code as `serve`, on the log's own clock.

    Writes decisions.ndjson.gz, clusters.json and summary.json to the folder --out.
    """
    from gateway.policy import load_policies
    from gateway.replay import run_replay

    policy_set = load_policies(policies)
    show, end = _progress() if progress else (None, None)
    summary = asyncio.run(run_replay(policy_set, accounts, requests, out, show))
    if end is not None:
        end()
    if as_json:
        click.echo(orjson.dumps(summary, option=orjson.OPT_INDENT_2).decode())
        return
    actions = ", ".join(f"{count:,} {action}" for action, count in sorted(summary["actions"].items()))
    click.echo(f"{summary['requests']:,} requests: {actions}")
    click.echo(f"{summary['enforced_clusters']} enforced of {summary['clusters']} clusters; results in {out}")
    click.echo(
        f"{summary['seconds']} s, {summary['requests_per_s']:,.0f} requests/s, "
        f"{summary['peak_memory_bytes'] / 2**20:,.0f} MiB at most"
    )


def _progress() -> tuple[Callable[[int], None], Callable[[], None]]:
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.completed:,} requests"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task("replay", total=None)
    bar.start()

    def show(done: int) -> None:
        if done % _SHOW_EVERY == 0:
            bar.update(task, completed=done)

    return show, bar.stop
