"""What is measured. Each scenario starts its servers, takes its rounds and returns them.

``Size`` is how long: ``QUICK`` for ``make bench`` (under two minutes), ``FULL`` for ``make bench-full``.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loadtest.load import Load, open_loop, probe, write_requests, wrk
from loadtest.processes import pin
from loadtest.rounds import CollapsedError, Rounds
from loadtest.servers import bare_uvicorn, gateway, litellm, nginx_proxy, redis_server, static_upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from loadtest.processes import Server

PROMPT_CHARS = 2_000
"""A middling prompt of the traffic that gateways report: some 400 tokens."""
BIG_PROMPT_CHARS = 1_000_000
_WORKERS = 2
_CALM_S = 0.5
"""After which the requests that wrk cut off are over; until then a worker may not have told its last counts."""
_STARVED_SHARE = 0.25
"""A server under closed-loop load that got less of a processor than this was starved by its neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much of everything."""

    rounds: int
    plain_s: float
    latency_s: float
    streams: int
    idle_streams: int
    big_s: float
    drift_requests: int
    starts: int


QUICK = Size(rounds=2, plain_s=3, latency_s=3, streams=40, idle_streams=1_000, big_s=2, drift_requests=0, starts=2)
FULL = Size(
    rounds=5, plain_s=6, latency_s=15, streams=100, idle_streams=5_000, big_s=10, drift_requests=200_000, starts=5
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where to work, how much, and LiteLLM's command where it is measured too."""

    folder: Path
    size: Size
    litellm: Path | None = None


