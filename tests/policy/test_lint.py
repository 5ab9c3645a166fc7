from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from gateway.errors import FileError
from gateway.policy import check_policies
from gateway.policy.lint import warnings_of
from gateway.policy.lint_budgets import always_first
from gateway.policy.notation import glob_matches, globs_overlap
from gateway.policy.sarif import sarif
from gateway.policy.warn import CODES
from gateway.types import Algorithm, Budget, Subject, Unit, Window
from tests.policy.helpers import BASE, policies_of

if TYPE_CHECKING:
    from gateway.policy import PolicySet


def codes(policies: PolicySet) -> list[str]:
    return [warn.code for warn in warnings_of(policies)]


def plan(*limits: str) -> PolicySet:
    return policies_of(
        "version: 1\nplans: {free: {budgets: [" + ", ".join(f"{{limit: {limit}}}" for limit in limits) + "]}}\n"
    )


def test_the_shipped_policies_give_no_warning() -> None:
    assert [str(warn) for warn in warnings_of(check_policies())] == []


@pytest.mark.parametrize(
    "limits",
    [
        ("200/day", "300/minute"),  # the day is full before a minute is
        ("200/day", "200/minute"),
        ("10/minute", "20000/day"),  # 10 a minute is at most 14,410 in a day
        ("10/minute", "14410/day"),
        ("100k total_tokens/day", "100k output_tokens/day"),
        ("100k output_tokens/day", "100k total_tokens/day"),
        ("5/calendar day", "6/calendar day, name: other"),
    ],
)
def test_a_limit_that_another_always_reaches_first_is_named(limits: tuple[str, str]) -> None:
    found = warnings_of(plan(*limits))
    assert [warn.code for warn in found] == ["toothless-limit"]
    assert "never reached" in found[0].message


@pytest.mark.parametrize(
    "limits",
    [
        ("200/day", "199/minute"),
        ("10/minute", "14409/day"),
        ("200/day", "10M input_tokens/day"),
        ("200/day", "300/minute, subject: organisation"),
        ("200/day, shadow: true", "300/minute"),
        ("99k output_tokens/day", "100k total_tokens/day"),
        ("8 concurrent", "9/day"),
        ("5/calendar day", "200/calendar month"),
        ("5/day, window: bucket, burst: 2", "6/minute"),
    ],
)
def test_limits_that_may_refuse_are_left_alone(limits: tuple[str, str]) -> None:
    assert codes(plan(*limits)) == []


def test_a_limit_called_toothless_never_refuses_first_in_a_simulation() -> None:
    """Brute force over exact sliding windows: at no time is the loose limit full while the strict one has room."""

    def budget(name: str, limit: int, length_s: int) -> Budget:
        window = Window(algorithm=Algorithm.SLIDING, length_s=length_s)
        return Budget(name=name, subject=Subject.ACCOUNT, unit=Unit.REQUESTS, limit=limit, window=window)

    for strict_limit, strict_s, loose_limit, loose_s in itertools.product(
        (1, 2, 3), (2, 3, 5), (1, 2, 3, 4, 6), (2, 4, 6)
    ):
        strict, loose = budget("s", strict_limit, strict_s), budget("l", loose_limit, loose_s)
        if not always_first(strict, loose):
            continue
        spent: list[int] = []
        for second in range(40):  # greedy: spend whenever the strict limit lets
            while sum(at > second - strict_s for at in spent) < strict_limit:
                assert sum(at > second - loose_s for at in spent) < loose_limit
                spent.append(second)


def test_a_plan_without_budgets_is_named_unless_all_requests_have_one() -> None:
    assert codes(policies_of("version: 1\nplans:\n  free: {}\n")) == ["plan-without-budgets"]
    assert codes(policies_of("version: 1\nplans:\n  free: {}\nbudgets: [{limit: 5/day, subject: global}]\n")) == []


@pytest.mark.parametrize(
    ("limit", "found"),
    [("4095 output_tokens/day", True), ("4096 output_tokens/day", False), ("0 output_tokens/day", False)],
)
def test_a_budget_that_one_request_cannot_fit_is_named(limit: str, found: bool) -> None:
    assert codes(plan(limit)) == (["below-reserve"] if found else [])


