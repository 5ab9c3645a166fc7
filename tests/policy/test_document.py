"""docs/policies.md: its examples load, and it names every key of the language."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gateway.policy.conditions import VARIABLES
from gateway.policy.language import ROUTE_PATHS, json_schema
from gateway.policy.parts import EXEMPTIONS
from gateway.policy.trial import TestFile, run_trials
from tests.policy.helpers import policies_of

DOCUMENT = (Path(__file__).parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
POLICIES = [example for example in EXAMPLES if not example.startswith("# test\n")]
TESTS = [example for example in EXAMPLES if example.startswith("# test\n")]


@pytest.mark.parametrize("example", POLICIES)
def test_every_example_loads(example: str) -> None:
    assert policies_of(example, {"CLAUDE_API_KEY": "k"}).parts.plans


def test_the_example_of_a_test_passes(tmp_path: Path) -> None:
    (example,) = TESTS
    path = tmp_path / "example_test.yaml"
    path.write_text(example, encoding="utf-8")
    standings = next(text for text in POLICIES if "cluster_plan" in text)
    free_of_exemptions = standings.split("exempt:")[0]
    assert run_trials(policies_of(free_of_exemptions), [path]).failed == ()


def keys_of(schema: dict[str, Any]) -> set[str]:
    found = set(schema.get("properties", {}))
    return found.union(*(keys_of(inner) for inner in schema.get("$defs", {}).values()))


def test_every_key_is_explained_and_shown_in_an_example() -> None:
    prose = re.sub(r"^```yaml\n.*?^```", "", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
    shown = "\n".join(EXAMPLES)
    for key in sorted(keys_of(json_schema())):
        assert f"`{key}`" in prose, f"{key} is not explained"
        if key != "include":  # an example has no second file
            assert re.search(rf"(^|[\s{{]){key}:", shown), f"{key} is in no example"


def test_every_key_of_policy_tests_is_shown() -> None:
    for key in sorted(keys_of(TestFile.model_json_schema()) - {"reason"}):
        assert re.search(rf"(^|[\s{{]){key}:", TESTS[0], re.MULTILINE), key


@pytest.mark.parametrize("name", [*VARIABLES, *ROUTE_PATHS, *sorted(EXEMPTIONS)])
def test_every_variable_route_and_exemption_is_named(name: str) -> None:
    assert f"`{name}`" in DOCUMENT
