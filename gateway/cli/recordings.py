"""``distillguard recordings``: what ``serve --record`` wrote: see it, open its samples, let go of what is old."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from gateway.errors import ConfigError
from gateway.files import STDIN, numbered_lines, open_binary
from gateway.policy import check_policies, load_policies
from gateway.recording.samples import SealBroken, Sealer, make_key
from gateway.recording.segments import REQUESTS, SAMPLES, add_accounts, began_at, forget_old, list_recordings

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOLDER = click.argument("folder", type=click.Path(path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_POLICIES = click.option("--policies", type=click.Path(path_type=Path), envvar="DISTILLGUARD_POLICIES",
                         help="The policies that say so (default: the shipped ones).")  # fmt: skip


@click.group()
def recordings() -> None:
    """Recorded traffic: what is there, samples of it in full, and what is to be forgotten."""


@recordings.command()
def keygen() -> None:
    """Print a fresh key of samples, for the environment variable that recording.samples.key names."""
    click.echo(make_key())


@recordings.command("list")
@_FOLDER
@_JSON
def list_files(folder: Path, *, as_json: bool) -> None:
    """The closed files of a folder, and of how many requests of which cluster there are samples."""
    files = [_told(path, kind) for kind in (REQUESTS, SAMPLES) for path in list_recordings(_there(folder), kind)]
    counts = Counter((line["cluster"], line["level"], line["key"]) for _, line in _lines(folder))
    samples = [
        {"cluster": cluster, "level": level, "key": key, "samples": count}
        for (cluster, level, key), count in counts.most_common()
    ]
    if as_json:
        click.echo(orjson.dumps({"files": files, "samples": samples}, option=orjson.OPT_INDENT_2).decode())
        return
    for file in files:
        click.echo(f"{file['file']}  {file['began']}  {file['bytes']:,} bytes")
    for row in samples:
        click.echo(f"{row['samples']:,} samples of {row['cluster'] or 'no cluster'} ({row['level']}), key {row['key']}")


def _told(path: Path, kind: str) -> dict[str, Any]:
    began = datetime.fromtimestamp(began_at(path) or 0.0, UTC).isoformat(timespec="seconds")
    return {"file": path.name, "kind": kind, "began": began, "bytes": path.stat().st_size}


@recordings.command("open")
@_FOLDER
@_POLICIES
@click.option("--key-file", type=click.Path(path_type=Path), help="Keys, one a line, instead of the policies' own.")
@click.option("--cluster", help="Only samples of this cluster.")
@click.option("--account", help="Only samples of this account.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Write the log here; '-' prints it.")
def open_samples(
    folder: Path, policies: Path | None, key_file: Path | None, cluster: str | None, account: str | None, out: Path
) -> None:
    """Samples as a log of whole requests, for people to read and for `replay`. It holds what customers wrote.

    Exit code 1: some were sealed with a key that was not given, or were changed.
    """
    sealers = {sealer.name: sealer for sealer in map(Sealer, _keys(policies, key_file))}
    opened, closed = 0, Counter[str]()
    handle = sys.stdout.buffer if str(out) == STDIN else _created(out)
    try:
        for place, line in _lines(folder):
            if cluster not in (None, line["cluster"]) or account not in (None, line["account"]):
                continue
            try:
                row = sealers[line["key"]].open(line)
            except KeyError:
                closed[f"key {line['key']} was not given"] += 1
            except SealBroken:
                closed[f"{place}: a line was changed"] += 1
            else:
                handle.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
                opened += 1
    finally:
        handle.flush()
        if handle is not sys.stdout.buffer:
            handle.close()
    for why, count in closed.items():
        click.echo(f"{count:,} samples not opened: {why}", err=True)
    click.echo(f"{opened:,} samples opened", err=True)
    sys.exit(1 if closed else 0)


@recordings.command()
@_FOLDER
@_POLICIES
@_JSON
def forget(folder: Path, policies: Path | None, *, as_json: bool) -> None:
    """Remove what is older than the policies' retention, in a folder that no gateway writes to any more."""
    recording, now_s = check_policies(policies).parts.recording, time.time()
    samples_s = recording.retention_s if recording.samples is None else recording.samples.retention_s
    gone = forget_old(_there(folder), REQUESTS, recording.retention_s, now_s)
    gone += forget_old(folder, SAMPLES, samples_s, now_s)
    add_accounts(folder, {}, now_s - recording.retention_s)
    names = [path.name for path in gone]
    click.echo(orjson.dumps({"removed": names}).decode() if as_json else "\n".join([*names, f"{len(names)} removed"]))


def _there(folder: Path) -> Path:
    if not folder.is_dir():
        raise ConfigError(f"{folder}: got nothing there, expected the folder of serve --record")
    return folder


def _lines(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sealed lines of a folder with their places, oldest files first."""
    for path in list_recordings(_there(folder), SAMPLES):
        with open_binary(path) as file:
            for number, text in numbered_lines(path, file):
                yield f"{path}:{number}", orjson.loads(text)


def _keys(policies: Path | None, key_file: Path | None) -> list[str]:
    """The keys to open with. Raises ConfigError where there is none."""
    if key_file is not None:
        try:
            found = key_file.read_text(encoding="ascii").split()
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"--key-file: got {error}, expected keys in base64, one a line") from None
    else:
        samples = load_policies(policies).parts.recording.samples
        found = [] if samples is None else [samples.key]
    if not found:
        raise ConfigError("got no key, expected policies with recording.samples, or --key-file FILE")
    return found


def _created(out: Path) -> Any:
    """A new file that only this user reads; what is there is never overwritten."""
    try:
        return os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except OSError as error:
        raise ConfigError(f"--out {out}: got {error.strerror}, expected a new file") from None
