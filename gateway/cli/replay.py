"""``distillguard replay``: a recorded log through the policies and the analysis, before they go live."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

if TYPE_CHECKING:
    from collections.abc import Callable

_PATH = click.Path(path_type=Path)
_STDIN = "-"


@click.command(short_help="A recorded log through policies and analysis.")
@click.option("--policies", type=_PATH, help="Policy folder [default: the shipped one].")
@click.option("--accounts", type=_PATH, required=True, help="Account directory of the log.")
@click.option("--requests", type=_PATH, required=True, help="The log, or a folder of them; - reads standard input.")
@click.option("--texts", type=_PATH, help="Texts that the log refers to [default: texts.ndjson(.gz) beside it].")
@click.option("--out", type=_PATH, required=True, help="Folder for the results.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on where a replay of the same inputs was stopped; do nothing where its results are there.",
)
@click.option("--progress", is_flag=True, help="Show how far it is.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def replay(
    *,
    policies: Path | None,
    accounts: Path,
    requests: Path,
    texts: Path | None,
    out: Path,
    resume: bool,
    progress: bool,
    as_json: bool,
) -> None:
    """Replay recorded traffic through the same code as `serve`, on the log's own clock.

    Writes decisions.ndjson.gz, clusters.json, report.html and summary.json to the folder --out. A replay that
    was stopped leaves none of its own; with --resume it goes on from its last checkpoint, and one that was done is
    not done twice.
    """
    from gateway.policy import load_policies
    from gateway.replay.output import Job, finished, run_replay
    from gateway.replay.pipes import settle_in

    settle_in()
    job = Job(policies=load_policies(policies), accounts=accounts, requests=requests, texts=texts, out=out)
    summary = finished(job) if resume else None
    if summary is None:
        show, end = progress_bar(requests) if progress else (None, None)
        try:
            summary = asyncio.run(run_replay(job, show, resume=resume))
        finally:
            if end is not None:
                end()
    if as_json:
        click.echo(orjson.dumps(summary, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(summary, out)


def _print(summary: dict[str, Any], out: Path) -> None:
    """The summary in words, the largest groups first."""
    actions = ", ".join(f"{count:,} {action}" for action, count in summary["actions"].items() if count)
    click.echo(f"{summary['requests']:,} requests of {summary['accounts']:,} accounts: {actions or 'none'}")
    for title, key in (("plan", "by_plan"), ("standing", "by_level"), ("model", "by_model")):
        for name, counts in list(summary[key].items())[:8]:
            acted = ", ".join(
                f"{counts[action]:,} {action}" for action in counts if action != "allow" and counts[action]
            )
            if acted:
                click.echo(f"  {title} {name}: {acted} of {sum(counts.values()):,}")
    for name, counts in list(summary["by_rule"].items())[:8]:
        click.echo(f"  by {name}: {counts['throttle'] + counts['refuse']:,} throttled or refused")
    for name, count in list(summary["shadow_refusals"].items())[:8]:
        click.echo(f"  in shadow, {name} would have refused {count:,}")
    peak = summary["peak_concurrency"]
    click.echo(f"  at most {peak['all']:,} replies open together (modelled)")
    click.echo(f"{summary['enforced_clusters']} enforced of {summary['clusters']} clusters; results in {out}")
    click.echo(
        f"{summary['seconds']} s, {summary['requests_per_s']:,.0f} requests/s, "
        f"{summary['peak_memory_bytes'] / 2**20:,.0f} MiB at most"
    )


def progress_bar(requests: Path) -> tuple[Callable[[int, int], None], Callable[[], None]]:
    """A bar on standard error: how to move it, and how to end it. Without a total where the input is a pipe."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from gateway.replay.log import log_files

    total = None if str(requests) == _STDIN else sum(path.stat().st_size for path in log_files(requests))
    bar = Progress(
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[done]:,} requests"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    task = bar.add_task("replay", total=total, done=0)
    bar.start()

    def show(done: int, position: int) -> None:
        bar.update(task, completed=position, done=done)

    return show, bar.stop
