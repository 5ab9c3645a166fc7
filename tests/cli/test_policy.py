from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias
from xml.etree import ElementTree as ET

import pytest

from gateway.cli import main
from gateway.clock import ManualClock
from gateway.events import FileSink
from gateway.types import Event, Outcome
from tests.policy.helpers import BASE

if TYPE_CHECKING:
    from pathlib import Path


class Ran:
    """What a command printed, and its exit code."""

    def __init__(self, code: object, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Run: TypeAlias = Callable[..., Ran]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text(BASE, encoding="utf-8")
    (tmp_path / "bad.yaml").write_text("version: 1\nplan: {}\n", encoding="utf-8")
    (tmp_path / "doubtful.yaml").write_text("version: 1\nplans:\n  free: {}\n", encoding="utf-8")

    def call(*arguments: str) -> Ran:
        with pytest.raises(SystemExit) as caught:
            main(["policy", *arguments])
        out, err = capsys.readouterr()
        return Ran(caught.value.code, out, err)

    return call


def test_check_says_yes_to_what_the_server_would_load(run: Run) -> None:
    ran = run("check", "good.yaml")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("good.yaml: 2 plans, 2 budgets, 0 rules, 0 warnings, hash ")


def test_check_says_no_with_the_place_on_standard_error(run: Run) -> None:
    ran = run("check", "bad.yaml")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "bad.yaml:2:1: got the unknown key 'plan', did you mean 'plans'?\n"


def test_a_warning_fails_only_a_strict_check(run: Run) -> None:
    ran = run("check", "doubtful.yaml")
    assert ran.code == 0
    assert "doubtful.yaml:3:9: warning: got the plan 'free' without budgets" in ran.err
    assert run("check", "doubtful.yaml", "--strict").code == 1


def test_check_as_json_and_sarif(run: Run) -> None:
    found = json.loads(run("check", "bad.yaml", "--json").out)
    assert found["ok"] is False
    assert found["errors"] == [
        {"file": "bad.yaml", "line": 2, "column": 1, "message": "got the unknown key 'plan', did you mean 'plans'?"}
    ]
    log = json.loads(run("check", "bad.yaml", "--sarif").out)
    assert log["version"] == "2.1.0"
    assert log["runs"][0]["results"][0]["level"] == "error"


@pytest.mark.parametrize(
    "arguments",
    [("check", "not-there"), ("test", "good.yaml"), ("diff", "good.yaml", "bad.yaml"), ("diff", "good.yaml"), ("explain", "good.yaml"),
     ("explain", "good.yaml", "--model", "m", "--level", "odd"), ("explain", "bad.yaml", "--model", "m"), ("nonsense",)],
)  # fmt: skip
def test_what_cannot_be_used_is_two_and_one_line(run: Run, arguments: tuple[str, ...]) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert ran.err.count("\n") == 1


def test_test_tells_which_case_failed_and_writes_junit(run: Run, tmp_path: Path) -> None:
    (tmp_path / "good_test.yaml").write_text(
        "version: 1\nsubjects: {f: {plan: free}}\nrequests: {c: {model: m}}\n"
        "tests: [{name: one, subjects: [f], requests: [c], expect: {decision: allow}},"
        " {name: two, subjects: [f], requests: [c], expect: {decision: mark}}]\n",
        encoding="utf-8",
    )
    ran = run("test", "good.yaml", "--junit", "report.xml")
    assert ran.code == 1
    assert ran.err == "good_test.yaml:4:79: two (f x c x none): decision: got 'allow', expected 'mark'\n"
    assert ran.out == "1 passed, 1 failed\n"
    suite = ET.parse(tmp_path / "report.xml").getroot()
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("2", "1")
    assert [len(case) for case in suite] == [0, 1]


def test_explain_in_words_and_json(run: Run) -> None:
    ran = run("explain", "good.yaml", "--plan", "pro", "--model", "gpt-4o")
    assert ran.code == 0
    assert "charges account:account:pro/requests-per-day: 2,000 requests per day (sliding)" in ran.out
    assert json.loads(run("explain", "good.yaml", "--model", "gpt-4o", "--json").out)["decision"] == "allow"


def test_explain_reads_a_case_and_flags_go_over_it(run: Run, tmp_path: Path) -> None:
    (tmp_path / "case.yaml").write_text("subject: {plan: pro}\nrequest: {model: gpt-4o}\n", encoding="utf-8")
    assert "plan pro" in run("explain", "good.yaml", "--case", "case.yaml").out
    assert "plan free" in run("explain", "good.yaml", "--case", "case.yaml", "--plan", "free").out


async def test_explain_of_a_past_request_tells_what_was_decided_then_and_what_would_be_now(
    run: Run, tmp_path: Path
) -> None:
    event = Event(
        id="r_42", ts=1_767_614_400.0, outcome=Outcome.REFUSED, family="openai", route="openai.chat_completions", status=403,
        account="a7", plan="pro", model="gpt-4o", level="suspect", cluster="c1", rule="standings/confirmed",
        refusal="forbidden", policy="0123456789abcdef",
    )  # fmt: skip
    segment = tmp_path / "state" / "events"
    segment.mkdir(parents=True)
    sink = FileSink(segment, ManualClock(event.ts))
    sink.append(event)
    await sink.aclose()
    ran = run("explain", "good.yaml", "--event", "r_42", "--state-dir", "state")
    assert ran.out.startswith(
        "recorded: outcome refused, status 403, rule standings/confirmed, refusal forbidden, policy 0123456789abcdef\n"
    )
    assert "charges account:a7:pro/requests-per-day" in ran.out
    found = json.loads(run("explain", "good.yaml", "--event", "r_42", "--state-dir", "state", "--json").out)
    assert (found["decision"], found["level"], found["recorded"]["rule"]) == ("allow", "suspect", "standings/confirmed")
    missing = run("explain", "good.yaml", "--event", "r_43", "--state-dir", "state")
    assert (missing.code, missing.out) == (2, "")
    assert "got no event 'r_43'" in missing.err


def test_diff_is_zero_for_the_same_and_one_for_other(run: Run, tmp_path: Path) -> None:
    (tmp_path / "new.yaml").write_text(BASE.replace("200/day", "100/day"), encoding="utf-8")
    assert run("diff", "good.yaml", "good.yaml").code == 0
    ran = run("diff", "good.yaml", "new.yaml")
    assert ran.code == 1
    assert "(tighter)" in ran.out
    assert json.loads(run("diff", "good.yaml", "new.yaml", "--json").out)["changes"][0]["effect"] == "tighter"


def test_the_shipped_schema_is_the_one_that_is_printed(run: Run) -> None:
    from gateway.policy import shipped_policies

    printed = json.loads(run("schema").out)
    assert json.loads((shipped_policies() / "policy.schema.json").read_text(encoding="utf-8")) == printed


def test_every_shipped_file_names_its_schema() -> None:
    from gateway.policy import shipped_policies

    folder = shipped_policies()
    for path in folder.glob("*.yaml"):
        assert path.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=policy.schema.json\n")
    for path in (folder / "tests").glob("*.yaml"):
        assert path.read_text(encoding="utf-8").startswith("# yaml-language-server: $schema=../test.schema.json\n")


def test_the_shipped_schema_of_tests_is_the_one_that_is_printed(run: Run) -> None:
    from gateway.policy import shipped_policies

    printed = json.loads(run("schema", "--tests").out)
    assert json.loads((shipped_policies() / "test.schema.json").read_text(encoding="utf-8")) == printed


def test_the_reference_has_every_key_of_the_schema(run: Run) -> None:
    printed, reference = json.loads(run("schema").out), run("schema", "--reference").out
    for name, model in [("PolicyFile", printed), *printed["$defs"].items()]:
        (section,) = [part for part in reference.split("## ") if part.startswith(f"{name}\n")]
        assert all(f"| `{key}` | " in section for key in model["properties"])


def test_a_rule_that_no_test_reached_fails_a_strict_test_run(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(
        BASE + "rules: [{name: lonely, match: {country: DE}, then: {mark: true}}]\n", encoding="utf-8"
    )
    (tmp_path / "rules_test.yaml").write_text(
        "version: 1\nsubjects: {f: {plan: free}}\nrequests: {c: {model: m}}\n"
        "tests: [{name: one, subjects: [f], requests: [c], expect: {decision: allow}}]\n",
        encoding="utf-8",
    )
    loose, strict = (run("test", "rules.yaml", "--tests", "rules_test.yaml", *more) for more in ((), ("--strict",)))
    assert (loose.code, strict.code) == (0, 1)
    assert loose.out == strict.out == "no test reached lonely\n1 passed, 0 failed\n"
