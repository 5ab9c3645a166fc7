from __future__ import annotations

import random
from typing import Any

import pytest

from gateway.types import NO_STANDING, Price, RefusalKind, Subject, Unit
from tests.policy.helpers import BASE, asks, caller, policies_of, standing

NOW = 1_767_614_400.0


def names(plan: object) -> list[str]:
    return [charge.budget.name for charge in plan.charges]  # type: ignore[attr-defined]


# -- plans


@pytest.mark.parametrize("plan", [None, "unknown", ""])
def test_an_account_without_a_known_plan_gets_the_default_one(plan: str | None) -> None:
    decided = policies_of(BASE + "default_plan: pro\n").decide(caller(plan=plan), asks(), NO_STANDING, NOW)
    assert decided.plan == "pro"
    assert names(decided) == ["pro/requests-per-day"]


def test_two_accounts_never_share_a_counter_that_is_theirs() -> None:
    policies = policies_of(BASE)
    keys = {policies.decide(caller(f"a{n}"), asks(), NO_STANDING, NOW).charges[0].key for n in range(100)}
    assert len(keys) == 100


def test_every_subject_counts_under_its_own_name() -> None:
    policies = policies_of(
        "version: 1\nplans: {free: {budgets: [{limit: 1/day, subject: account}, {limit: 2/day, subject: organisation},"
        " {limit: 3/day, subject: model}, {limit: 4/day, subject: address}, {limit: 5/day, subject: global}]}}\n"
    )
    who = caller("a1", org="o1", address="203.0.113.9")
    found = {c.budget.subject: c.value for c in policies.decide(who, asks("GPT-4o"), NO_STANDING, NOW).charges}
    assert found == {
        Subject.ACCOUNT: "a1",
        Subject.ORGANISATION: "o1",
        Subject.MODEL: "gpt-4o",
        Subject.ADDRESS: "203.0.113.9",
        Subject.GLOBAL: "all",
    }
    alone = {c.budget.subject for c in policies.decide(caller("a2"), asks(), NO_STANDING, NOW).charges}
    assert alone == {Subject.ACCOUNT, Subject.MODEL, Subject.GLOBAL}


def test_a_models_counter_cannot_be_dodged_by_spelling() -> None:
    policies = policies_of(
        BASE + "rules: [{name: r, match: {model: 'gpt-4*'}, then: {budgets: [{limit: 5/day, subject: model}]}}]\n"
    )
    keys = {
        policies.decide(caller(), asks(model), NO_STANDING, NOW).charges[1].key
        for model in ("gpt-4o", "GPT-4O", "gPt-4o")
    }
    assert len(keys) == 1


def test_models_outside_the_plan_are_refused() -> None:
    policies = policies_of("version: 1\nplans: {free: {models: [gpt-4o-mini*], budgets: [{limit: 1/day}]}}\n")
    assert policies.decide(caller(), asks("gpt-4o-mini"), NO_STANDING, NOW).refusal is None
    refusal = policies.decide(caller(), asks("gpt-4o"), NO_STANDING, NOW).refusal
    assert refusal is not None
    assert (refusal.kind, refusal.rule) == (RefusalKind.FORBIDDEN, "plans/free/models")


def test_a_rule_may_allow_a_model_outside_the_plan() -> None:
    policies = policies_of(
        "version: 1\nplans: {free: {models: [gpt-4o-mini*], budgets: [{limit: 1/day}]}}\n"
        "rules: [{name: preview, match: {organisation: o1}, then: {allow: true}}]\n"
    )
    assert policies.decide(caller(org="o1"), asks("gpt-4o"), NO_STANDING, NOW).refusal is None
    assert policies.decide(caller(org="o2"), asks("gpt-4o"), NO_STANDING, NOW).refusal is not None


# -- access


