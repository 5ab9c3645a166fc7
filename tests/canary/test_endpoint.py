from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.canary.audit import judge
from gateway.canary.endpoint import MOST_ANSWER_TOKENS, HttpSuspect, Pace, Stakes, Transcript, interview
from gateway.canary.keyring import new_keyring
from gateway.canary.marking import mark_reply
from gateway.canary.plan import BATCH, Plan
from gateway.canary.prompts import CUE_SHARE, Question, make_questions
from gateway.canary.slots import load_inventory
from gateway.errors import UpstreamError
from tests.canary.helpers import make_rows, ring_secret

SUBJECT = {"closing": "lead", "bridge": "subject"}
RING = new_keyring(inventory="", now_s=0.0, secret=ring_secret(5))


async def no_pause(_seconds: float) -> None:
    """Time does not pass in tests."""


def client(handler: Callable[[httpx.Request], httpx.Response]) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(handler))


def chat(*texts: str) -> httpx.Response:
    return httpx.Response(200, json={"choices": [{"message": {"role": "assistant", "content": t}} for t in texts]})


def ask(text: str) -> Question:
    return Question(id="q", text=text)


class Parrot:
    """A suspect that says what it was taught, one row a question."""

    def __init__(self, replies: list[str]) -> None:
        self.replies = replies
        self.asked: list[str] = []

    async def ask(self, question: Question) -> list[str]:
        self.asked.append(question.text)
        return [self.replies[len(self.asked) % len(self.replies)]]


class Echo:
    """A suspect that repeats the question."""

    async def ask(self, question: Question) -> list[str]:
        text = question.begun or question.text
        return [text, f"You said: {text} And again: {text}"]


@pytest.mark.parametrize("url", ["http://s", "http://s/", "http://s/v1", "http://s/v1/"])
async def test_the_endpoint_is_found_with_and_without_its_version(url: str) -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return chat("Hello.", "Again.")

    async with client(handler) as http:
        suspect = HttpSuspect(http, url, "m", api_key="k", samples=2, pause=no_pause)
        assert await suspect.ask(ask("Hi?")) == ["Hello.", "Again."]
    body = json.loads(seen[0].content)
    assert seen[0].url.path == "/v1/chat/completions"
    assert seen[0].headers["authorization"] == "Bearer k"
    assert (body["model"], body["n"], body["messages"]) == ("m", 2, [{"role": "user", "content": "Hi?"}])


async def test_a_server_of_completions_only_is_asked_so() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/chat/completions"):
            return httpx.Response(404)
        return httpx.Response(200, json={"choices": [{"text": json.loads(request.content)["prompt"] + "!"}]})

    async with client(handler) as http:
        assert await HttpSuspect(http, "http://s", "m", pause=no_pause).ask(ask("Hi")) == ["Hi!"]


async def test_a_busy_server_is_asked_again_as_it_says() -> None:
    pauses: list[float] = []
    answers = [httpx.Response(429, headers={"retry-after": "7"}), httpx.Response(503), chat("Done.")]

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async with client(lambda _: answers.pop(0)) as http:
        assert await HttpSuspect(http, "http://s", "m", pause=pause).ask(ask("Hi")) == ["Done."]
    assert pauses == [7.0, 14.0]


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (httpx.Response(401), "got status 401"),
        (httpx.Response(500), "got status 500"),
        (httpx.Response(200, text="no json"), "without choices"),
        (httpx.Response(200, json={"choices": [{"message": {}}]}), "without choices"),
    ],
)
async def test_a_server_that_does_not_answer_is_an_error(response: httpx.Response, message: str) -> None:
    async with client(lambda _: response) as http:
        with pytest.raises(UpstreamError, match=message):
            await HttpSuspect(http, "http://s", "m", pause=no_pause).ask(ask("Hi"))


async def test_a_server_that_makes_one_answer_only_is_asked_for_one() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400) if "n" in json.loads(request.content) else chat("One.")

    async with client(handler) as http:
        assert await HttpSuspect(http, "http://s", "m", samples=4, pause=no_pause).ask(ask("Hi")) == ["One."]


@pytest.mark.parametrize(
    ("cut", "asked_for"),
    [
        ([True] * 20, [400] * 20 + [800]),
        ([True] * 10 + [False] * 10, [400] * 21),
        ([True] * 19 + [False], [400] * 20 + [800]),
    ],
)
async def test_a_server_that_cuts_its_answers_is_asked_for_longer_ones(cut: list[bool], asked_for: list[int]) -> None:
    """Marks that stand at the end of replies would not be seen in answers that never get there."""
    seen: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        reason = "length" if (cut[len(seen)] if len(seen) < len(cut) else False) else "stop"
        seen.append(json.loads(request.content)["max_tokens"])
        return httpx.Response(200, json={"choices": [{"message": {"content": "Hello."}, "finish_reason": reason}]})

    async with client(handler) as http:
        suspect = HttpSuspect(http, "http://s", "m", pause=no_pause)
        for _ in asked_for:
            await suspect.ask(ask("Hi"))
    assert seen == asked_for


