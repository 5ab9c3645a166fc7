"""The loader and CEL conditions under everything that can be written: no crash, no hang, bounded memory.

Each test says how much of what it made was good and how much was refused, so that one that explores nothing fails.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.budgets import self_test
from gateway.errors import FileErrors
from gateway.policy import PolicySet, shipped_policies
from gateway.policy.conditions import MAX_CHARS, VARIABLES, Values, compile_condition
from gateway.policy.difference import difference
from gateway.policy.explain import explain
from gateway.policy.lint import warnings_of
from gateway.policy.load import load_policies
from gateway.policy.source import MAX_BYTES, MAX_DEPTH, MAX_MESSAGE, MAX_NODES, read_yaml
from gateway.types import Family, Identity, Level, RequestFacts, Standing
from tests.policy.helpers import asks, caller, policies_of
from tests.policy.strategies import CONDITION, JUNK, Expression, files, paths_of, replaced, without

if TYPE_CHECKING:
    from collections.abc import Iterator

BOUNDED = settings(
    max_examples=80, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)  # fmt: skip
SECRET = "s3cr3t-value-of-a-key"
ENVIRON = {"SAMPLES_KEY": "azaza2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=", "API_KEY": SECRET, "HOST": "h"}
NOW = 1_767_614_400.0
LARGE = MAX_BYTES // 64
"""What a hostile file is cut to: measuring memory makes the parser ten times slower."""
MEMORY_BYTES = 24 * 1024 * 1024


@contextmanager
def bounded(*, seconds: float = 10.0, memory_bytes: int = MEMORY_BYTES) -> Iterator[None]:
    """Fail where what is inside takes more of this process's time, or more memory at once."""
    before_s = time.process_time()
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - before_s < seconds
    assert peak < memory_bytes


def check_errors(errors: FileErrors, lines: int) -> None:
    """Every mistake has a place in the file, a bounded message in our form, and no secret."""
    assert errors.errors
    for error in errors.errors:
        assert 1 <= error.line <= lines + 1
        assert error.column >= 1
        assert error.message.startswith("got ")
        assert len(error.message) <= MAX_MESSAGE + 20
        assert "\n" not in error.message
        assert SECRET not in error.message


REMOVED = object()
REQUESTS = [
    (caller("a1", org="o1", country="DE", verified=True, declared_use="evaluation", address="10.1.2.3"), asks("gpt-4o")),
    (Identity(account="a2"), asks("M", max_output_tokens=10**30, choices=10**30, stream=True)),
    (caller("a3", plan="pro", address="no address"), RequestFacts(family=Family.ANTHROPIC, route="anthropic.messages", model="")),
]  # fmt: skip


def use(policies: PolicySet) -> None:
    """Whatever a set can be asked is answered, and the answers agree."""
    for identity, facts in REQUESTS:
        for level in Level:
            standing = Standing(level=level, cluster="c1")
            plan = policies.decide(identity, facts, standing, NOW)
            told = explain(policies, identity, facts, standing, NOW)
            assert (told.rule, told.plan) == (plan.rule, plan.plan)
            assert [charge.key for charge in told.charges] == [charge.key for charge in plan.charges]
            json.dumps(told.to_dict())
            assert "\n  " in told.to_text() or not told.considered
    assert all(str(warn) for warn in warnings_of(policies))
    assert difference(policies, policies) == []
    assert self_test(policies.budgets) == []


def load(file: Any, environ: dict[str, str] = ENVIRON) -> PolicySet | FileErrors:
    text = json.dumps(file, ensure_ascii=False, indent=1)
    try:
        return policies_of(text, environ)
    except FileErrors as errors:
        check_errors(errors, text.count("\n") + 1)
        return errors


def test_a_file_that_the_schema_takes_is_a_set_that_decides_or_has_its_mistakes_named() -> None:
    seen: Counter[str] = Counter()

    @BOUNDED
    @given(files())
    def explore(file: dict[str, Any]) -> None:
        found = load(file)
        if isinstance(found, PolicySet):
            use(found)
            seen["rules"] += bool(found.parts.rules)
            seen["standings"] += bool(found.parts.standings)
        seen[type(found).__name__] += 1

    explore()
    assert min(seen["PolicySet"], seen["FileErrors"]) > 10, seen
    assert min(seen["rules"], seen["standings"]) > 4, seen