@pytest.mark.parametrize(
    ("kill", "model", "refused"),
    [
        ("'*'", "gpt-4o", True),
        ("'*'", "", True),
        ("gpt-4o", "GPT-4O", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("'gpt-*'", "", False),
    ],
)
def test_the_kill_switch_stops_what_it_names_and_nothing_overrides_it(kill: str, model: str, refused: bool) -> None:
    policies = policies_of(
        BASE + f"access: {{kill: {kill}}}\n"
        "rules: [{name: vip, match: {account: a1, model: ['gpt*', '?*']}, then: {allow: true}}]\n"
        "exempt: [{name: spared, match: {plan: free}}]\n"
    )
    plan = policies.decide(caller(), asks(model), NO_STANDING, NOW)
    assert (plan.refusal is not None) is refused
    if plan.refusal is not None:
        assert plan.refusal.rule == "access/kill"
        assert plan.charges == ()


def test_denied_countries_are_refused_and_an_allowed_organisation_is_not() -> None:
    policies = policies_of(
        BASE
        + "access: {deny_countries: [KP, IR]}\nrules: [{name: mission, match: {organisation: o1}, then: {allow: true}}]\n"
    )

    def refused(**who: Any) -> bool:
        return policies.decide(caller(**who), asks(), NO_STANDING, NOW).refusal is not None

    assert refused(country="KP")
    assert refused(country="ir")
    assert not refused(country="DE")
    assert not refused(country=None)
    assert not refused(country="KP", org="o1")


def test_models_for_verified_organisations_only() -> None:
    policies = policies_of(BASE + "access: {verified_only: ['*-preview']}\n")
    assert policies.decide(caller(), asks("o9-preview"), NO_STANDING, NOW).refusal is not None
    assert policies.decide(caller(verified=True), asks("o9-preview"), NO_STANDING, NOW).refusal is None
    assert policies.decide(caller(), asks("o9"), NO_STANDING, NOW).refusal is None


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_refusal_wins_a_tie_in_either_order(order: tuple[int, int]) -> None:
    rules = [
        "  - {name: yes, match: {plan: free}, then: {allow: true}}\n",
        "  - {name: no, match: {country: DE}, then: {refuse: true}}\n",
    ]
    policies = policies_of(BASE + "rules:\n" + "".join(rules[index] for index in order))
    refusal = policies.decide(caller(country="DE"), asks(), NO_STANDING, NOW).refusal
    assert refusal is not None
    assert refusal.rule == "no"


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (
            "account: a1",
            "plan: free, country: DE, verified: false, declared_use: x, model: gpt-4o, route: openai.chat_completions",
        ),
        ("organisation: o1", "plan: free, country: DE"),
        ("address: 203.0.113.0/24", "plan: free, country: DE"),
        ("model: gpt-4o-mini", "model: 'gpt-4o*'"),
        ("model: 'gpt-4o*'", "model: 'gpt-*'"),
        ("plan: free, country: DE", "plan: free"),
        ("model: gpt-4o-mini, plan: free", "model: gpt-4o-mini"),
    ],
)
def test_the_more_specific_rule_wins_whether_it_refuses_or_allows(narrow: str, wide: str) -> None:
    who = caller("a1", org="o1", country="DE", address="203.0.113.9", declared_use="x")
    for first, second in (("allow", "refuse"), ("refuse", "allow")):
        policies = policies_of(
            BASE + "rules:\n"
            f"  - {{name: wide, match: {{{wide}}}, then: {{{second}: true}}}}\n"
            f"  - {{name: narrow, match: {{{narrow}}}, then: {{{first}: true}}}}\n"
        )
        refusal = policies.decide(who, asks("gpt-4o-mini"), NO_STANDING, NOW).refusal
        assert (refusal.rule if refusal else None) == ("narrow" if first == "refuse" else None)


def test_a_refusal_says_what_the_policy_says_else_nothing_of_why() -> None:
    policies = policies_of(
        BASE
        + "rules: [{name: a, match: {plan: free}, then: {refuse: {message: Ask sales.}}}, {name: b, match: {plan: pro}, then: {refuse: true}}]\n"
    )
    told = [policies.decide(caller(plan=plan), asks(), NO_STANDING, NOW).refusal for plan in ("free", "pro")]
    assert [refusal.message for refusal in told if refusal] == [
        "Ask sales.",
        "This request is not allowed for your account. Contact support if you think this is a mistake.",
    ]


# -- rules


def test_budgets_of_every_matching_rule_are_charged_besides_the_plans() -> None:
    policies = policies_of(
        BASE + "budgets: [{limit: 9/day, subject: global}]\nrules:\n"
        "  - {name: opus, match: {model: 'claude-opus-*'}, then: {budgets: [{limit: 5/day}]}}\n"
        "  - {name: claude, match: {model: 'claude-*'}, then: {budgets: [{limit: 7/hour}]}}\n"
    )
    assert names(policies.decide(caller(), asks("claude-opus-5"), NO_STANDING, NOW)) == [
        "free/requests-per-day",
        "all/global-requests-per-day",
        "rules/opus/requests-per-day",
        "rules/claude/requests-per-hour",
    ]
    assert names(policies.decide(caller(), asks("gpt-4o"), NO_STANDING, NOW)) == [
        "free/requests-per-day",
        "all/global-requests-per-day",
    ]


