"""What each room takes of a plain request, alone in this process: a table of microseconds and of calls.

    python -m loadtest.rooms [--redis URL] [--seconds 8]

The rooms are those of ``serve`` with the load test's policies; the requests are those of ``bench``. Each request goes down
the path step by step; what follows its reply is done for many at a time, as in ``gateway.afterwards``. A step's time is its median over requests in the quickest of many turns, its calls are those of
functions, Python's and C's, that ``sys.setprofile`` counts. Sockets, the guard and the server are not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.afterwards import MOST
from gateway.dialects import BodyEdit, edit_body, read_request
from gateway.errors import DistillguardError
from gateway.rooms import Rooms
from gateway.settings import Settings
from gateway.types import Grant, Outcome
from loadtest.load import write_requests
from loadtest.scenarios import PROMPT_CHARS
from loadtest.servers import REPLY, policies

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.pipeline import Exchange, Pipeline

_HEAD = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(REPLY))]
_REQUESTS = 4_000
"""As in ``bench``: more than the texts that are kept."""
_TURNS_AT_LEAST = 3


@dataclass(slots=True)
class Steps:
    """Times or calls of each step of one turn, in the order of the path."""

    count: bool
    found: dict[str, list[float]] = field(default_factory=dict)
    _seen: int = 0
    _from: float = 0.0

    def begin(self) -> None:
        """The next step starts here."""
        if self.count:
            self._seen = 0
            sys.setprofile(self._saw)
        else:
            self._from = time.perf_counter()

    def end(self, name: str) -> None:
        """It ends here."""
        if self.count:
            sys.setprofile(None)
            value = float(self._seen - 2)  # ours: ``end`` and ``setprofile``
        else:
            value = (time.perf_counter() - self._from) * 1e6
        self.found.setdefault(name, []).append(value)

    def step(self, name: str, what: Callable[[], Any]) -> Any:
        """What ``what`` answers."""
        self.begin()
        answer = what()
        self.end(name)
        return answer

    def _saw(self, _frame: object, what: str, _arg: object) -> None:
        self._seen += what in {"call", "c_call"}


@asynccontextmanager
async def opened(redis: str) -> AsyncIterator[Rooms]:
    """Rooms as ``serve`` opens them, without the analysis, in a folder of their own."""
    with tempfile.TemporaryDirectory(prefix="distillguard-rooms-") as folder:
        home = Path(folder)
        rooms = Rooms(
            Settings(
                upstream="http://127.0.0.1:1",
                policies=policies(home),
                state_dir=home / "state",
                redis=redis,
                store_timeout_s=5.0,
                analysis=False,
                log_level="error",
            )
        )
        await rooms.start()
        try:
            yield rooms
        finally:
            await rooms.stop()


def requests(home: Path) -> list[tuple[list[tuple[bytes, bytes]], bytes]]:
    """Headers and body of each request of ``bench``."""
    found = []
    for line in write_requests(home / "requests", count=_REQUESTS, chars=PROMPT_CHARS).read_bytes().splitlines():
        credential, _, body = line.partition(b"\t")
        headers = [
            (b"host", b"127.0.0.1:8080"),
            (b"content-type", b"application/json"),
            (b"authorization", b"Bearer " + credential),
            (b"content-length", b"%d" % len(body)),
        ]
        found.append((headers, body))
    return found


async def one(rooms: Rooms, headers: list[tuple[bytes, bytes]], body: bytes, steps: Steps) -> Exchange:
    """One request down the path, until its reply goes out."""
    path: Pipeline = rooms.pipeline
    step = steps.step
    exchange: Exchange = step("open", lambda: path.open("POST", "/v1/chat/completions", headers))
    step("identity and route", lambda: path.recognise(exchange, headers, ("127.0.0.1", 4)))
    assert exchange.route is not None
    assert exchange.identity is not None
    route, identity, now_s = exchange.route, exchange.identity, exchange.started_at
    facts = exchange.facts = step("request read", lambda: read_request(route, body))
    exchange.standing = step("standing", lambda: path._standing(exchange, identity, facts))  # noqa: SLF001 - its step
    plan = step("policy", lambda: path.policies.current.decide(identity, facts, exchange.standing, now_s))
    exchange.plan = plan
    amounts = step("estimate", lambda: path.estimator.estimate(facts, plan))
    steps.begin()
    grant = await path.budgets.reserve(exchange.id, plan.charges, amounts)
    steps.end("budgets: reserve")
    if not isinstance(grant, Grant):
        raise DistillguardError(f"got {grant!r}, expected a grant")
    exchange.grant = grant
    step("body to forward", lambda: edit_body(route, facts, body, BodyEdit()))
    exchange.sent_upstream = True
    reader = step("reply: reader", lambda: path.read_reply(exchange, 200, list(_HEAD)))
    step("reply: read", lambda: (reader.feed(REPLY.encode()), reader.finish()))
    exchange.outcome = Outcome.ANSWERED
    steps.begin()
    await path.settle(exchange)
    steps.end("budgets: settle")
    exchange.ended_s = path.clock.monotonic()
    return exchange


def afterwards(path: Pipeline, over: list[Exchange], steps: Steps) -> None:
    """What follows the replies of some requests."""
    for exchange in over:
        steps.step("traits", lambda: path.look(exchange))  # noqa: B023 - called at once
    for exchange in over:
        event = steps.step("event made", lambda: path.event(exchange))  # noqa: B023 - as above
        steps.step("event written", lambda: path.events.append(event))  # noqa: B023 - as above
        steps.step("metrics", lambda: path.metrics.observe(event))  # noqa: B023 - as above


async def turn(rooms: Rooms, asked: list[tuple[list[tuple[bytes, bytes]], bytes]], steps: Steps) -> None:
    """All requests."""
    for first in range(0, len(asked), MOST):
        over = [await one(rooms, headers, body, steps) for headers, body in asked[first : first + MOST]]
        afterwards(rooms.pipeline, over, steps)


async def measure(redis: str, seconds: float) -> dict[str, tuple[float, float]]:
    """Step -> microseconds, calls."""
    best: dict[str, float] = {}
    async with opened(redis) as rooms:
        with tempfile.TemporaryDirectory() as folder:
            asked = requests(Path(folder))
        until_s, turns = time.monotonic() + seconds, 0
        while turns < _TURNS_AT_LEAST or time.monotonic() < until_s:
            steps, turns = Steps(count=False), turns + 1
            await turn(rooms, asked, steps)
            for name, values in steps.found.items():
                best[name] = min(best.get(name, 1e9), statistics.median(values))
        steps = Steps(count=True)
        await turn(rooms, asked[:50], steps)
    return {name: (best[name], statistics.median(values)) for name, values in steps.found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redis", default="", help="budgets, events and keys in this Redis, which is written to")
    parser.add_argument("--seconds", type=float, default=8.0)
    given = parser.parse_args()
    found = asyncio.run(measure(given.redis, given.seconds))
    print(f"{'step':<20}{'us':>8}{'calls':>8}")
    for name, (us, calls) in [*found.items(), ("all", tuple(map(sum, zip(*found.values(), strict=True))))]:
        print(f"{name:<20}{us:>8.1f}{calls:>8.0f}")


if __name__ == "__main__":
    main()