def test_one_value_replaced_by_anything_or_removed_is_taken_or_named() -> None:
    seen: Counter[str] = Counter()

    @BOUNDED
    @given(files(), st.randoms(use_true_random=False), st.one_of(st.just(REMOVED), JUNK))
    def explore(file: dict[str, Any], random: Any, junk: Any) -> None:
        path = random.choice(paths_of(file)[1:])
        found = load(without(file, path) if junk is REMOVED else replaced(file, path, junk))
        if isinstance(found, PolicySet):
            use(found)
        seen[type(found).__name__] += 1

    explore()
    assert min(seen["PolicySet"], seen["FileErrors"]) > 5, seen


def test_a_key_too_many_is_one_mistake_and_no_other() -> None:
    seen: Counter[str] = Counter()

    @settings(BOUNDED, max_examples=40)
    @given(files(), st.randoms(use_true_random=False))
    def explore(file: dict[str, Any], random: Any) -> None:
        if isinstance(load(file), FileErrors):
            return
        places = [
            (),
            *((("rules", index), ("rules", index, "then"))[index % 2] for index in range(len(file.get("rules", [])))),
        ]
        found = load(replaced(file, (*random.choice(places), "zzz"), 1))
        assert isinstance(found, FileErrors)
        assert [error.message.split(",")[0] for error in found.errors] == ["got the unknown key 'zzz'"]
        seen["tried"] += 1

    explore()
    assert seen["tried"] > 10


SHIPPED = [path.read_bytes() for path in sorted(shipped_policies().glob("*.yaml"))]
PIECES = [b"*a", b"&a ", b": ", b"- ", b"\n", b"'", b'"', b"{", b"}", b"[", b"]", b"|\n", b">\n", b"#", b"!!x ", b"<<: ", b"\t", b"\x00",
          b"\xff", b"\xe2\x80\xa8", b"---\n", b"%YAML 9\n", b"? ", b"\r\n", b"  ", b"9" * 50, b"${", b"}"]  # fmt: skip