def test_the_lowest_cap_the_longest_delay_and_any_withholding_count() -> None:
    policies = policies_of(
        "version: 1\nplans: {free: {max_output_tokens: 900, max_choices: 4, budgets: [{limit: 1/day}]}}\nrules:\n"
        "  - {name: a, then: {max_output_tokens: 1000, max_choices: 2, delay: 1s}}\n"
        "  - {name: b, then: {max_output_tokens: 800, drop_logprobs: true, delay: 250ms}}\n"
        "standings: {suspect: {mark: true, hide_reasoning: true, carriers: [synonym], max_choices: 3}}\n"
    )
    plan = policies.decide(caller(), asks(), standing("suspect"), NOW)
    assert (plan.max_output_tokens, plan.max_choices, plan.delay_s) == (800, 2, 1.0)
    assert (plan.drop_logprobs, plan.hide_reasoning, plan.mark, plan.carriers) == (True, True, True, ("synonym",))


def test_a_rule_may_put_an_organisation_on_another_plan() -> None:
    policies = policies_of(BASE + "rules: [{name: contract, match: {organisation: o1}, then: {plan: pro}}]\n")
    assert names(policies.decide(caller(org="o1"), asks(), NO_STANDING, NOW)) == ["pro/requests-per-day"]
    assert names(policies.decide(caller(org="o2"), asks(), NO_STANDING, NOW)) == ["free/requests-per-day"]


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.0.0.0", False),
        ("2001:db8::1", True),
        (None, False),
        ("unix:", False),
    ],
)
def test_address_ranges(address: str | None, inside: bool) -> None:
    policies = policies_of(
        BASE + "rules: [{name: r, match: {address: [10.0.0.0/8, '2001:db8::/32']}, then: {mark: true}}]\n"
    )
    assert policies.decide(caller(address=address), asks(), NO_STANDING, NOW).mark is inside


def test_a_rollout_reaches_the_same_accounts_every_time_and_about_its_share() -> None:
    def marked(share: str) -> set[int]:
        policies = policies_of(BASE + f"rules: [{{name: roll, share: {share}, then: {{mark: true}}}}]\n")
        return {n for n in range(4_000) if policies.decide(caller(f"a{n}"), asks(), NO_STANDING, NOW).mark}

    tenth, third = marked("10%"), marked("33%")
    assert marked("0%") == set()
    assert len(marked("100%")) == 4_000
    assert tenth < third
    assert 320 < len(tenth) < 480  # 400 expected; four standard deviations are 76


def test_conditions_are_asked_for_each_request_not_remembered_from_another() -> None:
    policies = policies_of(BASE + "rules: [{name: long, if: max_output_tokens > 1000, then: {refuse: true}}]\n")
    for cap, refused in [(1_000, False), (1_001, True), (1_000, False), (None, False), (1_001, True)]:
        plan = policies.decide(caller(), asks(max_output_tokens=cap), NO_STANDING, NOW)
        assert (plan.refusal is not None) is refused


def test_a_rule_in_shadow_is_reported_where_it_would_have_refused_and_changes_nothing() -> None:
    rules = (
        "rules:\n  - {name: tried, shadow: true, match: {country: DE}, then: {refuse: true, mark: true, budgets: [{limit: 0/day}]}}\n"
        "  - {name: spared, match: {organisation: o1}, then: {allow: true}}\n"
        "  - {name: enforced, match: {country: DE, model: x}, then: {refuse: true}}\n"
    )
    policies = policies_of(BASE + rules)
    plan = policies.decide(caller(country="DE"), asks(), NO_STANDING, NOW)
    assert (plan.refusal, plan.shadowed, plan.mark, plan.rule) == (None, ("tried",), False, None)
    assert [(c.budget.name, c.budget.shadow) for c in plan.charges] == [
        ("free/requests-per-day", False),
        ("rules/tried/requests-per-day", True),
    ]
    assert policies.decide(caller(country="FR"), asks(), NO_STANDING, NOW).shadowed == ()
    assert policies.decide(caller(country="DE", org="o1"), asks(), NO_STANDING, NOW).shadowed == ()
    refusal = policies.decide(caller(country="DE"), asks("x"), NO_STANDING, NOW).refusal
    assert refusal is not None
    assert refusal.rule == "enforced"


