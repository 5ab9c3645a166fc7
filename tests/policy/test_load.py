from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ConfigError, FileErrors
from gateway.policy import check_policies, load_policies
from gateway.policy.source import MAX_BYTES, read_yaml
from tests.policy.helpers import BASE, policies_of

if TYPE_CHECKING:
    from pathlib import Path

PLANS = BASE
RULES = "version: 1\nrules: [{name: one, then: {mark: true}}]\n"


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def messages(folder: Path) -> list[str]:
    with pytest.raises(FileErrors) as caught:
        load_policies(folder, environ={})
    return [str(error).replace(f"{folder}/", "") for error in caught.value.errors]


def test_a_folder_is_one_set_whatever_the_files_are_called(tmp_path: Path) -> None:
    write(tmp_path, plans=PLANS, rules=RULES)
    assert load_policies(tmp_path).hash == load_policies(tmp_path).hash
    (tmp_path / "rules.yaml").rename(tmp_path / "the-rules.yml")
    assert [rule.name for rule in load_policies(tmp_path).parts.rules] == ["one"]


def test_tests_hidden_files_and_subfolders_are_not_policies(tmp_path: Path) -> None:
    write(tmp_path, plans=PLANS, plans_test="nonsense", tests__more="nonsense", drafts__new="nonsense")
    (tmp_path / ".plans.yaml.swp.yaml").write_text("nonsense", encoding="utf-8")
    assert set(load_policies(tmp_path).parts.plans) == {"free", "pro"}


def test_every_mistake_of_every_file_is_reported_at_once(tmp_path: Path) -> None:
    write(tmp_path, a="version: 1\nplan: {}\nrule: []\n", b="version: 1\nplans: {free: {max_choices: 0}}\n", c="x: [\n")
    assert messages(tmp_path)[:-1] == [
        "a.yaml:2:1: got the unknown key 'plan', did you mean 'plans'?",
        "a.yaml:3:1: got the unknown key 'rule', did you mean 'rules'?",
        "b.yaml:2:29: got 0, expected at least 1",
    ]
    assert messages(tmp_path)[-1].startswith("c.yaml:2:1: got broken YAML")


def test_what_stands_in_two_files_is_an_error_at_the_second(tmp_path: Path) -> None:
    write(
        tmp_path,
        a=PLANS + "default_plan: free\nstandings: {suspect: {mark: true}}\nanalysis: {alpha: 0.001}\n",
        b=PLANS + "default_plan: pro\nstandings: {suspect: {mark: true}}\nanalysis: {alpha: 0.002}\n",
    )
    found = messages(tmp_path)
    assert "b.yaml:3:9: got the plan 'free' a second time (first at a.yaml:3), expected it once" in found
    assert "b.yaml:5:15: got the key 'default_plan' a second time (first at a.yaml:5), expected it once" in found
    assert any("the level 'suspect' a second time" in line for line in found)
    assert any("the key 'analysis.alpha' a second time" in line for line in found)


def test_lists_of_access_add_up_over_files(tmp_path: Path) -> None:
    write(tmp_path, a=PLANS + "access: {kill: gpt-4o}\n", b="version: 1\naccess: {kill: ['claude-*']}\n")
    assert load_policies(tmp_path).parts.kill == ("gpt-4o", "claude-*")


def test_a_file_includes_files_of_its_folder(tmp_path: Path) -> None:
    write(tmp_path, main=PLANS + "include: [parts/rules.yaml]\n", parts__rules=RULES)
    assert [rule.name for rule in load_policies(tmp_path / "main.yaml").parts.rules] == ["one"]


def test_includes_in_a_circle_are_refused(tmp_path: Path) -> None:
    write(
        tmp_path,
        a=PLANS + "include: [b.yaml]\n",
        b="version: 1\ninclude: [c.yaml]\n",
        c="version: 1\ninclude: [a.yaml]\n",
    )
    assert messages(tmp_path) == ["c.yaml:2:11: got 'a.yaml', which includes this file, expected no cycle"]


