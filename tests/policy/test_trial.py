from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.errors import ConfigError, FileErrors
from gateway.policy import check_policies, shipped_policies
from gateway.policy.trial import find_tests, run_trials
from tests.policy.helpers import BASE, policies_of

if TYPE_CHECKING:
    from pathlib import Path

POLICY = BASE + (
    "rules:\n  - {name: night, if: hour < 6, then: {refuse: {message: Closed at night.}}}\n"
    "  - {name: never-tested, match: {country: DE}, then: {mark: true}}\n"
    "standings: {suspect: {mark: true, max_output_tokens: 100}}\n"
)
TESTS = """\
version: 1
subjects: {free: {plan: free}, pro: {plan: pro}}
requests: {chat: {model: gpt-4o}}
standings: {s: {level: suspect, cluster: c9}}
tests:
  - {name: day, subjects: [free, pro], requests: [chat], expect: {decision: allow, rule: null}}
  - name: night
    subjects: [free]
    requests: [chat]
    now: "2026-01-05T05:59:59Z"
    expect: {decision: refuse, rule: night, reason: Closed}
  - {name: suspect, subjects: [free], requests: [chat], standings: [s], expect: {decision: mark, max_output_tokens: 100}}
"""


def run(folder: Path, tests: str, policy: str = POLICY) -> list[str]:
    path = folder / "a_test.yaml"
    path.write_text(tests, encoding="utf-8")
    report = run_trials(policies_of(policy), [path])
    return [f"{result.test}: {failure}" for result in report.failed for failure in result.failures]


def test_tests_that_hold_pass_and_untested_rules_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a_test.yaml"
    path.write_text(TESTS, encoding="utf-8")
    report = run_trials(policies_of(POLICY), [path])
    assert (len(report.results), report.failed, report.unreached) == (4, (), ("never-tested",))


@pytest.mark.parametrize(
    ("old", "new", "failure"),
    [
        ("{decision: allow, rule: null}", "{decision: refuse}", "day: decision: got 'allow', expected 'refuse'"),
        ("rule: night", "rule: never-tested", "night: rule: got 'night', expected 'never-tested'"),
        ("reason: Closed", "reason: Open", "night: reason: got 'Closed at night.', expected it to contain 'Open'"),
        ("05:59:59", "06:00:00", "night: decision: got 'allow', expected 'refuse'"),
        ("max_output_tokens: 100}}", "max_output_tokens: null}}", "suspect: max_output_tokens: got 100, expected None"),
        (
            "rule: null}",
            "charges: [pro/requests-per-day]}",
            "day: charges: got free/requests-per-day, expected 'pro/requests-per-day' among them",
        ),
        (
            "rule: null}",
            "not_charges: [pro/requests-per-day]}",
            "day: not_charges: got 'pro/requests-per-day' charged, expected it not to be",
        ),
        ("rule: null}", "max_choices: 2}", "day: max_choices: got None, expected 2"),
        ("rule: null}", "carriers: [closing]}", "day: carriers: got [], expected ['closing']"),
        ("rule: null}", "drop_logprobs: true}", "day: drop_logprobs: got False, expected True"),
        ("rule: null}", "hide_reasoning: true}", "day: hide_reasoning: got False, expected True"),
        ("rule: null}", "sample: true}", "day: sample: got False, expected True"),
        ("rule: null}", "delay: 250ms}", "day: delay: got 0.0, expected 0.25"),
        ("rule: null}", "plan: free}", "day: plan: got 'pro', expected 'free'"),
        ("rule: null}", "upstream: x}", "day: upstream: got 'default', expected 'x'"),
    ],
)
def test_a_difference_is_told_in_words(tmp_path: Path, old: str, new: str, failure: str) -> None:
    assert old in TESTS
    assert failure in run(tmp_path, TESTS.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "requests: [chat], expect",
            "requests: [caht], expect",
            "6:51: got the request 'caht', which is not defined, did you mean 'chat'?",
        ),
        (
            "standings: [s]",
            "standings: [x]",
            "12:69: got the standing 'x', which is not defined, expected one of confirmed, none, s, suspect, watch",
        ),
        (
            "subjects: [free]\n",
            "subjects: []\n",
            "8:15: got an empty list, expected at least 1 item: delete the key if it is not needed",
        ),
        ("decision: allow", "decision: ok", "6:77: got 'ok', expected 'allow', 'mark' or 'refuse'"),
        ("{model: gpt-4o}", "{modle: gpt-4o}", "3:19: got the unknown key 'modle', did you mean 'model'?"),
        (
            '"2026-01-05T05:59:59Z"',
            "yesterday",
            "10:10: got 'yesterday', expected a time such as '2026-01-05T12:00:00Z'",
        ),
        ("{model: gpt-4o}", "{model: gpt-4o, route: chat}", "3:41: got the route 'chat', which is not defined"),
        (
            "rule: null}",
            "not_charges: [free/request-per-day]}",
            "6:98: got the budget 'free/request-per-day', which is not defined, did you mean 'free/requests-per-day'?",
        ),
        (
            "rule: null}",
            "charges: [x]}",
            "6:94: got the budget 'x', which is not defined, expected one of free/requests-per-day, pro/requests-per-day",
        ),
        ("rule: night", "rule: nihgt", "11:38: got the rule 'nihgt', which is not defined, did you mean 'night'?"),
    ],
)
def test_a_mistake_in_a_test_file_is_not_a_failed_test(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TESTS
    with pytest.raises(FileErrors) as caught:
        run(tmp_path, TESTS.replace(old, new, 1))
    assert message in str(caught.value)


def test_there_must_be_tests() -> None:
    with pytest.raises(ConfigError, match="got no policy tests"):
        run_trials(policies_of(BASE), [])


def test_the_shipped_policies_pass_their_tests_and_every_rule_is_reached() -> None:
    report = run_trials(check_policies(), find_tests(shipped_policies()))
    assert report.failed == ()
    assert report.unreached == ()
    assert len(report.results) > 50
