"""Two gateway processes, one Redis, 64 callers who leave when they like, one worker killed: never one too many.

Half of the callers share an account with a limit of requests, half one with a limit of tokens. Requests are exact: no
more reach the model server than the limit. Tokens are what callers were given, by the model server's own count; only
what flowed through the killed worker in its last moment may be uncounted.
"""

from __future__ import annotations

import json
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

LIMIT = 150
TOKENS = 3_000
CAP = 40
CALLERS = 64
CALLS_EACH = 12
POLICY = f"""\
version: 1
plans:
  by-requests:
    budgets:
      - limit: {LIMIT}/day
      - limit: 64 concurrent
  by-tokens:
    budgets:
      - limit: {TOKENS} output_tokens/day
      - limit: 64 concurrent
"""
KEYS = {plan: f"sk-{plan}-0123456789" for plan in ("by-requests", "by-tokens")}
PATIENT = ("--store-timeout-s", "5")
"""The store is never away here; on a busy machine the default 50 ms would hand decisions to ``local_share``."""


def children_of(pid: int) -> list[int]:
    """The worker processes of a supervisor."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def call(client: httpx.Client, url: str, rng: random.Random) -> tuple[int, int]:
    """One request, as patient or impatient as callers are: its status (0 where the connection broke) and the tokens
    that came, by the model server's count where it came to tell.
    """
    stream = rng.random() < 0.5
    body = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": "Why does bread rise?"}],
        "stream": stream,
        "stream_options": {"include_usage": True} if stream else None,
        "max_tokens": rng.choice([5, CAP]),
    }
    leave_after = rng.choice([None, None, 0, 1, 3]) if stream else None
    status, seen = 0, 0
    try:
        with client.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=20) as answer:
            status = answer.status_code
            for number, line in enumerate(answer.iter_lines()):
                seen = max(seen, tokens_in(line, seen))
                if number == leave_after:
                    break
    except httpx.TransportError:
        status = 0
    return status, seen


def tokens_in(line: str, before: int) -> int:
    """Tokens so far after a line of a reply: as it tells, or one more for a delta with a text."""
    text = line.removeprefix("data: ")
    if not text.startswith("{"):
        return before
    found = json.loads(text)
    if found.get("usage"):
        return int(found["usage"]["completion_tokens"])
    return before + any(choice.get("delta", {}).get("content") for choice in found.get("choices", ()))


def test_never_one_request_and_never_one_token_too_many(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    accounts = [{"account": plan, "plan": plan, "api_key": key} for plan, key in KEYS.items()]
    (tmp_path / "accounts.ndjson").write_text("".join(json.dumps(row) + "\n" for row in accounts))
    model = ModelServer(keep=10_000, token_delay_s=0.001)
    options = ("--redis", redis_url, "--workers", "2", "--accounts", str(tmp_path / "accounts.ndjson"), *PATIENT)
    with (
        serve_in_thread(model) as upstream,
        serving(tmp_path, "--upstream", upstream, *options) as gateway,
    ):
        killed = threading.Event()

        def caller(seed: int) -> list[tuple[int, int]]:
            rng = random.Random(seed)
            found = []
            plan = list(KEYS)[seed % 2]
            with httpx.Client(headers={"authorization": f"Bearer {KEYS[plan]}", "x-half": plan}) as client:
                for number in range(CALLS_EACH):
                    if seed == 0 and number == 3:
                        os.kill(children_of(gateway.process.pid)[0], signal.SIGKILL)
                        killed.set()
                    found.append(call(client, gateway.url, rng))
            return found

        with ThreadPoolExecutor(CALLERS) as pool:
            per_caller = list(pool.map(caller, range(CALLERS)))
        assert killed.is_set()
        for seed, plan in enumerate(KEYS):  # what was given back at the end is spent too
            with httpx.Client(headers={"authorization": f"Bearer {KEYS[plan]}", "x-half": plan}) as client:
                while (last := call(client, gateway.url, random.Random(seed)))[0] == httpx.codes.OK:
                    per_caller[seed].append(last)
                assert last[0] == httpx.codes.TOO_MANY_REQUESTS
    by_requests, by_tokens = ([one for found in per_caller[half::2] for one in found] for half in (0, 1))
    reached = sum(one.header("x-half") == "by-requests" for one in model.requests)
    answered = sum(status == 200 for status, _ in by_requests)
    given = sum(tokens for _, tokens in by_tokens)
    print(f"limit {LIMIT}: {reached} reached the model, {answered} answered; limit {TOKENS} tokens: {given} given")
    assert answered <= reached <= LIMIT
    assert {status for found in per_caller for status, _ in found} <= {0, 200, 429, 502}
    in_flight = CALLERS // 2
    assert reached >= LIMIT - in_flight, "only what was in flight at the kill may be lost to the limit"
    assert TOKENS - (in_flight + 1) * CAP <= given <= TOKENS + in_flight * CAP