def test_a_file_included_twice_counts_once(tmp_path: Path) -> None:
    write(tmp_path, a=PLANS + "include: [c.yaml]\n", b="version: 1\ninclude: [c.yaml]\n", c=RULES)
    assert len(load_policies(tmp_path).parts.rules) == 1


@pytest.mark.parametrize("kind", ["absolute", "dots", "link"])
def test_nothing_outside_the_folder_is_read(tmp_path: Path, kind: str) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    write(tmp_path, secret=RULES)
    (inside / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    name = {"absolute": str(tmp_path / "secret.yaml"), "dots": "../secret.yaml", "link": "sub/../link.yaml"}[kind]
    if kind == "link":
        (inside / "sub").mkdir()
        (inside / "link.yaml").rename(inside / "sub" / "link.yml.txt")
        name = "sub/link.yml.txt"
    else:
        (inside / "link.yaml").unlink()
    write(inside, main=PLANS + f"include: ['{name}']\n")
    assert "outside the folder" in messages(inside)[0]


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    write(tmp_path, secret=RULES, in__plans=PLANS)
    (inside / "more.yaml").symlink_to(tmp_path / "secret.yaml")
    assert [rule.name for rule in load_policies(inside).parts.rules] == ["one"]  # the operator's own link is


def test_there_must_be_something_to_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "not-there.yaml"):
        with pytest.raises(ConfigError, match=r"got .*expected"):
            load_policies(path)


def test_references_are_not_looked_up_while_only_checking(tmp_path: Path) -> None:
    write(tmp_path, a=PLANS + "upstreams: {u: {url: 'https://${HOST}', api_key: '${KEY}'}}\n")
    check_policies(tmp_path)
    with pytest.raises(FileErrors, match=r"HOST.*is not set"):
        load_policies(tmp_path, environ={})


def test_the_hash_is_of_what_the_files_say_not_of_how() -> None:
    one = policies_of(PLANS + "upstreams: {u: {url: 'https://h', api_key: '${KEY}'}}\n", {"KEY": "a"})
    two = policies_of("# a comment\n" + PLANS + "upstreams:\n  u: {api_key: '${KEY}', url: https://h}\n", {"KEY": "b"})
    assert one.hash == two.hash
    assert one.hash != policies_of(PLANS).hash


