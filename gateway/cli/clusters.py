"""``distillguard clusters``: see what the analysis holds of clusters, and overrule it.

Reads and writes the same store as the running gateways, which follow within half a second. Every decision is
kept in an audit log with who, why and until when; none is ever changed.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson

from gateway.clock import SystemClock
from gateway.errors import DistillguardError
from gateway.settings import Settings
from gateway.standing import StandingTable, SubjectKind, Verb, open_standing
from gateway.standing.rows import cluster_row, date, override_row, whole_cluster_row

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from gateway.standing import ClusterView, Override

_T = TypeVar("_T")
_Command = TypeVar("_Command", bound=Callable[..., Any])
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SHOWN_MEMBERS = 20


class _Unusable(click.ClickException):
    """Arguments or a store that cannot be used."""

    exit_code = 2


def _where(command: _Command) -> _Command:
    """The options that every command has."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--redis", metavar="URL", help="Where state is shared."),
        click.option("--state-dir", type=click.Path(path_type=Path), help="Where embedded state is kept."),
    ):
        command = option(command)
    return command


@click.group()
def clusters() -> None:
    """See clusters of accounts and overrule what the analysis says of them."""


@clusters.command("list")
@click.option("--level", type=click.Choice(["none", "watch", "suspect", "confirmed"]), help="Only this level.")
@_where
def list_clusters(level: str | None, state_dir: Path | None, redis: str | None, *, as_json: bool) -> None:
    """Every cluster, with the level that holds now."""

    async def ask(table: StandingTable) -> list[ClusterView]:
        return table.clusters(time.time())

    rows = [cluster_row(view) for view in _run(state_dir, redis, ask) if level in (None, view.level.value)]
    if as_json:
        _print_json(rows)
        return
    if not rows:
        click.echo(f"No cluster is {level} now." if level else "No cluster is known.")
        return
    lines = [("CLUSTER", "LEVEL", "ACCOUNTS", "EXPIRES", "BY A PERSON", "BECAUSE")]
    for row in rows:
        said = row["override"]
        person = f"{said['verb']} ({said['who']})" if said else "-"
        because = f"merged into {row['replaced_by']}" if row["replaced_by"] else "; ".join(row["reasons"]) or "-"
        lines.append((row["cluster"], row["level"], str(row["accounts"]), row["expires_at"], person, because))
    _print_columns(lines)


@clusters.command("show")
@click.argument("cluster")
@_where
def show(cluster: str, state_dir: Path | None, redis: str | None, *, as_json: bool) -> None:
    """One cluster: its accounts, evidence, and what people decided."""

    async def ask(table: StandingTable) -> tuple[ClusterView | None, list[Override]]:
        return table.cluster(cluster, time.time()), await table.audit()

    view, audit = _run(state_dir, redis, ask)
    if view is None:
        raise _Unusable(f"{cluster}: got a cluster that is not known, expected one of `distillguard clusters list`")
    row = whole_cluster_row(view, audit)
    if as_json:
        _print_json(row)
        return
    for name in ("cluster", "level", "verdict", "accounts", "decided_at", "expires_at", "version", "replaced_by"):
        click.echo(f"{name.replace('_', ' '):<12} {row[name] if row[name] is not None else '-'}")
    more = f" and {len(row['members']) - _SHOWN_MEMBERS} more (--json)" if len(row["members"]) > _SHOWN_MEMBERS else ""
    click.echo(f"{'members':<12} {', '.join(row['members'][:_SHOWN_MEMBERS])}{more}")
    for title, items in (("because", row["reasons"]), ("evidence", [_words(item) for item in row["evidence"]])):
        for item in items:
            click.echo(f"{title:<12} {item}")
    for one in row["audit"]:
        end = f" until {one['until']}" if one["until"] else ""
        click.echo(
            f"{'decided':<12} {one['at']} {one['verb']} {one['kind']} {one['subject']}{end}: {one['why']} ({one['who']})"
        )


def _decision(verb: Verb, help_text: str) -> None:
    """Add the command for one verb."""

    @clusters.command(verb.value, help=help_text)
    @click.argument("subject")
    @click.option("--account", is_flag=True, help="SUBJECT is an account, not a cluster.")
    @click.option("--reason", required=True, help="Why; kept in the audit log.")
    @click.option("--until", help="When it ends: 12h, 30d, 2w, 2026-12-31 or 2026-12-31T18:00Z (default: never).")
    @click.option("--by", help="Who decides (default: your user name).")
    @_where
    def decide(
        subject: str,
        reason: str,
        until: str | None,
        by: str | None,
        state_dir: Path | None,
        redis: str | None,
        *,
        account: bool,
        as_json: bool,
    ) -> None:
        now_s = time.time()
        end_s = _parse_until(until, now_s)
        kind = SubjectKind.ACCOUNT if account else SubjectKind.CLUSTER

        async def act(table: StandingTable) -> Override:
            return await table.override(verb, kind, subject, who=by or _user(), why=reason, until=end_s, now_s=now_s)

        try:
            done = _run(state_dir, redis, act)
        except KeyError:
            hint = "expected one of `distillguard clusters list`, or --account for an account"
            raise _Unusable(f"{subject}: got a cluster that is not known, {hint}") from None
        except ValueError as error:
            raise _Unusable(f"{verb.value} {subject}: {error}") from None
        if as_json:
            _print_json(override_row(done))
        else:
            reach = f" and its {len(done.members)} accounts" if done.members else ""
            click.echo(f"{verb.value}: {kind.value} {subject}{reach}, until {date(done.until) or 'taken back'}")


_decision(Verb.CONFIRM, "It is a campaign: its accounts are treated as confirmed, whatever the analysis says.")
_decision(Verb.DISMISS, "The verdict is wrong: the cluster has no effect, whatever the analysis says.")
_decision(Verb.EXEMPT, "Its accounts of today may do this: they are never limited, in this or another cluster.")
_decision(Verb.RELEASE, "Take back what was decided before: the analysis decides again.")


def _run(state_dir: Path | None, redis: str | None, work: Callable[[StandingTable], Awaitable[_T]]) -> _T:
    """Do ``work`` with the table, read once."""

    async def inside() -> _T:
        table = open_standing(Settings.load(state_dir=state_dir, redis=redis), SystemClock())
        try:
            await table.refresh()
            return await work(table)
        finally:
            await table.stop()

    try:
        return asyncio.run(inside())
    except DistillguardError as error:
        raise _Unusable(str(error)) from None


def _words(item: dict[str, Any]) -> str:
    """One family's evidence on a line."""
    return ", ".join(f"{name} {value}" for name, value in item.items())


def _parse_until(text: str | None, now_s: float) -> float | None:
    """Seconds since the epoch, from a span after now or a date (UTC where it names no zone)."""
    if text is None:
        return None
    if match := re.fullmatch(r"(\d+)([mhdw])", text):
        return now_s + int(match[1]) * _SECONDS[match[2]]
    try:
        end = datetime.fromisoformat(text)
    except ValueError:
        raise _Unusable(f"--until: got {text!r}, expected 12h, 30d, 2w, or a date such as 2026-12-31") from None
    return (end if end.tzinfo else end.replace(tzinfo=UTC)).timestamp()


def _user() -> str:
    """The person at the keyboard, as the operating system knows them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may have no name for its user
        return f"uid {os.getuid()}"


def _print_json(value: Any) -> None:
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _print_columns(lines: Sequence[tuple[str, ...]]) -> None:
    """Columns as wide as their widest cell."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
