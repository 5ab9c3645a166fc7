"""Templates: what bounds the search for them."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.analysis import templates


@pytest.mark.parametrize(
    ("most", "kept"), [(0, []), (1, [3]), (2, [1, 3]), (3, [1, 2, 3]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])]
)
def test_texts_of_few_words_cost_a_bounded_number_of_links(most: int, kept: list[int]) -> None:
    lift = np.array([1.5, 2.0, 2.0, 9.0, 0.5])
    assert np.flatnonzero(templates.strongest(lift > 1.0, lift, most)).tolist() == kept
