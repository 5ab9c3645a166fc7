"""How ``distillguard replay`` grows with the log: the same accounts, more and more days.

    python -m loadtest.replay_growth [--sizes 100000,1000000] [--accounts 2000] [--seed 1] [--folder DIR]

Writes one log per size (customers of ``loadtest.population``, no campaign; each log begins like the next larger one) and
replays it with the shipped policies. Prints requests per second, processor time a request and the most memory, each of
all processes together, and the last two relative to the first size: linear growth is time a request that stays (other
load moves it less than the rate), memory bounded by accounts is memory that stays. About 40 MB on the disk for 100,000 requests, removed at the end unless ``--folder`` names a place for them.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import orjson

from loadtest.population import Size, requests, write_accounts

_MANY_DAYS = 100_000.0
"""No log ends by time."""


def write_log(folder: Path, accounts: int, count: int, seed: int) -> Path:
    """A log of ``count`` requests of as many accounts, and their directory beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    size = Size(accounts=accounts, campaign_accounts=0, days=_MANY_DAYS, seed=seed)
    known = write_accounts(folder, size)
    path = folder / "requests.ndjson.gz"
    with gzip.open(path, "wb", compresslevel=1) as out:
        for row in islice(requests(known, size), count):
            out.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
    return path


def replay(folder: Path, log: Path) -> tuple[dict[str, Any], float]:
    """The summary of a replay in processes of its own, and their processor time a request in microseconds."""
    command = [sys.executable, "-m", "gateway", "replay", "--accounts", str(folder / "accounts.ndjson")]
    command += ["--requests", str(log), "--out", str(folder / "out"), "--json"]
    before_s = _children_s()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary, (_children_s() - before_s) * 1e6 / summary["requests"]


def _children_s() -> float:
    """Processor time of all processes that ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Write, replay, print one row a size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="100000,1000000", help="requests, separated by commas")
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    print(
        f"{'requests':>12}{'accounts':>10}{'days':>8}{'seconds':>10}{'requests/s':>12}{'us each':>9}{'MiB':>7}"
        f"{'time':>7}{'memory':>8}"
    )
    first: tuple[dict[str, Any], float] | None = None
    with tempfile.TemporaryDirectory() as made:
        for count in map(int, given.sizes.split(",")):
            folder = (given.folder or Path(made)) / str(count)
            summary, each_us = replay(folder, write_log(folder, given.accounts, count, given.seed))
            first = first or (summary, each_us)
            memory = summary["peak_memory_bytes"] / first[0]["peak_memory_bytes"]
            days = (summary["last_ts"] - summary["first_ts"]) / 86_400
            print(
                f"{summary['requests']:>12,}{summary['accounts']:>10,}{days:>8.1f}{summary['seconds']:>10.1f}"
                f"{summary['requests_per_s']:>12,.0f}{each_us:>9.0f}{summary['peak_memory_bytes'] / 2**20:>7.0f}"
                f"{each_us / first[1]:>7.2f}{memory:>8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
