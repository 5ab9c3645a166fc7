"""Holders against networkx: who is tied by values, in any order, stands for one."""

from __future__ import annotations

import pickle
from random import Random
from typing import Any

import networkx as nx
import pytest

from gateway.analysis.holders import TIES, Holders
from gateway.analysis.known import Known


@pytest.mark.parametrize("seed", range(20))
def test_holders_are_the_components_of_accounts_and_values(seed: int) -> None:
    rng, holders = Random(seed), Holders()
    graph: nx.Graph[Any] = nx.Graph()
    for number in range(40):
        holders.enter()
        graph.add_node(number)
        for kind in TIES:
            if rng.random() < 0.4:
                value = rng.randrange(25)
                holders.tie(number, kind, value)
                graph.add_edge(number, (kind, value))
    for number in range(40):
        mine = {other for other in range(40) if holders.of(other) == holders.of(number)}
        assert mine == {node for node in nx.node_connected_component(graph, number) if isinstance(node, int)}


def test_one_value_of_two_kinds_ties_nobody() -> None:
    holders = Holders()
    holders.enter()
    holders.enter()
    holders.tie(0, "pay", 7)
    holders.tie(1, "sip", 7)
    assert holders.of(0) != holders.of(1)


def test_only_the_first_of_a_holder_is_first() -> None:
    holders = Holders()
    for _ in range(3):
        holders.enter()
    holders.tie(0, "org", 1)
    holders.tie(1, "org", 1)
    assert [holders.is_first(number) for number in (0, 1, 2, 0, 2)] == [True, False, True, False, False]


def test_a_known_organisations_new_card_and_address_do_not_make_it_count_again() -> None:
    holders = Holders()
    for number in range(3):
        holders.enter()
        holders.tie(number, "org", 1)
        holders.tie(number, "pay", 100 + number)
        holders.tie(number, "sip", 200 + number)
        assert holders.is_first(number) is (number == 0)
    assert len({holders.of(number) for number in range(3)}) == 1


def test_what_the_directory_does_not_say_is_not_there() -> None:
    known = Known({"country": "", "mail": 7, "plan": "pro", "verified": True})
    assert dict(known) == {"country": "", "mail": 7}
    assert (known.get("phone"), known.get("use", ""), len(known)) == (None, "", 2)
    with pytest.raises(KeyError, match="pay"):
        known["pay"]


def test_countries_are_kept_once_for_all_accounts_also_after_a_snapshot() -> None:
    one, other = (Known({"country": b"DE".decode()}) for _ in range(2))
    assert one["country"] is other["country"]
    copies = pickle.loads(pickle.dumps([one, other]))
    assert [dict(copy) for copy in copies] == [{"country": "DE"}] * 2
    assert copies[0]["country"] is copies[1]["country"]