def test_the_reserve_in_money_is_that_of_the_dearest_model_of_the_plan() -> None:
    text = "version: 1\nplans: {free: {models: [%s], budgets: [{limit: $0.05/day}]}}\nprices: {big: {input: 1, output: 15}, small: {input: 1, output: 1}}\n"
    assert codes(policies_of(text % "big")) == ["below-reserve"]  # 4096 tokens cost $0.06144
    assert codes(policies_of(text % "small")) == []


@pytest.mark.parametrize(
    ("rules", "unreached"),
    [
        ("{name: a, match: {plan: free}, then: {refuse: true}}, {name: b, match: {plan: free}, then: {allow: true}}", ["b"]),
        ("{name: a, match: {plan: [free, pro]}, then: {refuse: true}}, {name: b, match: {plan: free}, then: {refuse: true}}", ["b"]),
        ("{name: a, match: {plan: free}, then: {refuse: true}}, {name: b, match: {plan: free, country: DE}, then: {allow: true}}", []),
        ("{name: a, match: {plan: free}, if: stream, then: {refuse: true}}, {name: b, match: {plan: free}, then: {allow: true}}", []),
        ("{name: a, share: 0%, then: {mark: true}}", ["a"]),
        ("{name: a, if: 'false', then: {mark: true}}", ["a"]),
        ("{name: a, match: {plan: free}, then: {refuse: true}}, {name: b, match: {plan: free}, then: {mark: true}}", []),
    ],
)  # fmt: skip
def test_rules_that_never_decide_are_named(rules: str, unreached: list[str]) -> None:
    found = warnings_of(policies_of(BASE + f"rules: [{rules}]\n"))
    assert [warn.message.split("'")[1] for warn in found] == unreached


def test_patterns_that_fit_no_known_model_are_named() -> None:
    text = BASE + "prices: {'gpt-4o*': {input: 1, output: 1}}\n"
    for pattern, known in [
        ("gpt-4o-mini", True),
        ("gpt-*", True),
        ("GPT-4O", True),
        ("claude-*", False),
        ("gpt-5", False),
    ]:
        found = codes(policies_of(text + f"access: {{kill: '{pattern}'}}\n"))
        assert found == ([] if known else ["unknown-model"])


def test_overlap_of_patterns_agrees_with_trying_every_name() -> None:
    patterns = ["".join(letters) for size in range(4) for letters in itertools.product("ab*?", repeat=size)]
    names = ["".join(letters) for size in range(7) for letters in itertools.product("ab", repeat=size)]
    fits = {pattern: frozenset(name for name in names if glob_matches(pattern, name)) for pattern in patterns}
    for one, two in itertools.product(patterns, repeat=2):
        assert globs_overlap(one, two) == bool(fits[one] & fits[two]), (one, two)


