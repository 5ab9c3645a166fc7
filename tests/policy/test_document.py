"""docs/policies.md: its examples load, and its tables are those of the models: every key, unit, default and why."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.policy.conditions import VARIABLES
from gateway.policy.language import ROUTE_PATHS, PolicyFile, json_schema
from gateway.policy.parts import EXEMPTIONS
from gateway.policy.reference import filled, models, shown
from gateway.policy.trial import TestFile, run_trials
from gateway.settings import Settings
from tests.policy.helpers import policies_of

DOCUMENT = (Path(__file__).parents[2] / "docs" / "policies.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
POLICIES = [example for example in EXAMPLES if not example.startswith("# test\n")]
SECRETS = {"CLAUDE_API_KEY": "k", "SAMPLES_KEY": base64.b64encode(b"k" * 32).decode()}
TESTS = [example for example in EXAMPLES if example.startswith("# test\n")]


@pytest.mark.parametrize("example", POLICIES)
def test_every_example_loads(example: str) -> None:
    assert policies_of(example, SECRETS).parts.plans


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


def test_every_key_is_shown_in_an_example() -> None:
    shown_keys = "\n".join(EXAMPLES)
    for key in sorted(keys_of(json_schema()) - {"include"}):  # an example has no second file
        assert re.search(rf"(^|[\s{{]){key}:", shown_keys), f"{key} is in no example"


# -- the tables: every key, its unit, its default and why


def test_the_tables_say_what_the_models_say() -> None:
    assert filled(DOCUMENT) == DOCUMENT, "run: python -m gateway.policy.reference docs/policies.md"


def test_every_mapping_of_the_language_has_its_table() -> None:
    assert shown(DOCUMENT) == set(models())


ENTRIES = [(model, key, value) for model, keys in models().items() for key, value in keys.items()]


@pytest.mark.parametrize(("model", "key", "value"), ENTRIES, ids=lambda part: part if isinstance(part, str) else "")
def test_every_key_says_what_it_is_its_default_and_why(model: str, key: str, value: dict[str, Any]) -> None:
    assert value["x-what"]
    assert value["x-default"]
    assert value["x-why"]


@pytest.mark.parametrize(("model", "key", "value"), ENTRIES, ids=lambda part: part if isinstance(part, str) else "")
def test_a_key_is_required_exactly_where_the_table_says_so(model: str, key: str, value: dict[str, Any]) -> None:
    schema = PolicyFile.model_json_schema(by_alias=True)
    whole = schema if model == "PolicyFile" else schema["$defs"][model]
    assert (key in whole.get("required", [])) == (value["x-default"] == "required")


NUMBERS = {"integer", "number"}


@pytest.mark.parametrize(("model", "key", "value"), ENTRIES, ids=lambda part: part if isinstance(part, str) else "")
def test_every_quantity_has_a_unit(model: str, key: str, value: dict[str, Any]) -> None:
    kinds = {option.get("type") for option in value.get("anyOf", [value])}
    texts = [option.get("pattern", "") for option in value.get("anyOf", [value])]
    timed = any("(ms|s|m|h|d)" in text or "(h|d)" in text or text.endswith("%$") for text in texts)
    counted = "const" not in value and bool(kinds & NUMBERS)
    assert bool(value["x-unit"]) == (counted or timed or key == "limit"), (kinds, texts)


def test_a_plain_default_is_the_one_that_the_table_shows() -> None:
    for model, key, value in ENTRIES:
        default = value.get("default")
        if isinstance(default, bool):
            assert value["x-default"] == f"`{str(default).lower()}`", (model, key)
        elif isinstance(default, str):
            assert value["x-default"] == f"`{default}`", (model, key)


def test_a_default_that_the_loader_fills_in_is_the_one_that_the_table_shows() -> None:
    parts = policies_of("version: 1\nplans: {free: {budgets: [{limit: 1/day}]}}\npass_through: [{path: /x}]\n").parts
    told = {(model, key): value["x-default"] for model, key, value in ENTRIES}
    days = f"{parts.analysis.horizon_s / 86_400:g}d", f"{parts.recording.retention_s / 86_400:g}d"
    assert told["PolicyFile", "default_output_tokens"] == str(parts.default_output_tokens)
    assert float(told["AnalysisSpec", "alpha"]) == parts.analysis.alpha
    assert told["AnalysisSpec", "families"] == str(parts.analysis.families)
    assert (told["AnalysisSpec", "horizon"], told["RecordingSpec", "retention"]) == days
    assert told["PassThroughSpec", "methods"] == f"`{parts.pass_through[0].methods[0]}`"
    (budget,) = parts.plans["free"].budgets
    assert told["BudgetSpec", "subject"] == f"`{budget.subject.value}`"
    assert told["BudgetSpec", "window"].startswith(f"`{budget.window.algorithm.value}`")


@pytest.mark.parametrize(("key", "shown_s"), [("connect", "5 s"), ("first_byte", "10 min"), ("idle", "5 min")])
def test_the_timeouts_that_the_table_shows_are_the_gateways(key: str, shown_s: str) -> None:
    told = models()["UpstreamFileSpec"][f"{key}_timeout"]["x-default"]
    number, unit = shown_s.split()
    assert told == f"the gateway's `--{key.replace('_', '-')}-timeout-s` ({shown_s})"
    assert getattr(Settings(), f"{key}_timeout_s") == float(number) * (60 if unit == "min" else 1)


def test_every_key_of_policy_tests_is_shown() -> None:
    for key in sorted(keys_of(TestFile.model_json_schema()) - {"reason"}):
        assert re.search(rf"(^|[\s{{]){key}:", TESTS[0], re.MULTILINE), key


@pytest.mark.parametrize("name", [*VARIABLES, *ROUTE_PATHS, *sorted(EXEMPTIONS)])
def test_every_variable_route_and_exemption_is_named(name: str) -> None:
    assert f"`{name}`" in DOCUMENT