# -- standings and exemptions


SUSPECT = (
    BASE
    + "standings: {suspect: {mark: true, cluster_plan: pro, delay: 1s, max_choices: 1}, confirmed: {refuse: true}}\n"
)


def test_the_clusters_budget_is_one_for_all_its_accounts() -> None:
    policies = policies_of(SUSPECT)
    charged = [policies.decide(caller(f"a{n}"), asks(), standing("suspect", "c7"), NOW).charges for n in range(3)]
    cluster = {c.key for charges in charged for c in charges if c.budget.subject is Subject.CLUSTER}
    assert cluster == {"cluster:c7:cluster/pro/requests-per-day"}


def test_a_cluster_takes_over_what_an_account_of_the_plan_may_spend_and_nothing_else() -> None:
    policies = policies_of(
        SUSPECT.replace(
            "{limit: 2000/day}",
            "{limit: 2000/day}, {limit: 9/day, subject: organisation}, {limit: 1/hour, subject: global}",
        )
    )
    charged = policies.decide(caller(), asks(), standing("suspect"), NOW).charges
    assert [c.budget.name for c in charged if c.budget.subject is not Subject.ACCOUNT] == [
        "cluster/pro/requests-per-day"
    ]


@pytest.mark.parametrize(
    ("spared", "left"),
    [
        ("marks", {"mark": False}),
        ("delay", {"delay_s": 0.0}),
        ("caps", {"max_choices": None, "max_output_tokens": None, "drop_logprobs": False, "hide_reasoning": False}),
        ("budgets", {}),
        ("refusal", {}),
        ("analysis", {}),
    ],
)
def test_each_exemption_spares_one_thing(spared: str, left: dict[str, Any]) -> None:
    whole = {
        "mark": True,
        "delay_s": 1.0,
        "max_choices": 1,
        "max_output_tokens": 9,
        "drop_logprobs": True,
        "hide_reasoning": True,
    }
    text = BASE + (
        "standings: {suspect: {mark: true, delay: 1s, max_choices: 1, max_output_tokens: 9, drop_logprobs: true,"
        " hide_reasoning: true, cluster_plan: pro}, confirmed: {refuse: true}}\n"
        f"exempt: [{{name: e, match: {{organisation: o1}}, from: [{spared}]}}]\n"
    )
    policies = policies_of(text)
    plan = policies.decide(caller(org="o1"), asks(), standing("suspect"), NOW)
    assert {key: getattr(plan, key) for key in whole} == {**whole, **left}
    assert any(c.budget.subject is Subject.CLUSTER for c in plan.charges) is (spared != "budgets")
    assert (policies.decide(caller(org="o1"), asks(), standing("confirmed"), NOW).refusal is None) is (
        spared == "refusal"
    )
    assert policies.exempt_from_analysis(caller(org="o1")) is (spared == "analysis")


def test_an_expired_standing_is_none() -> None:
    policies = policies_of(SUSPECT)
    held = standing("confirmed", expires_at=NOW)
    assert policies.decide(caller(), asks(), held, NOW - 0.001).refusal is not None
    assert policies.decide(caller(), asks(), held, NOW).refusal is None


def test_a_level_that_no_file_lists_changes_nothing() -> None:
    policies = policies_of(BASE)
    for level in ("watch", "suspect", "confirmed"):
        assert (
            policies.decide(caller(), asks(), standing(level), NOW).charges
            == policies.decide(caller(), asks(), NO_STANDING, NOW).charges
        )


def test_an_exemption_spares_what_it_says_and_no_more() -> None:
    text = SUSPECT + "exempt: [{name: e, match: {declared_use: evaluation}, from: [marks, delay]}]\n"
    policies = policies_of(text)
    plan = policies.decide(caller(declared_use="evaluation"), asks(), standing("suspect"), NOW)
    assert (plan.mark, plan.delay_s, plan.max_choices) == (False, 0.0, 1)
    assert "cluster/pro/requests-per-day" in names(plan)
    assert policies.decide(caller(declared_use="evaluation"), asks(), standing("confirmed"), NOW).refusal is not None
    assert policies.decide(caller(), asks(), standing("suspect"), NOW).mark
    assert not policies.exempt_from_analysis(caller(declared_use="evaluation"))


