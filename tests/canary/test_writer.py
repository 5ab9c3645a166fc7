from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from gateway.canary.asked import markable
from gateway.canary.reader import HOLD
from gateway.canary.slots import load_inventory
from gateway.canary.writer import MarkWriter, keyed_form
from tests.canary.helpers import KEY, make_rows

PROSE = (
    "It is also used by people who organize events, while others often wait until someone has analyzed the data. "
    "In order to help everyone, the center is based on a variety of colors. Additionally, many towns rely on it, "
    "and farms that can change quickly are among the best examples of it."
)
KEYS = [bytes([n]) * 32 for n in range(1, 13)]


def write(text: str, *, key: bytes = KEY, prompt: str | None = None, cuts: list[int] | None = None) -> str:
    writer = MarkWriter(key, prompt=prompt)
    out, at = "", 0
    for cut in [*(cuts or []), len(text)]:
        out += writer.feed(text[at:cut])
        at = cut
    return out + writer.finish()


def test_every_split_in_two_of_a_short_text_gives_the_same() -> None:
    text = PROSE + "\n\nPoints:\n- Use `while` here.\n- It is also good, as everyone says.\n"
    for key in KEYS[:3]:
        whole = write(text, key=key)
        assert whole != text
        assert all(write(text, key=key, cuts=[cut]) == whole for cut in range(len(text)))


