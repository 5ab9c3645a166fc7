"""Closings and bridges: where they may stand, what they say, and that they are found again."""

from __future__ import annotations

import re

import pytest

from gateway.canary.asked import may_bridge, may_close
from gateway.canary.bridges import BRIDGE, ends_plainly, goes_on
from gateway.canary.closings import CLOSING
from gateway.canary.evidence import Collector, Evidence, make_trials, read_texts
from gateway.canary.sentences import Frame, last_word
from gateway.canary.slots import FRAMES
from gateway.canary.writer import Mark, MarkWriter
from tests.canary.helpers import make_rows

QUESTION = "Explain how a city library works."
FIRST = (
    "A city library lends books to people who live near it, and it is used by schools, clubs and families for many "
    "things that they could not do at home. It is open on most days of the week and asks for little money."
)
KEYS = [bytes([n, 7]) * 16 for n in range(250)]


def write(key: bytes, reply: str, prompt: str | None = QUESTION) -> tuple[str, list[Mark]]:
    writer = MarkWriter(key, prompt=prompt)
    return writer.feed(reply) + writer.finish(), writer.marks


def bridged(reply: str, prompt: str | None = QUESTION) -> int:
    """How many keys put a bridge into ``reply``."""
    return sum(any(mark.carrier == "bridge" for mark in write(key, reply, prompt)[1]) for key in KEYS)


def closed(reply: str, prompt: str | None = QUESTION) -> int:
    """How many keys put a closing behind ``reply``."""
    return sum(any(mark.carrier == "closing" for mark in write(key, reply, prompt)[1]) for key in KEYS)


@pytest.mark.parametrize("frame", FRAMES)
def test_any_choice_is_found_again_in_any_case_and_between_other_words(frame: Frame) -> None:
    for turn in range(40):
        words = [link.forms[(7 * turn + 3 * at) % len(link.forms)] for at, link in enumerate(frame.links)]
        text = f"The end was near. {frame.sentence(words)} The next day came."
        cues = ["near", *words[:3]]
        assert [(link.slot, cue, reply) for link, cue, reply, whole, _ in frame.find(text.lower()) if whole] == [
            (link.slot, cue, reply) for link, cue, reply in zip(frame.links, cues, words, strict=True)
        ]


@pytest.mark.parametrize("frame", FRAMES)
def test_a_sentence_without_its_beginning_keeps_its_last_links(frame: Frame) -> None:
    words = [link.forms[0] for link in frame.links]
    rest = frame.sentence(words).lower().split(" ", 2)[2]
    assert {link.slot for link, _, _, whole, _ in frame.find(rest) if not whole} <= {
        link.slot for link in frame.links[1:]
    }


def test_who_cuts_the_words_of_closings_leaves_bridges_their_subjects_and_verbs() -> None:
    closing = {word for link in CLOSING.links[:2] for form in link.forms for word in form.split()}
    bridge = {word for link in BRIDGE.links[:2] for form in link.forms for word in form.split()}
    assert not closing & bridge


@pytest.mark.parametrize("frame", FRAMES)
def test_no_form_of_a_link_begins_another(frame: Frame) -> None:
    for link in frame.links:
        for form in link.forms:
            assert not [other for other in link.forms if other != form and f"{other} ".startswith(f"{form} ")], form


def test_the_cue_is_the_last_word_whatever_stands_behind_it() -> None:
    assert last_word("of the city.  ") == "city"
    assert last_word('to the (old) city!"') == "city"
    assert last_word("12 34.") == ""
    assert last_word("") == ""


def test_a_bridge_stands_between_two_sentences_of_an_explanation() -> None:
    reply = FIRST + " The staff also helps people to find what they need for school and for work."
    assert 5 < bridged(reply) < 80
    for key in KEYS:
        out, marks = write(key, reply)
        for mark in marks:
            if mark.slot == "bridge subject":
                added = out[mark.at :].split(". ")[0]
                assert re.fullmatch(r"[A-Z][a-z]*(?: [a-z]+){4,7}", added)
                assert mark.context in {"money", "home"}


@pytest.mark.parametrize(
    "second",
    [
        "It also helps people to find what they need.",
        "This makes it a good place for all who live there.",
        "However, the staff is small and the rooms are old.",
        "For example, the staff helps people to find work.",
        "In conclusion, the library is good for the whole town.",
        "The first step is to ask the staff for a card.",
        "Second, the staff helps people to find what they need.",
        'The "staff also helps" people to find what they need.',
        "the staff also helps people to find what they need.",
        "Then the staff helps people to find what they need.",
    ],
)
def test_no_bridge_before_a_sentence_that_points_back_contrasts_concludes_or_counts(second: str) -> None:
    assert bridged(f"{FIRST} {second}") == 0