def test_an_exemption_of_one_account_is_not_lent_to_the_next() -> None:
    policies = policies_of(SUSPECT + "exempt: [{name: e, match: {account: a1}}]\n")
    for _ in range(2):
        assert policies.decide(caller("a1"), asks(), standing("confirmed"), NOW).refusal is None
        assert policies.decide(caller("a2"), asks(), standing("confirmed"), NOW).refusal is not None
    assert policies.exempt_from_analysis(caller("a1"))
    assert not policies.exempt_from_analysis(caller("a2"))


# -- upstreams, prices, pass-through


def test_upstreams_by_model_and_path() -> None:
    policies = policies_of(
        BASE + "upstreams:\n  default: {}\n  claude: {url: 'https://c.example', models: ['claude-*']}\n"
        "  opus: {url: 'https://o.example', models: ['claude-opus-*']}\n"
        "  vectors: {url: 'https://v.example', path_prefix: /v1/embeddings}\n"
    )

    def upstream(model: str, route: str = "openai.chat_completions") -> str:
        return policies.decide(caller(), asks(model, route=route), NO_STANDING, NOW).upstream

    assert upstream("gpt-4o") == "default"
    assert upstream("claude-sonnet-4") == "claude"
    assert upstream("Claude-Opus-5") == "opus"
    assert upstream("any", "openai.embeddings") == "vectors"


def test_a_model_that_no_upstream_serves_is_not_found() -> None:
    policies = policies_of(BASE + "upstreams: {claude: {url: 'https://c.example', models: ['claude-*']}}\n")
    refusal = policies.decide(caller(), asks("gpt-4o"), NO_STANDING, NOW).refusal
    assert refusal is not None
    assert (refusal.kind, refusal.param) == (RefusalKind.NOT_FOUND, "model")
    assert policies.decide(caller(), asks("", route="openai.models"), NO_STANDING, NOW).upstream == "claude"


def test_secrets_come_from_the_environment_and_are_not_shown() -> None:
    policies = policies_of(
        BASE + "upstreams: {claude: {url: 'https://${HOST}/v1', api_key: '${KEY}'}}\n",
        {"HOST": "c.example", "KEY": "sk-1"},
    )
    spec = policies.upstreams["claude"]
    assert (spec.url, spec.api_key) == ("https://c.example/v1", "sk-1")
    assert "sk-1" not in repr(spec)


def test_the_most_exact_price_counts() -> None:
    policies = policies_of(
        BASE + "prices: {'gpt-4o*': {input: 2.5, output: 10}, 'gpt-4o-mini*': {input: 0.15, output: 0.6}}\n"
    )
    assert policies.price_of("GPT-4o-mini-2024") == Price(input=0.15, output=0.6)
    assert policies.price_of("gpt-4o") == Price(input=2.5, output=10)
    assert policies.price_of("other") == Price()


PASSED = BASE + (
    "access: {deny_countries: [KP]}\n"
    "pass_through: [{path: /v1/files, methods: [GET, POST]}, {path: '/v1/batches/*', authenticate: false, upstream: default}]\n"
)


@pytest.mark.parametrize(
    ("method", "path", "passed"),
    [
        ("GET", "/v1/files", True),
        ("POST", "/v1/files", True),
        ("DELETE", "/v1/files", False),
        ("GET", "/v1/files/", False),
        ("GET", "/v1/filesystem", False),
        ("GET", "/v1/batches/b1/cancel", True),
        ("GET", "/v1/batches", False),
        ("GET", "/v1/batches/../chat/completions", False),
        ("GET", "/v1/batches/./x", False),
        ("GET", "/v1/batches//chat", False),
        ("GET", "/v1/batches/..;/chat", False),
        ("GET", "/v1/batches/.;a=b/chat", False),
        ("GET", "/v1/batches/b1;a=b", True),
        ("GET", "/v1/batches/..%2fchat", False),
        ("GET", "/v1/batches/..\\chat", False),
        ("GET", "/v1/chat/completions", False),
    ],
)
def test_only_listed_routes_pass_and_no_path_can_be_read_in_two_ways(method: str, path: str, passed: bool) -> None:
    assert (policies_of(PASSED).passed_through(method, path) is not None) is passed


