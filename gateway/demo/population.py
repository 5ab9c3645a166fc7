"""The demo's customers: who they are, what they ask for and how they behave. Seeded; nobody real.

Each behaves as a kind of customer does: people who chat (streams), programs (plain calls), an agent with
tools, a script that goes over its daily budget, an account from a country that the policies deny, a stolen
key that was never issued, and a reader who closes the window in mid-reply.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_TOPICS = (
    "why bread rises",
    "how a canal lock works",
    "the rules of a relay race",
    "what a good bug report holds",
    "how to prune an apple tree",
    "why the sky is dark at night",
    "how a library sorts its shelves",
    "what makes a bridge swing in the wind",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """One account: its row of the account directory, its key and what it does."""

    account: str
    plan: str
    kind: str
    key: str
    country: str = "DE"
    org: str | None = None
    verified: bool = False
    requests: int = 1
    act: Callable[[Caller], AsyncIterator[None]]

    def row(self) -> dict[str, Any]:
        """The account as a line of ``--accounts``; its key in plain text, as only a demo may have it."""
        return {
            "account": self.account,
            "created_at": 1_760_000_000.0,
            "plan": self.plan,
            "org": self.org,
            "country": self.country,
            "verified": self.verified,
            "declared_use": None,
            "api_key": self.key,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one call came back with, as its sender saw it. ``status`` 0: the sender went away."""

    customer: Customer
    status: int
    streamed: bool
    first_byte_s: float
    total_s: float
    error: str | None = None


@dataclass(slots=True)
class Caller:
    """A customer's connection to the gateway; every answer is reported."""

    customer: Customer
    client: httpx.AsyncClient
    report: Callable[[Answer], None]
    rng: random.Random = field(default_factory=random.Random)

    async def openai(self, *, stream: bool = False, leave: bool = False, **more: Any) -> None:
        """One chat completion; with ``leave`` the connection is closed after the first event."""
        body = {
            "model": "gpt-4o-mini",
            "messages": [{"role": "user", "content": self.prompt()}],
            "stream": stream,
            **more,
        }
        await self._call("/v1/chat/completions", {"authorization": f"Bearer {self.customer.key}"}, body, leave=leave)

    async def anthropic(self, *, stream: bool = False, **more: Any) -> None:
        """One message."""
        body = {
            "model": "claude-sonnet-4-5",
            "max_tokens": 400,
            "messages": [{"role": "user", "content": self.prompt()}],
            "stream": stream,
            **more,
        }
        headers = {"x-api-key": self.customer.key, "anthropic-version": "2023-06-01"}
        await self._call("/v1/messages", headers, body)

    def prompt(self) -> str:
        """A harmless question."""
        return f"Please explain {self.rng.choice(_TOPICS)} in {self.rng.randint(2, 6)} sentences."

    async def _call(self, path: str, headers: dict[str, str], body: dict[str, Any], *, leave: bool = False) -> None:
        started_s = time.perf_counter()
        first_s = 0.0
        status = 0
        error = None
        async with self.client.stream("POST", path, headers=headers, json=body) as response:
            seen = bytearray()
            async for chunk in response.aiter_raw():
                first_s = first_s or time.perf_counter() - started_s
                if leave:
                    break
                if response.status_code >= httpx.codes.BAD_REQUEST:
                    seen += chunk
            else:
                status = response.status_code
                error = bytes(seen).decode() or None
        total_s = time.perf_counter() - started_s
        self.report(
            Answer(
                customer=self.customer,
                status=status,
                streamed=bool(body["stream"]),
                first_byte_s=first_s,
                total_s=total_s,
                error=error,
            )
        )


async def _times(customer_requests: int, call: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    for _ in range(customer_requests):
        await call()
        yield


async def _chats(caller: Caller) -> AsyncIterator[None]:
    async for _ in _times(caller.customer.requests, lambda: caller.openai(stream=True)):
        yield


async def _writes(caller: Caller) -> AsyncIterator[None]:
    async for _ in _times(caller.customer.requests, lambda: caller.anthropic(stream=True)):
        yield


async def _programs(caller: Caller) -> AsyncIterator[None]:
    async for _ in _times(caller.customer.requests, lambda: caller.openai(max_tokens=120)):
        yield


async def _agents(caller: Caller) -> AsyncIterator[None]:
    tools = [
        {
            "name": "read_file",
            "description": "Read a file of the project.",
            "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
        }
    ]
    async for _ in _times(caller.customer.requests, lambda: caller.anthropic(stream=True, tools=tools)):
        yield


async def _leaves(caller: Caller) -> AsyncIterator[None]:
    async for _ in _times(caller.customer.requests, lambda: caller.openai(stream=True, leave=True)):
        yield


def population(seed: int = 7) -> list[Customer]:
    """Some forty customers of the plans free, pro, team and enterprise."""
    rng = random.Random(seed)  # noqa: S311 - a scene, not a secret
    customers: list[Customer] = []

    def add(count: int, kind: str, plan: str, act: Callable[[Caller], AsyncIterator[None]], **more: Any) -> None:
        requests = more.pop("requests")
        for _ in range(count):
            name = f"{kind.replace(' ', '-')}-{len(customers):02d}"
            key = f"demo-{name}-{rng.getrandbits(64):016x}"
            wanted = rng.randint(*requests) if isinstance(requests, tuple) else requests
            customers.append(Customer(account=name, plan=plan, kind=kind, key=key, act=act, requests=wanted, **more))

    add(14, "chat", "free", _chats, requests=(3, 9))
    add(10, "writer", "pro", _writes, requests=(3, 9))
    add(5, "program", "team", _programs, requests=(25, 45), org="acme")
    add(4, "agent", "enterprise", _agents, requests=(8, 14), org="globex", verified=True)
    add(1, "over budget", "free", _programs, requests=230)
    add(3, "leaves early", "pro", _leaves, requests=3)
    add(1, "denied country", "pro", _programs, requests=3, country="KP")
    return customers


def stranger() -> Customer:
    """Somebody with a key that was never issued; not in the account directory."""
    return Customer(
        account="stranger", plan="-", kind="unknown key", key="sk-never-issued-0000", requests=4, act=_programs
    )
