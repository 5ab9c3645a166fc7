"""Replies to a suspected cluster carry marks, the same streamed and plain; everybody else's are untouched."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import orjson
import pytest

from gateway.canary import load_keyring, mark_reply, new_keyring, save_keyring, trace, wishes
from gateway.canary.slots import load_inventory
from gateway.demo.model import ModelServer
from gateway.policy import shipped_policies
from gateway.types import Level, Verdict
from tests.live import Live, live_gateway

ANSWER = (
    "You should begin with a large bowl, because it is easier to mix everything that way. "
    "However, do not start too quickly: the dough needs roughly thirty minutes to rest. "
    "It is also important to use warm water, and you can usually tell by touch that it is right. "
    "For example, water that feels hot will often kill the yeast, so try to be careful. "
    "Afterwards, shape the loaf, let it rise, and bake it until the crust is brown. "
) * 3
ASK: Any = [{"role": "user", "content": "How do I bake bread at home?"}]
SUSPECT = Verdict(
    cluster="c7",
    level=Level.SUSPECT,
    members=("taker",),
    decided_at=time.time() - 1,
    expires_at=time.time() + 3600,
    reasons=("coordination", "content"),
)


def keyring_in(folder: Path) -> Path:
    """A keyring that is the same in every run: what a random one plants in so short a text is a matter of luck."""
    path = folder / "ring.json"
    save_keyring(path, new_keyring(inventory=load_inventory().digest, now_s=1.0, secret=bytes([10]) * 32))
    return path


def ring_of(live: Live) -> Path:
    assert live.settings.keyring is not None
    return live.settings.keyring


def account(name: str) -> dict[str, Any]:
    return {"account": name, "plan": "pro", "api_key": f"sk-{name}-0123456789"}


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    model = ModelServer(writer=lambda *_: ANSWER)
    accounts = [account("taker"), account("reader")]
    ring = keyring_in(tmp_path)
    with live_gateway(tmp_path, policies=shipped_policies(), accounts=accounts, model=model, keyring=ring) as found:
        found.rooms.standing.apply([SUSPECT])
        assert found.rooms.pipeline.marker is not None
        found.rooms.pipeline.marker.promise("c7")
        yield found


def chat(live: Live, name: str, **more: Any) -> Any:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key=f"sk-{name}-0123456789", max_retries=0) as client:
        reply = client.chat.completions.create(model="gpt-4o", messages=ASK, **more)
        return list(reply) if more.get("stream") else reply


def text_of(stream: Any) -> str:
    return "".join(event.choices[0].delta.content or "" for event in stream if event.choices)


def test_a_suspect_gets_exactly_what_the_command_line_would_plant(live: Live) -> None:
    keyring = load_keyring(ring_of(live))
    expected = mark_reply(keyring, "c7", ASK[0]["content"], ANSWER)
    assert expected.marks
    reply = chat(live, "taker")
    assert reply.choices[0].message.content == expected.reply
    assert text_of(chat(live, "taker", stream=True)) == expected.reply


def test_usage_and_everything_but_the_text_stay_as_they_were(live: Live) -> None:
    marked, plain = chat(live, "taker").model_dump(), chat(live, "reader").model_dump()
    assert plain["choices"][0]["message"].pop("content") == ANSWER
    assert marked["choices"][0]["message"].pop("content") != ANSWER
    marked["created"] = plain["created"] = 0
    assert marked == plain


def test_the_event_tells_the_marks_and_no_text(tmp_path: Path) -> None:
    model = ModelServer(writer=lambda *_: ANSWER)
    with live_gateway(
        tmp_path, policies=shipped_policies(), accounts=[account("taker")], model=model, keyring=keyring_in(tmp_path)
    ) as live:
        live.rooms.standing.apply([SUSPECT])
        assert live.rooms.pipeline.marker is not None
        live.rooms.pipeline.marker.promise("c7")
        chat(live, "taker")
        chat(live, "taker", logprobs=True)  # log probabilities would tell another text: no lexical marks
    marked, unmarked = live.events()
    assert marked.marked
    assert marked.marks is not None
    assert marked.marks["version"] == 1
    assert sum(count for name, count in marked.marks.items() if name != "version") > 0
    assert marked.cluster == "c7"
    assert not unmarked.marked


def test_a_key_is_promised_before_it_marks(tmp_path: Path) -> None:
    model = ModelServer(writer=lambda *_: ANSWER)
    with live_gateway(
        tmp_path, policies=shipped_policies(), accounts=[account("taker")], model=model, keyring=keyring_in(tmp_path)
    ) as live:
        live.rooms.standing.apply([SUSPECT])
        first = chat(live, "taker").choices[0].message.content
        assert live.rooms.pipeline.marker is not None
        live.rooms.pipeline.marker.close()  # waits for the promise
        assert first == ANSWER
        assert chat(live, "taker").choices[0].message.content != ANSWER
    keyring = load_keyring(ring_of(live))
    assert [entry.cluster for entry in keyring.ledger] == ["c7"]


def test_a_suspects_compressed_replies_are_asked_for_plain(live: Live) -> None:
    body = {"model": "gpt-4o", "messages": ASK}
    headers = {"authorization": "Bearer sk-taker-0123456789", "accept-encoding": "gzip"}
    httpx.post(f"{live.url}/v1/chat/completions", json=body, headers=headers)
    assert live.model.requests[-1].header("accept-encoding") == "identity"


def test_without_a_keyring_one_is_made_in_the_state_folder_and_kept(tmp_path: Path) -> None:
    for _ in range(2):
        with live_gateway(tmp_path) as live:
            keyring = load_keyring(live.settings.state_dir / "keyring.json")
    assert [version.version for version in keyring.versions] == [1]


HELD_OUT = """\
version: 1
plans: {free: {budgets: [{limit: 1000/day}]}, pro: {budgets: [{limit: 1000/day}]}}
standings: {suspect: {mark: true, carriers: [CARRIERS], holdout: SHARE}}
"""


def marked_by(folder: Path, carriers: str, share: str, asks: list[dict[str, Any]]) -> tuple[Live, list[Any]]:
    """What a suspect is answered under such a policy, and the gateway with its events on disk."""
    model = ModelServer(writer=lambda *_: ANSWER)
    policy = HELD_OUT.replace("CARRIERS", carriers).replace("SHARE", share)
    with live_gateway(
        folder, policies=policy, accounts=[account("taker")], model=model, keyring=keyring_in(folder)
    ) as live:
        live.rooms.standing.apply([SUSPECT])
        assert live.rooms.pipeline.marker is not None
        live.rooms.pipeline.marker.promise("c7")
        replies = [chat(live, "taker", **ask) for ask in asks]
    return live, replies


@pytest.mark.parametrize(("share", "kept"), [("0%", False), ("100%", True)])
def test_a_held_out_question_is_answered_unmarked_and_its_event_says_so(
    tmp_path: Path, share: str, *, kept: bool
) -> None:
    live, (reply, stream) = marked_by(tmp_path, "synonym, closing, cue", share, [{}, {"stream": True}])
    for text in (reply.choices[0].message.content, text_of(stream)):
        assert (text == ANSWER) is kept
    for event in live.events():
        assert event.marked is not kept
        assert event.marks is not None
        assert event.marks["version"] == 1
        assert event.marks.get("holdout", False) is kept
        assert event.cluster == "c7"


def test_the_model_is_asked_for_phrases_only_where_the_policy_names_them(tmp_path: Path) -> None:
    with_json: dict[str, Any] = {"response_format": {"type": "json_object"}}
    live, _ = marked_by(tmp_path, "behaviour", "0%", [{}, {}, with_json])
    wish = wishes.wish(load_keyring(ring_of(live)).newest, "c7")
    first, second, structured = (orjson.loads(request.body) for request in live.model.requests)
    assert first["messages"] == [{"role": "system", "content": wish}, *ASK]
    assert second["messages"] == first["messages"]
    assert structured["messages"] == ASK
    asked, again, left = live.events()
    assert asked.marks == again.marks == {"version": 1, "behaviour": 1}
    assert left.marks is None
    live, _ = marked_by(tmp_path / "off", "closing, cue", "0%", [{}])
    assert orjson.loads(live.model.requests[0].body)["messages"] == ASK


def test_a_leaked_reply_is_traced_to_the_account_that_took_it_and_no_text_is_kept(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.ndjson"
    texts = iter([ANSWER, "Quite another answer, about the care of old bicycles and nothing else at all. " * 8])
    model = ModelServer(writer=lambda *_: next(texts))
    with live_gateway(
        tmp_path / "gateway",
        policies=shipped_policies(),
        accounts=[account("taker")],
        model=model,
        keyring=keyring_in(tmp_path),
        ledger=ledger,
    ) as live:
        live.rooms.standing.apply([SUSPECT])
        assert live.rooms.pipeline.marker is not None
        live.rooms.pipeline.marker.promise("c7")
        leaked = chat(live, "taker").choices[0].message.content
        chat(live, "taker", stream=True)
        live.rooms.pipeline.marker.close()
    ids = [event.id for event in live.events()]
    rows = [orjson.loads(line) for line in ledger.read_bytes().splitlines()]
    assert [(row["id"], row["cluster"], row["account"]) for row in rows] == [(i, "c7", "taker") for i in ids]
    assert b"bread" not in ledger.read_bytes()
    assert b"bowl" not in ledger.read_bytes()
    key = trace.trace_key(load_keyring(ring_of(live)))
    found = trace.Ledger(rows).find(1, leaked.upper(), key)
    assert found is not None
    assert (found.reply, found.cluster, found.contained) == (ids[0], "c7", 1.0)
