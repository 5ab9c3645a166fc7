"""Load: plain requests by wrk, streams and open-loop calls by programs of our own, each in its own process."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loadtest.servers import HERE, tool
from loadtest.texts import prompt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from loadtest.processes import Server

_ACCOUNTS = 500
_GRACE_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a load generator saw."""

    requests: int
    seconds: float
    errors: int
    p50_ms: float
    p99_ms: float


def write_requests(path: Path, *, count: int, chars: int, seed: int = 1) -> Path:
    """A file of requests for ``wrk.lua`` and ``open_loop``: ``count`` different prompts of many accounts."""
    rng = random.Random(seed)  # noqa: S311 - a load, not a secret
    with path.open("w") as out:
        for index in range(count):
            messages = [
                {"role": "system", "content": "You are a helpful assistant that answers in short sentences."},
                {"role": "user", "content": prompt(rng, chars)},
            ]
            body = {"model": "gpt-4o-mini", "messages": messages, "max_tokens": 256, "temperature": 0.7}
            out.write(f"sk-load-{index % _ACCOUNTS}\t{json.dumps(body)}\n")
    return path


def wrk(target: Server, requests: Path, *, seconds: float, connections: int = 16) -> Load:
    """Closed-loop load: as many requests as ``target`` answers."""
    command = [tool("wrk", "wrk"), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
    command += ["-s", str(HERE / "wrk.lua"), target.url]
    done = subprocess.run(
        command,
        env={**os.environ, "DISTILLGUARD_REQUESTS": str(requests)},
        capture_output=True,
        text=True,
        timeout=seconds + _GRACE_S,
        check=True,
    )
    return Load(**json.loads(done.stdout.rpartition("RESULT ")[2]))


def open_loop(target: Server, requests: Path, *, per_s: float, seconds: float) -> Load:
    """Requests at fixed moments, whether or not earlier ones are answered (see ``open_loop.py``)."""
    return Load(**_program("open_loop", target.port, requests, per_s, seconds, timeout_s=seconds + _GRACE_S))


def stream(target: Server, *, streams: int, replies: int) -> dict[str, Any]:
    """``streams`` callers that read ``replies`` streamed replies each (see ``streams.py``)."""
    return _program("streams", "read", target.port, streams, replies, timeout_s=300)


@contextmanager
def probe(target: Server, *, seconds: float) -> Iterator[dict[str, float]]:
    """``/livez`` asked one time after the other during the block; afterwards ``p99_ms`` and ``longest_ms``."""
    found: dict[str, float] = {}
    command = [sys.executable, "-m", "loadtest.probe", str(target.admin_port), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as prober:
        yield found
        said, _ = prober.communicate(timeout=seconds + _GRACE_S)
    found |= json.loads(said)


def _program(name: str, *args: object, timeout_s: float) -> dict[str, Any]:
    command = [sys.executable, "-m", f"loadtest.{name}", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise RuntimeError(f"loadtest.{name} failed: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
