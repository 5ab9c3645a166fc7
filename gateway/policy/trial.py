"""Policy tests: YAML beside the policies that says what a policy must decide.

A test crosses subjects, requests and standings, and expects one decision of all of them. The clock is
fixed. What is decided is the policy's answer before budgets are asked (``allow``, ``mark``, ``refuse``) and
which budgets are charged. Rules that no test reached are reported: an untested rule is a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from gateway.errors import ConfigError, FileError, FileErrors
from gateway.policy.cases import RequestSpec, StandingGiven, SubjectSpec
from gateway.policy.explain import decision_of, explain
from gateway.policy.fields import ROUTE_PATHS, Duration, Strict
from gateway.policy.load import is_test, read_document
from gateway.policy.messages import unknown_name, validate
from gateway.types import Identity, Level, RequestFacts, Standing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gateway.policy.decide import PolicySet
    from gateway.policy.source import Document
    from gateway.types import Plan

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
"""The clock of tests that name none: a Monday."""


class ExpectSpec(Strict):
    """What must be decided; keys that are left out may be anything."""

    decision: Literal["allow", "mark", "refuse"] = Field(description="What is decided.")
    rule: str | None = Field(None, description="The rule behind it.")
    reason: str | None = Field(None, description="Text that the refusal's message contains.")
    plan: str | None = Field(None, description="The plan whose budgets are charged.")
    upstream: str | None = Field(None, description="Where it is sent.")
    charges: list[str] | None = Field(None, description="Names of budgets that are charged, among others.")
    shadowed: list[str] | None = Field(None, description="Rules in shadow that would have refused, exactly these.")
    not_charges: list[str] | None = Field(None, description="Names of budgets that are not charged.")
    max_output_tokens: int | None = Field(None, description="The cap that is put on it.")
    max_choices: int | None = Field(None, description="The number of replies that it is lowered to.")
    carriers: list[str] | None = Field(None, description="Kinds of marks, exactly these.")
    drop_logprobs: bool = Field(False, description="Whether log-probabilities are withheld.")
    hide_reasoning: bool = Field(False, description="Whether reasoning text is withheld.")
    sample: bool = Field(False, description="Whether the request is kept in full.")
    delay: Duration | None = Field(None, description="What is waited before it is sent on; 0s for nothing.")


class TestSpec(Strict):
    """One test."""

    __test__ = False

    name: str = Field(min_length=1, description="What is tested.")
    subjects: list[str] = Field(min_length=1, description="Names under subjects.")
    requests: list[str] = Field(min_length=1, description="Names under requests.")
    standings: list[str] = Field(default=["none"], min_length=1, description="Names under standings, or levels.")
    now: str | None = Field(None, description="The time, ISO 8601.")
    expect: ExpectSpec = Field(description="What must be decided.")


class TestFile(Strict):
    """One file of policy tests."""

    __test__ = False

    version: Literal[1] = Field(description="Version of the language: 1.")
    now: str | None = Field(None, description="The time of all tests, ISO 8601 (default: 2026-01-05T12:00Z).")
    subjects: dict[str, SubjectSpec] = Field(description="Who asks, by name.")
    requests: dict[str, RequestSpec] = Field(description="What is asked for, by name.")
    standings: dict[str, StandingGiven] = Field(default_factory=dict, description="Standings, by name.")
    tests: list[TestSpec] = Field(min_length=1, description="The tests.")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """One case of a test; ``failures`` says what was got and expected, nothing where it passed."""

    test: str
    case: str
    place: str
    failures: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReport:
    """What a run of tests found."""

    results: tuple[TrialResult, ...]
    unreached: tuple[str, ...]

    @property
    def failed(self) -> tuple[TrialResult, ...]:
        """The cases that did not decide as expected."""
        return tuple(result for result in self.results if result.failures)


def trial_schema() -> dict[str, Any]:
    """The JSON Schema of a file of policy tests, for editors."""
    schema = TestFile.model_json_schema(by_alias=True)
    schema["title"] = "distillguard policy tests"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def find_tests(path: Path) -> list[Path]:
    """Test files of a policy set: ``*_test.yaml`` beside the policies, everything in its folder ``tests``."""
    root = path if path.is_dir() else path.parent
    found = [
        *root.glob("*.yaml"),
        *root.glob("*.yml"),
        *(root / "tests").glob("*.yaml"),
        *(root / "tests").glob("*.yml"),
    ]
    return sorted(entry for entry in found if is_test(entry))


def run_trials(policies: PolicySet, paths: list[Path]) -> TrialReport:
    """Run the tests in ``paths``. Raises FileErrors for files that are no tests, ConfigError for none."""
    if not paths:
        raise ConfigError("got no policy tests, expected *_test.yaml beside the policies or files in tests/")
    errors: list[FileError] = []
    results: list[TrialResult] = []
    reached: set[str] = set()
    for path in paths:
        document = read_document(path)
        found = validate(document, TestFile)
        if isinstance(found, TestFile):
            errors += document.errors
            errors += (problems := [*_unknown_names(document, found), *_unknown_to(policies, document, found)])
            if not problems:
                results += _run_file(policies, document, found, reached)
        else:
            errors += [*document.errors, *found]
    if errors:
        raise FileErrors(errors)
    return TrialReport(results=tuple(results), unreached=tuple(sorted(_reachable(policies) - reached)))


def _unknown_names(document: Document, file: TestFile) -> Iterator[FileError]:
    """Names that a test uses and the file does not define, and times that are none."""
    levels = {level.value for level in Level}
    for index, test in enumerate(file.tests):
        for key, valid in (
            ("subjects", set(file.subjects)),
            ("requests", set(file.requests)),
            ("standings", set(file.standings) | levels),
        ):
            for place, name in enumerate(getattr(test, key)):
                if name not in valid:
                    yield document.error(("tests", index, key, place), unknown_name(key[:-1], name, sorted(valid)))
    for name, request in file.requests.items():
        if request.route not in ROUTE_PATHS:
            yield document.error(("requests", name, "route"), unknown_name("route", request.route, list(ROUTE_PATHS)))
    times: list[tuple[tuple[str | int, ...], str | None]] = [(("now",), file.now)]
    times += [(("tests", index, "now"), test.now) for index, test in enumerate(file.tests)]
    for where, text in times:
        try:
            _seconds(text)
        except ValueError:
            yield document.error(where, f"got {text!r}, expected a time such as '2026-01-05T12:00:00Z'")


def _unknown_to(policies: PolicySet, document: Document, file: TestFile) -> Iterator[FileError]:
    """Budgets and rules that a test expects and the policies do not have: it could never fail, or never pass."""
    budgets = {budget.name for budget in policies.budgets}
    rules = (
        _reachable(policies) | {"access/kill", "upstreams"} | {f"plans/{name}/models" for name in policies.parts.plans}
    )
    for index, test in enumerate(file.tests):
        where = ("tests", index, "expect")
        for key in ("charges", "not_charges"):
            for place, name in enumerate(getattr(test.expect, key) or ()):
                if name not in budgets:
                    yield document.error((*where, key, place), unknown_name("budget", name, sorted(budgets)))
        if test.expect.rule is not None and test.expect.rule not in rules:
            yield document.error((*where, "rule"), unknown_name("rule", test.expect.rule, sorted(rules)))


def _seconds(text: str | None) -> float:
    """Seconds since the epoch; without a zone it is UTC."""
    moment = NOON if text is None else datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _run_file(policies: PolicySet, document: Document, file: TestFile, reached: set[str]) -> Iterator[TrialResult]:
    for index, test in enumerate(file.tests):
        line, column = document.values_at[("tests", index)]
        now_s = _seconds(test.now or file.now)
        for case, identity, facts, standing in _cases(file, test, now_s):
            explanation = explain(policies, identity, facts, standing, now_s)
            plan = policies.decide(identity, facts, standing, now_s)
            reached |= {entry.rule for entry in explanation.considered if entry.matched}
            place = f"{document.file}:{line}:{column}"
            failures = tuple(_failures(test.expect, plan))
            yield TrialResult(test=test.name, case=case, place=place, failures=failures)


def _cases(file: TestFile, test: TestSpec, now_s: float) -> Iterator[tuple[str, Identity, RequestFacts, Standing]]:
    for subject in test.subjects:
        for request in test.requests:
            for name in test.standings:
                given = (
                    file.standings[name] if name in file.standings else StandingGiven.model_validate({"level": name})
                )
                case = f"{subject} x {request} x {name}"
                yield case, file.subjects[subject].identity(now_s), file.requests[request].facts(), given.standing()


def _failures(expect: ExpectSpec, plan: Plan) -> Iterator[str]:
    """What differs from what was expected, in words."""
    got: Mapping[str, Any] = {
        "decision": decision_of(plan),
        "rule": plan.rule,
        "plan": plan.plan,
        "upstream": plan.upstream,
        "max_output_tokens": plan.max_output_tokens,
        "max_choices": plan.max_choices,
        "carriers": list(plan.carriers),
        "drop_logprobs": plan.drop_logprobs,
        "hide_reasoning": plan.hide_reasoning,
        "sample": plan.sample,
        "delay": plan.delay_s,
        "shadowed": list(plan.shadowed),
    }
    for key in sorted(expect.model_fields_set & set(got), key=list(got).index):
        if got[key] != getattr(expect, key):
            yield f"{key}: got {got[key]!r}, expected {getattr(expect, key)!r}"
    message = plan.refusal.message if plan.refusal is not None else ""
    if expect.reason is not None and expect.reason not in message:
        yield f"reason: got {message!r}, expected it to contain {expect.reason!r}"
    charged = {charge.budget.name for charge in plan.charges}
    for name in expect.charges or ():
        if name not in charged:
            yield f"charges: got {', '.join(sorted(charged)) or 'none'}, expected {name!r} among them"
    for name in expect.not_charges or ():
        if name in charged:
            yield f"not_charges: got {name!r} charged, expected it not to be"


def _reachable(policies: PolicySet) -> set[str]:
    """Everything that a test can reach: rules, levels, exemptions."""
    parts = policies.parts
    names = {rule.name for rule in parts.rules} | {f"standings/{level.value}" for level in parts.standings}
    return names | {exemption.rule.name for exemption in parts.exempt}
