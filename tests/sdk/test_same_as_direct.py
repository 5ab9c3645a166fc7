"""The real SDKs cannot tell the gateway from the model server: values and stream events are equal."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anthropic
import httpx
import openai
import pytest

if TYPE_CHECKING:
    from tests.live import Live

ASK: Any = [{"role": "user", "content": "Please explain how a canal lock works, with a list."}]
TOOL: Any = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
OPENAI_TOOLS: Any = [
    {"type": "function", "function": {"name": "read_file", "description": "Read.", "parameters": TOOL}}
]
ANTHROPIC_TOOLS: Any = [{"name": "read_file", "description": "Read.", "input_schema": TOOL}]
PARTS: Any = [
    {"type": "text", "text": "Describe."},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
]

OPENAI_CALLS: dict[str, Callable[[openai.OpenAI], Any]] = {
    "chat": lambda c: c.chat.completions.create(model="gpt-4o", messages=ASK),
    "chat with n": lambda c: c.chat.completions.create(model="gpt-4o", messages=ASK, n=3, max_tokens=20),
    "chat with tools": lambda c: c.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "Use the tool read_file."}], tools=OPENAI_TOOLS
    ),
    "chat with an image": lambda c: c.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": PARTS}]
    ),
    "chat with unknown fields": lambda c: c.chat.completions.create(
        model="my-own-model", messages=ASK, extra_body={"guided_json": {"type": "object"}, "seed": 10**30}
    ),
    "chat stream": lambda c: list(c.chat.completions.create(model="gpt-4o", messages=ASK, stream=True)),
    "chat stream with usage": lambda c: list(
        c.chat.completions.create(model="gpt-4o", messages=ASK, stream=True, stream_options={"include_usage": True})
    ),
    "completion": lambda c: c.completions.create(
        model="gpt-3.5-turbo-instruct", prompt=["One.", "Two."], max_tokens=30
    ),
    "completion stream": lambda c: list(
        c.completions.create(model="gpt-3.5-turbo-instruct", prompt="One.", max_tokens=30, stream=True)
    ),
    "response": lambda c: c.responses.create(model="gpt-4.1", input="Why does bread rise?", max_output_tokens=60),
    "response stream": lambda c: list(c.responses.create(model="gpt-4.1", input="Why does bread rise?", stream=True)),
    "embedding": lambda c: c.embeddings.create(model="text-embedding-3-small", input=["one", "two"]),
    "models": lambda c: list(c.models.list()),
}
ANTHROPIC_CALLS: dict[str, Callable[[anthropic.Anthropic], Any]] = {
    "message": lambda c: c.messages.create(model="claude-test-1", max_tokens=80, messages=ASK),
    "message with thinking": lambda c: c.messages.create(
        model="claude-test-1",
        max_tokens=2000,
        messages=ASK,
        thinking={"type": "enabled", "budget_tokens": 1024},
    ),
    "message with tools": lambda c: c.messages.create(
        model="claude-test-1",
        max_tokens=80,
        messages=[{"role": "user", "content": "Use the tool read_file."}],
        tools=ANTHROPIC_TOOLS,
    ),
    "message stream": lambda c: list(
        c.messages.create(model="claude-test-1", max_tokens=80, messages=ASK, stream=True)
    ),
    "token count": lambda c: c.messages.count_tokens(model="claude-test-1", messages=ASK),
    "models": lambda c: list(c.models.list()),
}


def plain(value: Any) -> Any:
    """A reply as JSON values, without what differs between any two calls: times of creation."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    dumped = value.model_dump(mode="json")
    return _untimed(dumped)


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _untimed(item) for key, item in value.items() if key not in {"created", "created_at"}}
    if isinstance(value, list):
        return [_untimed(item) for item in value]
    return value


@pytest.mark.parametrize("name", OPENAI_CALLS)
def test_openai_calls_are_equal_to_direct_ones(live: Live, name: str) -> None:
    call = OPENAI_CALLS[name]
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="sk-mine", max_retries=0) as through:
        got = plain(call(through))
    with openai.OpenAI(base_url=f"{live.upstream_url}/v1", api_key="sk-mine", max_retries=0) as direct:
        assert got == plain(call(direct))
    assert got


@pytest.mark.parametrize("name", ANTHROPIC_CALLS)
def test_anthropic_calls_are_equal_to_direct_ones(live: Live, name: str) -> None:
    call = ANTHROPIC_CALLS[name]
    with anthropic.Anthropic(base_url=live.url, api_key="sk-mine", max_retries=0) as through:
        got = plain(call(through))
    with anthropic.Anthropic(base_url=live.upstream_url, api_key="sk-mine", max_retries=0) as direct:
        assert got == plain(call(direct))
    assert got


async def test_async_clients_stream_the_same(live: Live) -> None:
    async def events(base_url: str) -> list[Any]:
        async with openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="sk-mine") as client:
            stream: Any = await client.chat.completions.create(model="gpt-4o", messages=ASK, stream=True)
            return [plain(event) async for event in stream]

    assert await events(live.url) == await events(live.upstream_url)


def test_the_body_is_forwarded_byte_for_byte(live: Live) -> None:
    body = b'{ "model":"gpt-4o" ,"messages":[{"role":"user","content":"\\u00e9 \\ud83d\\ude00"}],"seed":123456789012345678901234567890,"top_p":1.0}'
    answer = httpx.post(
        f"{live.url}/v1/chat/completions",
        content=body,
        headers={"authorization": "Bearer sk-mine", "content-type": "application/json"},
    )
    assert answer.status_code == httpx.codes.OK
    assert live.model.requests[-1].body == body


def test_usage_that_only_the_gateway_asked_for_is_taken_out_again(live: Live) -> None:
    answer = httpx.post(
        f"{live.url}/v1/chat/completions",
        json={"model": "gpt-4o", "messages": ASK, "stream": True},
        headers={"authorization": "Bearer sk-mine"},
    )
    assert b'"include_usage":true' in live.model.requests[-1].body
    assert not re.search(rb'"usage":\s*\{', answer.content)
    assert answer.content.endswith(b"data: [DONE]\n\n")


def test_headers_of_the_caller_reach_the_upstream_and_hop_by_hop_ones_do_not(live: Live) -> None:
    httpx.get(
        f"{live.url}/v1/models?limit=3",
        headers={
            "authorization": "Bearer sk-mine",
            "openai-organization": "org-1",
            "connection": "keep-alive, x-private",
            "x-private": "1",
            "x-forwarded-for": "203.0.113.9",
            "x-ja4": "t13d",
        },
    )
    received = live.model.requests[-1]
    assert received.header("authorization") == "Bearer sk-mine"
    assert received.header("openai-organization") == "org-1"
    assert [received.header(name) for name in ("x-private", "x-forwarded-for", "x-ja4")] == [None, None, None]
