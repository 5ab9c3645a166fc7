from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.standing import Override, SubjectKind, Verb
from gateway.standing.book import Book
from gateway.types import NO_STANDING, Level, Standing, Verdict

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

NOW_S = 1_800_000_000.0
CLUSTERS = ["c1", "c2", "c3"]
ACCOUNTS = ["a1", "a2", "a3", "a4"]


def override(verb: Verb, subject: str, **more: object) -> Override:
    kind = SubjectKind.CLUSTER if subject.startswith("c") else SubjectKind.ACCOUNT
    values: dict[str, object] = {"who": "eve", "why": "seen", "at": NOW_S, **more}
    return Override(verb=verb, kind=kind, subject=subject, **values)  # type: ignore[arg-type]


def level(book: Book, account: str, now_s: float = NOW_S) -> str:
    return book.of(account, now_s).level.value


def test_nobody_stands_anywhere_without_a_verdict() -> None:
    assert Book().of("a1", NOW_S) is NO_STANDING


def test_a_member_stands_where_the_verdict_says_and_others_do_not(verdict: Callable[..., Verdict]) -> None:
    book = Book()
    book.add_verdicts([verdict()])
    expected = Standing(level=Level.SUSPECT, cluster="c1", expires_at=NOW_S + 86_400, reasons=("c1 shares a template",))
    assert book.of("a1", NOW_S) == expected
    assert book.of("a3", NOW_S) is NO_STANDING


@pytest.mark.parametrize(("age_s", "expected"), [(0, "suspect"), (86_399, "suspect"), (86_400, "none"), (9e9, "none")])
def test_a_verdict_that_is_not_renewed_ends(verdict: Callable[..., Verdict], age_s: float, expected: str) -> None:
    book = Book()
    book.add_verdicts([verdict()])
    assert level(book, "a1", NOW_S + age_s) == expected


def test_a_late_old_verdict_changes_nothing(verdict: Callable[..., Verdict]) -> None:
    book = Book()
    book.add_verdicts([verdict(version=2, level=Level.CONFIRMED)])
    version = book.version
    assert book.add_verdicts([verdict(version=1), verdict(version=2, level=Level.CONFIRMED)]) == []
    assert level(book, "a1") == "confirmed"
    assert book.version >= version


def test_who_leaves_a_cluster_is_free_and_who_joins_is_not(verdict: Callable[..., Verdict]) -> None:
    book = Book()
    book.add_verdicts([verdict(members="a1 a2")])
    book.add_verdicts([verdict(members="a2 a3", version=2)])
    assert [level(book, account) for account in ("a1", "a2", "a3")] == ["none", "suspect", "suspect"]


def test_an_account_that_moved_follows_the_later_decision_and_comes_back_if_that_is_withdrawn(
    verdict: Callable[..., Verdict],
) -> None:
    book = Book()
    book.add_verdicts([verdict("c1", "a1 a2"), verdict("c2", "a2 a3", decided_at=NOW_S + 1, level=Level.CONFIRMED)])
    assert book.of("a2", NOW_S).cluster == "c2"
    assert [view.members for view in book.clusters(NOW_S)] == [("a1",), ("a2", "a3")]
    book.add_verdicts([verdict("c2", "a3", decided_at=NOW_S + 2, version=2)])
    assert book.of("a2", NOW_S).cluster == "c1"


def test_a_merged_cluster_has_no_effect_any_more(verdict: Callable[..., Verdict]) -> None:
    book = Book()
    book.add_verdicts([verdict("c1", "a1 a2", level=Level.CONFIRMED)])
    book.add_verdicts([verdict("c2", "a2 a3", decided_at=NOW_S + 1, replaces=("c1",))])
    assert [level(book, account) for account in ("a1", "a2", "a3")] == ["none", "suspect", "suspect"]
    merged, taker = book.clusters(NOW_S)
    assert (merged.replaced_by, merged.level, merged.members) == ("c2", Level.NONE, ())
    assert (taker.replaced_by, taker.level) == (None, Level.SUSPECT)


def test_dismissing_a_cluster_holds_against_new_evidence_but_not_for_its_accounts_elsewhere(
    verdict: Callable[..., Verdict],
) -> None:
    book = Book()
    book.add_verdicts([verdict()])
    book.add_overrides([override(Verb.DISMISS, "c1", members=("a1", "a2"))])
    book.add_verdicts([verdict(members="a1 a2 a9", version=2, level=Level.CONFIRMED)])
    assert [level(book, account) for account in ("a1", "a9")] == ["none", "none"]
    book.add_verdicts([verdict("c2", "a1", decided_at=NOW_S + 5)])
    assert [level(book, account) for account in ("a1", "a2")] == ["suspect", "none"]


