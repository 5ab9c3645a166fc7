"""Scenarios of streamed replies; the method is that of ``scenarios``."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from loadtest.load import stream
from loadtest.rounds import CollapsedError, Rounds
from loadtest.scenarios import Bench, cpu
from loadtest.servers import gateway, litellm, nginx_proxy, paced_upstream
from loadtest.streams import ACCOUNTS, credential

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from loadtest.processes import Server

EVENTS = 200
GAP_MS = 20.0
"""50 events a second and stream, as fast models have it."""
_MARKED_SHARE = 0.5
"""Of a suspected cluster's replies at least so many must carry marks: some are held out, some say too little."""


def streamed(bench: Bench) -> Rounds:
    """CPU per streamed event, metered, beside nginx."""
    rounds = Rounds()
    with ExitStack() as stack:
        upstream = stack.enter_context(paced_upstream(bench.folder, EVENTS, GAP_MS))
        servers = [
            stack.enter_context(nginx_proxy(bench.folder, upstream)),
            stack.enter_context(gateway(bench.folder, upstream)),
        ]
        if bench.litellm is not None:
            servers.append(stack.enter_context(litellm(bench.folder, bench.litellm, upstream)))
        rounds.take(bench.size.rounds, {server.name: _read(server, bench.size.streams) for server in servers})
    return rounds


def _read(server: Server, streams: int) -> Callable[[], Mapping[str, float]]:
    def measure() -> Mapping[str, float]:
        with cpu(server) as spent:
            seen = stream(server, streams=streams, replies=1)
        least = streams * EVENTS  # and the stream's own last events, and those that writers end with
        if seen["errors"] or seen["replies"] != streams or not least <= seen["events"] <= least + 5 * streams:
            raise CollapsedError(f"expected {least} events of {streams} streams, got {seen}")
        return {"cpu_us": 1e6 * spent["s"] / seen["events"], "seconds": seen["seconds"]}

    return measure


def marked(bench: Bench) -> Rounds:
    """CPU per streamed event of suspected accounts, whose replies are written anew with marks, beside nginx."""
    rounds = Rounds()
    with ExitStack() as stack:
        upstream = stack.enter_context(paced_upstream(bench.folder, EVENTS, GAP_MS))
        nginx = stack.enter_context(nginx_proxy(bench.folder, upstream))
        suspects = [credential(number) for number in range(ACCOUNTS)]
        server = stack.enter_context(gateway(bench.folder, upstream, suspects=suspects))
        stream(server, streams=2, replies=1)  # the cluster's key is promised with its first reply
        streams = bench.size.streams
        taken = max(1, bench.size.rounds // 2)
        rounds.take(taken, {nginx.name: _read(nginx, streams), server.name: _read_marked(server, streams)})
    return rounds


def _read_marked(server: Server, streams: int) -> Callable[[], Mapping[str, float]]:
    read = _read(server, streams)

    def measure() -> Mapping[str, float]:
        before = server.metric("distillguard_marked_replies_total")
        found = read()
        share = (server.metric("distillguard_marked_replies_total") - before) / streams
        if share < _MARKED_SHARE:
            raise CollapsedError(f"got marks in {share:.0%} of the replies")
        return {**found, "marked_share": share}

    return measure


def idle(bench: Bench) -> Rounds:
    """Memory of an open stream in which nothing happens: RSS with so many, less RSS before."""
    rounds = Rounds()
    with ExitStack() as stack:
        upstream = stack.enter_context(paced_upstream(bench.folder, 1, 0))
        server = stack.enter_context(gateway(bench.folder, upstream))
        stream_count = bench.size.idle_streams
        with _held(server, 50):  # what the first streams load stays; it is not theirs
            pass
        before_bytes = server.rss_bytes()
        with _held(server, stream_count):
            kilobytes = (server.rss_bytes() - before_bytes) / stream_count / 1000
        rounds.take(1, {"gateway": lambda: {"kB_per_idle_stream": kilobytes, "streams": stream_count}})
    return rounds


@contextmanager
def _held(server: Server, streams: int) -> Iterator[None]:
    """Keep streams open during the block. Raises RuntimeError where not all began."""
    command = [sys.executable, "-m", "loadtest.streams", "hold", str(server.port), str(streams)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        seen = json.loads(holder.stdout.readline())
        if seen != {"began": streams, "errors": 0}:
            raise RuntimeError(f"{streams} idle streams: got {seen}")
        try:
            yield
        finally:
            holder.communicate()
