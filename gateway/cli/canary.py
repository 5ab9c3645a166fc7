"""``distillguard canary``: make keys, mark replies, test suspects, trace leaks."""

from __future__ import annotations

import asyncio
import gzip
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import httpx
import orjson
import zstandard

from gateway.canary.audit import ALPHA, AuditReport, judge
from gateway.canary.auditor import load_for_audit, reveal
from gateway.canary.endpoint import HttpSuspect, Interview, Pace, Stakes, Transcript, interview
from gateway.canary.evidence import Collector
from gateway.canary.keyring import Keyring, load_keyring, locked, new_keyring, rotate, save_keyring
from gateway.canary.marking import Marked, mark_reply
from gateway.canary.plan import Plan
from gateway.canary.report import as_json, as_text
from gateway.canary.report_page import as_html
from gateway.canary.slots import load_inventory
from gateway.canary.trace import Ledger, ledger_line, trace_key, trace_report
from gateway.canary.wishes import decoys
from gateway.errors import ConfigError, FileError, FileErrors, UpstreamError
from gateway.files import read_ndjson, write_atomically
from gateway.policy.notation import parse_share
from gateway.settings import check_url
from gateway.types import CARRIERS

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILE = click.Path(path_type=Path)
_KEYRING = click.option("--keyring", type=_FILE, required=True, metavar="FILE", help="Keyring of `canary keygen`.")


def _share(_context: click.Context, _option: click.Parameter, text: str | None) -> float:
    try:
        return parse_share(text) if text is not None else 0.0
    except ValueError as error:
        raise ConfigError(f"--holdout: {error}") from None


@click.group()
def canary() -> None:
    """Mark what suspects take, and prove later that a model learned from it."""


@canary.command()
@click.option("--out", type=_FILE, required=True, metavar="FILE", help="Where the keyring is written (secret).")
@click.option("--rotate", "rotated", is_flag=True, help="Add a new version to an existing keyring.")
@click.option("--commit", "clusters", metavar="C1,C2", help="Promise these clusters' keys in the ledger.")
@click.option("--public", type=_FILE, metavar="FILE", help="Write what an auditor may see: commitments, no secret.")
@click.option("--reveal", "revealed", metavar="C1,C2", help="Add these clusters' keys to --public, for an auditor.")
@click.option("--json", "as_json_", is_flag=True, help="Print JSON.")
def keygen(
    out: Path, clusters: str | None, public: Path | None, revealed: str | None, *, rotated: bool, as_json_: bool
) -> None:
    """Make a keyring, rotate it, promise clusters' keys, or write what an auditor may see."""
    if revealed and public is None:
        raise ConfigError("--reveal: got no --public, expected the file in which the keys are shown")
    if out.exists() and not rotated and not clusters and public is None:
        raise ConfigError(f"{out}:1:1: got a file that exists, expected a new name, --rotate, --commit or --public")
    try:
        keyring = _change_keyring(out, _names(clusters), rotated=rotated)
    except OSError as error:
        raise ConfigError(
            f"--out: cannot write {out} ({error.strerror}), expected a folder that may be written"
        ) from None
    shown = reveal(keyring, _names(revealed)) if revealed else keyring.public()
    if public is not None:
        write_atomically(
            public, orjson.dumps(shown, option=orjson.OPT_INDENT_2) + b"\n", mode=0o600 if revealed else 0o644
        )
    if as_json_:
        click.echo(orjson.dumps(keyring.public()).decode())
    else:
        click.echo(f"{out}: version {keyring.newest.version}, commitment {keyring.newest.commitment}")


def _change_keyring(out: Path, clusters: list[str], *, rotated: bool) -> Keyring:
    """The keyring at ``out``, made, rotated and with promises as asked; under the lock that a running gateway takes."""
    inventory = load_inventory().digest
    with locked(out):
        now_s = time.time()
        before = load_keyring(out) if out.exists() else None
        keyring = before or new_keyring(inventory=inventory, now_s=now_s)
        if before is not None and rotated:
            keyring = rotate(keyring, inventory=inventory, now_s=now_s)
        for cluster in clusters:
            keyring = keyring.commit(cluster, now_s=now_s)
        if keyring is not before:
            save_keyring(out, keyring)
    return keyring


