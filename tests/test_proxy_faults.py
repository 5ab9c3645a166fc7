"""Upstreams that fail, break, hang or talk nonsense: the caller hears of it in its own dialect, never silently."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from gateway.types import Outcome
from tests.live import Live, live_gateway

ASK: Any = [{"role": "user", "content": "Why does bread rise? Write a long text, please."}]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    with live_gateway(tmp_path, first_byte_timeout_s=1.0, idle_timeout_s=1.0, connect_timeout_s=1.0) as found:
        yield found


def post(live: Live, fault: str, *, stream: bool = False, path: str = "/v1/chat/completions") -> httpx.Response:
    body = {"model": f"fault-{fault}", "max_tokens": 200, "messages": ASK, "stream": stream}
    return httpx.post(f"{live.url}{path}", json=body, headers={"authorization": "Bearer sk-mine"})


@pytest.mark.parametrize(("fault", "status"), [("hang-first-byte", 504), ("400", 400), ("429", 429), ("529", 529)])
def test_plain_replies_that_never_came(live: Live, fault: str, status: int) -> None:
    answer = post(live, fault)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_an_upstream_that_nobody_listens_on_is_502_in_both_dialects(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with live_gateway(tmp_path, upstream=f"http://127.0.0.1:{taken.getsockname()[1]}") as live:
            with openai.OpenAI(base_url=f"{live.url}/v1", api_key="k", max_retries=0) as client:
                with pytest.raises(openai.InternalServerError) as caught:
                    client.chat.completions.create(model="gpt-4o", messages=ASK)
                assert caught.value.status_code == 502
            with anthropic.Anthropic(base_url=live.url, api_key="k", max_retries=0) as client2:
                with pytest.raises(anthropic.InternalServerError) as caught2:
                    client2.messages.create(model="claude-test-1", max_tokens=10, messages=ASK)
                assert caught2.value.body["type"] == "error"  # type: ignore[index]
    assert [event.outcome for event in live.events()] == [Outcome.UPSTREAM_FAILED] * 2


@contextmanager
def closing_server() -> Iterator[str]:
    """Accepts, reads a request, closes: what a crashed model server looks like."""

    class Crash(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65_536)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Crash) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_an_upstream_that_closes_instead_of_answering_is_502_and_free(tmp_path: Path) -> None:
    policies = "version: 1\nplans:\n  free:\n    budgets:\n      - limit: 1/day\n"
    with closing_server() as url, live_gateway(tmp_path, policies=policies, upstream=url) as live:
        assert [post(live, "none").status_code for _ in range(3)] == [502, 502, 502]


def test_a_stream_without_its_last_event_is_an_error_in_anthropics_dialect(live: Live) -> None:
    with anthropic.Anthropic(base_url=live.url, api_key="k", max_retries=0) as client:
        with pytest.raises(anthropic.APIStatusError, match="model server"):
            list(client.messages.create(model="fault-no-end", max_tokens=200, messages=ASK, stream=True))


def test_a_finished_stream_without_done_is_whole(live: Live) -> None:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="k", max_retries=0) as client:
        events = list(client.chat.completions.create(model="fault-no-end", messages=ASK, stream=True))
    assert events[-1].choices[0].finish_reason == "stop"


@pytest.mark.parametrize("fault", ["break-mid-stream", "hang-mid-stream"])
def test_a_stream_that_breaks_ends_with_the_dialects_error_event(live: Live, fault: str) -> None:
    seen: list[Any] = []
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="k", max_retries=0) as client:
        with pytest.raises(openai.APIError, match="model server"):
            for event in client.chat.completions.create(model=f"fault-{fault}", messages=ASK, stream=True):
                seen.append(event)  # noqa: PERF402 - what came before the break is wanted
        assert seen
    with anthropic.Anthropic(base_url=live.url, api_key="k", max_retries=0) as client2:
        with pytest.raises(anthropic.APIStatusError, match="model server"):
            list(client2.messages.create(model=f"fault-{fault}", max_tokens=200, messages=ASK, stream=True))


@pytest.mark.parametrize(("path", "field"), [("/v1/completions", "prompt"), ("/v1/responses", "input")])
def test_other_streams_that_break_say_so_too(live: Live, path: str, field: str) -> None:
    body = {"model": "fault-break-mid-stream", field: "One.", "stream": True}
    answer = httpx.post(f"{live.url}{path}", json=body, headers={"authorization": "Bearer k"})
    last = [line for line in answer.text.splitlines() if line.startswith("data: ")][-1]
    assert "model server" in json.dumps(json.loads(last.removeprefix("data: ")))


def test_a_plain_reply_that_breaks_is_seen_as_broken(live: Live) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        post(live, "break-mid-stream")


def test_what_flowed_before_a_break_is_charged_and_written_down(tmp_path: Path) -> None:
    with live_gateway(tmp_path) as live:
        post(live, "break-mid-stream", stream=True)
        post(live, "503")
    broken, refused = live.events()
    assert broken.outcome is Outcome.UPSTREAM_FAILED
    assert broken.usage is not None
    assert broken.usage.output_tokens > 0
    assert not broken.usage.reported
    assert broken.cost_microusd > 0
    assert refused.outcome is Outcome.UPSTREAM_FAILED
    assert refused.cost_microusd == 0


@pytest.mark.parametrize("fault", ["garbage", "empty", "html", "no-usage", "error-mid-stream"])
@pytest.mark.parametrize("stream", [False, True])
def test_nonsense_is_passed_on_as_it_came(live: Live, fault: str, stream: bool) -> None:
    body = {"model": f"fault-{fault}", "max_tokens": 20, "messages": ASK, "stream": stream}
    headers = {"authorization": "Bearer k"}
    direct = httpx.post(f"{live.upstream_url}/v1/messages", json=body, headers=headers)
    through = httpx.post(f"{live.url}/v1/messages", json=body, headers=headers)
    assert through.status_code == direct.status_code
    whole_events = direct.content.rpartition(b"\n\n")[0] if stream else direct.content
    assert through.content.startswith(whole_events)
    assert live.rooms.not_ready() == []


def test_an_upstream_error_costs_nothing(tmp_path: Path) -> None:
    policies = "version: 1\nplans:\n  free:\n    budgets:\n      - limit: 1/day\n"
    with live_gateway(tmp_path, policies=policies) as live:
        assert [post(live, fault).status_code for fault in ("500", "503", "400")] == [500, 503, 400]
        assert post(live, "no-usage").status_code == 200
        assert post(live, "no-usage").status_code == 429
