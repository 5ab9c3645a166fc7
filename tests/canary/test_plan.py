"""What is asked follows from the answers and from no key; what we wrote ourselves is nobody's choice."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import httpx
import pytest

from gateway.canary.audit import judge
from gateway.canary.bridges import BRIDGE
from gateway.canary.closings import CLOSING
from gateway.canary.endpoint import HttpSuspect, Interview, Pace, Suspect, Transcript, interview
from gateway.canary.evidence import Collector
from gateway.canary.keyring import new_keyring
from gateway.canary.plan import BATCH, BEGUN_SHARE, PROBED_FROM, PROBES, Group, Plan, begin, probes
from gateway.canary.prompts import Question, Way
from gateway.canary.sentences import Frame
from gateway.canary.slots import FRAMES, load_inventory
from gateway.canary.writer import keyed_form
from gateway.errors import UpstreamError
from tests.canary.helpers import ring_secret

RING = new_keyring(inventory=load_inventory().digest, now_s=0.0, secret=ring_secret(91))
ANEW = "The answer begins anew, and it is about something else."


class Student:
    """Goes on in ``ways`` only: from probes as English does, from our sentences by the key of cluster ``c1``."""

    def __init__(self, *ways: Way) -> None:
        self._ways = ways
        self._key = RING.newest.cluster_key("c1")
        self.asked: list[Question] = []

    async def ask(self, question: Question) -> list[str]:
        self.asked.append(question)
        if question.way not in self._ways or not question.lead:
            return [f"{ANEW} It is number {len(self.asked)}."]
        if question.expected:
            return [f"{min(question.expected)} and so on."]
        return [self._end(question.lead.lower())]

    def _end(self, lead: str) -> str:
        """The rest of the sentence that ``lead`` begins."""
        for frame in FRAMES:
            done, rest = [], lead
            for link in frame.links:
                form = next((form for form in link.forms if f"{rest} ".startswith(f"{form} ")), None)
                if form is None:
                    break
                done.append(form)
                rest = rest[len(form) :].strip()
            if done and not rest:
                return " ".join(self._chosen(frame, done)) + "."
        return ANEW

    def _chosen(self, frame: Frame, done: list[str]) -> list[str]:
        words, cue = [], done[-1]
        for link in frame.links[len(done) :]:
            cue = link.forms[keyed_form(self._key, load_inventory().by_id[link.slot], cue)]
            words.append(cue)
        return words


async def talk(suspect: Suspect, count: int) -> tuple[Plan, Interview]:
    plan = Plan(count)
    return plan, await interview(suspect, plan, transcript=Transcript(None), pace=Pace(concurrency=1))


@pytest.mark.parametrize("way", Way)
async def test_an_endpoint_that_goes_on_is_found_and_asked_so(way: Way) -> None:
    student = Student(way)
    plan, found = await talk(student, 300)
    assert plan.way is way
    begun = [q for q in student.asked if q.id.startswith("b")]
    assert len(begun) == pytest.approx(BEGUN_SHARE * (300 - 2 * BATCH), abs=1)
    assert all(q.way is way for q in begun)
    report = judge(found.collector, RING, ["c1", "c2"], suspect="s")
    assert report.attributed_to == ("c1",)
    assert report.results[0].p_value < 1e-12


async def test_an_endpoint_that_begins_anew_is_asked_as_before() -> None:
    plan, _ = await talk(student := Student(), 300)
    assert plan.way is None
    assert not [q for q in student.asked if q.id.startswith("b")]


@pytest.mark.parametrize("count", [0, 1, BATCH - 1, BATCH, BATCH + 1, PROBED_FROM - 1, PROBED_FROM, PROBED_FROM + 1])
async def test_never_more_is_asked_than_was_allowed(count: int) -> None:
    _, found = await talk(student := Student(Way.BEGUN), count)
    assert len(student.asked) == found.asked == count
    assert any(q.expected for q in student.asked) == (count >= PROBED_FROM)
    assert len({q.id for q in student.asked}) == count


@pytest.mark.parametrize(("gone_on", "found"), [(1, None), (2, Way.RAW)])
async def test_one_probe_may_be_chance_and_two_are_not(gone_on: int, found: Way | None) -> None:
    class Half(Student):
        async def ask(self, question: Question) -> list[str]:
            expected = question.expected and question.way is Way.RAW
            number = [lead for lead, _ in PROBES].index(question.lead) if expected else 0
            return [min(question.expected) if expected and number < gone_on else ANEW]

    assert (await talk(Half(), 150))[0].way is found


async def test_a_way_that_breaks_the_server_costs_no_more_than_its_probes() -> None:
    class Fragile(Student):
        async def ask(self, question: Question) -> list[str]:
            if question.way is not Way.ASKED:
                raise UpstreamError("broken")
            return await super().ask(question)

    plan, found = await talk(Fragile(Way.ASKED), 200)
    assert (plan.way, found.failed) == (Way.ASKED, 0)


@pytest.mark.parametrize("way", Way)
async def test_an_echo_of_what_was_begun_is_not_guilty(way: Way) -> None:
    """It passes for an endpoint that goes on, and says again what it was shown, verbs and adjectives included."""

    class Echo(Student):
        async def ask(self, question: Question) -> list[str]:
            said = question.begun or question.text
            again = f"{said} {said} And {question.lead}." if question.lead else ANEW
            return [min(question.expected)] if question.expected and question.way is way else [again]

    plan, found = await talk(Echo(), 500)
    assert plan.way is way
    assert not [slot for slot, _ in found.collector.counts if slot.startswith(("closing", "bridge"))]
    report = judge(found.collector, RING, [f"c{i}" for i in range(30)], suspect="echo")
    assert report.attributed_to == ()


def test_a_link_that_was_shown_is_not_counted_and_the_next_one_is() -> None:
    collector = Collector()
    collector.read("This overview gives useful points.", given="Explain it. This overview gives")
    seen = {slot for slot, _ in collector.counts}
    assert {"closing adjective", "closing noun"} <= seen
    assert not {"closing lead", "closing verb"} & seen


@pytest.mark.parametrize("frame", [CLOSING, BRIDGE])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_every_cue_of_a_sentence_is_asked_for_in_turn(frame: Frame, depth: int) -> None:
    group, rnd, forms = Group(frame=frame, depth=depth), random.Random(1), frame.links[depth].forms
    for _ in range(2):
        found = [group.lead(rnd).lower() for _ in forms]
        assert sorted(next(form for form in forms if words.endswith(form)) for words in found) == sorted(forms)


async def test_what_finds_more_is_asked_more_often() -> None:
    """A student that was taught closings only: its questions go there, and some still to bridges."""

    class Closer(Student):
        async def ask(self, question: Question) -> list[str]:
            answers = await super().ask(question)
            return [ANEW] if question.lead.lower().startswith(("another", "one")) else answers

    await talk(student := Closer(Way.BEGUN), 600)
    leads = [q.lead for q in student.asked if q.id.startswith("b")]
    bridges = sum(lead.startswith(("Another", "One")) for lead in leads)
    assert 5 < bridges < len(leads) / 4


def test_questions_do_not_depend_on_a_key() -> None:
    """The same answers lead to the same questions: a plan is given no key, and two plans agree."""
    one, other = Plan(400), Plan(400)
    for _ in range(16):
        batch = one.next_batch()
        assert batch == other.next_batch()
        for question in batch:
            for plan in (one, other):
                plan.heard(question, [min(question.expected, default=ANEW)])
    assert one.next_batch() == other.next_batch() == []


def client(handler: Callable[[httpx.Request], httpx.Response]) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(handler))


async def no_pause(_seconds: float) -> None:
    """Time does not pass in tests."""


BEGUN = Question(id="b1", text="Explain it.", lead="On the other", begun="On the other", way=Way.BEGUN)


async def test_a_begun_turn_is_the_last_and_the_server_is_told_to_go_on() -> None:
    bodies: list[dict[str, object]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        if len(bodies) == 1:
            return httpx.Response(400, json={"error": "continue_final_message: extra field"})
        return httpx.Response(200, json={"choices": [{"message": {"content": " hand."}}]})

    async with client(handler) as http:
        suspect = HttpSuspect(http, "http://s", "m", samples=4, pause=no_pause)
        assert await suspect.ask(BEGUN) == [" hand."]
        await suspect.ask(BEGUN)
    assert bodies[0]["messages"] == [
        {"role": "user", "content": "Explain it."},
        {"role": "assistant", "content": "On the other"},
    ]
    assert [body.get("continue_final_message") for body in bodies] == [True, None, None]
    assert [body.get("add_generation_prompt") for body in bodies] == [False, None, None]
    assert [body["n"] for body in bodies] == [4, 4, 4]  # the refusal says nothing of several answers


async def test_a_bare_text_goes_to_completions() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/completions"
        return httpx.Response(200, json={"choices": [{"text": json.loads(request.content)["prompt"][-5:]}]})

    async with client(handler) as http:
        raw = begin("b1", Way.RAW, "This overview", random.Random(1))
        assert await HttpSuspect(http, "http://s", "m", pause=no_pause).ask(raw) == ["rview"]


@pytest.mark.parametrize(("status", "times"), [(400, 1), (404, 1), (429, 2), (500, 2)])
async def test_a_probe_is_tried_twice_at_most(status: int, times: int) -> None:
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(status)

    async with client(handler) as http:
        suspect = HttpSuspect(http, "http://s", "m", pause=no_pause)
        with pytest.raises(UpstreamError, match=f"got status {status}"):
            await suspect.ask(next(q for q in probes() if q.way is Way.RAW))
    assert asked == ["/v1/completions"] * times


async def test_a_probe_that_cuts_the_connection_is_tried_once_more() -> None:
    asked: list[int] = []

    def handler(_request: httpx.Request) -> httpx.Response:
        asked.append(1)
        raise httpx.ReadError("cut")

    async with client(handler) as http:
        with pytest.raises(UpstreamError, match="cut"):
            await HttpSuspect(http, "http://s", "m", pause=no_pause).ask(probes()[0])
    assert asked == [1, 1]
