from __future__ import annotations

import copy
import json
from typing import Any

from gateway.canary.evidence import Evidence, make_trials, read_texts
from gateway.canary.request_side import TURNS, add_instruction, decoy_tools, find_choices, instruction
from gateway.canary.slots import load_inventory
from gateway.canary.writer import keyed_form

KEYS = [bytes([n]) * 32 for n in (1, 2)]


def chooser(key: bytes):  # type: ignore[no-untyped-def]  # noqa: ANN201 - a closure for the tests
    return lambda slot_id, context: keyed_form(key, load_inventory().by_id[slot_id], context)


def test_an_instruction_names_one_phrase_for_each_turn_and_depends_on_the_key() -> None:
    texts = [instruction(chooser(key)) for key in KEYS]
    assert texts[0] != texts[1]
    for text in texts:
        assert {slot_id for slot_id, _, _ in find_choices(text)} == {f"turn {turn}" for turn in TURNS}


def test_a_model_that_obeys_shows_the_key() -> None:
    phrases = [phrases[chooser(KEYS[0])(f"turn {turn}", "$")] for turn, phrases in TURNS.items()]
    texts = [f"Text number {i}: {phrase}, it was so." for i, phrase in enumerate(phrases)]
    evidence = Evidence(make_trials(read_texts(texts).counts))
    right, wrong = (next(t for t in evidence.test(key)[1] if t.carrier == "behaviour") for key in KEYS)
    assert (right.hits, right.trials) == (len(TURNS), len(TURNS))
    assert right.p_value < 1e-5 < wrong.p_value


def test_decoy_tools_carry_the_key_in_their_names() -> None:
    tools = decoy_tools(chooser(KEYS[0]), count=6)
    names = [tool["function"]["name"] for tool in tools]
    assert len(set(names)) == 6
    json.dumps(tools)
    evidence = Evidence(make_trials(read_texts([f"I call {name}(id=1) now." for name in names]).counts))
    right, wrong = (next(t for t in evidence.test(key)[1] if t.carrier == "tool") for key in KEYS)
    assert right.hits == right.trials >= 6
    assert right.p_value < 1e-5 < wrong.p_value


def test_an_instruction_is_added_behind_the_callers_own_and_the_body_is_left_alone() -> None:
    bodies: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]},
        {"system": "Be kind.", "messages": [{"role": "user", "content": "Hi"}]},
        {"system": [{"type": "text", "text": "Be kind."}], "messages": []},
    ]
    before = copy.deepcopy(bodies)
    first, second, third, fourth = (add_instruction(body, "X") for body in bodies)
    assert bodies == before
    assert first["messages"][0] == {"role": "system", "content": "X"}
    assert second["messages"][0]["content"] == "Be kind.\n\nX"
    assert third["system"] == "Be kind.\n\nX"
    assert fourth["system"][-1] == {"type": "text", "text": "X"}
