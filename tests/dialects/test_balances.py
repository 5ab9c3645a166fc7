from __future__ import annotations

import re
from typing import Any

import pytest

from gateway.dialects import budget_headers
from gateway.dialects.balances import MAX_SF_INTEGER, duration, rfc3339
from gateway.types import Algorithm, Balance, Budget, Family, Subject, Unit, Window

NOW_S = 1_700_000_000.5  # 2023-11-14T22:13:20.5Z


def balance(
    name: str = "b", unit: Unit = Unit.REQUESTS, *, limit: int = 100, remaining: int = 7, **more: Any
) -> Balance:
    reset_s = more.pop("reset_s", 30.0)
    length_s = more.pop("length_s", 60)
    algorithm = Algorithm.LEASE if unit is Unit.CONCURRENCY else Algorithm.SLIDING
    window = Window(algorithm=algorithm, length_s=0 if unit is Unit.CONCURRENCY else length_s)
    budget = Budget(
        name=name, subject=more.pop("subject", Subject.ACCOUNT), unit=unit, limit=limit, window=window, **more
    )
    return Balance(budget=budget, remaining=remaining, reset_s=reset_s)


def fields(*balances: Balance, family: Family = Family.OPENAI) -> dict[str, str]:
    headers = budget_headers(family, balances, NOW_S)
    named = {name.decode(): value.decode("ascii") for name, value in headers}
    assert len(named) == len(headers)
    return named


def test_the_fields_of_the_draft() -> None:
    found = fields(
        balance("rpm"),
        balance("tokens a day", Unit.TOTAL_TOKENS, limit=10**6, remaining=0, reset_s=0.2, length_s=86_400),
        balance("in", Unit.INPUT_TOKENS),
        balance("out", Unit.OUTPUT_TOKENS),
        balance("cost", Unit.COST),
        balance("slots", Unit.CONCURRENCY, limit=4, remaining=1),
    )
    assert found["ratelimit-policy"] == (
        '"rpm";q=100;w=60;qu="requests", "tokens a day";q=1000000;w=86400;dg-unit="tokens", '
        '"in";q=100;w=60;dg-unit="input-tokens", "out";q=100;w=60;dg-unit="output-tokens", '
        '"cost";q=100;w=60;dg-unit="micro-usd", "slots";q=4;qu="concurrent-requests"'
    )
    assert found["ratelimit"] == (
        '"rpm";r=7;t=30, "tokens a day";r=0;t=1, "in";r=7;t=30, "out";r=7;t=30, "cost";r=7;t=30, "slots";r=1'
    )


def test_the_fields_of_openai_show_the_tightest_budget_of_each_kind() -> None:
    found = fields(
        balance("day", remaining=50, limit=1000),
        balance("minute", remaining=3, limit=10, reset_s=1.5),
        balance("in", Unit.INPUT_TOKENS, remaining=900),
        balance("all", Unit.TOTAL_TOKENS, remaining=800, limit=9000, reset_s=361.0),
        balance("cost", Unit.COST, remaining=0),
    )
    assert {name: value for name, value in found.items() if name.startswith("x-")} == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "3",
        "x-ratelimit-reset-requests": "1.5s",
        "x-ratelimit-limit-tokens": "9000",
        "x-ratelimit-remaining-tokens": "800",
        "x-ratelimit-reset-tokens": "6m1s",
    }


def test_the_fields_of_anthropic_show_the_tightest_budget_of_each_kind() -> None:
    found = fields(
        balance("day", remaining=50),
        balance("minute", remaining=3, limit=10, reset_s=1.5),
        balance("in", Unit.INPUT_TOKENS),
        balance("out", Unit.OUTPUT_TOKENS, remaining=0),
        balance("all", Unit.TOTAL_TOKENS),
        family=Family.ANTHROPIC,
    )
    own = {name: value for name, value in found.items() if name.startswith("anthropic-ratelimit-")}
    assert len(own) == 12
    assert own["anthropic-ratelimit-requests-limit"] == "10"
    assert own["anthropic-ratelimit-requests-remaining"] == "3"
    assert own["anthropic-ratelimit-requests-reset"] == "2023-11-14T22:13:22Z"
    assert own["anthropic-ratelimit-output-tokens-remaining"] == "0"
    assert {name.rsplit("-", 1)[0] for name in own} == {
        f"anthropic-ratelimit-{kind}" for kind in ("requests", "tokens", "input-tokens", "output-tokens")
    }


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize(
    "hidden",
    [
        {"subject": Subject.CLUSTER},
        {"subject": Subject.GLOBAL},
        {"subject": Subject.MODEL},
        {"shadow": True},
        {"subject": Subject.CLUSTER, "shadow": True},
    ],
)
def test_a_budget_that_is_not_the_callers_own_is_never_shown(family: Family, hidden: dict[str, Any]) -> None:
    secret = balance("secret", remaining=0, limit=4242, **hidden)
    assert budget_headers(family, [secret], NOW_S) == []
    assert fields(secret, balance("own"), secret, family=family) == fields(balance("own"), family=family)


def test_without_balances_there_are_no_fields() -> None:
    assert budget_headers(Family.OPENAI, [], NOW_S) == []


@pytest.mark.parametrize("subject", [Subject.ACCOUNT, Subject.ORGANISATION, Subject.ADDRESS])
def test_the_callers_own_budgets_are_shown(subject: Subject) -> None:
    assert '"b"' in fields(balance(subject=subject))["ratelimit"]


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("plain", '"plain"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("a\r\nx-evil: 1", '"a??x-evil: 1"'),
        ("größe", '"gr??e"'),
        ("", '""'),
    ],
)
def test_a_name_cannot_break_out_of_its_field(name: str, quoted: str) -> None:
    found = fields(balance(name))
    assert found["ratelimit"] == f"{quoted};r=7;t=30"
    assert found["ratelimit-policy"].startswith(f"{quoted};q=")


@pytest.mark.parametrize(
    ("limit", "remaining", "reset_s"), [(0, 0, 0.0), (1, -5, -1.0), (10**20, 10**20, 1e300), (5, 5, float("inf"))]
)
@pytest.mark.parametrize("family", Family)
def test_numbers_stay_in_the_range_of_structured_fields(
    family: Family, limit: int, remaining: int, reset_s: float
) -> None:
    found = fields(balance(limit=limit, remaining=remaining, reset_s=reset_s), family=family)
    for name in ("ratelimit", "ratelimit-policy"):
        numbers = [int(number) for number in re.findall(r"=(-?\d+)", found[name])]
        assert all(0 <= number <= MAX_SF_INTEGER for number in numbers)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, b"0ms"),
        (0.0001, b"1ms"),
        (0.02, b"20ms"),
        (0.9991, b"1000ms"),
        (1, b"1s"),
        (1.5, b"1.5s"),
        (1.51, b"1.6s"),
        (59.0, b"59s"),
        (59.99, b"60s"),
        (60, b"1m0s"),
        (360, b"6m0s"),
        (3599.5, b"1h0m0s"),
        (86_399, b"23h59m59s"),
    ],
)
def test_durations_as_openai_writes_them(seconds: float, text: bytes) -> None:
    assert duration(seconds) == text


def test_times_as_anthropic_writes_them() -> None:
    assert rfc3339(0) == b"1970-01-01T00:00:00Z"
    assert rfc3339(1_709_164_800) == b"2024-02-29T00:00:00Z"