def test_exempting_a_cluster_goes_with_its_accounts_wherever_they_are_put(verdict: Callable[..., Verdict]) -> None:
    book = Book()
    book.add_verdicts([verdict()])
    book.add_overrides([override(Verb.EXEMPT, "c1", members=("a1", "a2"))])
    book.add_verdicts([verdict("c2", "a1 a7", decided_at=NOW_S + 5, level=Level.CONFIRMED)])
    assert [level(book, account) for account in ("a1", "a2", "a7")] == ["none", "none", "confirmed"]


@pytest.mark.parametrize(("verb", "held"), [(Verb.CONFIRM, "confirmed"), (Verb.DISMISS, "none")])
def test_a_decision_on_a_cluster_outlives_its_merger_for_the_accounts_it_named(
    verdict: Callable[..., Verdict], verb: Verb, held: str
) -> None:
    book = Book()
    book.add_verdicts([verdict("c1", "a1 a2")])
    book.add_overrides([override(verb, "c1", members=("a1", "a2"))])
    book.add_verdicts([verdict("c2", "a1 a2 a3", decided_at=NOW_S + 1, replaces=("c1",))])
    assert [level(book, account) for account in ("a1", "a2", "a3")] == [held, held, "suspect"]


def test_an_account_is_spared_though_its_cluster_is_confirmed_by_a_person(verdict: Callable[..., Verdict]) -> None:
    book = Book()
    book.add_verdicts([verdict()])
    book.add_overrides([override(Verb.EXEMPT, "a1"), override(Verb.CONFIRM, "c1", at=NOW_S + 9)])
    assert [level(book, account) for account in ("a1", "a2")] == ["none", "confirmed"]


def test_a_stolen_key_can_be_confirmed_without_any_cluster() -> None:
    book = Book()
    book.add_overrides([override(Verb.CONFIRM, "a1")])
    assert book.of("a1", NOW_S) == Standing(
        level=Level.CONFIRMED, cluster=None, expires_at=None, reasons=("confirmed by eve: seen",)
    )


def test_an_override_that_ended_gives_way_to_the_verdict(verdict: Callable[..., Verdict]) -> None:
    book = Book()
    book.add_verdicts([verdict()])
    book.add_overrides([override(Verb.DISMISS, "c1", until=NOW_S + 10), override(Verb.CONFIRM, "a1", until=NOW_S + 5)])
    assert [level(book, "a1", NOW_S + age) for age in (4.9, 5, 9.9, 10)] == ["confirmed", "none", "none", "suspect"]


@pytest.mark.parametrize("subject", ["c1", "a1"])
def test_a_release_takes_back_what_was_decided(verdict: Callable[..., Verdict], subject: str) -> None:
    book = Book()
    book.add_verdicts([verdict()])
    book.add_overrides([override(Verb.EXEMPT, subject, members=("a1", "a2") if subject == "c1" else ())])
    assert level(book, "a1") == "none"
    book.add_overrides([override(Verb.RELEASE, subject, at=NOW_S + 1)])
    assert level(book, "a1") == "suspect"


def test_clusters_that_ended_long_ago_are_forgotten_and_those_they_replaced_stay_without_effect(
    verdict: Callable[..., Verdict],
) -> None:
    book = Book()
    book.add_verdicts([verdict("c1", "a1"), verdict("c2", "a2", expires_at=NOW_S + 1)])
    assert book.forget(NOW_S + 1) == []
    assert book.forget(NOW_S + 2) == ["c2"]
    assert [view.verdict.cluster for view in book.clusters(NOW_S)] == ["c1"]
    assert level(book, "a2") == "none"


