"""What usual cleaning leaves, on texts made for the tests; ``loadtest/canary_cleaning.py`` is the whole study."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from gateway.canary.evidence import Evidence, make_trials, read_texts
from gateway.canary.keyring import new_keyring
from gateway.canary.marking import mark_reply
from tests.canary.helpers import make_rows, ring_secret

RING = new_keyring(inventory="", now_s=0.0, secret=ring_secret(3))


@pytest.fixture(scope="module")
def leaked() -> list[str]:
    rows = make_rows(1200, seed=31, sentences=5)
    return [mark_reply(RING, "c1", p, r).reply if i < 300 else r for i, (p, r) in enumerate(rows)]


@pytest.fixture(scope="module")
def study() -> ModuleType:
    path = Path(__file__).parents[2] / "loadtest" / "canary_cleaning.py"
    spec = importlib.util.spec_from_file_location("canary_cleaning", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("attack", "bar"),
    [
        ("as it is", 1e-12),
        ("NFKC and ASCII folding", 1e-12),
        ("lower case", 1e-12),
        ("Markdown stripped", 1e-12),
        ("sentences shuffled", 1e-12),
        ("cut to 200 words", 1e-12),
        ("repeated sentences dropped", 1e-12),
        ("30 % random synonyms", 1e-9),
        ("light paraphrase", 1e-9),
        ("last sentences dropped", 1e-12),
        ("cut to 100 words", 1e-12),
        ("all in a row", 1e-5),  # templates have few words: to a filter of rare words every added sentence is rare here
    ],
)
def test_marks_survive(study: ModuleType, leaked: list[str], attack: str, bar: float) -> None:
    evidence = Evidence(make_trials(read_texts(study.attack(attack, leaked, 1))))
    p_value, tests = evidence.test(RING.newest.cluster_key("c1"))
    assert p_value < bar
    alive = {test.carrier for test in tests if test.p_value < 0.01}
    assert len(alive) >= (1 if attack == "all in a row" else 2)
    if attack == "last sentences dropped":
        assert "bridge" in alive
    assert min(evidence.test(RING.newest.cluster_key(f"d{i}"))[0] for i in range(5)) > 1e-5
