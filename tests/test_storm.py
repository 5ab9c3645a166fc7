"""Two gateway processes, one Redis, 64 callers who leave when they like, one worker killed: never one too many.

Requests are exact: no more reach the model server than the limit. Tokens are held to the bound that
docs/budgets.md states: what was in flight and declared less than it used.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from gateway.demo.live import serve_in_thread
from gateway.demo.model import ModelServer
from tests.test_server import serving

LIMIT = 300
CALLERS = 64
CALLS_EACH = 12
POLICY = f"""\
version: 1
plans:
  free:
    budgets:
      - limit: {LIMIT}/day
      - limit: 64 concurrent
"""
PATIENT = ("--store-timeout-s", "5")
"""The store is never away here; on a busy machine the default 50 ms would hand decisions to ``local_share``."""
KEY = {"authorization": "Bearer sk-one-for-all"}


def children_of(pid: int) -> list[int]:
    """The worker processes of a supervisor."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def call(client: httpx.Client, url: str, rng: random.Random) -> int:
    """One request, as patient or impatient as callers are; its status, 0 where the connection broke."""
    stream = rng.random() < 0.5
    body = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "Why does bread rise?"}],
        "stream": stream,
        "max_tokens": rng.choice([5, 40]),
    }
    leave_after = rng.choice([None, None, 0, 1, 3]) if stream else None
    try:
        with client.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=20) as answer:
            for number, _ in enumerate(answer.iter_bytes()):
                if number == leave_after:
                    break
            return answer.status_code
    except httpx.TransportError:
        return 0


def test_never_one_request_too_many(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    model = ModelServer(keep=10_000, token_delay_s=0.001)
    with (
        serve_in_thread(model) as upstream,
        serving(tmp_path, "--upstream", upstream, "--redis", redis_url, "--workers", "2", *PATIENT) as gateway,
    ):
        killed = threading.Event()

        def caller(seed: int) -> list[int]:
            rng = random.Random(seed)
            statuses = []
            with httpx.Client(headers=KEY) as client:
                for number in range(CALLS_EACH):
                    if seed == 0 and number == 3:
                        os.kill(children_of(gateway.process.pid)[0], signal.SIGKILL)
                        killed.set()
                    statuses.append(call(client, gateway.url, rng))
            return statuses

        with ThreadPoolExecutor(CALLERS) as pool:
            statuses = [status for found in pool.map(caller, range(CALLERS)) for status in found]
        assert killed.is_set()
        with httpx.Client(headers=KEY) as client:
            last = client.post(f"{gateway.url}/v1/chat/completions", json={"model": "m", "messages": []})
    reached = len(model.requests)
    answered = statuses.count(200)
    print(f"limit {LIMIT}: {reached} reached the model, {answered} answered, {statuses.count(429)} refused")
    assert reached <= LIMIT
    assert answered <= reached
    assert set(statuses) <= {0, 200, 429, 502}
    assert last.status_code == 429, "the budget is spent, so the next request is refused"
    assert reached >= LIMIT - CALLERS, "only what was in flight at the kill may be lost to the limit"
