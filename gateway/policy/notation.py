"""How limits, durations, shares and names are written in a policy file.

Rates are written as the ``limits`` library writes them (``200/day``, ``5 per 10 seconds``), with the unit
that is counted in between (``100k output_tokens/hour``) or money in front (``$25/day``). Patterns are
case-insensitive globs matched in time linear in the name, whatever the pattern.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from limits import parse as parse_rate

from gateway.types import Unit

MICROUSD = 1_000_000
_CALENDAR_S = {"day": 86_400, "month": 31 * 86_400}
_FACTORS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_UNITS: dict[str, Unit] = {
    "": Unit.REQUESTS,
    "request": Unit.REQUESTS,
    "requests": Unit.REQUESTS,
    "input_tokens": Unit.INPUT_TOKENS,
    "output_tokens": Unit.OUTPUT_TOKENS,
    "total_tokens": Unit.TOTAL_TOKENS,
    "usd": Unit.COST,
    "concurrent": Unit.CONCURRENCY,
}
UNIT_NAMES = tuple(name for name in _UNITS if name)
MAX_LIMIT = 10**15
"""Far above any customer's spending and well inside the integers that Lua keeps exactly (2**53)."""

_LIMIT = re.compile(
    r"\s*(?P<dollar>\$)?\s*(?P<number>[0-9][0-9_]*(\.[0-9]+)?)\s*(?P<factor>[kKmMgG](?![a-zA-Z]))?"
    r"\s*(?P<unit>[a-z_]*?)\s*((/|\bper\b)\s*(?P<calendar>calendar\s+)?(?P<time>[a-z0-9 ]+))?\s*"
)
_EXPECTED = "expected NUMBER [UNIT]/TIME such as '200/day', '100k output_tokens/hour', '$25/month' or '8 concurrent'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A limit as written: ``limit`` in the unit's own steps, ``length_s`` 0 for what is held at once."""

    unit: Unit
    limit: int
    length_s: int
    calendar: bool = False


def parse_limit(text: object) -> Rate:
    """The rate that ``text`` writes.

    Raises ValueError with what was got and what was expected: not a text, an unknown unit or time, a
    fraction of a request or token, a limit above ``MAX_LIMIT``, several rates in one text.
    """
    found = _LIMIT.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"got {text!r}, {_EXPECTED}")
    unit = _unit(found, str(text))
    limit = _count(found, unit, str(text))
    if unit is Unit.CONCURRENCY:
        if found["time"]:
            raise ValueError(f"got {text!r}, expected '{limit} concurrent': what is held at once has no time")
        return Rate(unit=unit, limit=limit, length_s=0)
    if not found["time"]:
        raise ValueError(f"got {text!r} without a time, {_EXPECTED}")
    length_s = _length_s(found["time"].strip(), calendar=bool(found["calendar"]), text=str(text))
    return Rate(unit=unit, limit=limit, length_s=length_s, calendar=bool(found["calendar"]))


def _unit(found: re.Match[str], text: str) -> Unit:
    """The unit that a limit counts."""
    name = found["unit"]
    if name == "tokens":
        raise ValueError(f"got {text!r}, expected input_tokens, output_tokens or total_tokens: say which tokens")
    if name not in _UNITS or (found["dollar"] and name not in {"", "usd"}):
        raise ValueError(f"got the unit {name!r} in {text!r}, expected one of {', '.join(UNIT_NAMES)}")
    return Unit.COST if found["dollar"] else _UNITS[name]


def _count(found: re.Match[str], unit: Unit, text: str) -> int:
    """The limit in whole steps of its unit (micro-USD for money)."""
    number = Decimal(found["number"].replace("_", "")) * _FACTORS[(found["factor"] or "").lower()]
    steps = number * MICROUSD if unit is Unit.COST else number
    if steps != steps.to_integral_value():
        raise ValueError(f"got {text!r}, expected whole {unit.value}: nothing smaller is counted")
    if steps > MAX_LIMIT:
        raise ValueError(f"got {text!r}, expected at most {MAX_LIMIT:,} steps: leave the budget out instead")
    return int(steps)