def test_a_file_just_within_the_size_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    text = PLANS.encode()
    rest = b"#" * 1_023 + b"\n"
    text += (rest * (MAX_BYTES // len(rest)))[len(text) :]
    assert len(text) == MAX_BYTES
    path.write_bytes(text)
    load_policies(path)
    path.write_bytes(text + b"#")
    with pytest.raises(FileErrors, match="expected at most 1,048,576"):
        load_policies(path)


LINES = [
    b"[",
    b"{a: ",
    b"- ",
    b"a: ",
    b'"',
    b"&a ",
    b"x,",
    b"!!",
    b"? ",
    b"\xff",
    b"%",
    b"#",
    b"'a\\",
    b"|",
    b"- |2",
    b"*a",
    b"- - - a: [",
    b"{",
    b"\r",
]


@pytest.mark.parametrize("newline", [b"", b"\n", b"\n  "], ids=["one line", "lines", "indented"])
@pytest.mark.parametrize("line", LINES, ids=repr)
def test_hostile_files_end_soon(line: bytes, newline: bytes) -> None:
    piece = line + newline
    text = (piece * (MAX_BYTES // len(piece)))[: MAX_BYTES // 16]
    before_s = time.process_time()
    with contextlib.suppress(FileErrors):
        read_yaml(text, "hostile.yaml")
    assert time.process_time() - before_s < 10  # a sixteenth of the largest file takes less than a second


@pytest.mark.parametrize(
    "text", [b"!" + b"a" * 10_000, b"'" + b"a" * 10_000 + b"': 1\n'" + b"a" * 10_000 + b"': 2", b"*" + b"a" * 10_000]
)
def test_a_message_stays_short_whatever_the_file_holds(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.yaml").write_bytes(text)
    with pytest.raises(FileErrors) as caught:
        load_policies(tmp_path)
    assert all(len(error.message) < 600 for error in caught.value.errors)


SNIPPETS = st.sampled_from(
    ["version: 1", "plans:", "  free:", "    budgets:", "      - limit: 200/day", "rules:", "  - name: x", "    then: {mark: true}",
     "    if: plan == 'x'", "access: {kill: '*'}", "a: &a [*a]", "<<: *a", "- - -", "? x", "'", "{", "}", "[", "]", ": ", "\t", "|", ">", "%YAML 1.1",
     "---", "...", "upstreams: {u: {url: '${X}'}}", "\x00", "é", "  pro: &p {}", "  team: *p", "!!int x", "prices: {x: {input: .nan, output: 1}}"]
)  # fmt: skip


@settings(max_examples=250, deadline=None)
@given(st.lists(st.one_of(SNIPPETS, st.text(max_size=12)), max_size=12))
def test_any_text_is_a_set_or_file_errors(lines: list[str]) -> None:
    with contextlib.suppress(FileErrors):
        policies_of("\n".join(lines).encode("utf-8", "replace").decode())


def test_a_line_is_bounded() -> None:
    assert read_yaml(b"#" * 4_096, "a.yaml").data is None
    with pytest.raises(FileErrors, match=r"a\.yaml:2:1: got a line of 4,097 bytes, expected at most 4,096"):
        read_yaml(b"\n" + b"#" * 4_097, "a.yaml")


MANY = """\
version: 1
plans:
  free:
    budgets:
      - limit: 200/dya
      - {limit: 8 concurrent, window: sliding}
rules:
  - name: a
    match: {contry: DE, plan: gold}
    then: {refuse: true, allow: true}
  - name: a
    then: {delay: 5}
standings: {supect: {mark: true}}
"""


TIMES = "expected second, minute, hour, day, month (30 days) or several, such as '10 seconds' or '45 days', 366 days at most"


def test_what_spans_keys_is_told_together_with_what_is_wrong_by_itself_in_the_order_of_lines(tmp_path: Path) -> None:
    write(tmp_path, a=MANY)
    assert [line.removeprefix("a.yaml:") for line in messages(tmp_path)] == [
        f"5:16: got the time 'dya' in '200/dya', {TIMES}",
        "6:9: got a window or burst for what is held at once, expected neither: delete it",
        "9:13: got the unknown key 'contry', did you mean 'country'?",
        "9:31: got the plan 'gold', which is not defined, expected one of free",
        "10:11: got both refuse and allow, expected one of the two",
        "11:11: got the rule 'a' a second time (first at a.yaml:8), expected it once",
        "12:19: got 5, expected a number and a unit: 250ms, 30s, 5m, 12h or 45d",
        "13:13: got the unknown key 'supect', did you mean 'suspect'?",
    ]  # that the second rule has no effect may follow from its delay


def test_a_mistake_does_not_make_others_up(tmp_path: Path) -> None:
    write(
        tmp_path,
        a="version: 1\nplans: {free: 5, pro: {budgets: [{limit: 1}]}}\n",
        b="version: 1\ndefault_plan: free\nrules: [{name: r, then: {budgets: [{limit: x}]}}]\n",
        c="version: 1\nexempt: [{name: e, match: {contry: DE}}]\n",
    )
    assert [line.split(":")[:3] for line in messages(tmp_path)] == [
        ["a.yaml", "2", "15"],
        ["a.yaml", "2", "42"],
        ["b.yaml", "3", "44"],
        ["c.yaml", "2", "28"],
    ]