def test_the_kill_switch_stops_routes_that_ask_for_no_credential_too() -> None:
    killed = policies_of(PASSED.replace("deny_countries: [KP]", "kill: '*'"))
    assert killed.passed_through("GET", "/v1/batches/b1") is None
    route = killed.passed_through("GET", "/v1/files")
    assert route is not None
    assert killed.decide_pass_through(caller(), route, NO_STANDING, NOW).refusal is not None


def test_passed_routes_are_still_counted_and_refused() -> None:
    policies = policies_of(
        PASSED.replace("{limit: 200/day}", "{limit: 200/day}, {limit: 1M output_tokens/day}, {limit: 2 concurrent}")
    )
    route = policies.passed_through("GET", "/v1/files")
    assert route is not None
    plan = policies.decide_pass_through(caller(), route, NO_STANDING, NOW)
    assert [charge.budget.unit for charge in plan.charges] == [Unit.REQUESTS, Unit.CONCURRENCY]
    assert policies.decide_pass_through(caller(country="KP"), route, NO_STANDING, NOW).refusal is not None


# -- what is kept between requests


def test_a_decision_never_depends_on_which_requests_came_before() -> None:
    text = (
        SUSPECT + "access: {deny_countries: [KP], verified_only: ['*-pro']}\nrules:\n"
        "  - {name: a, match: {plan: free, model: 'gpt-*'}, if: choices > 1, then: {max_choices: 1}}\n"
        "  - {name: b, share: 50%, match: {country: DE}, then: {mark: true}}\n"
        "  - {name: c, match: {address: 10.0.0.0/8}, then: {budgets: [{limit: 5/minute, subject: address}]}}\n"
        "  - {name: d, match: {account: [a1, a2]}, then: {allow: true}}\n"
        "exempt: [{name: e, match: {account: a3}, from: [marks]}]\n"
    )
    rng = random.Random(7)
    warm = policies_of(text)
    for _ in range(120):
        who = caller(
            f"a{rng.randrange(6)}", plan=rng.choice(["free", "pro", None, "odd"]), country=rng.choice(["KP", "DE", None]),
            org=rng.choice([None, "o1"]), verified=rng.random() < 0.5, address=rng.choice(["10.0.0.1", "11.0.0.1", None]),
        )  # fmt: skip
        what = asks(rng.choice(["gpt-4o", "gpt-4o-pro", "claude-5"]), choices=rng.choice([1, 2]))
        held = standing(rng.choice(["none", "watch", "suspect", "confirmed"]), rng.choice(["c1", "c2"]))
        assert warm.decide(who, what, held, NOW) == policies_of(text).decide(who, what, held, NOW)


def test_an_account_that_moves_is_counted_where_it_is_now() -> None:
    policies = policies_of(
        SUSPECT.replace("{limit: 200/day}", "{limit: 2/day, subject: address}, {limit: 3/day, subject: organisation}")
    )
    for address, org, cluster in [
        ("10.0.0.1", "o1", "c1"),
        ("10.0.0.2", "o1", "c1"),
        ("10.0.0.2", "o2", "c1"),
        ("10.0.0.2", "o2", "c2"),
    ]:
        plan = policies.decide(caller(address=address, org=org), asks(), standing("suspect", cluster), NOW)
        assert [charge.value for charge in plan.charges] == [address, org, cluster]


def test_memory_does_not_grow_with_names_that_callers_invent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.policy.decide._KEPT_GROUPS", 20)
    monkeypatch.setattr("gateway.policy.decide._KEPT_PLANS", 50)
    policies = policies_of(BASE)
    sizes = set()
    for n in range(500):
        plan = policies.decide(caller(f"a{n % 70}"), asks(f"model-{n % 31}"), NO_STANDING, NOW)
        assert plan.charges[0].value == f"a{n % 70}"
        sizes.add((len(policies._plans) <= 50, len(policies._templates) <= 20, len(policies._groups) <= 20))
    assert sizes == {(True, True, True)}
    one_model = policies_of(BASE)
    for n in range(120):
        one_model.decide(caller(f"a{n}"), asks(), NO_STANDING, NOW)
    assert len(one_model._plans) <= 50