def _length_s(time: str, *, calendar: bool, text: str) -> int:
    """The seconds of ``day``, ``10 seconds``, ...; of ``calendar day`` and ``calendar month``."""
    if calendar:
        if time not in _CALENDAR_S:
            raise ValueError(f"got {text!r}, expected 'calendar day' or 'calendar month'")
        return _CALENDAR_S[time]
    try:
        length_s = int(parse_rate(f"1/{time}").get_expiry())
    except ValueError:
        length_s = 0
    none = not time.split(" ", 1)[0].strip("0")  # "0 days", which the library reads as one day
    if none or not 0 < length_s <= 366 * 86_400:
        said = "expected second, minute, hour, day, month (30 days) or several, such as '10 seconds' or '45 days', 366 days at most"
        raise ValueError(f"got the time {time!r} in {text!r}, {said}")
    return length_s


_DURATION = re.compile(r"\s*(?P<number>[0-9]+(\.[0-9]+)?)\s*(?P<unit>ms|s|m|h|d)\s*")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def parse_duration(text: object) -> float:
    """Seconds of ``250ms``, ``30s``, ``5m``, ``12h`` or ``45d``. Raises ValueError for anything else."""
    found = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError(f"got {text!r}, expected a number and a unit: 250ms, 30s, 5m, 12h or 45d")
    return float(found["number"]) * _SECONDS[found["unit"]]


LEAST_RETENTION_S, MOST_RETENTION_S = 3_600.0, 3_660 * 86_400.0
"""An hour is what is written before a file is closed; ten years are more than any limitation period."""


def parse_retention(text: object) -> float:
    """Seconds of a duration of at least an hour and ten years at most. Raises ValueError for anything else."""
    seconds = parse_duration(text)
    if not LEAST_RETENTION_S <= seconds <= MOST_RETENTION_S:
        raise ValueError(f"got {text!r}, expected a retention from 1h to 3660d (ten years)")
    return seconds


def parse_share(text: object) -> float:
    """0 to 1 for ``0%`` to ``100%``. Raises ValueError for anything else."""
    if isinstance(text, str) and text.strip().endswith("%"):
        try:
            share = float(text.strip()[:-1]) / 100.0
        except ValueError:
            share = -1.0
        if 0.0 <= share <= 1.0:
            return share
    raise ValueError(f"got {text!r}, expected a share from '0%' to '100%'")


def glob_matches(pattern: str, name: str) -> bool:
    """Whether ``name`` fits ``pattern``: ``*`` stands for any text, ``?`` for one character; case ignored.

    Two pointers and one backtrack mark: O(len(pattern) * len(name)) at worst, no recursion, no regular
    expression, so a pattern cannot be made to hang (names are at most 256 characters).
    """
    pattern, name = pattern.lower(), name.lower()
    at = here = 0
    star = mark = -1
    while here < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, mark = at, here
            at += 1
        elif at < len(pattern) and pattern[at] in ("?", name[here]):
            at, here = at + 1, here + 1
        elif star >= 0:
            mark += 1
            at, here = star + 1, mark
        else:
            return False
    return all(letter == "*" for letter in pattern[at:])


@lru_cache(maxsize=4096)
def best_match(patterns: tuple[str, ...], name: str) -> int:
    """How exactly ``name`` is named by the best of ``patterns``: -1 not at all, else letters spelled out."""
    return max((literal_length(pattern) for pattern in patterns if glob_matches(pattern, name)), default=-1)


def literal_length(pattern: str) -> int:
    """Letters of ``pattern`` that are not wildcards; a pattern without any counts one more, being exact."""
    wild = pattern.count("*") + pattern.count("?")
    return len(pattern) - wild + (wild == 0)


def globs_overlap(one: str, two: str) -> bool:
    """Whether some name fits both patterns. O(len(one) * len(two))."""
    row = [True, *([False] * len(two))]
    for index, letter in enumerate(two):
        row[index + 1] = row[index] and letter == "*"
    for left in one:
        below = [row[0] and left == "*"]
        for index, right in enumerate(two):
            same = row[index] and (left == right or "?" in (left, right))
            star = "*" in (left, right) and (row[index + 1] or below[index])
            below.append(same or star)
        row = below
    return row[-1]