@canary.command()
@_KEYRING
@click.option("--cluster", required=True, metavar="ID", help="Whose marks are planted.")
@click.option("--in", "source", type=_FILE, required=True, metavar="FILE", help='NDJSON of {"id","prompt","reply"}.')
@click.option("--out", type=_FILE, required=True, metavar="FILE", help="The same rows, marked; - is standard output.")
@click.option("--ledger", type=_FILE, metavar="FILE", help="Append fingerprints of the marked replies, for `trace`.")
@click.option("--carriers", metavar="A,B", help=f"Only these: {', '.join(CARRIERS)} (default: all).")
@click.option(
    "--holdout", callback=_share, metavar="5%", help="Keep this share of prompts unmarked, as the policy does."
)
def mark(
    keyring: Path, cluster: str, source: Path, out: Path, ledger: Path | None, carriers: str | None, holdout: float
) -> None:
    """Write replies as a cluster would have received them."""
    ring = load_keyring(keyring)
    if ring.newest.inventory != load_inventory().digest:
        raise ConfigError(
            f"{keyring}: got marks promised for another release's inventory, expected this one's; "
            f"add a version: distillguard canary keygen --rotate --out {keyring}"
        )
    chosen = _names(carriers)
    if unknown := set(chosen) - set(CARRIERS):
        raise ConfigError(f"--carriers: got {sorted(unknown)}, expected some of {', '.join(CARRIERS)}")
    prints: list[bytes] = []
    lines = b"".join(_marked_rows(ring, cluster, source, chosen, holdout, prints if ledger else None))
    if ledger is not None:
        ledger.parent.mkdir(parents=True, exist_ok=True)
        with ledger.open("ab") as file:
            file.write(b"".join(prints))
    if str(out) == "-":
        sys.stdout.buffer.write(lines)
    else:
        write_atomically(out, _pack(out, lines), mode=0o644)


def _marked_rows(
    ring: Keyring, cluster: str, source: Path, carriers: list[str], holdout: float, prints: list[bytes] | None
) -> Iterator[bytes]:
    key = trace_key(ring)
    for line, row in read_ndjson(source):
        reply = _text(source, line, row, "reply")
        prompt = _text(source, line, row, "prompt") if row.get("prompt") is not None else None
        if ring.held_out(cluster, prompt, holdout):
            marked = Marked(reply=reply, marks=())
        else:
            marked = mark_reply(ring, cluster, prompt, reply, carriers=carriers)
        if prints is not None:
            prints.append(ledger_line(str(row.get("id", line)), cluster, marked.reply, key))
        marks = [{name: getattr(mark, name) for name in mark.__slots__} for mark in marked.marks]
        yield orjson.dumps({**row, "reply": marked.reply, "marks": marks}) + b"\n"


def _pack(out: Path, data: bytes) -> bytes:
    """``data`` as the file's ending says."""
    if out.suffix == ".gz":
        return gzip.compress(data, mtime=0)
    return zstandard.compress(data) if out.suffix == ".zst" else data


