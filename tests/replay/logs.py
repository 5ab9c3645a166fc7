"""Small logs that tests write, and what a replay of them leaves."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import zstandard

from gateway.policy import load_policies
from gateway.replay.output import Job, run_replay

START_S = 1_800_000_000.0

POLICY = """\
version: 1
plans:
  free:
    budgets:
      - limit: 3/day
  pro:
    budgets:
      - limit: 1000/day
      - limit: 2/day
        name: trial
        shadow: true
rules:
  - name: no-opus
    match: {model: "opus*"}
    then: {refuse: true}
  - name: watermark
    match: {account: marked}
    then: {mark: true}
"""


def request(number: int, account: str = "a1", *, after_s: float | None = None, **more: Any) -> dict[str, Any]:
    """A line of a log; ``more`` replaces fields, ``text`` and ``model`` stand in the body."""
    text, model = more.pop("text", f"What is {number} times seven?"), more.pop("model", "m-small")
    return {
        "id": f"r{number}",
        "ts": START_S + (number if after_s is None else after_s),
        "account": account,
        "ip": "203.0.113.9",
        "headers": {"user-agent": "tests"},
        "path": "/v1/chat/completions",
        "body": {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 50},
        "usage": {"input_tokens": 10, "output_tokens": 20},
        "status": 200,
        **more,
    }


def account(name: str, plan: str = "free", **more: Any) -> dict[str, Any]:
    return {"account": name, "plan": plan, "org": None, "created_at": START_S - 1e6, **more}


def write_rows(path: Path, rows: Sequence[dict[str, Any] | bytes]) -> Path:
    """NDJSON, packed by the name's ending; a line given as bytes stands as it is."""
    data = b"".join((row if isinstance(row, bytes) else orjson.dumps(row)) + b"\n" for row in rows)
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstandard.ZstdCompressor().compress(data)
    path.write_bytes(data)
    return path


@dataclass(frozen=True)
class Results:
    """What a replay left in its folder."""

    folder: Path
    summary: dict[str, Any]

    @property
    def decisions(self) -> list[dict[str, Any]]:
        with gzip.open(self.folder / "decisions.ndjson.gz") as file:
            return [orjson.loads(line) for line in file]

    @property
    def actions(self) -> list[str]:
        return [decision["action"] for decision in self.decisions]


def job_of(
    folder: Path, rows: Sequence[dict[str, Any] | bytes], *, accounts: Sequence[dict[str, Any] | bytes] | None = None,
    policy: str = POLICY, name: str = "requests.ndjson", apart: bool = False,
) -> Job:  # fmt: skip
    (folder / "policy.yaml").write_text(policy)
    known = accounts if accounts is not None else [account("a1"), account("p1", "pro"), account("marked", "pro")]
    return Job(
        policies=load_policies(folder / "policy.yaml"),
        accounts=write_rows(folder / "accounts.ndjson", known),
        requests=write_rows(folder / name, rows),
        out=folder / "out",
        apart=apart,
    )


def replay(folder: Path, rows: Sequence[dict[str, Any] | bytes], **given: Any) -> Results:
    job = job_of(folder, rows, **given)
    return Results(job.out, asyncio.run(run_replay(job)))
