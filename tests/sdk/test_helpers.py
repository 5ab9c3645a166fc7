"""The SDKs' own conveniences through the gateway: raw and streamed responses, accumulators, parsing, paging, retries."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from pydantic import BaseModel

from gateway.demo.model import ModelServer
from tests.live import live_gateway
from tests.sdk.test_same_as_direct import ANTHROPIC_TOOLS, ASK, OPENAI_TOOLS, plain

WITHIN_S = 30.0

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.live import Live

USE_TOOL: Any = [{"role": "user", "content": "Use the tool read_file."}]
CLAUDE = "claude-test-1"


class Answer(BaseModel):
    """A shape that the model server does not keep to."""

    text: str


def chat_accumulated(client: openai.OpenAI) -> Any:
    with client.chat.completions.stream(model="gpt-4o", messages=ASK) as stream:
        kinds = [event.type for event in stream]
        return kinds, plain(stream.get_final_completion())


def chat_tools_accumulated(client: openai.OpenAI) -> Any:
    with client.chat.completions.stream(model="gpt-4o", messages=USE_TOOL, tools=OPENAI_TOOLS) as stream:
        kinds = [event.type for event in stream]
        return kinds, plain(stream.get_final_completion())


def responses_accumulated(client: openai.OpenAI) -> Any:
    with client.responses.stream(model="gpt-4.1", input="Why does bread rise?") as stream:
        kinds = [event.type for event in stream]
        return kinds, plain(stream.get_final_response())


def responses_parsed(client: openai.OpenAI) -> Any:
    return plain(client.responses.parse(model="gpt-4.1", input="Why does bread rise?", max_output_tokens=60))


def raw(client: openai.OpenAI) -> Any:
    answer = client.chat.completions.with_raw_response.create(model="gpt-4o", messages=ASK)
    return answer.http_response.content.partition(b'"created"')[0], plain(answer.parse())


def streamed_raw(client: openai.OpenAI) -> Any:
    with client.chat.completions.with_streaming_response.create(model="gpt-4o", messages=ASK, stream=True) as answer:
        return len(list(answer.iter_lines())), answer.headers["content-type"]


def model_retrieved(client: openai.OpenAI) -> Any:
    return plain(client.models.retrieve("gpt-4o")), plain(client.models.retrieve("meta-llama/Llama-3.1-8B"))


def models_paged(client: openai.OpenAI) -> Any:
    return [plain(model) for model in client.models.list()], client.models.list().has_next_page()


OPENAI: dict[str, Callable[[openai.OpenAI], Any]] = {
    call.__name__: call
    for call in (
        chat_accumulated,
        chat_tools_accumulated,
        responses_accumulated,
        responses_parsed,
        raw,
        streamed_raw,
        model_retrieved,
        models_paged,
    )
}


def message_accumulated(client: anthropic.Anthropic) -> Any:
    with client.messages.stream(model=CLAUDE, max_tokens=80, messages=ASK) as stream:
        text = "".join(stream.text_stream)
        return text, plain(stream.get_final_message())


def message_tools_accumulated(client: anthropic.Anthropic) -> Any:
    with client.messages.stream(model=CLAUDE, max_tokens=80, messages=USE_TOOL, tools=ANTHROPIC_TOOLS) as stream:
        kinds = [event.type for event in stream]
        return kinds, plain(stream.get_final_message())


def thinking_accumulated(client: anthropic.Anthropic) -> Any:
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    with client.messages.stream(model=CLAUDE, max_tokens=2000, messages=ASK, thinking=thinking) as stream:
        kinds = [event.type for event in stream]
        return kinds, plain(stream.get_final_message())


def raw_message(client: anthropic.Anthropic) -> Any:
    answer = client.messages.with_raw_response.create(model=CLAUDE, max_tokens=80, messages=ASK)
    return answer.http_response.content, answer.headers["request-id"]


def streamed_raw_message(client: anthropic.Anthropic) -> Any:
    create = client.messages.with_streaming_response.create
    with create(model=CLAUDE, max_tokens=80, messages=ASK, stream=True) as answer:
        return list(answer.iter_lines())


def beta_message(client: anthropic.Anthropic) -> Any:
    return plain(
        client.beta.messages.create(model=CLAUDE, max_tokens=80, messages=ASK, betas=["token-counting-2024-11-01"])
    )


def claude_retrieved(client: anthropic.Anthropic) -> Any:
    return plain(client.models.retrieve(CLAUDE))


def claudes_paged(client: anthropic.Anthropic) -> Any:
    page = client.models.list(limit=2)
    return [plain(model) for model in page], page.has_next_page()


ANTHROPIC: dict[str, Callable[[anthropic.Anthropic], Any]] = {
    call.__name__: call
    for call in (
        message_accumulated,
        message_tools_accumulated,
        thinking_accumulated,
        raw_message,
        streamed_raw_message,
        beta_message,
        claude_retrieved,
        claudes_paged,
    )
}


@pytest.mark.parametrize("name", OPENAI)
def test_openais_helpers_see_what_they_would_see_directly(live: Live, name: str) -> None:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="sk-mine", max_retries=0) as through:
        got = OPENAI[name](through)
    with openai.OpenAI(base_url=f"{live.upstream_url}/v1", api_key="sk-mine", max_retries=0) as direct:
        assert got == OPENAI[name](direct)


@pytest.mark.parametrize("name", ANTHROPIC)
def test_anthropics_helpers_see_what_they_would_see_directly(live: Live, name: str) -> None:
    with anthropic.Anthropic(base_url=live.url, api_key="sk-mine", max_retries=0) as through:
        got = ANTHROPIC[name](through)
    with anthropic.Anthropic(base_url=live.upstream_url, api_key="sk-mine", max_retries=0) as direct:
        assert got == ANTHROPIC[name](direct)


async def test_fifty_async_streams_at_once_are_each_their_own(live: Live) -> None:
    async def both(number: int, first: openai.AsyncOpenAI, second: anthropic.AsyncAnthropic) -> tuple[str, str]:
        ask: Any = [{"role": "user", "content": f"Explain the number {number}."}]
        chat: Any = await first.chat.completions.create(model="gpt-4o", messages=ask, stream=True)
        said = "".join([event.choices[0].delta.content or "" async for event in chat if event.choices])
        async with second.messages.stream(model=CLAUDE, max_tokens=60, messages=ask) as stream:
            return said, await stream.get_final_text()

    async def all_of(url: str) -> list[tuple[str, str]]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k") as first:
            async with anthropic.AsyncAnthropic(base_url=url, api_key="k") as second:
                return list(await asyncio.gather(*(both(number, first, second) for number in range(25))))

    assert await all_of(live.url) == await all_of(live.upstream_url)


def test_a_clients_own_timeout_leaves_and_its_retry_is_answered(tmp_path: Path) -> None:
    """Two requests reach the model server: the first is cancelled when the client gives it up."""
    with live_gateway(tmp_path, model=ModelServer()) as live:
        with openai.OpenAI(base_url=f"{live.url}/v1", api_key="k", max_retries=1, timeout=1.0) as client:
            with pytest.raises(openai.APITimeoutError):
                client.chat.completions.create(model="fault-hang-first-byte", messages=ASK)
        deadline = time.monotonic() + WITHIN_S
        while len(live.model.requests) < 2:  # the last one may still be on its way
            assert time.monotonic() < deadline
        for received in live.model.requests:
            assert received.ended.wait(WITHIN_S)
            assert received.disconnected
        assert len(live.model.requests) == 2
    assert [event.outcome.value for event in live.events()] == ["disconnected", "disconnected"]


@pytest.mark.parametrize("status", [500, 503, 529, 429])
def test_what_the_model_server_says_of_itself_is_retried_as_it_says(live: Live, status: int) -> None:
    with anthropic.Anthropic(base_url=live.url, api_key="k", max_retries=0) as client:
        with pytest.raises(anthropic.APIStatusError) as caught:
            client.messages.create(model=f"fault-{status}", max_tokens=10, messages=ASK)
    assert caught.value.status_code == status
    with anthropic.Anthropic(base_url=live.upstream_url, api_key="k", max_retries=0) as client:
        with pytest.raises(anthropic.APIStatusError) as direct:
            client.messages.create(model=f"fault-{status}", max_tokens=10, messages=ASK)
    assert caught.value.response.headers.get("retry-after") == direct.value.response.headers.get("retry-after")
    assert caught.value.body == direct.value.body
