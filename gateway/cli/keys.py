"""``distillguard keys``: make, list and revoke the gateway's own keys.

The store is the one that ``serve`` uses with the same options; a running gateway follows within a second.
A key is printed once and cannot be shown again.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from gateway.errors import ConfigError, StoreError
from gateway.identity import UnknownKey, load_hash_key, make_key, open_key_store
from gateway.identity.directory import MAX_ID_CHARS
from gateway.identity.identities import KEYS_FILE
from gateway.identity.keys import PREFIX, claimed_id
from gateway.identity.redis_link import shown_url
from gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.identity import KeyRecord, KeyStore

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_HEADINGS = ("PUBLIC ID", "ACCOUNT", "PLAN", "ORG", "LABEL", "STATE", "CREATED", "EXPIRES")


def _lifetime(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """A duration such as ``90d`` in seconds: a whole number above 0 and one of s, m, h, d, w."""
    if value is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhdw])", value)
    if match is None:
        raise click.BadParameter(f"got {value!r}, expected a number and s, m, h, d or w, such as 90d.", ctx, param)
    return float(match[1]) * _UNITS_S[match[2]]


def _name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """A text that an account directory could hold."""
    if value is not None and not (0 < len(value) <= MAX_ID_CHARS and value.isprintable()):
        raise click.BadParameter(f"got {value[:40]!r}, expected 1 to {MAX_ID_CHARS} printable characters.", ctx, param)
    return value


def _store_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where the keys are kept, and how the result is printed."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--redis", metavar="URL", help="Redis of the shared state (DISTILLGUARD_REDIS)."),
        click.option(
            "--state-dir",
            type=click.Path(path_type=Path),
            help="Embedded state (DISTILLGUARD_STATE_DIR; .distillguard).",
        ),
    ):
        command = option(command)
    return command


@click.group(short_help="Make, list and revoke API keys of the gateway.")
def keys() -> None:
    """Make, list and revoke API keys of the gateway.

    The first key that is ever made turns the gateway strict: from then on only known keys are answered.
    """


@keys.command(short_help="Make a key and print it, once.")
@click.option("--account", required=True, callback=_name, help="Whose key it is.")
@click.option("--plan", callback=_name, help="Plan of the account, where no directory tells it.")
@click.option("--org", callback=_name, help="Organisation of the account, where no directory tells it.")
@click.option("--label", callback=_name, help="What the key is for.")
@click.option(
    "--expires", callback=_lifetime, metavar="TIME", help="How long it is good for, such as 90d (default: for ever)."
)
@_store_options
def create(*, account: str, expires: float | None, as_json: bool, **given: Any) -> None:
    """Make a key and print it, once: only its keyed hash is kept."""
    settings = _settings(given)
    with _store_errors():
        hash_key = load_hash_key(settings)
        text, record = make_key(
            hash_key,
            account,
            now_s=time.time(),
            plan=given["plan"],
            org=given["org"],
            label=given["label"],
            lifetime_s=expires,
        )
        with _open(settings, hash_key) as store:
            store.add(record)
    if as_json:
        _print_json({"key": text, **_row(record)})
        return
    click.echo(text)
    click.echo(f"Keep it now: it cannot be shown again. Public id {record.public_id}, in {_where(settings)}.", err=True)


@keys.command(name="list", short_help="Show the keys, without their secrets.")
@click.option("--account", help="Only the keys of this account.")
@_store_options
def list_(*, account: str | None, as_json: bool, **given: Any) -> None:
    """Show the keys, oldest first, without their secrets."""
    settings = _settings(given)
    records: list[KeyRecord] = []
    if _exists(settings):
        with _store_errors(), _open(settings, None) as store:
            records = sorted(
                store.snapshot().records.values(), key=lambda record: (record.created_at, record.public_id)
            )
    chosen = [record for record in records if account is None or record.account == account]
    if as_json:
        _print_json([_row(record) for record in chosen])
    elif chosen:
        _print_table(chosen)
    else:
        click.echo(f"No keys{'' if account is None else f' of {account}'} in {_where(settings)}.", err=True)


@keys.command(short_help="End a key for ever.")
@click.argument("key", metavar="PUBLIC_ID|KEY")
@_store_options
@click.pass_context
def revoke(ctx: click.Context, /, *, key: str, as_json: bool, **given: Any) -> None:
    """End a key for ever. Every gateway refuses it within a second. Exit code 1: there is no such key."""
    settings = _settings(given)
    public_id = claimed_id(key) if key.startswith(PREFIX) else key
    record = None
    if _exists(settings):
        with suppress(UnknownKey), _store_errors(), _open(settings, None) as store:
            record = store.revoke(public_id, time.time())
    if record is None:
        click.echo(
            f"{public_id}: no key with this public id in {_where(settings)}; see: distillguard keys list", err=True
        )
        ctx.exit(1)
    if as_json:
        _print_json(_row(record))
    else:
        click.echo(f"{record.public_id} of {record.account} is revoked since {_time(record.revoked_at)}.")


def _settings(given: dict[str, Any]) -> Settings:
    return Settings.load(state_dir=given.pop("state_dir"), redis=given.pop("redis"))


@contextmanager
def _open(settings: Settings, hash_key: bytes | None) -> Iterator[KeyStore]:
    """The store, closed at the end."""
    store = open_key_store(settings, hash_key)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _store_errors() -> Iterator[None]:
    """A store that cannot be asked is an unusable argument here."""
    try:
        yield
    except StoreError as error:
        raise ConfigError(str(error)) from error


def _exists(settings: Settings) -> bool:
    """Whether there can be keys; looking for them makes no files."""
    return bool(settings.redis) or (Path(settings.state_dir) / KEYS_FILE).exists()


def _where(settings: Settings) -> str:
    return shown_url(settings.redis) if settings.redis else str(Path(settings.state_dir) / KEYS_FILE)


def _row(record: KeyRecord) -> dict[str, Any]:
    """A record for JSON: all but the hash, times in seconds since the epoch."""
    return {
        "public_id": record.public_id,
        "account": record.account,
        "org": record.org,
        "plan": record.plan,
        "label": record.label,
        "state": record.state(time.time()),
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "revoked_at": record.revoked_at,
    }


def _print_json(value: Any) -> None:
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _print_table(records: Sequence[KeyRecord]) -> None:
    """Aligned columns, whole also where the output is a pipe."""
    now_s = time.time()
    rows = [_HEADINGS] + [
        (
            record.public_id,
            record.account,
            record.plan or "-",
            record.org or "-",
            record.label or "-",
            record.state(now_s),
            _time(record.created_at),
            _time(record.expires_at),
        )
        for record in records
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _time(time_s: float | None) -> str:
    return "-" if time_s is None else datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
