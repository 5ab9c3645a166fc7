"""``make bench``: what the gateway costs, everything on, beside nginx in the same minutes.

    python -m loadtest.bench [--full] [--only plain,streamed,...] [--litellm PATH] [--out DIR]

Prints a table and writes every round's figures as JSON. See README.md for the method.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest import scenarios, stream_scenarios
from loadtest.servers import nginx_path, tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtest.rounds import Rounds
    from loadtest.scenarios import Bench

_SCENARIOS: dict[str, Callable[[Bench], Rounds]] = {
    "start": scenarios.start,
    "plain": scenarios.plain,
    "streamed": stream_scenarios.streamed,
    "marked": stream_scenarios.marked,
    "idle": stream_scenarios.idle,
    "big": scenarios.big,
    "workers": scenarios.workers,
    "drift": scenarios.drift,
}
_FULL_ONLY = frozenset({"workers", "drift"})
_PACKAGES = ("uvicorn", "uvloop", "httptools", "httpx", "orjson", "redis", "hiredis", "numpy")


def main() -> None:
    """Run the chosen scenarios and print what they found."""
    given = _arguments()
    size = scenarios.FULL if given.full else scenarios.QUICK
    if given.drift_requests:
        size = dataclasses.replace(size, drift_requests=given.drift_requests)
    chosen = (
        given.only.split(",") if given.only else [name for name in _SCENARIOS if name not in _FULL_ONLY or given.full]
    )
    report: dict[str, Any] = {"host": host(), "size": "full" if given.full else "quick", "scenarios": {}}
    print(_host_lines(report["host"]))
    for name in chosen:
        with tempfile.TemporaryDirectory(prefix="distillguard-bench-") as folder:
            started_s = time.monotonic()
            bench = scenarios.Bench(folder=Path(folder), size=size, litellm=given.litellm)
            rounds = _SCENARIOS[name](bench)
        report["scenarios"][name] = rounds.as_json()
        print(_table(name, rounds, time.monotonic() - started_s))
    report["load_after"] = os.getloadavg()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / f"bench-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.json"
    path.write_text(json.dumps(report, indent=1))
    print(f"raw figures: {path}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="longer rounds, more of them, two workers, memory drift")
    parser.add_argument("--only", default="", help=f"some of {','.join(_SCENARIOS)}")
    parser.add_argument("--litellm", type=Path, help="the litellm command of its own virtual environment")
    parser.add_argument(
        "--drift-requests", type=int, default=0, help="over how many `drift` looks, after a quarter more"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder for the figures")
    return parser.parse_args()


def host() -> dict[str, Any]:
    """What the figures depend on, the load of other programs included."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
        "nginx": _said([nginx_path(), "-v"]),
        "wrk": _said([tool("wrk", "wrk"), "-v"]),
        "redis": _said([tool("redis-server", "redis-server"), "--version"]),
        "load_before": os.getloadavg(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _said(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().split("\n")[0]


def _host_lines(found: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {number}" for name, number in found["packages"].items())
    load = ", ".join(f"{value:.1f}" for value in found["load_before"])
    return (
        f"{found['cpu']}, {found['cores']} cores, Linux {found['kernel']}, CPython {found['python']}; load {load}\n"
        f"{packages}\n{found['nginx']}; {found['wrk']}; {found['redis']}\n"
        "CPU is user+system of the server's processes; medians of alternating rounds; collapsed rounds are repeated."
    )


def _table(name: str, rounds: Rounds, seconds: float) -> str:
    lines = [f"\n{name} ({seconds:.0f} s)"]
    for server, names in rounds.figures.items():
        cells = [f"{figure} {rounds.median(server, figure):,.4g}" for figure in names]
        ratio = rounds.ratio(server, "nginx", "cpu_us")
        if ratio is not None and server != "nginx":
            cells.append(f"= {ratio:.1f} x nginx")
        lines.append(f"  {server:<14} " + "  ".join(cells))
    lines += [f"  rejected: {reason}" for reason in rounds.rejected]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
