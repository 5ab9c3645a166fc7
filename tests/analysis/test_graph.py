from __future__ import annotations

from itertools import combinations
from math import log2
from random import Random
from typing import Any

import networkx as nx
import numpy as np
import pytest

from gateway.analysis import graph, links
from gateway.analysis.values import KINDS, ValueBook
from tests.analysis.test_links import booked


def everything(book: ValueBook, size: int) -> dict[str, np.ndarray[Any, Any]]:
    """Bits of every value."""
    inside = np.ones(size, bool)
    return links.own_values(book, np.arange(size), inside, inside, members=1, share=0.0)


def rows(rng: Random, count: int, values: int) -> list[dict[str, Any]]:
    return [
        {name: rng.randint(1, values) for name in ("mail", "net", "ja4") if rng.random() < 0.7}
        | {"created": 3_600.0 * rng.randint(0, values)}
        for _ in range(count)
    ]


def brute(given: list[dict[str, Any]]) -> dict[tuple[int, int], float]:
    """Bits of each pair by the words of the docstring, without arrays."""
    shown: dict[tuple[str, int], set[int]] = {}
    for number, row in enumerate(given):
        for name, value in row.items():
            kind = "hour" if name == "created" else name
            shown.setdefault((kind, int(value)), set()).add(number)
    by_mechanism: dict[tuple[int, int, int], float] = {}
    for (kind, _), accounts in shown.items():
        degree = len(accounts)
        if 1 < degree <= graph.MOST_DEGREE:
            weight = min(links.CAP_BITS, log2(len(given) / degree)) / log2(degree + 1)
            for left, right in combinations(sorted(accounts), 2):
                key = (left, right, links.MECHANISM[kind])
                by_mechanism[key] = by_mechanism.get(key, 0.0) + weight
    total: dict[tuple[int, int], float] = {}
    for (left, right, _), bits in by_mechanism.items():
        total[left, right] = total.get((left, right), 0.0) + min(bits, links.CAP_BITS)
    return total


@pytest.mark.parametrize("seed", range(4))
def test_pairs_weigh_what_the_definition_says(seed: int) -> None:
    given = rows(Random(seed), 60, 12)
    book = booked(given)
    got = graph.pair_bits(book, np.arange(60), everything(book, 60), np.arange(60)).todok()
    expected = {pair: bits for pair, bits in brute(given).items() if bits > 0}
    assert {pair for pair, bits in got.items() if bits > 0} == set(expected)
    for pair, bits in expected.items():
        assert got[pair] == pytest.approx(bits)


@pytest.mark.parametrize(("degree", "linked"), [(1, False), (2, True), (graph.MOST_DEGREE, True), (65, False)])
def test_a_value_that_too_many_show_makes_no_pairs(degree: int, *, linked: bool) -> None:
    given = [{"net": 7} for _ in range(degree)] + [{"net": 100 + place} for place in range(200 - degree)]
    book = booked(given)
    assert bool(graph.pair_bits(book, np.arange(200), everything(book, 200), np.arange(200)).nnz) == linked


def test_accounts_of_one_holder_are_not_linked() -> None:
    book = booked([{"net": 7}, {"net": 7}, {"net": 8}])
    holder = np.array([0, 0, 2])
    assert graph.pair_bits(book, holder, everything(book, 3), np.arange(3)).nnz == 0


def cliques(sizes: list[int]) -> list[dict[str, Any]]:
    """Groups whose accounts all share a mail domain and a sign-up hour of their own."""
    return [{"mail": 100 + group, "created": 3_600.0 * group} for group, size in enumerate(sizes) for _ in range(size)]


@pytest.mark.parametrize("seed", range(3))
def test_groups_that_share_nothing_are_the_components_that_networkx_finds(seed: int) -> None:
    rng = Random(seed)
    given = cliques([rng.randint(8, 20) for _ in range(4)])
    rng.shuffle(given)
    book = booked(given)
    size = len(given)
    oracle: nx.Graph[int] = nx.Graph()
    oracle.add_edges_from(brute(given))
    expected = sorted(sorted(part) for part in nx.connected_components(oracle))
    found = graph.communities(book, np.arange(size), everything(book, size), np.arange(size), 8)
    assert sorted(map(sorted, found)) == expected


def test_a_chain_of_single_shared_values_does_not_join_two_groups() -> None:
    given = cliques([12, 12])
    bridge = [{"net": 500 + place} for place in range(5)]
    given[0]["net"], given[12]["net"] = 500, 504
    chained = [*given, *({**row} for row in bridge), *({"net": 500 + place} for place in range(5))]
    book = booked(chained)
    size = len(chained)
    found = graph.communities(book, np.arange(size), everything(book, size), np.arange(size), 8)
    assert [set(group) & set(range(24)) for group in found] == [set(range(12)), set(range(12, 24))]


@pytest.mark.parametrize(("size", "groups"), [(0, 0), (1, 0), (7, 0), (8, 1), (9, 1)])
def test_fewer_than_a_group_may_be_are_none(size: int, groups: int) -> None:
    given = cliques([size]) + [{"mail": 900 + place} for place in range(40)]
    book = booked(given)
    found = graph.communities(book, np.arange(len(given)), everything(book, len(given)), np.arange(size), 8)
    assert len(found) == groups


def test_the_order_in_which_accounts_came_does_not_change_the_groups() -> None:
    rng = Random(9)
    given = cliques([10, 14])
    for row in given:
        if rng.random() < 0.4:
            row["net"] = rng.randint(1, 30)
    names = list(range(len(given)))
    rng.shuffle(names)
    first, second = booked(given), booked([given[name] for name in names])
    size = len(given)
    one = graph.communities(first, np.arange(size), everything(first, size), np.arange(size), 8)
    other = graph.communities(second, np.arange(size), everything(second, size), np.arange(size), 8)
    assert sorted(map(sorted, one)) == sorted(sorted(names[place] for place in group) for group in other)


def test_every_kind_has_a_mechanism() -> None:
    assert set(links.MECHANISM) == set(KINDS)
