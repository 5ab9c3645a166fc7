from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.policy.conditions import MAX_CHARS, VARIABLES, Values, compile_condition
from gateway.types import Level
from tests.policy.helpers import asks, caller, standing

MONDAY_NOON_S = 1_767_614_400.0


def values(**more: object) -> dict[str, object]:
    found = Values(caller(), asks(), standing("none"), "free", MONDAY_NOON_S).of(VARIABLES)
    return {**found, **more}


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ("true", True),
        ("plan == 'free'", True),
        ("plan in ['pro', 'team']", False),
        ("model.startsWith('gpt') && !stream", True),
        ("hour == 12 && weekday == 0", True),
        ("account_age_days == -1", True),
        ("size(organisation) == 0", True),
        ("stream ? false : family == 'openai'", True),
    ],
)
def test_conditions_hold_or_do_not(source: str, holds: bool) -> None:
    assert compile_condition(source).holds(values()) is holds


def test_every_variable_has_the_type_it_is_said_to_have() -> None:
    for facts in (asks(), asks(max_output_tokens=10**30, choices=10**30, input_chars=10**30, body_bytes=10**30)):
        who = caller(created_at=MONDAY_NOON_S - 86_400 * 2.5)
        found = Values(who, facts, standing("watch"), "free", MONDAY_NOON_S).of(VARIABLES)
        for name, (kind, _) in VARIABLES.items():
            assert type(found[name]) is kind, name
            compile_condition(f"{name} == {name}").holds(found)
    assert found["account_age_days"] == 2
    assert found["level"] == Level.WATCH.value


def test_the_length_is_bounded() -> None:
    compile_condition("true" + " " * (MAX_CHARS - 4))
    with pytest.raises(ValueError, match="expected at most 1000"):
        compile_condition("true" + " " * (MAX_CHARS - 3))


NAMES = st.sampled_from(sorted(VARIABLES))
ATOMS = st.one_of(
    NAMES,
    st.sampled_from(["'x'", "1", "true", "[1]", "{'a': 1}", "null", "1.5", "b'x'", "2u", "9223372036854775807", "''"]),
)
OPERATORS = st.sampled_from(["==", "!=", "<", "&&", "||", "in", "+", "/", "%", "*", "."])
SOURCES = st.one_of(
    st.text(alphabet="ab'\"()[]{}.,!<>=&|?: \\\n\x00é1", max_size=30),
    st.tuples(ATOMS, OPERATORS, ATOMS, OPERATORS, ATOMS).map(" ".join),
    st.tuples(
        ATOMS,
        st.sampled_from([".size()", ".matches('(a+)+$')", "[0]", ".all(x, true)", ".map(x, x)"]),
        OPERATORS,
        ATOMS,
    ).map("".join),
)


@settings(max_examples=300, deadline=None)
@given(SOURCES)
def test_what_is_accepted_cannot_fail_on_any_request(source: str) -> None:
    try:
        condition = compile_condition(source)
    except ValueError:
        return
    for plan, stream, number in (("free", True, 0), ("", False, 2**31 - 1), ("x", True, 1)):
        some = values(plan=plan, model=plan, stream=stream, max_output_tokens=number, choices=number, hour=number)
        assert condition.holds(some) in {True, False}
