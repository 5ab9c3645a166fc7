"""``policy diff --replay``: which decisions on recorded traffic a change of policies changes, and for whom."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from gateway.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.policy import PolicySet

_SHOWN = 10


def replayed(old: PolicySet, new: PolicySet, requests: Path, accounts: Path | None) -> dict[str, Any]:
    """The decisions that differ, as plain values; ``accounts`` default to the file beside the log.

    Raises ConfigError where no accounts are found, FileErrors for unusable files.
    """
    from gateway.replay.compare import compare_policies

    found = accounts if accounts is not None else accounts_beside(requests)
    return asyncio.run(compare_policies(old, new, found, requests)).told()


def accounts_beside(requests: Path) -> Path:
    """The account directory in the folder of a log."""
    folder = requests if requests.is_dir() else requests.parent
    for name in ("accounts.ndjson", "accounts.ndjson.gz", "accounts.ndjson.zst", "accounts.csv"):
        if (folder / name).exists():
            return folder / name
    raise ConfigError(f"--accounts: got nothing, and no accounts.ndjson beside {requests}, expected --accounts FILE")


def print_replayed(told: dict[str, Any]) -> None:
    """The same in words."""
    click.echo(f"{told['changed']:,} of {told['requests']:,} decisions change")
    for change, count in told["changes"].items():
        click.echo(f"  {change}: {count:,}")
    for title, key in (("plan", "by_plan"), ("organisation", "by_organisation")):
        for name, counts in list(told[key].items())[:_SHOWN]:
            click.echo(f"  {title} {name}: {_counts(counts)}")
    share = told["share_newly_stopped"]
    click.echo(
        f"{told['accounts_newly_stopped']:,} of {told['accounts']:,} accounts are newly throttled or refused: "
        f"{_interval(share)}, exact interval, {share['confidence']:.0%} confidence)"
    )
    for plan, found in told["share_newly_stopped_by_plan"].items():
        click.echo(f"  plan {plan}: {found['newly_stopped']:,} of {found['accounts']:,}: {_interval(found)})")
    for row in told["accounts_most_hurt"][:_SHOWN]:
        rules = f"; {_counts(row['rules'])}" if row["rules"] else ""
        click.echo(
            f"  {row['account']} ({row['plan']}): {row['newly_stopped']:,} more stopped, "
            f"{row['newly_marked']:,} more marked of {row['requests']:,}{rules}"
        )


def _interval(share: dict[str, float]) -> str:
    return f"{share['share']:.3%} ({share['low']:.3%} to {share['high']:.3%}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
