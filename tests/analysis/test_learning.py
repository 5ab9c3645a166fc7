"""What the directory says later of an account that was seen: counted as if it had been said at first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from gateway.analysis.accounts import Accounts
from gateway.analysis.analyzer import Analyzer
from gateway.analysis.cohort import TYPES
from gateway.analysis.known import UNKNOWN, Known
from gateway.types import Level
from tests.analysis.population import SMALL, START

ROWS: list[dict[str, Any]] = [
    {"country": "DE", "phone": "PL", "use": "", "mail": number % 3, "snet": number % 5, "created": START - number}
    for number in range(20)
]


def seen(known: list[Mapping[str, Any]]) -> Accounts:
    accounts = Accounts()
    for number, row in enumerate(known):
        accounts.see(START + number * 3_600.0, f"a{number}", row, {"net": number % 4 + 1, "ja4": 1}, warm=True)
    return accounts


def told(accounts: Accounts) -> list[Any]:
    """What the population shows of all kinds of values, and of the hours of a country."""
    group, outside = np.arange(0, 10), np.arange(20) > 7
    found: list[Any] = []
    for kind in TYPES:
        column = accounts.cohort.columns[kind]
        shows = group[column.value[group] >= 0]
        found.append((shows.tolist(), column.base(shows, outside).tolist()))
    times = START + np.arange(20, dtype=np.float64) * 3_600.0
    expected = accounts.cohort.expected(list(range(20)), times, START, START + 86_400.0)
    return [*found, expected.tolist(), accounts.cohort.holder_numbers().tolist()]


@pytest.mark.parametrize("first", [UNKNOWN, Known({"country": "FR", "phone": "FR", "mail": 99, "use": ""})])
def test_what_is_said_later_counts_as_if_it_had_been_said_at_first(first: Known) -> None:
    at_once, later = seen([Known(row) for row in ROWS]), seen([first] * len(ROWS))
    for number, row in enumerate(ROWS):
        later.learn(number, Known(row))
    mine, theirs = told(later), told(at_once)
    net = TYPES.index("net")  # counted by the country that was known when the exit was shown
    del mine[net], theirs[net]
    assert mine == theirs


def test_an_organisation_that_is_named_later_ties_its_accounts() -> None:
    analyzer = Analyzer(SMALL)
    for account in ("a", "b"):
        analyzer.observe(START, account, {}, Known({"country": "DE"}))
    assert analyzer.cohort.holder(0) != analyzer.cohort.holder(1)
    for account in ("a", "b"):
        analyzer.observe(START, account, {}, Known({"country": "DE", "org": 7}))
    assert analyzer.cohort.holder(0) == analyzer.cohort.holder(1)


def test_an_account_that_declares_its_use_later_leaves_its_cluster_and_never_comes_back() -> None:
    analyzer = Analyzer(SMALL)
    cluster = analyzer.found.open(Level.SUSPECT, START)
    analyzer.found.sign(cluster, dict.fromkeys((1, 2, 3), 10.0))
    for account in ("a", "b"):
        analyzer.know(account, {"country": "DE"})
        analyzer.observe(START, account, {"ph": [1, 2, 3]})
    assert list(cluster.members) == [0, 1]
    analyzer.know("a", {"country": "DE", "use": "evaluation"})
    analyzer.observe(START + 1.0, "a", {"ph": [1, 2, 3]})
    assert list(cluster.members) == [1]
    assert cluster.changed


def test_a_directory_that_says_the_same_again_is_kept_once() -> None:
    analyzer = Analyzer(SMALL)
    analyzer.know("a", {"country": "DE", "org": 1})
    analyzer.observe(START, "a", {})
    analyzer.know("a", {"country": "DE", "org": 1})
    assert analyzer.cohort.traits[0] is analyzer._known["a"]


def test_of_an_account_without_a_directory_nothing_is_kept_beyond_the_horizon() -> None:
    analyzer = Analyzer(SMALL)
    analyzer.observe(START, "a", {}, Known({"country": "DE"}))
    analyzer.due(START)
    analyzer.tick(START + SMALL.horizon_s + SMALL.full_pass_s)
    assert not analyzer._known
    assert len(analyzer.cohort) == 0