def plain(bench: Bench) -> Rounds:
    """CPU per plain request, everything on, beside nginx; then latency at half of what each can do."""
    rounds = Rounds()
    with ExitStack() as stack:
        upstream = stack.enter_context(static_upstream(bench.folder))
        redis = stack.enter_context(redis_server(bench.folder))
        servers = [
            stack.enter_context(nginx_proxy(bench.folder, upstream)),
            stack.enter_context(gateway(bench.folder, upstream)),
            stack.enter_context(gateway(bench.folder, upstream, redis)),
            stack.enter_context(bare_uvicorn(bench.folder)),
        ]
        if bench.litellm is not None:
            servers.append(stack.enter_context(litellm(bench.folder, bench.litellm, upstream)))
        requests = write_requests(bench.folder / "plain", count=4_000, chars=PROMPT_CHARS)
        for server in servers:
            wrk(server, requests, seconds=1)  # caches and connections as after a minute of traffic
        size = bench.size
        rounds.take(size.rounds, {server.name: _closed(server, requests, size.plain_s, redis) for server in servers})
        slowest = min(rounds.median(server.name, "requests_per_s") or 100.0 for server in servers[1:3])
        targets = {"direct": upstream, **{server.name: server for server in servers[:3]}}
        rounds.take(
            max(1, size.rounds // 2),
            {name: _open(server, requests, slowest / 2, size.latency_s) for name, server in targets.items()},
        )
    return rounds


def _closed(
    server: Server, requests: Path, seconds: float, redis: Server, connections: int = 16
) -> Callable[[], Mapping[str, float]]:
    def measure() -> Mapping[str, float]:
        with cpu(server) as spent, cpu(redis) as store:
            load = wrk(server, requests, seconds=seconds, connections=connections)
        _reject_errors(load)
        if spent["s"] < _STARVED_SHARE * load.seconds and server.name != "nginx":
            raise CollapsedError(f"got {spent['s'] / load.seconds:.0%} of a processor")
        found = {
            "cpu_us": 1e6 * spent["s"] / load.requests,
            "requests_per_s": load.requests / load.seconds,
            "requests": float(load.requests),
        }
        if spent["children_s"]:
            found["analysis_cpu_us"] = 1e6 * spent["children_s"] / load.requests
        return found | (
            {"redis_cpu_us": 1e6 * store["s"] / load.requests} if server.name != "gateway" and server.admin_port else {}
        )

    return measure


def _open(server: Server, requests: Path, per_s: float, seconds: float) -> Callable[[], Mapping[str, float]]:
    def measure() -> Mapping[str, float]:
        load = open_loop(server, requests, per_s=per_s, seconds=seconds)
        _reject_errors(load)
        return {"at_per_s": per_s, "p50_ms": load.p50_ms, "p99_ms": load.p99_ms}

    return measure


def _reject_errors(load: Load) -> None:
    if load.errors or not load.requests:
        raise CollapsedError(f"{load.errors} errors in {load.requests} requests")


@contextmanager
def cpu(server: Server) -> Iterator[dict[str, float]]:
    """CPU seconds within the block: ``["s"]`` of what serves, ``["children_s"]`` of what works beside it.

    The gateway's child is the analysis; nginx serves in its child.
    """
    spent: dict[str, float] = {}
    before_s, own_before_s = server.cpu_s(), server.own_cpu_s()
    yield spent
    whole_s, own_s = server.cpu_s() - before_s, server.own_cpu_s() - own_before_s
    serves_itself = server.name in {"gateway", "gateway+redis"}  # where there are workers, they are its children
    spent["s"] = own_s if serves_itself else whole_s
    spent["children_s"] = whole_s - own_s if serves_itself else 0.0


def big(bench: Bench) -> Rounds:
    """CPU per prompt of 1 MB; and how long the gateway answers nobody else, with such prompts and without any."""
    rounds = Rounds()
    with ExitStack() as stack:
        upstream = stack.enter_context(static_upstream(bench.folder))
        nginx = stack.enter_context(nginx_proxy(bench.folder, upstream))
        server = stack.enter_context(gateway(bench.folder, upstream))
        requests = write_requests(bench.folder / "big", count=8, chars=BIG_PROMPT_CHARS)
        for each in (nginx, server):
            rounds.take(1, {each.name: _big(each, requests, bench.size.big_s)})
        rounds.take(1, {"without": _without(server, bench.size.big_s)})
    return rounds


def _big(server: Server, requests: Path, seconds: float) -> Callable[[], Mapping[str, float]]:
    def measure() -> Mapping[str, float]:
        with cpu(server) as spent, _probed(server, seconds) as probed:
            load = wrk(server, requests, seconds=seconds, connections=2)
        _reject_errors(load)
        return {"cpu_ms": 1e3 * spent["s"] / load.requests, "requests_per_s": load.requests / load.seconds, **probed}

    return measure


def _without(server: Server, seconds: float) -> Callable[[], Mapping[str, float]]:
    def measure() -> Mapping[str, float]:
        with _probed(server, seconds) as probed:
            time.sleep(seconds)
        return probed

    return measure


@contextmanager
def _probed(server: Server, seconds: float) -> Iterator[dict[str, float]]:
    """``/livez`` asked all the while, from another process; what it waited for, for servers that have one."""
    found: dict[str, float] = {}
    if not server.admin_port:
        yield found
        return
    with probe(server, seconds=seconds) as said:
        yield found
    found |= {"livez_p99_ms": said["p99_ms"], "livez_longest_ms": said["longest_ms"]}


def workers(bench: Bench) -> Rounds:
    """One worker and two over the same Redis: requests a second, CPU per request of all of them together, and how many of
    the requests ``/metrics`` counted, which any one worker renders for all.

    Where there are four processors or more, the gateway has two of them to itself. Where there are fewer, what the load, the
    upstream and Redis take is missing from the second worker: then CPU per request says what one more processor would bring.
    """
    rounds = Rounds()
    cpus = sorted(os.sched_getaffinity(0))
    own, others = (set(cpus[:_WORKERS]), set(cpus[_WORKERS:])) if len(cpus) >= 2 * _WORKERS else (set(cpus), set(cpus))
    with ExitStack() as stack:
        upstream = stack.enter_context(static_upstream(bench.folder))
        redis = stack.enter_context(redis_server(bench.folder))
        servers = [
            stack.enter_context(gateway(bench.folder, upstream, redis, workers=count, name=f"{count}-worker"))
            for count in (1, _WORKERS)
        ]
        stack.callback(os.sched_setaffinity, 0, set(cpus))
        os.sched_setaffinity(0, others)  # the load is started by this process
        for server in (upstream, redis, *servers):
            pin(server, own if server in servers else others)
        requests = write_requests(bench.folder / "workers", count=4_000, chars=PROMPT_CHARS)
        for server in servers:
            wrk(server, requests, seconds=2, connections=32)
        size = bench.size
        rounds.take(size.rounds, {server.name: _counted(server, requests, size.plain_s, redis) for server in servers})
    for figure, name in (("requests_per_s", "times_one_worker"), ("cpu_us", "times_its_cpu")):
        ratio = rounds.ratio(servers[1].name, servers[0].name, figure)
        if ratio:
            rounds.figures[servers[1].name][name] = [ratio]
    return rounds


def _counted(server: Server, requests: Path, seconds: float, redis: Server) -> Callable[[], Mapping[str, float]]:
    """``_closed`` with many connections; ``counted_share`` is 1 where the metrics of all workers are summed."""
    measured = _closed(server, requests, seconds, redis, 32)

    def measure() -> Mapping[str, float]:
        time.sleep(_CALM_S)
        before = server.metric("distillguard_requests_total")
        found = measured()
        time.sleep(_CALM_S)
        counted = server.metric("distillguard_requests_total") - before
        return {**found, "counted_share": counted / found["requests"]}

    return measure


def drift(bench: Bench) -> Rounds:
    """Growth of resident memory over many requests, after a quarter of them as warm-up, and of that the second half.

    What fills up to a bound (settlements are remembered for a minute, words up to a number) grows in the first half
    only; a leak grows in both.
    """
    rounds = Rounds()
    wanted = bench.size.drift_requests
    with ExitStack() as stack:
        upstream = stack.enter_context(static_upstream(bench.folder))
        server = stack.enter_context(gateway(bench.folder, upstream))
        requests = write_requests(bench.folder / "drift", count=4_000, chars=400)
        _send(server, requests, wanted // 4)
        before_bytes = server.rss_bytes()
        first = _send(server, requests, wanted // 2)
        halfway_bytes = server.rss_bytes()
        second = _send(server, requests, wanted // 2)
        after_bytes = server.rss_bytes()
        found = {
            "requests": float(first + second),
            "MB": (after_bytes - before_bytes) / 1e6,
            "MB_second_half": (after_bytes - halfway_bytes) / 1e6,
        }
        rounds.take(1, {"gateway": lambda: found})
    return rounds


def _send(server: Server, requests: Path, wanted: int) -> int:
    sent = 0
    while sent < wanted:
        load = wrk(server, requests, seconds=10)
        _reject_errors(load)
        sent += load.requests
    return sent


def start(bench: Bench) -> Rounds:
    """Seconds from starting the process until ``/readyz`` says 200."""
    rounds = Rounds()

    def measure(redis: Server | None) -> Callable[[], Mapping[str, float]]:
        def once() -> Mapping[str, float]:
            with gateway(bench.folder, upstream, redis) as server:
                return {"ready_s": server.started_in_s, "cpu_s": server.cpu_s()}

        return once

    with static_upstream(bench.folder) as upstream, redis_server(bench.folder) as redis:
        rounds.take(bench.size.starts, {"gateway": measure(None), "gateway+redis": measure(redis)})
    return rounds
