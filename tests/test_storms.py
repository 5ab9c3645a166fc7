"""Storms of callers who leave at any moment: nothing stays reserved, no slot is lost, nothing runs on."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.budgets import open_budgets
from gateway.clock import SystemClock
from gateway.demo.model import ModelServer
from gateway.types import Algorithm, Budget, Charge, Outcome, Subject, Unit, Window
from tests.live import Live, live_gateway
from tests.test_server_faults import eventually

POLICY = """\
version: 1
plans:
  free:
    budgets:
      - {name: slots, limit: 50 concurrent}
      - {name: tokens, limit: 100_000_000 total_tokens/day}
pass_through:
  - {path: /files/*, methods: [POST]}
"""
MODELS = (
    "gpt-4o",
    "fault-slow",
    "fault-hang-first-byte",
    "fault-hang-mid-stream",
    "fault-break-mid-stream",
    "fault-500",
)
CALLS = 200
CAP = 40


def call(live: Live, number: int) -> None:
    """One caller: what it asks and when it leaves comes from its number."""
    dice = random.Random(number)
    path = dice.choice(("/v1/chat/completions", "/v1/messages", "/v1/responses", "/files/a"))
    ask: dict[str, Any] = {"model": dice.choice(MODELS), "stream": dice.random() < 0.7}
    if path == "/v1/responses":
        ask |= {"input": "Hello?", "max_output_tokens": CAP}
    else:
        ask |= {"messages": [{"role": "user", "content": "Hello?"}], "max_tokens": CAP}
    body = json.dumps(ask).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: sk-{number % 4}\r\ncontent-length: {len(body)}\r\n\r\n"
    data = head.encode() + body
    host, port = live.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=2) as connection:
        if dice.random() < 0.5:  # a reset, not an end
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        whole = dice.random() < 0.8
        connection.sendall(data if whole else data[: dice.randrange(len(data))])
        try:
            for _ in range(dice.choice((0, 0, 1, 2, 5, 40)) if whole else 0):
                connection.settimeout(dice.choice((0.001, 0.02, 0.2)))
                if not connection.recv(dice.choice((1, 100, 65_536))):
                    return
        except OSError:
            return


def nothing_is_held(live: Live) -> bool:
    status = live.rooms.budgets.status()
    return (status["open_reservations"], status["pending_settlements"]) == (0, 0)


def slot(number: int) -> Charge:
    window = Window(algorithm=Algorithm.LEASE)
    budget = Budget(name="free/slots", subject=Subject.ACCOUNT, unit=Unit.CONCURRENCY, limit=50, window=window)
    return Charge(budget=budget, value=f"account-{number}")


@pytest.mark.parametrize("store", ["memory", "redis"])
def test_after_a_storm_of_disconnects_nothing_is_held(tmp_path: Path, store: str, redis_url: str) -> None:
    settings: dict[str, Any] = {"redis": redis_url} if store == "redis" else {}
    rows = [{"account": f"account-{number}", "plan": "free", "api_key": f"sk-{number}"} for number in range(4)]
    model = ModelServer(token_delay_s=0.001)
    with live_gateway(tmp_path, policies=POLICY, accounts=rows, model=model, idle_timeout_s=1.0, **settings) as live:
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(lambda number: call(live, number), range(CALLS)))
        eventually(lambda: live.rooms.status()["active_requests"] == 0)
        eventually(lambda: all(received.ended.is_set() for received in live.model.requests))
        eventually(lambda: nothing_is_held(live))  # what a busy store did not take in time is settled a moment later
        assert asyncio.run(peek(live)) == [50] * 4
        reached = len(live.model.requests)
    if store == "memory":
        outcomes = [event.outcome for event in live.events()]
        assert len(outcomes) == len({event.id for event in live.events()})
        assert reached <= len(outcomes) <= CALLS
        assert set(outcomes) == {Outcome.ANSWERED, Outcome.DISCONNECTED, Outcome.UPSTREAM_FAILED}
        for event in live.events():
            assert event.usage is None or event.usage.output_tokens <= CAP


async def peek(live: Live) -> list[int]:
    """Free slots of all accounts. Memory is asked itself; Redis over a connection of our own."""
    charges = [slot(number) for number in range(4)]
    if live.settings.redis is None:
        return [balance.remaining for balance in await live.rooms.budgets.peek(charges)]
    budgets = open_budgets(live.settings, SystemClock())
    await budgets.open()
    try:
        return [balance.remaining for balance in await budgets.peek(charges)]
    finally:
        await budgets.aclose()
