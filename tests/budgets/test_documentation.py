"""docs/budgets.md names tests and numbers; both exist."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.budgets import breaker, estimator, facade, windows
from gateway.settings import Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "budgets.md").read_text()


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[a-z_/]+\.py)(?:::(test_\w+))?`", TEXT)
    assert len(named) > 12
    for file, function in named:
        source = (ROOT / file).read_text()
        assert not function or re.search(rf"^(async )?def {function}\(", source, re.MULTILINE), f"{file}::{function}"


def test_the_numbers_are_those_of_the_code() -> None:
    text = " ".join(TEXT.split())
    assert windows.SLICES == 12
    assert "keeps twelve slices" in text
    assert f"{windows.HOLD_US // windows.SECOND_US} s after its last sign of life" in text
    assert f"({Settings().store_timeout_s * 1000:.0f} ms)" in text
    assert f"up to {facade.PENDING:,} settlements" in text
    assert f"({round((estimator.MARGIN - 1) * 100)} % above it)" in text
    assert f"every worker signs in every {facade.BEAT_S:.0f} s" in text
    assert (breaker.FAILURES, breaker.FIRST_S, breaker.LONGEST_S) == (3, 0.25, 5.0)
    assert "After three failures in a row" in text
    assert "from a quarter of a second to five" in text