def test_sarif_has_a_rule_for_every_result() -> None:
    log = sarif([], warnings_of(policies_of("version: 1\nplans:\n  free: {}\n")), "1.0")
    run = log["runs"][0]
    assert {result["ruleId"] for result in run["results"]} <= {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert run["results"][0]["locations"][0]["physicalLocation"]["region"] == {"startLine": 3, "startColumn": 9}
    assert set(CODES) < {rule["id"] for rule in run["tool"]["driver"]["rules"]}


@pytest.mark.parametrize(
    ("limit", "found"), [("199/day", []), ("200/day", ["toothless-limit"]), ("201/day", ["toothless-limit"])]
)
@pytest.mark.parametrize("match", ["plan: free", "plan: free, country: DE"])
def test_a_rules_limit_that_the_plan_always_reaches_first_is_named(limit: str, found: list[str], match: str) -> None:
    rule = f"rules: [{{name: a, match: {{{match}}}, then: {{budgets: [{{limit: {limit}, name: own}}]}}}}]\n"
    assert codes(policies_of(BASE + rule)) == found


def test_a_limit_that_some_plan_needs_is_left_alone() -> None:
    rule = "rules: [{name: a, then: {budgets: [{limit: 500/day}]}}]\n"
    assert codes(policies_of(BASE + rule)) == []  # 200 a day of free come first, 2,000 of pro do not
    for shared, useless in (("500/day", "2,000 requests"), ("2500/day", "2,500 requests")):
        (found,) = warnings_of(policies_of(BASE + f"budgets: [{{limit: {shared}}}]\n"))
        assert f"got {useless} per day (sliding), which is never reached" in found.message
    moved = "rules: [{name: a, match: {plan: free}, then: {budgets: [{limit: 500/day}]}}, {name: b, match: {country: DE}, then: {plan: pro}}]\n"
    assert codes(policies_of(BASE + moved)) == []  # a German free account has pro's budgets


@pytest.mark.parametrize(
    ("then", "named"),
    [
        ("then: {budgets: [{limit: 4095 output_tokens/day}]}", True),
        ("then: {budgets: [{limit: 4096 output_tokens/day}]}", False),
        ("then: {max_output_tokens: 100, budgets: [{limit: 100 output_tokens/day}]}", False),
        ("then: {max_output_tokens: 100, budgets: [{limit: 99 output_tokens/day}]}", True),
        ("if: max_output_tokens > 0, then: {budgets: [{limit: 99 output_tokens/day}]}", False),
    ],
)
def test_a_rules_budget_that_one_request_cannot_fit_is_named(then: str, named: bool) -> None:
    assert codes(policies_of(BASE + f"rules: [{{name: a, {then}}}]\n")) == (["below-reserve"] if named else [])


def test_a_clusters_budget_that_one_request_cannot_fit_is_named() -> None:
    text = BASE + "standings: {suspect: {%scluster_budgets: [{limit: 1000 output_tokens/day}]}}\n"
    assert codes(policies_of(text % "")) == ["below-reserve"]
    assert codes(policies_of(text % "max_output_tokens: 1000, ")) == []


def test_money_is_said_in_money_and_for_which_model() -> None:
    text = "version: 1\nplans: {free: {budgets: [{limit: $0.01/day}]}}\nprices: {big: {input: 1, output: 15}}\n"
    (found,) = warnings_of(policies_of(text))
    assert found.message == (
        "got $0.01 per day (sliding), which one request to 'big' without a cap cannot fit: it reserves $0.06144; "
        "raise it or lower default_output_tokens"
    )


@pytest.mark.parametrize(
    ("rules", "unreached"),
    [
        ("{name: a, match: {plan: free}, then: {plan: pro}}, {name: b, match: {plan: free}, then: {plan: free}}", ["b"]),
        ("{name: a, match: {plan: free}, then: {plan: pro}}, {name: b, match: {plan: free}, then: {plan: free, mark: true}}", []),
        ("{name: a, match: {plan: free}, then: {plan: pro}}, {name: b, match: {plan: free}, then: {refuse: true}}", []),
        ("{name: a, match: {plan: free}, then: {upstream: default}}, {name: b, match: {plan: free}, then: {upstream: default}}", ["b"]),
        ("{name: a, match: {plan: free}, then: {allow: true}}, {name: b, match: {plan: free}, then: {allow: true, delay: 1s}}", []),
        ("{name: a, match: {model: dead-1}, then: {mark: true}}", ["a"]),
        ("{name: a, match: {model: [dead-1, alive]}, then: {mark: true}}", []),
        ("{name: a, then: {mark: true}}", []),
    ],
)  # fmt: skip
def test_rules_that_never_settle_a_plan_an_upstream_or_meet_a_model_are_named(rules: str, unreached: list[str]) -> None:
    found = warnings_of(policies_of(BASE + f"access: {{kill: 'dead-*'}}\nrules: [{rules}]\n"))
    assert [warn.message.split("'")[1] for warn in found] == unreached


def test_the_nearest_model_is_named() -> None:
    text = BASE + "prices: {'gpt-4o*': {input: 1, output: 1}}\nexempt: [{name: e, match: {model: gtp-4o}}]\n"
    (found,) = warnings_of(policies_of(text))
    assert found.message == "got the model pattern 'gtp-4o', did you mean 'gpt-4o*'?"


def test_sarif_names_files_as_uris() -> None:
    errors = [FileError(file=name, line=1, column=2, message="got x") for name in ("a b.yaml", "/etc/p.yaml")]
    found = sarif(errors, [], "1.0")["runs"][0]
    uris = [result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in found["results"]]
    assert uris == ["a%20b.yaml", "file:///etc/p.yaml"]
    assert found["columnKind"] == "unicodeCodePoints"