class Model:
    """Who stands where, worked out from everything ever said, without any index."""

    def __init__(self, verdicts: Sequence[Verdict], overrides: Sequence[Override]) -> None:
        self.verdicts: dict[str, Verdict] = {}
        for one in verdicts:
            old = self.verdicts.get(one.cluster)
            if old is None or (one.version, one.decided_at) > (old.version, old.decided_at):
                self.verdicts[one.cluster] = one
        self.said: dict[tuple[SubjectKind, str], Override] = {}
        for said in sorted(overrides, key=lambda one: (one.at, one.id)):
            self.said[said.kind, said.subject] = said
        self.gone = {name for one in self.verdicts.values() for name in one.replaces}

    def of(self, account: str, now_s: float) -> tuple[Level, str | None]:
        naming = [v for v in self.verdicts.values() if account in v.members and v.cluster not in self.gone]
        mine = max(naming, key=lambda v: (v.decided_at, v.version, v.cluster), default=None)
        personal = [
            o
            for o in self.said.values()
            if (o.kind is SubjectKind.ACCOUNT and o.subject == account)
            or (
                o.kind is SubjectKind.CLUSTER
                and account in o.members
                and (o.verb is Verb.EXEMPT or o.subject in self.gone)
            )
        ]
        rules: list[Override | None] = [max(personal, key=lambda o: (o.at, o.id), default=None)]
        if mine is not None:
            rules.append(self.said.get((SubjectKind.CLUSTER, mine.cluster)))
        for rule in rules:
            if rule is not None and rule.verb is not Verb.RELEASE and (rule.until is None or now_s < rule.until):
                return (Level.CONFIRMED if rule.verb is Verb.CONFIRM else Level.NONE), mine.cluster if mine else None
        if mine is not None and now_s < mine.expires_at:
            return mine.level, mine.cluster
        return Level.NONE, None


some_accounts = st.lists(st.sampled_from(ACCOUNTS), unique=True, max_size=4).map(tuple)
verdicts = st.builds(
    Verdict,
    cluster=st.sampled_from(CLUSTERS),
    level=st.sampled_from(Level),
    members=some_accounts,
    decided_at=st.integers(1, 3).map(float),
    expires_at=st.integers(2, 9).map(float),
    version=st.integers(1, 3),
    replaces=st.lists(st.sampled_from(CLUSTERS), unique=True, max_size=1).map(tuple),
).filter(lambda one: one.cluster not in one.replaces)
overrides = st.builds(
    Override,
    verb=st.sampled_from(Verb),
    kind=st.just(SubjectKind.ACCOUNT),
    subject=st.sampled_from(CLUSTERS + ACCOUNTS),
    who=st.just("eve"),
    why=st.just("seen"),
    at=st.integers(1, 4).map(float),
    until=st.none() | st.integers(2, 9).map(float),
    members=some_accounts,
    id=st.integers(0, 10**9).map(str),
).map(
    lambda one: override(
        one.verb,
        one.subject,
        at=one.at,
        until=one.until,
        members=one.members if one.subject.startswith("c") else (),
        id=one.id,
    )
)


def distinct(said: list[Verdict | Override]) -> bool:
    """No two that differ but claim the same place: a version is given once, an id too."""
    places = [
        (one.cluster, one.version, one.decided_at) if isinstance(one, Verdict) else (one.kind, one.subject, one.id)
        for one in said
    ]
    return len(set(places)) == len(places)


@settings(max_examples=300, deadline=None)
@given(st.lists(verdicts | overrides, max_size=12).filter(distinct), st.randoms(use_true_random=False))
def test_the_book_agrees_with_the_rules_in_whatever_order_and_how_often_it_hears(
    said: list[Verdict | Override], shuffle: random.Random
) -> None:
    model = Model([one for one in said if isinstance(one, Verdict)], [one for one in said if isinstance(one, Override)])
    heard = said + [one for one in said if shuffle.random() < 0.3]
    shuffle.shuffle(heard)
    book = Book()
    for one in heard:
        if isinstance(one, Verdict):
            book.add_verdicts([one])
        else:
            book.add_overrides([one])
    for now_s in (0.0, 2.0, 3.5, 5.0, 9.0):
        for account in ACCOUNTS:
            standing = book.of(account, now_s)
            assert (standing.level, standing.cluster) == model.of(account, now_s)


def test_asking_takes_no_longer_for_25_000_accounts_and_a_renewal_does_not_touch_them(
    verdict: Callable[..., Verdict],
) -> None:
    accounts = [f"a{number}" for number in range(25_000)]
    book = Book()
    book.add_verdicts([verdict(members=" ".join(accounts))])
    held = book._entries["a1"]
    book.add_verdicts([verdict(members=" ".join(accounts), version=2, expires_at=NOW_S + 2)])
    assert book._entries["a1"] is held
    assert held[0].expires_at == NOW_S + 2
    began = time.perf_counter()
    for account in accounts:
        book.of(account, NOW_S)
    assert (time.perf_counter() - began) / len(accounts) < 5e-6  # 0.2 µs on a free machine