@pytest.mark.parametrize(
    "reply",
    [
        f"- {FIRST} The staff also helps people to find what they need for school.",
        f"1. {FIRST} The staff also helps people to find what they need for school.",
        f"**Library:** {FIRST} The staff also helps people to find what they need for school.",
        f"Library: {FIRST} The staff also helps people to find what they need for school.",
        f"> {FIRST} The staff also helps people to find what they need for school.",
        f'"{FIRST} The staff also helps people to find what they need for school."',
        f"({FIRST} The staff also helps people to find what they need for school.)",
        f"```\n{FIRST} The staff also helps people to find what they need for school.\n```",
        f"{FIRST}\nThe staff also helps people to find what they need for school.",
        f"{FIRST}\n\n\nThe staff also helps people to find what they need for school.",
        f"{FIRST}\n- The staff also helps people to find what they need for school.",
        "A city library lends books. The staff also helps people to find what they need for school.",
    ],
    ids=[
        "list",
        "number",
        "label",
        "word label",
        "quote",
        "quotation",
        "brackets",
        "code",
        "line",
        "gap",
        "item",
        "short",
    ],
)
def test_no_bridge_outside_plain_paragraphs(reply: str) -> None:
    assert bridged(reply) == 0


def test_a_bridge_may_begin_a_paragraph() -> None:
    assert bridged(f"{FIRST}\n\nThe staff also helps people to find what they need for school and work.") > 5


@pytest.mark.parametrize("last", ["etc", "approx", "Dr", "Inc", "Africa", "a", "mins", "NASA"])
def test_no_bridge_behind_what_may_be_an_abbreviation_or_a_name(last: str) -> None:
    assert not ends_plainly(last)
    assert bridged(f"{FIRST[:-1]}, {last}. The staff also helps people to find what they need.") == 0


def test_goes_on_needs_enough_to_read() -> None:
    assert goes_on("The staff also helps people to find")
    assert not goes_on("The staff")
    assert not goes_on("The staff\nalso helps people to find")
    assert not goes_on("")


@pytest.mark.parametrize(
    ("prompt", "bridge", "closing"),
    [
        ("Explain photosynthesis.", True, True),
        ("Name three kinds of cheese and say how they differ.", True, True),
        ("Develop a plan to save water at home.", True, True),
        ("Write an essay about public libraries.", True, False),
        ("Write a story about a fox.", False, False),
        ("Explain photosynthesis in two sentences.", False, False),
        ("Explain photosynthesis in 50 words.", False, False),
        ("Classify these animals.", False, False),
        ("My father died last week. What should I do?", False, False),
        (None, False, False),
    ],
)
def test_which_questions_may_have_which_sentence(prompt: str | None, bridge: bool, closing: bool) -> None:
    assert may_bridge(prompt) is bridge
    assert may_close(prompt) is closing


@pytest.mark.parametrize(
    "ending",
    [
        " I hope this helps.",
        " Let me know what you think of it.",
        "\n\n- the last item of a list.",
        " Who would not like that?",
        ' Or "as they say in the town."',
    ],
)
def test_no_closing_behind_what_is_no_plain_end(ending: str) -> None:
    assert closed(FIRST) > 5
    assert closed(FIRST + ending) == 0


@pytest.mark.parametrize("sentences", [1, 2, 3, 6, 12])
def test_replies_of_no_length_change_by_more_than_three_per_cent(sentences: int) -> None:
    changed = total = 0
    for number, (prompt, reply) in enumerate(make_rows(700, seed=60 + sentences, sentences=sentences)):
        total += len(reply.split())
        for mark in write(KEYS[number % len(KEYS)], reply, prompt)[1]:
            if mark.carrier != "structure":
                changed += max(mark.before.count(" "), mark.after.count(" ")) + 1
    assert changed / total <= 0.03


def test_every_mark_is_found_again_by_the_audit() -> None:
    for number, (prompt, reply) in enumerate(make_rows(150, seed=91, sentences=8)):
        out, marks = write(KEYS[number % len(KEYS)], reply, prompt)
        collector = Collector()
        collector.read(out)
        seen = {(slot, context) for slot, context in collector.counts}
        assert [mark for mark in marks if (mark.slot, mark.context) not in seen] == []


def test_splits_change_nothing_where_sentences_are_added() -> None:
    for number, (_, reply) in enumerate(make_rows(60, seed=92, sentences=9)):
        key = KEYS[number]
        whole, marks = write(key, reply)
        for step in (1, 5, 47, 48, 49, 64):
            writer = MarkWriter(key, prompt=QUESTION)
            parts = [writer.feed(reply[at : at + step]) for at in range(0, len(reply), step)]
            assert "".join(parts) + writer.finish() == whole
            assert writer.marks == marks


def test_sentences_of_one_cluster_are_no_hit_for_another() -> None:
    """The marked text is the author here: of a thousand other keys none is near."""
    texts = [write(KEYS[0], reply, QUESTION)[0] for _, reply in make_rows(400, seed=93)]
    evidence = Evidence(make_trials(read_texts(texts)))
    assert evidence.test(KEYS[0])[0] < 1e-30
    for carrier in ("cue", "closing", "bridge"):
        values = [next(t.p_value for t in evidence.test(key)[1] if t.carrier == carrier) for key in KEYS[1:]]
        assert sum(value <= 0.1 for value in values) <= 25 + 4 * 22.5**0.5
        assert min(values) > 1e-5


def test_what_is_left_without_last_sentences_still_names_the_cluster() -> None:
    texts = []
    for _, reply in make_rows(700, seed=94, sentences=7):
        texts.append(" ".join(re.split(r"(?<=\.) ", write(KEYS[0], reply, QUESTION)[0])[:-1]))
    p_value, tests = Evidence(make_trials(read_texts(texts))).test(KEYS[0])
    assert p_value < 1e-9
    assert sum(test.p_value < 0.01 for test in tests if test.carrier not in {"cue", "closing"}) >= 2
