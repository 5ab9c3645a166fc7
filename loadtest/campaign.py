"""``make bench-campaign SCALE=0.004``: a population with a known campaign through ``distillguard replay``.

    python -m loadtest.campaign [--scale 0.004] [--seed 1] [--before-days 2] [--policies DIR] [--json]

SCALE 1 is the reported campaign: 25,000 accounts, 28.8 million requests in 45 days, beside five times as many customers. The
log is made while it is read, through a pipe, so that it needs no room. Prints requests per second, peak
memory, when the campaign was first met with enforcement, what it got before that, and who was hurt. Hours count from
the campaign's begin; it is contained from the hour on after which at most 5 % of a day's requests are unmarked.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from itertools import repeat
from pathlib import Path
from typing import Any

from loadtest.population import BEFORE_DAYS, Size, write_accounts

_ENFORCED = frozenset({"mark", "throttle", "refuse"})
_HOUR_S = 3_600.0
_DAY_HOURS = 24
_MOST_LEAKED = 0.05


def replay(folder: Path, size: Size, policies: Path | None) -> dict[str, Any]:
    """Run ``distillguard replay`` on what a maker writes into a pipe; its summary."""
    maker_command = [sys.executable, "-m", "loadtest.population", str(folder), "--pipe", "--seed", str(size.seed)]
    maker_command += ["--accounts", str(size.accounts), "--campaign-accounts", str(size.campaign_accounts)]
    maker_command += ["--days", str(size.days), "--before-days", str(size.before_days)]
    command = [sys.executable, "-m", "gateway", "replay", "--accounts", str(folder / "accounts.ndjson"), "--json"]
    command += ["--requests", "-", "--out", str(folder / "out")]
    command += ["--policies", str(policies)] if policies else []
    with subprocess.Popen(maker_command, stdout=subprocess.PIPE) as maker:
        assert maker.stdout is not None
        done = subprocess.run(command, stdin=maker.stdout, capture_output=True, text=True, check=False)
        maker.stdout.close()  # where replay gave up, the maker has nobody to write to and ends
    if done.returncode or maker.returncode:
        raise SystemExit(done.stderr or f"the maker of the log ended with {maker.returncode}")
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def outcome(folder: Path, members: set[str], campaign_at: float) -> dict[str, Any]:
    """Who got what: answered without a mark is leaked for a member, and right for a customer.

    Decisions stand in the order of the requests, so both are read side by side, whatever their number.
    """
    actions: Counter[tuple[bool, str]] = Counter()
    hours: defaultdict[int, Counter[bool]] = defaultdict(Counter)
    met: dict[str, float] = {}
    hurt: set[str] = set()
    with (folder / "asked.ndjson").open() as rows, gzip.open(folder / "out" / "decisions.ndjson.gz", "rt") as decisions:
        for row, line in zip(rows, decisions, strict=True):
            number, account, ts = row.split()
            decision = json.loads(line)
            if decision["id"] != number:
                raise SystemExit(f"decisions.ndjson.gz: got {decision['id']}, expected {number}: the order of the log")
            action, after_h = decision["action"], (float(ts) - campaign_at) / _HOUR_S
            actions[account in members, action] += 1
            if account in members:
                hours[int(after_h)][action == "allow"] += 1
            if decision["cluster"] is not None and action in _ENFORCED:
                if account in members:
                    met.setdefault(account, after_h)
                else:
                    hurt.add(account)
    campaign = sum(count for (member, _), count in actions.items() if member)
    leaked = actions[True, "allow"]
    return {
        "campaign_requests": campaign,
        "leaked_requests": leaked,
        "leaked_share": leaked / campaign if campaign else 0.0,
        "members": len(members),
        "members_met": len(met),
        "first_met_after_h": min(met.values(), default=None),
        "half_met_after_h": _after_h(met, members, 0.5),
        "contained_after_h": _contained_after_h(hours),
        "customers_hurt_by_a_verdict": len(hurt),
        "actions": {
            f"{'campaign' if m else 'customers'}.{name}": count for (m, name), count in sorted(actions.items())
        },
    }


def _after_h(met: dict[str, float], members: set[str], share: float) -> float | None:
    """Hours until that share of the members was met; ``None`` where it never was."""
    wanted = max(1, round(len(members) * share))
    return sorted(met.values())[wanted - 1] if len(met) >= wanted else None


def _contained_after_h(hours: dict[int, Counter[bool]]) -> float | None:
    """The first hour from which on a day's requests leak by at most ``_MOST_LEAKED``; ``None``: never."""
    for hour in range(max(hours, default=-1) + 1):
        day = sum(map(hours.get, range(hour, hour + _DAY_HOURS), repeat(Counter())), Counter[bool]())
        if day and day[True] <= _MOST_LEAKED * day.total():
            return float(hour)
    return None


def run(size: Size, policies: Path | None) -> dict[str, Any]:
    """Make, replay and judge one population."""
    with tempfile.TemporaryDirectory(prefix="distillguard-campaign-") as name:
        folder = Path(name)
        members = {str(account.row["account"]) for account in write_accounts(folder, size) if account.campaign}
        summary = replay(folder, size, policies)
        return {
            "population": dataclasses.asdict(size),
            "replay": summary,
            "outcome": outcome(folder, members, size.campaign_at),
        }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=0.004)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--before-days", type=float, default=BEFORE_DAYS, help="0: the log opens with the campaign")
    parser.add_argument("--policies", type=Path)
    parser.add_argument("--json", action="store_true", dest="as_json")
    given = parser.parse_args()
    found = run(Size.scaled(given.scale, given.seed, given.before_days), given.policies)
    if given.as_json:
        print(json.dumps(found, indent=1))
        return
    summary, result, size = found["replay"], found["outcome"], found["population"]
    print(
        f"{size['accounts']:,} customers, {size['campaign_accounts']:,} members, {size['before_days']:g} + {size['days']:g} days, seed {size['seed']}"
    )
    print(
        f"{summary['requests']:,} requests in {summary['seconds']:,.0f} s: {summary['requests_per_s']:,.0f}/s, "
        f"{summary['peak_memory_bytes'] / 2**20:,.0f} MiB at most; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    print(
        f"members met {result['members_met']:,} of {result['members']:,}; first after {_hours(result['first_met_after_h'])}, "
        f"half after {_hours(result['half_met_after_h'])}; contained after {_hours(result['contained_after_h'])}"
    )
    print(f"leaked {result['leaked_requests']:,} of {result['campaign_requests']:,} ({result['leaked_share']:.1%})")
    print(f"customers hurt by a verdict: {result['customers_hurt_by_a_verdict']:,} of {size['accounts']:,}")


def _hours(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} h"


if __name__ == "__main__":
    main()