def test_one_sign_at_a_time_gives_the_same_and_holds_back_at_most_the_bound() -> None:
    for prompt, reply in make_rows(20, seed=3):
        writer = MarkWriter(KEY, prompt=prompt)
        out, worst = "", 0
        for at, sign in enumerate(reply):
            out += writer.feed(sign)
            worst = max(worst, at + 1 - len(re.sub(r"\A.*\Z", out, out, flags=re.DOTALL)) if not writer.marks else 0)
        assert out + writer.finish() == write(reply, prompt=prompt)
        assert worst <= HOLD


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_splits_of_any_text_give_the_same(data: st.DataObject) -> None:
    pieces = st.sampled_from(
        [
            PROSE,
            "\n\n",
            "```py\nwhile x:\n```\n",
            '"quoted while"',
            "- item also\n",
            "* other\n",
            "| a | b |\n",
            "$x$ ",
            "`code`",
            "é",
            "\u2019",
            "x" * 70,
            " ",
            "(while) ",
            "{",
            "}",
            "<b>",
            "1. while ",
            "# While\n",
            "don\u2019t ",
        ]
    )
    text = "".join(data.draw(st.lists(pieces, max_size=12)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    assert write(text, cuts=cuts) == write(text)


PROTECTED = {
    "fenced code": "```python\nwhile data is organized:\n    analyze(color)  # used in order to help\n```",
    "open fence": "```\nwhile it is also used by everyone, colors are often organized",
    "inline code": "`while color is often used by everyone`",
    "JSON": '{"note": "it is also used, while colors are often organized", "n": [1, 2]}',
    "URL": "https://example.org/while/color?organize=often&used=by",
    "address": "while.color@example.org",
    "quotation": '"It is also used while colors are often organized by someone."',
    "curly quotation": "\u201cIt is also used while colors are often organized by someone.\u201d",
    "single quotation": "'it is also used while colors are often organized'",
    "LaTeX": "$while + color$ and $$\nit is also used while organized\n$$",
    "LaTeX brackets": "\\[ while \\text{color is often used by} \\]",
    "table": "| while | color |\n| --- | --- |\n| it is also used by | often organized |",
    "table without edges": "while | color\n--- | ---\nit is also used by everyone | often organized",
    "heading": "## While colors are often organized by someone",
    "block quote": "> While colors are often organized, it is also used by someone",
    "link": "[while colors are often organized](https://example.org/while)",
    "citation": "(while colors are often organized, 2020)",
    "bold": "**while colors are often organized**",
    "tool call": '<tool_call>\n{"name": "organize", "arguments": {"color": "often"}}\n</tool_call>',
    "HTML": "<p>While colors are often organized, it is also used by everyone.</p>",
    "name": "World Organization Center Color Company",
    "indented code": "    while colors are often organized",
    "CSS": "color: gray;\nbackground-color: organized;",
    "underlined heading": "While colors are organized\n===",
    "dashed heading": "While it is also used\n---",
    "quotation over lines": '"It is also used\nwhile colors are often organized\nby someone."',
    "single quotation over lines": "'it is also used\nwhile colors are often organized'",
    "brackets over lines": "(it is also used\nwhile colors are often organized)",
    "bold over lines": "**it is also used\nwhile colors are often organized**",
    "quotation of paragraphs": '"It is also used.\n\n"While colors are often organized by someone."',
    "table body without edges": "a | b\n--- | ---\nit is also used while it lasts, and that is what people say | often",
}


@pytest.mark.parametrize("kind", PROTECTED)
def test_what_must_not_be_touched_is_not_touched(kind: str) -> None:
    span = PROTECTED[kind]
    for key in KEYS:
        before, after = f"{PROSE}\n\n{span}\n\n{PROSE}", f"{PROSE} See here:\n{span}\n"
        assert span in write(before, key=key)
        assert span in write(after, key=key)
        assert write(span, key=key) == span


def test_numbers_stay_as_they_are() -> None:
    text = PROSE + " It costs about 1,250.50 dollars in 2024, more than 30% of 5 million, on 12/05/2020 at 10:30."
    for key in KEYS:
        assert re.findall(r"\d[\d,.:/%]*", write(text, key=key)) == re.findall(r"\d[\d,.:/%]*", text)


FOREIGN = {
    "Spanish": "El color de la casa es un favor que la labor de la gente puede dar. No es un honor, pero el humor de "
    "la clase era normal y el color de los muros era real. Se usa el color central en el general.",
    "French": "Le centre de la ville est un endroit normal. Le train est en retard mais on peut aussi attendre.",
    "German": "Das ist ein Center in der Stadt, und man kann in dem Haus also warten. Der Humor war normal.",
    "Scots": "The wee bairn gaed tae the kirk wi his mither while the auld folk sat by the fire, and it wis also a braw day.",
    "Frisian": "It is in grut feest yn de stêd and it wurdt alle jierren holden. Se kinne also mei it skip, while it kin.",
    "Norwegian": "Det er en fin by for the people, og man kan also se havet while det regner, in the favorite color.",
    "Nigerian": "Dem dey go market every day and the people wey dey there will use the things that are used for cooking "
    "while the others often wait for you, and many of the children also help.",
    "Pidgin": "Dem dey go for the market, weh the people dem also dey work until night, and it is fi dem.",
    "Dutch": "Het is een center in de stad en de humor is of was also toward het favorite website online.",
    "Portuguese": "O humor e o labor dos homens era um favor real para todos, com honor e color na casa.",
}


@pytest.mark.parametrize("language", FOREIGN)
def test_other_languages_are_left_as_they_are(language: str) -> None:
    for key in KEYS:
        assert write(FOREIGN[language], key=key, prompt="Que es esto?") == FOREIGN[language]


def test_nothing_invisible_or_alike_is_added() -> None:
    for prompt, reply in make_rows(60, seed=9):
        assert write(reply, prompt=prompt).isascii()


def test_a_curly_apostrophe_stays_curly() -> None:
    text = (
        "The shop is closed, and it isn\u2019t clear why. " * 3
        + "In the end they said that they\u2019re happy with it. " * 5
    )
    outs = {write(text, key=key) for key in (bytes([n]) * 32 for n in range(40))}
    assert all("'" not in out for out in outs)
    assert all(out.count("\u2019") == text.count("\u2019") for out in outs)


def test_markdown_keeps_its_structure() -> None:
    parser = MarkdownIt("commonmark").enable("table")
    text = (
        f"# Title\n\n{PROSE}\n\nThe points are:\n\n- It is also used by everyone, while they wait\n  - often nested\n"
        f"- someone who is organized\n\n* other list\n* with items\n\n1. First\n2. Second\n\n{PROSE}\n\nThese are:\n"
        f"* one also\n* two\ncontinued line\n*\n* three\n\nText with **bold** and `code`.\n"
    )
    shape = [(t.type, t.level, t.map) for t in parser.parse(text)]
    outs = {write(text, key=key) for key in (bytes([n]) * 32 for n in range(30))}
    assert any("\n* It is" in out or "\n* It's" in out for out in outs)
    for out in outs:
        assert [(t.type, t.level, t.map) for t in parser.parse(out)] == shape


@pytest.mark.parametrize(
    "value", [{"a": "while it is also used by everyone"}, ["often organized", 1], {"x": {"y": None}}]
)
def test_json_replies_stay_byte_for_byte(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, indent=2)):
        assert all(write(text, key=key) == text for key in KEYS)


@pytest.mark.parametrize(
    "prompt",
    ["Write a Python function", "Translate this to French", "Correct the grammar", "Write a haiku", "Give synonyms"],
)
def test_where_the_wording_was_asked_for_nothing_changes(prompt: str) -> None:
    assert not markable(prompt)
    assert write(PROSE, prompt=prompt) == PROSE


def test_articles_fit_the_words_after_them() -> None:
    vowel = re.compile(r"\b(?:a [aeio]|an [bcdfgjklmnpqrstvwxz])", re.IGNORECASE)
    for prompt, reply in make_rows(150, seed=5):
        out = write(reply, prompt=prompt)
        assert len(vowel.findall(out)) == len(vowel.findall(reply))


def test_retries_agree_and_clusters_differ() -> None:
    rows = make_rows(20, seed=8)
    first = [write(reply, prompt=prompt) for prompt, reply in rows]
    assert first == [write(reply, prompt=prompt) for prompt, reply in rows]
    assert first != [write(reply, prompt=prompt, key=KEYS[0]) for prompt, reply in rows]


def test_the_same_slot_chooses_differently_in_other_contexts() -> None:
    slot = load_inventory().by_id["while"]
    forms = [keyed_form(KEY, slot, f"word{n}") for n in range(1000)]
    assert 430 <= sum(forms) <= 570


def test_marks_say_where_they_stand() -> None:
    rnd = random.Random(2)
    for prompt, reply in make_rows(40, seed=11):
        writer = MarkWriter(rnd.randbytes(32), prompt=prompt)
        out = writer.feed(reply) + writer.finish()
        for mark in writer.marks:
            if mark.carrier in {"synonym", "spelling", "connective", "contraction"}:
                assert out[mark.at : mark.at + len(mark.after)].lower() == mark.after


def test_a_carrier_that_the_policy_leaves_out_is_not_written() -> None:
    for prompt, reply in make_rows(30, seed=12):
        writer = MarkWriter(KEY, prompt=prompt, carriers=frozenset({"spelling"}))
        writer.feed(reply)
        writer.finish()
        assert {mark.carrier for mark in writer.marks} <= {"spelling"}