def test_shipped_files_with_bytes_changed_are_taken_or_their_mistakes_named(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()

    @BOUNDED
    @given(
        st.sampled_from(SHIPPED),
        st.lists(
            st.tuples(st.floats(0, 1), st.integers(0, 40), st.sampled_from([*PIECES, b""])), min_size=1, max_size=3
        ),
    )
    def explore(text: bytes, edits: list[tuple[float, int, bytes]]) -> None:
        for where, cut, piece in edits:
            at = int(where * len(text))
            text = text[:at] + piece + text[at + cut :]
        (tmp_path / "p.yaml").write_bytes(text)
        (tmp_path / "q.yaml").write_text("version: 1\nplans: {free: {}, pro: {}}\n")
        try:
            found: PolicySet | FileErrors = load_policies(tmp_path, environ=ENVIRON)
        except FileErrors as errors:
            check_errors(errors, text.count(b"\n") + text.count(b"\r") + 1)
            found = errors
        seen[type(found).__name__] += 1

    explore()
    assert min(seen["PolicySet"], seen["FileErrors"]) > 5, seen


# -- bombs


def laughs(levels: int, wide: int) -> bytes:
    lines = [f"a0: &a0 [{', '.join(['x'] * wide)}]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * wide)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


def nested(depth: int) -> bytes:
    return b"a: " + b"[" * depth + b"]" * depth


BOMBS = {
    "nine levels of nine": laughs(9, 9),
    "thirty levels of two": laughs(30, 2),
    "one value of many names": b"a: &a {" + b", ".join(b"k%d: v" % n for n in range(300)) + b"}\n" + b"".join(b"b%d: *a\n" % n for n in range(20_000)),
    "many anchors": b"".join(b"k%d: &a%d x\n" % (n, n) for n in range(40_000)),
    "nested lists": nested(2_000),
    "long lines": (b"x: '" + b"y" * 4_000 + b"'\n") * 200,
    "many documents": b"---\n" * 200_000,
    "comments": b"#\n" * LARGE,
    "many mistakes": b"version: 1\n" + b"".join(b"k%d: 1\n" % n for n in range(LARGE)),
    "one key many times": b"version: 1\n" + b"plans: {}\n" * LARGE,
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_bounded_time_and_memory(tmp_path: Path, name: str) -> None:
    text = BOMBS[name]
    (tmp_path / "bomb.yaml").write_bytes(text[: text.rfind(b"\n", 0, LARGE) + 1] or text[:LARGE])
    with bounded(seconds=10.0, memory_bytes=MEMORY_BYTES), pytest.raises(FileErrors) as caught:
        load_policies(tmp_path, environ={})
    assert all(len(error.message) <= MAX_MESSAGE + 20 for error in caught.value.errors)


@pytest.mark.parametrize(("depth", "read"), [(MAX_DEPTH - 1, True), (MAX_DEPTH, False)])
def test_depth_is_bounded(depth: int, read: bool) -> None:
    if read:
        assert read_yaml(nested(depth), "deep.yaml").data
    else:
        with pytest.raises(FileErrors, match=f"more than {MAX_DEPTH} levels"):
            read_yaml(nested(depth), "deep.yaml")


@pytest.mark.parametrize(("copies", "read"), [(49, True), (50, False)])
def test_values_are_counted_with_aliases_written_out(copies: int, read: bool) -> None:
    """998 values and their list, ``copies`` times, the list around them and the mappings: 50,000 are read."""
    size = MAX_NODES // 50 - 1
    text = b"a: &a [" + b"x,\n" * size + b"]\nb: [" + b"*a," * (copies - 1) + b"]\n"
    total = copies * (size + 1) + 2
    assert (total <= MAX_NODES) == read
    if read:
        assert len(read_yaml(text, "wide.yaml").data["b"]) == copies - 1
    else:
        with pytest.raises(FileErrors, match="once aliases are written out"):
            read_yaml(text, "wide.yaml")


# -- includes and the environment


@settings(BOUNDED, max_examples=40)
@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(st.integers(0, n), max_size=3), min_size=n, max_size=n)))
def test_includes_in_any_graph_end(edges: list[list[int]]) -> None:
    """Node 0 is read; an oracle says whether a walk from it comes back to a file that it is inside of, or to one not there."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for node, targets in enumerate(edges):
            head = "version: 1\n" + (
                "plans: {free: {}}\n" if node == 0 else f"rules: [{{name: r{node}, then: {{mark: true}}}}]\n"
            )
            listed = ", ".join(f"f{target}.yaml" for target in targets)
            (folder / f"f{node}.yaml").write_text(f"{head}include: [{listed}]\n")
        wrong, reached = False, set()

        def walk(node: int, above: tuple[int, ...]) -> None:
            nonlocal wrong
            reached.add(node)
            for target in edges[node]:
                if target in (*above, node) or target >= len(edges):
                    wrong = True
                elif target not in reached:
                    walk(target, (*above, node))

        walk(0, ())
        try:
            found = load_policies(folder / "f0.yaml", environ={})
        except FileErrors as errors:
            assert wrong
            check_errors(errors, 4)
        else:
            assert not wrong
            assert {rule.name for rule in found.parts.rules} == {f"r{node}" for node in reached - {0}}


@settings(BOUNDED, max_examples=40)
@given(st.text(alphabet=st.characters(blacklist_categories=["Cs"]), max_size=30))
def test_no_value_of_the_environment_is_shown_or_read_again(value: str) -> None:
    secret = f"qzq{value}"
    file = {"version": 1, "plans": {"free": {}}, "upstreams": {"u": {"url": "${HOST}", "api_key": "${API_KEY}"}}}
    found = load(file, {"HOST": f"http://{secret}", "API_KEY": secret, "NAME": "never"})
    if isinstance(found, FileErrors):
        assert "qzq" not in str(found)
    else:
        assert found.upstreams["u"].api_key == secret
        assert "qzq" not in repr(found.upstreams["u"].api_key)


# -- conditions


def variables(number: int, text: str, flag: bool) -> dict[str, Any]:
    """Every variable, as a request of that kind would have it."""
    who = caller(
        text or "a", org=text or None, plan="free", country=text or None, verified=flag, created_at=NOW - number
    )
    facts = asks(
        text or "m", stream=flag, max_output_tokens=number, choices=number or 1, input_chars=number, logprobs=not flag
    )
    return Values(who, facts, Standing(level=Level.SUSPECT if flag else Level.NONE), "free", NOW + number).of(VARIABLES)


GIVEN = [
    variables(number, text, flag)
    for number in (0, 1, 86_400 * 3, 2**40)
    for text in ("", "free", "é中")
    for flag in (True, False)
]


@settings(BOUNDED, max_examples=150)
@given(CONDITION)
def test_a_condition_means_what_python_says_it_means(expression: Expression) -> None:
    if len(expression.source) > MAX_CHARS:
        return
    condition = compile_condition(expression.source)
    for given_ in GIVEN:
        assert condition.holds(given_) is bool(expression.value(given_)), (expression.source, given_)


TOKENS = ["==", "<", "&&", "||", "!", "?", ":", "(", ")", "[", "]", ",", ".", "-", "in", "size", "'", '"', "1", "'x'", "true", "null", "+", "%",
          "matches", "startsWith", "account", "hour", "stream", "{", "}", "\\", "0x1", "1e9", "b'x'", "\x00", "all(x, x)", " "]  # fmt: skip


SWAPS = [
    ("==", "!="),
    ("<", ">="),
    ("&&", "||"),
    ("(", "(("),
    ("'", '"'),
    ("true", "hour"),
    ("size", "sizes"),
    ("!", ""),
    (" ", "\n"),
]


def test_a_condition_with_tokens_changed_is_total_or_refused_in_words() -> None:
    seen: Counter[str] = Counter()

    @settings(BOUNDED, max_examples=150)
    @given(
        CONDITION,
        st.floats(0, 1),
        st.integers(0, 6),
        st.sampled_from([*TOKENS, ""]),
        st.one_of(st.none(), st.sampled_from(SWAPS)),
    )
    def explore(expression: Expression, where: float, cut: int, piece: str, swap: tuple[str, str] | None) -> None:
        source, at = expression.source, int(where * len(expression.source))
        source = source.replace(*swap) if swap is not None else source[:at] + piece + source[at + cut :]
        try:
            condition = compile_condition(source)
        except ValueError as error:
            seen["refused"] += 1
            said = str(error)
        else:
            seen["taken"] += 1
            said = "got it"
            assert all(condition.holds(given_) in {True, False} for given_ in GIVEN[:6])
        assert said.startswith("got ")
        assert len(said) < 600

    explore()
    assert min(seen["refused"], seen["taken"]) > 10, seen


WORST = {
    "negations": "!" * (MAX_CHARS - 4) + "true",
    "brackets": "(" * 480 + "true" + ")" * 480,
    "lists": "1 in " + "[" * 480,
    "disjunctions": "||".join(["stream"] * 120),
    "choices": "stream ? true : " * 60 + "false",
    "calls": "account" + ".contains('a')" * 70,
    "sizes": "size(" * 190,
    "members": "hour in [" + ",".join(["1"] * 490) + "]",
    "text": "account == '" + "x" * (MAX_CHARS - 13) + "'",
    "comparisons": "1 < 2 == " * 100 + "true",
    "colons": ":" * MAX_CHARS,
    "minuses": "-" * (MAX_CHARS - 1) + "1",
}


@pytest.mark.parametrize("name", WORST)
def test_the_worst_condition_of_a_kind_costs_bounded_time_and_memory(name: str) -> None:
    source = WORST[name]
    assert len(source) <= MAX_CHARS
    with bounded(seconds=5.0, memory_bytes=16 * 1024 * 1024), suppress(ValueError):
        condition = compile_condition(source)
        for given_ in GIVEN:
            condition.holds(given_)
