from __future__ import annotations

import re

import pytest

from gateway.canary.slots import Slot, _parse, load_inventory

LEXICAL = ("spelling", "contraction", "number", "connective", "synonym", "order")


def lexical() -> list[Slot]:
    return [slot for slot in load_inventory().slots if slot.carrier in LEXICAL]


def test_there_are_slots_of_every_kind() -> None:
    counts = {carrier: sum(slot.carrier == carrier for slot in lexical()) for carrier in LEXICAL}
    assert counts["spelling"] > 300
    assert counts["synonym"] > 100
    assert min(counts.values()) >= 3


def test_forms_are_plain_lower_case_words() -> None:
    for slot in lexical():
        for form in slot.forms:
            assert re.fullmatch(r"[a-z]+(?:['-][a-z]+)*(?: [a-z]+(?:['-][a-z]+)*)*,?", form), (slot.id, form)


def test_no_form_can_be_read_as_another_of_its_slot() -> None:
    for slot in lexical():
        commas = {form.endswith(",") for form in slot.forms}
        assert len(commas) == 1, slot.id


def test_a_slot_whose_forms_sound_differently_is_not_touched_after_an_article() -> None:
    by_id = load_inventory().by_id
    assert _parse("synonym", "use | employ").sound_guard
    assert not _parse("synonym", "use | utilize").sound_guard
    assert not _parse("spelling", "honor | honour").sound_guard
    assert by_id["organized"].sound_guard is False


@pytest.mark.parametrize(
    ("line", "message"),
    [("one", "two or more different forms"), ("a | a", "two or more different forms"), ("a | b ; nxt=c", "nxt")],
)
def test_a_wrong_line_of_the_inventory_is_named(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _parse("synonym", line)


def test_words_that_may_replace_each_other_have_one_name_in_contexts() -> None:
    canonical = load_inventory().canonical
    assert canonical["colour"] == canonical["color"]
    assert canonical["everybody"] == canonical["everyone"]


def test_an_order_slot_turns_its_pair_round_and_changes_nothing_else() -> None:
    for slot in lexical():
        if slot.carrier == "order":
            first, second = slot.forms
            assert first.split(" and ") == second.split(" and ")[::-1]


@pytest.mark.parametrize("idiom", ["pros and cons", "research and development", "supply and demand", "back and forth"])
def test_fixed_pairs_are_no_slots(idiom: str) -> None:
    assert all(idiom not in slot.forms for slot in lexical())
