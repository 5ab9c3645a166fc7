"""The share of a cluster's questions that stay unmarked: the largest of what applies, nothing for who is exempt."""

from __future__ import annotations

import pytest

from gateway.errors import FileErrors
from gateway.types import NO_STANDING
from tests.policy.helpers import BASE, asks, caller, policies_of, standing

NOW = 1_767_614_400.0
MARKS = BASE + (
    "standings: {suspect: {mark: true, holdout: 5%}}\n"
    "rules: [{name: more, match: {model: 'big-*'}, then: {mark: true, holdout: 10%}}]\n"
    "exempt: [{name: licensed, match: {account: spared}, from: [marks]}]\n"
)


@pytest.mark.parametrize(
    ("account", "model", "level", "share"),
    [
        ("a", "gpt-4o", "suspect", 0.05),
        ("a", "big-1", "suspect", 0.10),
        ("a", "big-1", None, 0.10),
        ("a", "gpt-4o", None, 0.0),
        ("spared", "gpt-4o", "suspect", 0.0),
    ],
)
def test_the_largest_share_counts(account: str, model: str, level: str | None, share: float) -> None:
    found = standing(level) if level else NO_STANDING
    assert policies_of(MARKS).decide(caller(account), asks(model), found, NOW).holdout == pytest.approx(share)


@pytest.mark.parametrize("text", ["101%", "-1%", "0.05", "some"])
def test_a_share_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(FileErrors, match="expected a share from '0%' to '100%'"):
        policies_of(BASE + f"standings: {{suspect: {{mark: true, holdout: '{text}'}}}}\n")