def _text(source: Path, line: int, row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        got = "no" if name not in row else f"{type(value).__name__} for"
        message = f"got {got} {name!r}, expected a string; give the text of the {name} under that name"
        raise FileErrors([FileError(file=str(source), line=line, column=1, message=message)])
    return value


@canary.command("decoys")
@_KEYRING
@click.option("--cluster", required=True, metavar="ID", help="Whose key names the tools.")
@click.option("--count", type=click.IntRange(1, 16), default=2, show_default=True, help="How many.")
def decoys_(keyring: Path, cluster: str, count: int) -> None:
    """Print decoy tools (OpenAI's shape) for tool lists that you hand out yourself, as an agent's maker does.

    The gateway never adds them to a request: a model might call one, and nobody could answer that.
    """
    click.echo(orjson.dumps(decoys(load_keyring(keyring).newest, cluster, count), option=orjson.OPT_INDENT_2).decode())


@canary.command()
@_KEYRING
@click.option("--clusters", required=True, metavar="C1,C2", help="Whose marks are looked for.")
@click.option("--corpus", type=_FILE, metavar="FILE", help='NDJSON of {"prompt"?,"reply"}: outputs or a leaked set.')
@click.option("--endpoint", metavar="URL", help="An OpenAI-compatible server to ask.")
@click.option("--model", metavar="M", help="The model to ask there.")
@click.option("--api-key", envvar="DISTILLGUARD_AUDIT_API_KEY", metavar="K", help="Credential for the endpoint.")
@click.option("--max-queries", type=click.IntRange(1), default=400, show_default=True, help="Questions at most.")
@click.option("--samples", type=click.IntRange(1, 32), default=4, show_default=True, help="Answers to a question.")
@click.option("--concurrency", type=click.IntRange(1, 64), default=4, show_default=True, help="Questions at once.")
@click.option("--per-minute", type=click.FloatRange(0, min_open=True), help="Questions a minute at most.")
@click.option("--transcript", type=_FILE, metavar="FILE", help="Keep answers here; go on from it when started again.")
@click.option("--sequential", is_flag=True, help="Stop as soon as a cluster is named; p-values are then 1 / e.")
@click.option("--alpha", type=click.FloatRange(0, 1, min_open=True), default=ALPHA, show_default=True)
@click.option("--suspect", metavar="NAME", help="What the report calls the suspect (default: the file or model).")
@click.option("--out", type=_FILE, metavar="FILE", help="Write the report as JSON.")
@click.option("--html", "page", type=_FILE, metavar="FILE", help="Write the report as an HTML page.")
@click.option("--json", "as_json_", is_flag=True, help="Print JSON.")
def audit(keyring: Path, clusters: str, out: Path | None, page: Path | None, *, as_json_: bool, **asked: Any) -> None:
    """Test whether a model or a text collection carries clusters' marks."""
    names = _names(clusters)
    if not names:
        raise ConfigError("--clusters: got none, expected at least one cluster")
    ring = load_for_audit(keyring, names)
    if (asked["corpus"] is None) == (asked["endpoint"] is None):
        got = "neither" if asked["corpus"] is None else "both"
        raise ConfigError(f"audit: got {got} of --endpoint and --corpus, expected one of them")
    report = _audit_corpus(ring, names, asked) if asked["corpus"] is not None else _audit_endpoint(ring, names, asked)
    _write_report(report, out, page, as_json_=as_json_)


def _audit_corpus(ring: Keyring, names: list[str], asked: dict[str, Any]) -> AuditReport:
    corpus: Path = asked["corpus"]
    collector = Collector()
    for line, row in read_ndjson(corpus):
        collector.read(_text(corpus, line, row, "reply"))
    return judge(collector, ring, names, suspect=asked["suspect"] or str(corpus), alpha=asked["alpha"])


def _audit_endpoint(ring: Keyring, names: list[str], asked: dict[str, Any]) -> AuditReport:
    if not asked["model"]:
        raise ConfigError("--model: got none, expected the name of the model behind --endpoint")
    check_url("--endpoint", asked["endpoint"])
    stakes = Stakes(ring, names) if asked["sequential"] else None
    plan = Plan(asked["max_queries"])

    async def talk() -> Interview:
        async with httpx.AsyncClient(timeout=120.0, trust_env=False) as client:
            return await interview(
                HttpSuspect(
                    client, asked["endpoint"], asked["model"], api_key=asked["api_key"] or "", samples=asked["samples"]
                ),
                plan,
                transcript=Transcript(asked["transcript"]),
                pace=Pace(
                    concurrency=asked["concurrency"],
                    interval_s=60.0 / asked["per_minute"] if asked["per_minute"] else 0.0,
                    progress=_show_progress,
                ),
                stakes=stakes,
                stop_at=len(names) / asked["alpha"],
            )

    try:
        found = asyncio.run(talk())
    except UpstreamError as error:
        raise ConfigError(f"--endpoint: {error}; check the URL, the model and the credential") from None
    notes = [f"{found.failed} questions got no answer"] if found.failed else []
    if plan.way is not None:
        notes.append(f"the endpoint goes on from words that it is given ({plan.way.value}), and was asked so")
    if stakes is not None:
        notes.append(
            f"sequential: {'stopped early' if found.stopped_early else 'asked to the end'}; p-values are 1 / e"
        )
    return judge(
        found.collector,
        ring,
        names,
        suspect=asked["suspect"] or f"{asked['model']} at {asked['endpoint']}",
        queries=found.asked,
        alpha=asked["alpha"],
        e_values=stakes.highest if stakes else None,
        notes=notes,
    )


def _show_progress(asked: int, total: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r{asked}/{total} questions", nl=asked == total, err=True)


@canary.command()
@_KEYRING
@click.option("--ledger", type=_FILE, required=True, metavar="FILE", help="Fingerprints that `mark --ledger` wrote.")
@click.option("--corpus", type=_FILE, required=True, metavar="FILE", help='NDJSON of {"reply"}: the leaked file.')
@click.option("--out", type=_FILE, metavar="FILE", help="Write what was found as JSON.")
@click.option("--json", "as_json_", is_flag=True, help="Print JSON.")
def trace(keyring: Path, ledger: Path, corpus: Path, out: Path | None, *, as_json_: bool) -> None:
    """Find which recorded replies a leaked file holds, and so which clusters took them."""
    key, recorded = trace_key(load_keyring(keyring)), Ledger.load(ledger)
    rows, matches = 0, []
    for line, row in read_ndjson(corpus):
        rows += 1
        if match := recorded.find(line, _text(corpus, line, row, "reply"), key):
            matches.append(match)
    report = trace_report(str(corpus), rows, matches)
    if out is not None:
        write_atomically(out, orjson.dumps(report, option=orjson.OPT_INDENT_2) + b"\n", mode=0o644)
    if as_json_:
        click.echo(orjson.dumps(report).decode())
        return
    click.echo(f"{len(matches)} of {rows} rows hold recorded replies")
    for found in report["clusters"]:
        click.echo(f"{found['cluster']}: {found['rows']} rows")


def _write_report(report: AuditReport, out: Path | None, page: Path | None, *, as_json_: bool) -> None:
    body = as_json(report)
    if out is not None:
        write_atomically(out, orjson.dumps(body, option=orjson.OPT_INDENT_2) + b"\n", mode=0o644)
    if page is not None:
        write_atomically(page, as_html(report).encode(), mode=0o644)
    click.echo(orjson.dumps(body).decode() if as_json_ else as_text(report))


def _names(text: str | None) -> list[str]:
    """The distinct names of a comma-separated list, in its order."""
    return list(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))