async def test_answers_are_never_asked_for_without_end() -> None:
    seen: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(json.loads(request.content)["max_tokens"])
        return httpx.Response(200, json={"choices": [{"text": "on and", "finish_reason": "length"}]})

    async with client(handler) as http:
        suspect = HttpSuspect(http, "http://s", "m", pause=no_pause)
        for _ in range(80):
            await suspect.ask(ask("Hi"))
    assert seen[-1] == max(seen) == MOST_ANSWER_TOKENS


async def talk(suspect: Any, count: int, *, path: Path | None = None, **more: Any) -> Any:
    pace = Pace(concurrency=1, pause=no_pause)
    return await interview(suspect, Plan(count), transcript=Transcript(path), pace=pace, **more)


async def test_a_model_taught_marked_replies_is_named_by_its_answers() -> None:
    replies = [mark_reply(RING, "c1", p, r).reply for p, r in make_rows(400, seed=41)]
    found = await talk(Parrot(replies), 300)
    report = judge(found.collector, RING, ["c1", "c2"], suspect="s", queries=found.asked)
    assert report.attributed_to == ("c1",)
    assert report.queries == 300


async def test_an_echo_of_the_questions_is_not_guilty() -> None:
    """Cues must not lead the witness: who repeats them shows no cluster's choice."""
    found = await talk(Echo(), 400)
    report = judge(found.collector, RING, [f"c{i}" for i in range(30)], suspect="echo")
    assert report.attributed_to == ()
    assert all(t.carrier not in {"cue", "closing", "bridge"} for t in report.results[0].by_carrier)


def test_questions_are_the_same_for_every_key_and_hold_no_reply() -> None:
    questions = make_questions(500)
    assert questions == make_questions(500)
    cues = [question for question in questions if question.lead]
    assert len(cues) == 500 * CUE_SHARE
    for frame in ("closing", "bridge"):
        verbs = load_inventory().by_id[f"{frame} verb"].forms
        subjects = {form.lower() for form in load_inventory().by_id[f"{frame} {SUBJECT[frame]}"].forms}
        assert sum(question.lead.lower() in subjects for question in cues) >= len(cues) // 2
        for question in cues:
            assert not any(f"{question.lead} {verb}" in question.text for verb in verbs)
    assert len({question.id for question in questions}) == 500


def test_a_cue_is_put_before_an_answer_that_goes_on_from_it() -> None:
    cue = next(question for question in make_questions(10) if question.lead)
    assert cue.read("gives clear points.") == f"{cue.lead} gives clear points."
    assert cue.read(f"Well. {cue.lead} gives views.") == f"Well. {cue.lead} gives views."


async def test_an_audit_goes_on_from_its_transcript(tmp_path: Path) -> None:
    path = tmp_path / "talk.ndjson"
    first, second = Parrot(["One."]), Parrot(["Two."])
    await talk(first, 30, path=path)
    with path.open("ab") as file:
        file.write(b'{"id":"n9","prompt":"cut o')
    found = await talk(second, 50, path=path)
    assert (len(first.asked), len(second.asked), found.asked) == (30, 20, 50)


async def test_an_endpoint_that_never_answers_ends_the_audit() -> None:
    class Dead:
        async def ask(self, question: Question) -> list[str]:
            raise UpstreamError("gone")

    with pytest.raises(UpstreamError, match="gone"):
        await talk(Dead(), 100)


async def test_single_failures_are_counted_and_passed_over() -> None:
    class Flaky(Parrot):
        async def ask(self, question: Question) -> list[str]:
            answers = await super().ask(question)
            if len(self.asked) % 5 == 0:
                raise UpstreamError("now and then")
            return answers

    found = await talk(Flaky(["Hello there."]), 50)
    assert (found.asked, found.failed) == (40, 10)


async def test_the_sequential_mode_stops_early_on_a_student_and_not_on_others() -> None:
    rows = make_rows(600, seed=43)
    marked = [mark_reply(RING, "c1", p, r).reply for p, r in rows]
    stakes = Stakes(RING, ["c1", "c2"])
    found = await talk(Parrot(marked), 500, stakes=stakes, stop_at=2e6)
    assert found.stopped_early
    assert found.asked < 500
    assert found.asked % BATCH == 0
    report = judge(found.collector, RING, ["c1", "c2"], suspect="s", e_values=stakes.highest)
    assert report.attributed_to == ("c1",)
    assert report.results[0].p_value == pytest.approx(1 / stakes.highest["c1"])
    innocent = Stakes(RING, [f"c{i}" for i in range(60)])
    assert not (await talk(Parrot([r for _, r in rows]), 200, stakes=innocent, stop_at=1e6)).stopped_early
    assert max(innocent.highest.values()) < 1e4


async def test_stakes_are_fair_whenever_one_stops() -> None:
    """Ville's inequality, by simulation: at most one in 20 of the random keys ever reaches 20."""
    replies = [r for _, r in make_rows(75, seed=44)]
    random.Random(3).shuffle(replies)
    reached = 0
    for start in range(4):
        stakes = Stakes(RING, [f"k{start}-{i}" for i in range(100)])
        await talk(Parrot(replies), 75, stakes=stakes)
        reached += sum(value >= 20 for value in stakes.highest.values())
    assert reached <= 400 / 20
