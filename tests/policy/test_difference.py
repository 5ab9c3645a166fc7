from __future__ import annotations

import pytest

from gateway.policy.difference import difference
from tests.policy.helpers import BASE, policies_of

FULL = BASE + (
    "rules:\n  - {name: a, match: {plan: free}, then: {max_choices: 2}}\n"
    "  - {name: b, match: {plan: free}, then: {upstream: default}}\n"
    "standings: {suspect: {mark: true, cluster_plan: pro}}\nprices: {gpt-4o: {input: 1, output: 2}}\n"
    "exempt: [{name: e, match: {organisation: o1}}]\npass_through: [{path: /v1/files}]\n"
    "upstreams: {default: {}, c: {url: 'https://c.example', models: 'claude-*'}}\n"
)


def changes(old: str, new: str) -> list[str]:
    return [str(change) for change in difference(policies_of(old), policies_of(new))]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("limit: 200/day", "limit: 100/day", ["changed budget free/requests-per-day: limit 200 requests per day (sliding) -> 100 requests per day (sliding) (tighter)"]),
        ("limit: 200/day", "limit: 300/day", ["changed budget free/requests-per-day: limit 200 requests per day (sliding) -> 300 requests per day (sliding) (looser)"]),
        ("limit: 200/day}", "limit: 200/day, shadow: true}", ["changed budget free/requests-per-day: shadow no -> yes"]),
        ("max_choices: 2", "max_choices: 1", ["changed rule a: then max_choices 2 -> 1"]),
        ("match: {plan: free}, then: {max", "match: {plan: pro}, then: {max", ["changed rule a: match plan free -> pro"]),
        ("input: 1", "input: 3", ["changed price gpt-4o: input 1.0 -> 3.0"]),
        ("organisation: o1", "organisation: o2", ["changed exemption e: match organisation o1 -> o2"]),
        ("models: 'claude-*'", "models: ['claude-*', x]", ["changed upstream c: models claude-* -> claude-*, x"]),
        ("mark: true", "mark: false", ["changed standing suspect: mark yes -> no"]),
        ("path: /v1/files}", "path: /v1/files, authenticate: false}", ["changed pass_through /v1/files GET: authenticate yes -> no"]),
        (", upstreams", ", upstreams", []),
    ],
)  # fmt: skip
def test_each_change_of_meaning_is_told_once(old: str, new: str, told: list[str]) -> None:
    found = changes(FULL, FULL.replace(old, new, 1))
    if old == "limit: 200/day":
        assert found == told
    else:
        assert [line for line in found if "cluster/" not in line] == told


def test_layout_order_of_plans_and_comments_are_no_difference() -> None:
    other = "# moved\nversion: 1\nplans:\n  pro:\n    budgets:\n      - limit: 2000 per day\n  free: {budgets: [{limit: 200 requests/day}]}\ndefault_plan: free\n"
    assert changes(BASE, other) == []


def test_what_is_new_and_what_is_gone_is_told() -> None:
    found = changes(BASE, FULL)
    assert "added rule a: match plan free; then max_choices 2" in found
    assert any(line.startswith("added budget cluster/pro/requests-per-day: subject cluster") for line in found)
    back = changes(FULL, BASE)
    assert {line.split(":")[0].removeprefix("removed ") for line in back if line.startswith("removed")} == {
        line.split(":")[0].removeprefix("added ") for line in found if line.startswith("added")
    }


def test_the_order_of_rules_matters_only_where_it_settles_a_tie() -> None:
    first = "  - {name: a, match: {plan: free}, then: {refuse: {message: A}}}\n"
    second = "  - {name: b, match: {country: DE}, then: {refuse: {message: B}}}\n"
    third = "  - {name: c, match: {country: DE}, then: {mark: true}}\n"
    assert changes(BASE + "rules:\n" + first + third, BASE + "rules:\n" + third + first) == []
    assert changes(BASE + "rules:\n" + first + second, BASE + "rules:\n" + second + first) != []
