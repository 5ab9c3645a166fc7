"""What is beyond the horizon is gone from every store, as if it had never been; what is within it is decided as before."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest

from gateway.analysis.analyzer import Analyzer
from gateway.analysis.book import PhraseBook
from gateway.analysis.cohort import TYPES, Cohort
from gateway.analysis.dossiers import Dossiers
from gateway.analysis.known import Known
from gateway.analysis.renumbering import Renumbering
from gateway.analysis.replays import ReplayBook
from gateway.analysis.traits import TraitExtractor
from gateway.analysis.values import KINDS, ValueBook
from gateway.types import Verdict
from tests.analysis.population import DAY, KEY, SMALL, START, Population, enforced

TIED = ("org", "pay", "sip")
Facts = tuple[float, str, Known, dict[str, Any]]


def facts_of(seed: int, people: int = 120) -> list[Facts]:
    """Requests of accounts that share few values of each kind, twice each."""
    rng, found = Random(seed), []
    for number in range(people):
        row: dict[str, Any] = {"country": rng.choice(("DE", "FR")), "phone": rng.choice(("DE", "PL")), "use": ""}
        row |= {kind: rng.randrange(40) for kind in ("mail", "snet", "org", "pay", "sip") if rng.random() < 0.5}
        row |= {"created": START + rng.randrange(30) * 3_600.0}
        for turn in range(2):
            shown = {"net": rng.randrange(1, 40), "ja4": rng.randrange(1, 9), "prog": rng.randrange(3)}
            found.append((START + number * 60.0 + turn * DAY, f"a{number}", Known(row), shown))
    return sorted(found, key=lambda one: one[0])


def enter(facts: Iterable[Facts]) -> tuple[Cohort, ValueBook]:
    cohort, values = Cohort(), ValueBook()
    for ts, account, known, shown in facts:
        values.note(cohort.see(ts, account, known, shown), known, shown)
    return cohort, values


def stays_of(cohort: Cohort, gone: set[str]) -> Renumbering:
    return Renumbering.of(np.array([name not in gone for name in cohort.names]))


@pytest.mark.parametrize("seed", range(6))
def test_what_the_population_shows_is_as_if_the_forgotten_had_never_been(seed: int) -> None:
    facts = [untied(one) for one in facts_of(seed)]
    gone = set(Random(seed).sample([f"a{number}" for number in range(120)], 40))
    cohort, values = enter(facts)
    accounts = stays_of(cohort, gone)
    cohort.renumber(accounts)
    values.renumber(accounts)
    other, other_values = enter(one for one in facts if one[1] not in gone)
    assert (cohort.names, cohort.index, cohort.first_s, cohort.last_s) == (
        other.names,
        other.index,
        other.first_s,
        other.last_s,
    )
    assert cohort.active_holders(0.0) == other.active_holders(0.0)
    group, outside = np.arange(0, 60, 2), np.arange(80) % 3 > 0
    for kind in TYPES:
        shows = group[other.columns[kind].value[group] >= 0]
        mine, theirs = (one.columns[kind].base(shows, outside) for one in (cohort, other))
        assert mine == pytest.approx(theirs)
    times = np.arange(60, dtype=np.float64) * 3_000.0 + START
    mine, theirs = (one.expected(list(range(60)), times, START, START + 3 * DAY) for one in (cohort, other))
    assert mine == pytest.approx(theirs)
    for kind in KINDS:
        assert partition(values, kind) == partition(other_values, kind)


def untied(one: Facts) -> Facts:
    """The same account tied to nobody: who was tied by somebody who goes stays tied, unlike one never seen."""
    ts, account, known, shown = one
    return ts, account, Known({kind: value for kind, value in known.items() if kind not in TIED}), shown


def partition(book: ValueBook, kind: str) -> set[frozenset[int]]:
    pairs = book.pairs(kind)
    return {frozenset(pairs.account[pairs.code == code].tolist()) for code in range(pairs.size)}


class ForgetsOften(Analyzer):
    """Renumbers at every pass, also where nobody goes."""

    def tick(self, now_s: float) -> list[Verdict]:
        self.forget(now_s - self.config.horizon_s, force=True)
        return super().tick(now_s)


def fed(analyzer: Analyzer, people: Population) -> list[Verdict]:
    """Verdicts of a whole log."""
    verdicts = []
    for customer in people.customers:
        analyzer.know(customer.name, TraitExtractor(KEY).account(customer.row))
    for ts, account, traits in people.events():
        if analyzer.due(ts):
            verdicts += analyzer.tick(ts)
        analyzer.observe(ts, account, traits)
    return [*verdicts, *analyzer.tick(START + people.days * DAY)]


def town(seed: int) -> tuple[Population, set[str]]:
    people = Population(seed=seed)
    people.benign(150)
    return people, people.campaign(70, day=2.2, parts=4)


def test_renumbering_at_every_pass_changes_no_verdict_while_nobody_is_beyond_the_horizon() -> None:
    people, campaign = town(41)
    plain, often = Analyzer(SMALL), ForgetsOften(SMALL)
    assert fed(plain, people) == fed(often, people)
    assert enforced(plain) & campaign
    assert plain.clusters() == often.clusters()


def test_nothing_of_an_account_is_kept_in_any_store_when_the_horizon_has_passed() -> None:
    people, campaign = town(42)
    analyzer = Analyzer(SMALL)
    last = fed(analyzer, people)[-1]
    end_s = START + people.days * DAY
    assert enforced(analyzer) & campaign
    found = analyzer.tick(end_s + SMALL.horizon_s + SMALL.full_pass_s)
    fresh = Analyzer(SMALL)
    for name in ("cohort", "values", "rhythm"):
        assert len(getattr(analyzer.accounts, name)) == 0
        assert sizes(getattr(analyzer.accounts, name)) == sizes(getattr(fresh.accounts, name))
    assert all(asked.size == 0 for _, asked in analyzer.accounts.releases.releases())
    assert len(analyzer.book) == len(analyzer.dossiers) == analyzer.book.kept == 0
    assert np.array_equal(analyzer.book._table, fresh.book._table)
    assert sizes(analyzer.replays) == sizes(fresh.replays)
    gone = next(verdict for verdict in found if verdict.cluster == last.cluster)
    assert gone.members == ()
    assert gone.expires_at < end_s + SMALL.horizon_s
    assert all(one["members"] == [] for one in analyzer.clusters())


def test_who_stays_is_decided_upon_after_the_others_are_forgotten_and_a_snapshot_was_loaded() -> None:
    people, _ = town(43)
    analyzer = Analyzer(replace(SMALL, horizon_s=4 * DAY))
    fed(analyzer, people)
    before = len(analyzer.cohort)
    shift = 6 * DAY
    again = Analyzer(SMALL)
    for ts, account, traits in town(43)[0].events():
        analyzer.observe(ts + shift, f"second {account}", traits)
        again.observe(ts + shift, f"second {account}", traits)
    analyzer.tick(START + shift + people.days * DAY)
    analyzer = pickle.loads(pickle.dumps(analyzer))
    assert len(analyzer.cohort) == before == len(again.cohort)
    assert analyzer.cohort.names == again.cohort.names
    analyzer.observe(START + shift + people.days * DAY, "second a1", {"ph": [1, 2, 3]})
    assert len(analyzer.cohort) == before


def sizes(store: Any) -> list[int]:
    """How much stands in each container of a store, whatever it is called; grown arrays by what is not empty."""
    found: list[int] = []
    todo: list[Any] = [store]
    while todo:
        one = todo.pop()
        if isinstance(one, np.ndarray):
            found.append(int((one.astype(np.int64) > 0).sum()))
        elif hasattr(one, "__dict__"):
            todo.extend(vars(one).values())
        elif isinstance(one, dict):
            found.append(len(one))
            todo.extend(value for value in one.values() if not isinstance(value, int | float))
        elif hasattr(one, "__len__"):
            found.append(len(one))
    return found


def test_a_template_of_more_phrases_than_its_dossier_keeps_can_be_forgotten() -> None:
    book = Dossiers()
    book.note(list(range(400)), {1: 1.0}, 0.0, 1.0)
    book.note(list(range(200, 600)), {2: 1.0}, 0.0, 1.0)
    book.forget(2.0)
    assert len(book) == 0
    assert book.note(list(range(400, 600)), {3: 1.0}, 0.0, 3.0).senders == {3: 1.0}


def test_accounts_that_somebody_forgotten_linked_stay_linked() -> None:
    cohort, book = enter(facts_of(1, people=6))[0], ReplayBook()
    for number, code in ((0, 1), (1, 1), (1, 2), (2, 2), (3, 9), (4, 9)):
        book.note(0.0, number, {"sig": [code]}, cohort)
    book.note(0.0, 5, {"sig": [1]}, cohort)
    book.renumber(Renumbering.of(np.array([False, False, True, True, True, True])))
    assert sorted(map(sorted, book.groups(2))) == [[0, 3]]
    assert book.codes_of([0]) == [2]


def test_a_phrase_that_was_silent_for_the_horizon_gives_its_slot_back() -> None:
    book = PhraseBook(4)
    for account in (0, 1):
        book.note(1.0, account, [3, 4, 5])
        book.note(50.0 + account, account, [3, 20 << 4 | 8, 21 << 4 | 9])
    book.note(60.0, 2, [15])
    book.forget(50.0)
    phrases = book.silent_since(50.0)
    book.renumber(Renumbering.of(np.array([True, True, False])), phrases)
    assert book.hashes == [3, 20 << 4 | 8, 21 << 4 | 9]
    assert book.numbers_of([3, 4, 5]) == {0: 3}
    assert book.rows().phrase.tolist() == [0, 1, 2]
    assert book.note(70.0, 0, [15]).size == 0
    assert book.note(71.0, 1, [15, 3]).tolist() == [3, 0]


def test_where_the_one_that_counted_for_a_holder_goes_the_next_one_counts_once() -> None:
    rows = [Known({"country": "DE", "org": 7, "snet": 5}) for _ in range(3)] + [Known({"country": "DE", "snet": 5})]
    cohort, _ = enter((float(number), f"a{number}", row, {}) for number, row in enumerate(rows))
    assert cohort.active_holders(0.0) == 2
    cohort.renumber(Renumbering.of(np.array([False, True, True, True])))
    assert cohort.active_holders(0.0) == 2
    assert cohort.columns["snet"].counted[:3].tolist() == [True, False, True]
    assert cohort.holder(0) == cohort.holder(1) != cohort.holder(2)
    assert "a0" not in cohort.index


def test_requests_that_come_out_of_order_at_the_horizons_edge_leave_nobody_without_a_number() -> None:
    analyzer = Analyzer(SMALL)
    for account in ("a", "b", "c"):
        analyzer.observe(START + 100.0, account, {"ph": [1, 2, 3]})
    for account in ("a", "b"):
        analyzer.observe(START, account, {"ph": [1, 2, 3, 4]})
    analyzer.forget(START + 100.0)
    assert analyzer.cohort.names == ["a", "b", "c"]
    rows = analyzer.book.rows()
    assert rows.account.min() == 0
    assert [analyzer.book.hashes[phrase] for phrase in sorted({*rows.phrase.tolist()})] == [1, 2, 3, 4]
