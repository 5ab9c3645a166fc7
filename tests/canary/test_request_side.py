from __future__ import annotations

import json

from gateway.canary.evidence import Evidence, make_trials, read_texts
from gateway.canary.keyring import new_keyring
from gateway.canary.request_side import TURNS, decoy_tools, find_choices, instruction
from gateway.canary.slots import load_inventory
from gateway.canary.wishes import decoys, wish
from gateway.canary.writer import keyed_form
from tests.canary.helpers import ring_secret

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
    evidence = Evidence(make_trials(read_texts(texts)))
    right, wrong = (next(t for t in evidence.test(key)[1] if t.carrier == "behaviour") for key in KEYS)
    assert (right.hits, right.trials) == (len(TURNS), len(TURNS))
    assert right.p_value < 1e-5 < wrong.p_value


def test_decoy_tools_carry_the_key_in_their_names() -> None:
    tools = decoy_tools(chooser(KEYS[0]), count=6)
    names = [tool["function"]["name"] for tool in tools]
    assert len(set(names)) == 6
    json.dumps(tools)
    evidence = Evidence(make_trials(read_texts([f"I call {name}(id=1) now." for name in names])))
    right, wrong = (next(t for t in evidence.test(key)[1] if t.carrier == "tool") for key in KEYS)
    assert right.hits == right.trials >= 6
    assert right.p_value < 1e-5 < wrong.p_value


def test_decoys_and_wishes_are_the_same_for_a_cluster_and_other_ones_for_another() -> None:
    ring = new_keyring(inventory="", now_s=0.0, secret=ring_secret(3))
    assert decoys(ring.newest, "c1", 16) == decoys(ring.newest, "c1", 16) != decoys(ring.newest, "c2", 16)
    assert wish(ring.newest, "c1") == wish(ring.newest, "c1") != wish(ring.newest, "c2")
    names = [tool["function"]["name"] for tool in decoys(ring.newest, "c1", 16)]
    found = Evidence(make_trials(read_texts([f"Then {name} was called." for name in names])))
    assert found.test(ring.newest.cluster_key("c1"))[0] < 1e-20
    assert found.test(ring.newest.cluster_key("c2"))[0] > 1e-5
