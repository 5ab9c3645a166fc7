"""The steps of the analysis against brute force and networkx."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import igraph
import networkx as nx
import numpy as np
import pytest
from scipy import sparse

from gateway.analysis import templates
from gateway.analysis.book import PhraseBook
from gateway.analysis.clusters import ClusterBook
from gateway.analysis.cohort import Cohort
from gateway.analysis.config import MATCH_BITS
from gateway.analysis.renumbering import Renumbering
from gateway.types import Level
from tests.analysis.population import SMALL


def entered(rows: list[tuple[int, list[int]]]) -> PhraseBook:
    book = PhraseBook(16)
    for ts, (account, phrases) in enumerate(rows):
        book.note(float(ts), account, phrases)
    return book


def test_a_phrase_gets_a_number_when_a_second_account_says_it() -> None:
    rng = Random(1)
    rows = [(rng.randrange(6), sorted(rng.sample(range(1, 60), 4))) for _ in range(80)]
    book = entered(rows)
    said: dict[int, set[int]] = {}
    for account, phrases in rows:
        for phrase in phrases:
            said.setdefault(phrase, set()).add(account)
    assert set(book.hashes) == {phrase for phrase, accounts in said.items() if len(accounts) > 1}
    assert len(book.hashes) == len(set(book.hashes))


def test_muted_phrases_leave_the_rows_and_come_back() -> None:
    book = entered([(1, [10, 11, 12]), (2, [10, 11, 12]), (3, [10, 11, 12])])
    assert book.kept == 2
    book.mute(np.array([0, 1]))
    assert book.kept == 0
    book.note(9.0, 4, [10, 11, 12])
    assert book.kept == 0
    book.unmute()
    book.note(9.0, 5, [10, 11, 12])
    assert book.kept == 1


@pytest.mark.parametrize(("before", "kept"), [(0.0, 2), (1.0, 2), (1.5, 1), (2.0, 1), (3.0, 0)])
def test_rows_are_forgotten_by_age(before: float, kept: int) -> None:
    book = entered([(1, [10, 11]), (2, [10, 11]), (3, [10, 11])])
    book.forget(before)
    assert book.kept == kept


def test_blocks_are_the_connected_components_of_networkx() -> None:
    rng = np.random.default_rng(2)
    said = (rng.random((60, 25)) < 0.2).astype(np.float32)
    said[:, 5], said[:, 9] = said[:, 4], said[:, 4]
    sums = said.sum(axis=0)
    graph: nx.Graph[Any] = nx.Graph()
    graph.add_nodes_from(range(25))
    for left in range(25):
        for right in range(left):
            both = float((said[:, left] * said[:, right]).sum())
            if both >= templates._SAME_BLOCK * (sums[left] + sums[right] - both):
                graph.add_edge(left, right)
    blocks = templates._blocks(sparse.csr_matrix(said), np.ones(60, np.float32))
    ours = {frozenset(np.flatnonzero(blocks == block).tolist()) for block in set(blocks.tolist())}
    assert ours == {frozenset(part) for part in nx.connected_components(graph)}


@pytest.mark.parametrize("seed", range(4))
def test_leiden_finds_planted_communities_and_is_as_good_as_them(seed: int) -> None:
    graph = nx.planted_partition_graph(6, 15, 0.8, 0.02, seed=seed)
    edges = np.array(graph.edges)
    found = templates.leiden(edges, np.ones(len(edges)), np.ones(90, np.int64), 0.3)
    assert found.tolist() == templates.leiden(edges, np.ones(len(edges)), np.ones(90, np.int64), 0.3).tolist()
    truth = [node // 15 for node in range(90)]
    assert igraph.compare_communities(found.tolist(), truth, method="nmi") > 0.95


def rows_of(requests: list[tuple[int, list[int]]]) -> templates.Rows:
    lengths = [len(phrases) for _, phrases in requests]
    return templates.Rows(
        request=np.repeat(np.arange(len(requests)), lengths),
        phrase=np.array([phrase for _, phrases in requests for phrase in phrases], np.int32),
        account=np.array([account for account, _ in requests], np.int64),
        ts=np.arange(len(requests), dtype=float),
        wants=np.zeros(len(requests), np.int64),
    )


def test_account_counts_are_distinct() -> None:
    rows = rows_of([(1, [0, 1]), (1, [0]), (2, [0]), (3, [1])])
    assert templates.account_counts(rows, 3).tolist() == [2, 2, 0]


def test_a_template_grows_by_what_stands_beside_it_and_not_by_what_stands_alone() -> None:
    requests = [(account, [0, 1, 2, 3, 4, 5]) for account in range(6)] + [(account, [6, 7]) for account in range(9)]
    bits = np.array([3.0, 3, 3, 3, 0, 0, 0, 0])
    grown = templates.extend(rows_of(requests), bits, np.ones(8, bool))
    assert (grown > 0).tolist() == [True] * 6 + [False] * 2
    older = np.array([True] * 4 + [False] * 4)
    assert (templates.extend(rows_of(requests), bits, older) > 0).tolist() == [True] * 4 + [False] * 4


def test_what_the_payload_says_is_left_out_where_the_instruction_suffices() -> None:
    instruction = list(range(9))
    requests = [(account, [*instruction, 9 + account % 3]) for account in range(9)]
    kept = templates.cover(rows_of(requests), np.full(12, 3.0))
    assert (kept[9:] == 0).all()
    assert (templates.scores(rows_of(requests), kept) >= 2 * MATCH_BITS).all()


def settled(rows: list[dict[str, Any]]) -> Cohort:
    cohort = Cohort()
    for place, row in enumerate(rows):
        known = {"country": "DE", "created": 0.0, **row}
        cohort.see(1e6 + place, f"a{place}", known, {"net": row.get("net", place), "ja4": row.get("ja4", 1), "prog": 7})
    return cohort


def test_holders_are_the_components_of_shared_organisation_card_and_address() -> None:
    rng = Random(3)
    rows = [{"org": rng.randrange(40), "pay": rng.randrange(60), "sip": rng.randrange(90)} for _ in range(70)]
    graph: nx.Graph[Any] = nx.Graph()
    for place, row in enumerate(rows):
        graph.add_edges_from((place, f"{kind}{row[kind]}") for kind in ("org", "pay", "sip"))
    cohort = settled(rows)
    groups: dict[Any, set[int]] = {}
    for number in range(70):
        groups.setdefault(cohort.holder(number), set()).add(number)
    expected = [{node for node in part if isinstance(node, int)} for part in nx.connected_components(graph)]
    assert sorted(map(sorted, groups.values())) == sorted(map(sorted, expected))


def test_an_office_is_one_holder_and_a_public_provider_is_not() -> None:
    office = settled([{"mail": 5, "snet": 9, "sip": place} for place in range(20)])
    public = settled([{"mail": 5, "snet": place, "sip": place} for place in range(20)])
    assert len(office.holders(list(range(20)))) == 1
    assert len(public.holders(list(range(20)))) == 20


def test_the_base_is_the_smoothed_share_within_the_stratum() -> None:
    cohort = settled([{"mail": 1 + (place % 4 == 0), "country": "DE" if place < 30 else "FR"} for place in range(40)])
    outside = np.ones(40, bool)
    outside[:2] = False
    got = cohort.columns["mail"].base(np.array([0, 1]), outside)
    for number, probability in zip((0, 1), got, strict=True):
        mail = 1 + (number % 4 == 0)
        seen = [1 + (place % 4 == 0) for place in range(2, 40)]
        home = [1 + (place % 4 == 0) for place in range(2, 30)]
        everywhere = (seen.count(mail) + 0.5) / (len(seen) + 1)
        assert probability == pytest.approx((home.count(mail) + 10 * everywhere) / (len(home) + 10))


@pytest.mark.parametrize(("common", "same"), [(0, False), (4, False), (5, True), (10, True)])
def test_a_cluster_is_the_same_where_half_of_its_accounts_are(common: int, *, same: bool) -> None:
    book = ClusterBook(SMALL)
    cluster = book.open(Level.WATCH, 0.0)
    book.join(cluster, range(10), 0.0)
    found = book.same_as([*range(common), *range(100, 110 - common)])
    assert (found is cluster) is same


def test_merged_clusters_keep_the_older_name_and_both_signatures() -> None:
    book = ClusterBook(SMALL)
    for start in (0, 4):
        cluster = book.open(Level.SUSPECT, 0.0)
        book.join(cluster, range(start, start + 8), 1.0)
        book.sign(cluster, {100 + start: 20.0})
    book.merge()
    names = [f"n{number}" for number in range(12)]
    (verdict,) = book.verdicts(names, 5.0)
    assert (verdict.cluster, verdict.replaces, len(verdict.members)) == ("c1", ("c2",), 12)
    assert dict(verdict.signatures["ph"]) == {100: 20.0, 104: 20.0}
    assert [one["merged_into"] for one in book.register(names)] == [None, "c1"]
    assert book.match([104])[0] is book.every["c1"]


def test_silent_members_are_forgotten_and_nothing_is_said_twice() -> None:
    book = ClusterBook(replace(SMALL, verdict_s=400.0))
    cluster = book.open(Level.SUSPECT, 0.0)
    book.join(cluster, [0, 1], 1.0)
    assert book.verdicts(["x", "y"], 10.0)[0].members == ("x", "y")
    assert book.verdicts(["x", "y"], 20.0) == []
    book.renumber(Renumbering.of(np.array([False, True])))
    assert book.verdicts(["y"], 30.0)[0].members == ("y",)
    cluster.renewed_s = 100.0
    assert book.verdicts(["y"], 129.0) == []
    assert book.verdicts(["y"], 130.0)[0].expires_at == 500.0
