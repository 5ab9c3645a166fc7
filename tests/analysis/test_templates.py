"""Templates: what bounds the search for them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from gateway.analysis import templates


@pytest.mark.parametrize(
    ("most", "kept"), [(0, []), (1, [3]), (2, [1, 3]), (3, [1, 2, 3]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])]
)
def test_texts_of_few_words_cost_a_bounded_number_of_links(most: int, kept: list[int]) -> None:
    lift = np.array([1.5, 2.0, 2.0, 9.0, 0.5])
    assert np.flatnonzero(templates.strongest(lift > 1.0, lift, most)).tolist() == kept


def test_two_prompts_that_share_a_turn_of_the_language_are_two_templates() -> None:
    first, second, common, noise = range(6), range(6, 12), (12, 13, 14), range(15, 75)
    said: list[tuple[int, int, int]] = []
    for request in range(240):
        if request < 40:
            words = [*first, *(common if request % 2 else ())]
        elif request < 80:
            words = [*second, *(common if request % 2 else ())]
        else:
            words = [15 + request % 60, 15 + (7 * request + 3) % 60, *(common if request % 3 == 0 else ())]
        said += [(request, phrase, request) for phrase in words]
    rows = templates.Rows(
        request=np.array([one[0] for one in said], np.int64),
        phrase=np.array([one[1] for one in said], np.int32),
        account=np.arange(240, dtype=np.int64),
        ts=np.arange(240.0),
        wants=np.zeros(240, np.int64),
    )
    groups = [set(found.matched.tolist()) for found in templates.find(rows, np.arange(75), 75)]
    assert not any(group & set(range(40)) and group & set(range(40, 80)) for group in groups)
    assert {frozenset(range(40)), frozenset(range(40, 80))} <= {frozenset(group) for group in groups}
    assert len(noise) == 60


@pytest.mark.parametrize(("sends_more", "taken"), [(0, False), (1, True), (8, True)])
def test_a_class_whose_exercise_shares_a_part_with_a_template_is_not_of_it(sends_more: int, taken: bool) -> None:
    """The exercise matches by itself; it is of the template only where those who send it send other parts too."""
    heads, tails = [range(4 * i, 4 * i + 4) for i in range(4)], [range(16 + 4 * i, 20 + 4 * i) for i in range(4)]
    exercise = range(32, 44)
    texts = [(account, [*heads[(account + turn) % 4], *tails[turn]]) for account in range(30) for turn in range(4)]
    texts += [(100 + student, [*exercise, heads[0][0]]) for student in range(8)]
    texts += [(100 + student, [*heads[1], *tails[student % 4]]) for student in range(sends_more)]
    texts += [(200 + stranger, []) for stranger in range(200)]
    said = sparse.lil_matrix((len(texts), 44), dtype=np.float32)
    for request, (_, phrases) in enumerate(texts):
        said[request, phrases] = 1.0
    account = np.array([account for account, _ in texts], np.int64)
    among = templates._Said.of(said.tocsr(), account)
    kept = templates._without_strangers(among, templates._Weighed.of(among, np.arange(44))).columns
    assert kept.tolist() == [*range(32), *(exercise if taken else ())]


@pytest.mark.parametrize(("requests", "texts"), [(1, 1), (2, 1), (60, 7), (60, 60)])
def test_requests_that_show_the_same_are_looked_at_once_and_counted_as_often_as_they_came(
    requests: int, texts: int
) -> None:
    rng = np.random.default_rng(requests + texts)
    distinct = rng.random((texts, 12)) < 0.3
    shown = distinct[rng.integers(0, texts, requests)]
    said = templates._Said.of(sparse.csr_matrix(shown.astype(np.float32)), np.arange(requests))
    folded = said.rows.toarray()
    assert np.array_equal(folded[said.kind], shown)
    assert len({row.tobytes() for row in folded}) == len(folded) == len({row.tobytes() for row in shown})
    together = templates._together(said.rows, said.times).toarray()
    assert np.array_equal(together, shown.astype(int).T @ shown.astype(int))
