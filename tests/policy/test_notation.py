from __future__ import annotations

import fnmatch
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.notation import Rate, best_match, glob_matches, parse_duration, parse_limit, parse_share
from gateway.types import Unit

DAY = 86_400


@pytest.mark.parametrize(
    ("text", "unit", "limit", "length_s", "calendar"),
    [
        ("200/day", Unit.REQUESTS, 200, DAY, False),
        (" 200 / day\n", Unit.REQUESTS, 200, DAY, False),
        ("200 per day", Unit.REQUESTS, 200, DAY, False),
        ("200 requests per day", Unit.REQUESTS, 200, DAY, False),
        ("1 request/second", Unit.REQUESTS, 1, 1, False),
        ("60/minute", Unit.REQUESTS, 60, 60, False),
        ("5/10 seconds", Unit.REQUESTS, 5, 10, False),
        ("5 per 10 seconds", Unit.REQUESTS, 5, 10, False),
        ("2_000/day", Unit.REQUESTS, 2_000, DAY, False),
        ("100k output_tokens/hour", Unit.OUTPUT_TOKENS, 100_000, 3_600, False),
        ("1.5M input_tokens/45 days", Unit.INPUT_TOKENS, 1_500_000, 45 * DAY, False),
        ("2G total_tokens/month", Unit.TOTAL_TOKENS, 2_000_000_000, 30 * DAY, False),
        ("2M total_tokens/calendar month", Unit.TOTAL_TOKENS, 2_000_000, 31 * DAY, True),
        ("10/calendar day", Unit.REQUESTS, 10, DAY, True),
        ("$25/day", Unit.COST, 25_000_000, DAY, False),
        ("25 usd/day", Unit.COST, 25_000_000, DAY, False),
        ("$0.000001/day", Unit.COST, 1, DAY, False),
        ("8 concurrent", Unit.CONCURRENCY, 8, 0, False),
        ("0 concurrent", Unit.CONCURRENCY, 0, 0, False),
        ("0/day", Unit.REQUESTS, 0, DAY, False),
        ("1000000000000000/day", Unit.REQUESTS, 10**15, DAY, False),
    ],
)
def test_limits_mean_what_they_say(text: str, unit: Unit, limit: int, length_s: int, calendar: bool) -> None:
    assert parse_limit(text) == Rate(unit=unit, limit=limit, length_s=length_s, calendar=calendar)


@pytest.mark.parametrize(
    "text",
    ["", "day", "/day", "200/", "200/ ", "200//day", "-1/day", "1e3/day", "200/day/hour", "1000000000000001/day", "200 per", "200/0 days",
     "$/day", "$5", "$ concurrent", "1.5 concurrent", "$0.0000001/day", "٣/day", None, 200, ["200/day"], True],
)  # fmt: skip
def test_what_is_no_limit_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"got .*expected"):
        parse_limit(text)


@given(st.text(max_size=40))
def test_any_text_is_a_limit_or_a_value_error(text: str) -> None:
    try:
        rate = parse_limit(text)
    except ValueError:
        return
    assert 0 <= rate.limit <= 10**15
    assert 0 <= rate.length_s <= 366 * DAY


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("30s", 30.0), ("1.5m", 90.0), ("12h", 43_200.0), ("45d", 3_888_000.0), ("0s", 0.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 seconds", "-1s", "1w", 5, None])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"got .*expected"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "share"), [("0%", 0.0), ("100%", 1.0), ("12.5%", 0.125)])
def test_shares(text: str, share: float) -> None:
    assert parse_share(text) == share


@pytest.mark.parametrize("text", ["100.1%", "-1%", "nan%", "%", "0.5", 0.5, None])
def test_what_is_no_share_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"got .*expected"):
        parse_share(text)


def test_globs_match_as_the_standard_library_does() -> None:
    patterns = ["".join(letters) for size in range(5) for letters in itertools.product("ab*?", repeat=size)]
    names = ["".join(letters) for size in range(5) for letters in itertools.product("ab", repeat=size)]
    for pattern in patterns:
        for name in names:
            assert glob_matches(pattern, name) == fnmatch.fnmatchcase(name, pattern), (pattern, name)


def test_globs_ignore_case_and_know_no_character_classes() -> None:
    assert glob_matches("Claude-OPUS-*", "claude-opus-5")
    assert not glob_matches("gpt-[45]", "gpt-4")
    assert glob_matches("gpt-[45]", "GPT-[45]")


def test_a_pattern_made_to_backtrack_ends_at_once() -> None:
    assert not glob_matches("*a" * 64 + "b", "a" * 256)


def test_the_more_exact_pattern_counts_more() -> None:
    fits = [
        best_match((pattern,), "gpt-4o-mini") for pattern in ("*", "gpt-*", "gpt-4o*", "gpt-4o-mini*", "gpt-4o-mini")
    ]
    assert fits == sorted(set(fits))
    assert best_match(("claude-*",), "gpt-4o-mini") == -1
    assert best_match((), "gpt-4o-mini") == -1
