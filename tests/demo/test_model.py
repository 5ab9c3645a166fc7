"""The embedded model server against the official SDKs: they are the oracle of its shapes."""

from __future__ import annotations

import gzip
import json
import time
from typing import TYPE_CHECKING, Any

import anthropic
import httpx
import openai
import pytest

from gateway.demo.live import serve_in_thread
from gateway.demo.model import ModelServer
from gateway.demo.prose import arguments_for, tokenise, write, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT_S = 5.0
HELLO: list[Any] = [{"role": "user", "content": "How do I begin a kitchen garden?"}]
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "days", "unit"],
}
CHAT_TOOLS: list[Any] = [{"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}]
ASK_WEATHER: list[Any] = [{"role": "user", "content": "Please get weather for tomorrow."}]


@pytest.fixture(scope="module")
def server() -> ModelServer:
    return ModelServer(now=lambda: 1_700_000_000.0)


@pytest.fixture(scope="module")
def url(server: ModelServer) -> Iterator[str]:
    with serve_in_thread(server) as base:
        yield base


@pytest.fixture(scope="module")
def oai(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url + "/v1", api_key="sk-test", max_retries=0, timeout=WAIT_S) as client:
        yield client


@pytest.fixture(scope="module")
def ant(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key="sk-test", max_retries=0, timeout=WAIT_S) as client:
        yield client


# OpenAI


@pytest.mark.parametrize("n", [1, 3])
def test_streamed_chat_says_what_the_plain_one_says(oai: openai.OpenAI, n: int) -> None:
    asked: dict[str, Any] = {"model": "demo-small", "messages": HELLO, "n": n}
    plain = oai.chat.completions.create(**asked)
    texts = [""] * n
    finishes: list[str | None] = [None] * n
    usages = []
    stream = oai.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    for chunk in stream:
        assert (chunk.id, chunk.object) == (plain.id, "chat.completion.chunk")
        usages.append(chunk.usage)
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            finishes[choice.index] = choice.finish_reason or finishes[choice.index]
    assert texts == [choice.message.content for choice in plain.choices]
    assert finishes == ["stop"] * n
    assert usages[:-1] == [None] * (len(usages) - 1)
    assert usages[-1] == plain.usage
    assert plain.usage is not None
    assert plain.usage.completion_tokens == sum(len(tokenise(text)) for text in texts)
    assert plain.usage.total_tokens == plain.usage.prompt_tokens + plain.usage.completion_tokens


def test_usage_is_streamed_only_where_it_was_asked_for(oai: openai.OpenAI) -> None:
    stream = oai.chat.completions.create(model="demo-small", messages=HELLO, stream=True)
    assert all(chunk.choices and chunk.usage is None for chunk in stream)


@pytest.mark.parametrize("cap", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("tokens", [1, 7])
def test_chat_is_cut_at_its_cap(oai: openai.OpenAI, cap: str, tokens: int) -> None:
    caps: dict[str, Any] = {cap: tokens}
    reply = oai.chat.completions.create(model="demo-small", messages=HELLO, **caps)
    assert reply.choices[0].finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.completion_tokens == tokens == len(tokenise(reply.choices[0].message.content or ""))


def test_chat_ends_before_a_stop_sequence(oai: openai.OpenAI) -> None:
    whole = oai.chat.completions.create(model="demo-small", messages=HELLO).choices[0].message.content or ""
    server = ModelServer(writer=lambda ask, choice: whole)
    with serve_in_thread(server) as base, openai.OpenAI(base_url=base + "/v1", api_key="k") as client:
        reply = client.chat.completions.create(model="demo-small", messages=HELLO, stop=[whole[20:30]])
    assert reply.choices[0].message.content == whole[: whole.index(whole[20:30])]
    assert reply.choices[0].finish_reason == "stop"


def test_chat_calls_a_tool_that_the_prompt_asks_for_plain_and_streamed(oai: openai.OpenAI) -> None:
    reply = oai.chat.completions.create(model="demo-small", messages=ASK_WEATHER, tools=CHAT_TOOLS)
    assert reply.choices[0].finish_reason == "tool_calls"
    (call,) = reply.choices[0].message.tool_calls or []
    assert call.type == "function"
    arguments = json.loads(call.function.arguments)
    assert call.function.name == "get_weather"
    assert set(arguments) == {"city", "days", "unit"}
    assert arguments["unit"] in {"C", "F"}
    with oai.chat.completions.stream(model="demo-small", messages=ASK_WEATHER, tools=CHAT_TOOLS) as stream:
        final = stream.get_final_completion()
    (streamed,) = final.choices[0].message.tool_calls or []
    assert (streamed.id, streamed.function.arguments) == (call.id, call.function.arguments)


@pytest.mark.parametrize(
    ("choice", "finish"),
    [
        ("none", "stop"),
        ("required", "tool_calls"),
        ({"type": "function", "function": {"name": "get_weather"}}, "tool_calls"),
    ],
)
def test_tool_choice_is_obeyed(oai: openai.OpenAI, choice: Any, finish: str) -> None:
    messages = HELLO if choice != "none" else ASK_WEATHER
    reply = oai.chat.completions.create(model="m", messages=messages, tools=CHAT_TOOLS, tool_choice=choice)
    assert reply.choices[0].finish_reason == finish


def test_tools_result_is_answered_with_text(oai: openai.OpenAI) -> None:
    turns: list[Any] = [*ASK_WEATHER, {"role": "tool", "tool_call_id": "call_1", "content": "call: sunny"}]
    reply = oai.chat.completions.create(model="m", messages=turns, tools=CHAT_TOOLS)
    assert reply.choices[0].finish_reason == "stop"


def test_logprobs_spell_the_reply_plain_and_streamed(oai: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "m", "messages": HELLO, "logprobs": True, "top_logprobs": 2}
    reply = oai.chat.completions.create(**asked).choices[0]
    assert reply.logprobs is not None
    entries = reply.logprobs.content or []
    assert "".join(entry.token for entry in entries) == reply.message.content
    assert all(entry.logprob < 0 and len(entry.top_logprobs) == 2 for entry in entries)
    streamed = ""
    for chunk in oai.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            pieces = choice.logprobs.content if choice.logprobs is not None else None
            streamed += "".join(entry.token for entry in pieces or [])
    assert streamed == reply.message.content


def test_json_mode_is_json(oai: openai.OpenAI) -> None:
    reply = oai.chat.completions.create(model="m", messages=HELLO, response_format={"type": "json_object"})
    assert isinstance(json.loads(reply.choices[0].message.content or ""), dict)


def test_long_prompt_is_partly_cached(oai: openai.OpenAI) -> None:
    reply = oai.chat.completions.create(model="m", messages=[{"role": "user", "content": "word " * 2_000}])
    assert reply.usage is not None
    assert reply.usage.prompt_tokens_details is not None
    cached = reply.usage.prompt_tokens_details.cached_tokens or 0
    assert 0 < cached < reply.usage.prompt_tokens
    assert cached % 128 == 0


def test_completions_answer_every_prompt_plain_and_streamed(oai: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": "m", "prompt": ["one", "two"], "n": 2}
    plain = oai.completions.create(**asked, logprobs=1)
    assert [choice.index for choice in plain.choices] == [0, 1, 2, 3]
    assert plain.usage is not None
    assert plain.usage.completion_tokens == 4 * 16
    first = plain.choices[0]
    assert first.logprobs is not None
    assert "".join(first.logprobs.tokens or []) == first.text
    texts = [""] * 4
    for chunk in oai.completions.create(**asked, logprobs=1, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in plain.choices]


@pytest.mark.parametrize("more", [{}, {"max_output_tokens": 5}, {"reasoning": {"effort": "low"}}])
def test_streamed_response_ends_as_the_plain_one(oai: openai.OpenAI, more: dict[str, Any]) -> None:
    plain = oai.responses.create(model="m", input="How do I begin?", **more)
    assert plain.status == ("incomplete" if "max_output_tokens" in more else "completed")
    assert plain.usage is not None
    assert plain.usage.output_tokens_details.reasoning_tokens == (
        0 if "reasoning" not in more else plain.usage.output_tokens - len(tokenise(plain.output_text))
    )
    numbers, text = [], ""
    with oai.responses.stream(model="m", input="How do I begin?", **more) as stream:
        for event in stream:
            numbers.append(event.sequence_number)
            text += event.delta if event.type == "response.output_text.delta" else ""
            if event.type in {"response.completed", "response.incomplete"}:
                assert event.response.usage == plain.usage
                assert [item.type for item in event.response.output] == [item.type for item in plain.output]
    assert numbers == list(range(len(numbers)))
    assert text == plain.output_text


def test_response_calls_a_tool(oai: openai.OpenAI) -> None:
    tools: list[Any] = [{"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": False}]
    plain = oai.responses.create(model="m", input="get weather", tools=tools)
    (call,) = plain.output
    assert call.type == "function_call"
    with oai.responses.stream(model="m", input="get weather", tools=tools) as stream:
        (streamed,) = stream.get_final_response().output
    assert streamed.type == "function_call"
    assert (streamed.call_id, streamed.arguments) == (call.call_id, call.arguments)
    assert set(json.loads(call.arguments)) == {"city", "days", "unit"}


@pytest.mark.parametrize("encoding", ["base64", "float"])
def test_embeddings_are_unit_vectors_of_their_text(oai: openai.OpenAI, encoding: Any) -> None:
    reply = oai.embeddings.create(model="m", input=["a", "b", "a"], encoding_format=encoding, dimensions=64)
    one, two, three = (row.embedding for row in reply.data)
    raw = oai.embeddings.create(model="m", input="a", dimensions=64).data[0].embedding
    if encoding == "base64":
        assert isinstance(one, str)
        return
    assert sum(x * x for x in one) == pytest.approx(1.0)
    assert one == three != two
    assert raw == pytest.approx(one, rel=1e-6)


# Anthropic


@pytest.mark.parametrize("thinking", [False, True])
def test_streamed_message_says_what_the_plain_one_says(ant: anthropic.Anthropic, thinking: bool) -> None:
    asked: dict[str, Any] = {"model": "m", "max_tokens": 4_096, "messages": HELLO}
    if thinking:
        asked["thinking"] = {"type": "enabled", "budget_tokens": 1_024}
    plain = ant.messages.create(**asked)
    with ant.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    assert [block.type for block in plain.content] == (["thinking", "text"] if thinking else ["text"])
    assert [block.to_dict() for block in final.content] == [block.to_dict() for block in plain.content]
    assert (final.stop_reason, final.id, final.usage) == ("end_turn", plain.id, plain.usage)
    if thinking:
        assert plain.content[0].type == "thinking"
        assert len(plain.content[0].signature) > 100


def test_message_is_cut_at_its_cap(ant: anthropic.Anthropic) -> None:
    reply = ant.messages.create(model="m", max_tokens=3, messages=HELLO)
    assert (reply.stop_reason, reply.usage.output_tokens) == ("max_tokens", 3)


def test_message_names_its_stop_sequence(ant: anthropic.Anthropic) -> None:
    whole = ant.messages.create(model="m", max_tokens=999, messages=HELLO).content[0]
    assert whole.type == "text"
    with serve_in_thread(ModelServer(writer=lambda ask, choice: whole.text)) as base:
        with anthropic.Anthropic(base_url=base, api_key="k") as client:
            reply = client.messages.create(
                model="m", max_tokens=999, messages=HELLO, stop_sequences=[whole.text[10:20]]
            )
    assert (reply.stop_reason, reply.stop_sequence) == ("stop_sequence", whole.text[10:20])


def test_message_uses_a_tool_plain_and_streamed(ant: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {
        "model": "m",
        "max_tokens": 999,
        "messages": ASK_WEATHER,
        "tools": [{"name": "get_weather", "input_schema": WEATHER}],
    }
    plain = ant.messages.create(**asked)
    with ant.messages.stream(**asked) as stream:
        final = stream.get_final_message()
    assert plain.stop_reason == final.stop_reason == "tool_use"
    assert [block.to_dict() for block in final.content] == [block.to_dict() for block in plain.content]
    assert plain.content[0].type == "tool_use"
    assert set(plain.content[0].input) == {"city", "days", "unit"}


def test_count_of_tokens_is_what_a_message_is_billed(ant: anthropic.Anthropic) -> None:
    count = ant.messages.count_tokens(model="m", messages=HELLO)
    assert count.input_tokens == ant.messages.create(model="m", max_tokens=1, messages=HELLO).usage.input_tokens


def test_models_are_listed_in_the_dialect_of_the_caller(oai: openai.OpenAI, ant: anthropic.Anthropic) -> None:
    names = [model.id for model in oai.models.list()]
    assert names == [model.id for model in ant.models.list()] == ["demo-small", "demo-large", "demo-reasoner"]
    assert oai.models.retrieve("demo-small").id == ant.models.retrieve("demo-small").id == "demo-small"
    with pytest.raises(openai.NotFoundError):
        oai.models.retrieve("no-such-model")


# Faults

STATUS_ERRORS = {
    "no-such-model": ("NotFoundError", 404),
    "fault-400": ("BadRequestError", 400),
    "fault-401": ("AuthenticationError", 401),
    "fault-403": ("PermissionDeniedError", 403),
    "fault-429": ("RateLimitError", 429),
    "fault-500": ("InternalServerError", 500),
    "fault-html": ("InternalServerError", 502),
    "fault-503": ("InternalServerError", 503),
    "fault-unheard-of": ("BadRequestError", 400),
}


@pytest.mark.parametrize("model", STATUS_ERRORS)
def test_status_faults_are_the_sdks_own_errors(oai: openai.OpenAI, ant: anthropic.Anthropic, model: str) -> None:
    name, status = STATUS_ERRORS[model]
    with pytest.raises(openai.APIStatusError) as of_openai:
        oai.chat.completions.create(model=model, messages=HELLO)
    with pytest.raises(anthropic.APIStatusError) as of_anthropic:
        ant.messages.create(model=model, max_tokens=9, messages=HELLO)
    assert of_openai.value.status_code == of_anthropic.value.status_code == status
    assert type(of_openai.value).__name__ == name
    if status != 503:
        assert type(of_anthropic.value).__name__ == name
    if status in {429, 503}:
        assert of_openai.value.response.headers["retry-after"] == "1"


def stream_of(url: str, fault: str, path: str = "/v1/chat/completions", *, stream: bool = True) -> httpx.Response:
    body = {"model": "demo-small", "messages": HELLO, "input": "x", "stream": stream, "max_tokens": 400}
    return httpx.post(url + path, json=body, headers={"x-demo-fault": fault}, timeout=WAIT_S)


@pytest.mark.parametrize("stream", [True, False])
def test_break_is_a_broken_connection(url: str, stream: bool) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        stream_of(url, "break-mid-stream", stream=stream)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_stream_without_its_end_and_stream_with_an_error(url: str, path: str) -> None:
    whole = stream_of(url, "", path).content
    cut = stream_of(url, "no-end", path).content
    failed = stream_of(url, "error-mid-stream", path).content
    assert whole.startswith(cut)
    assert 0 < whole.count(b"\n\n") - cut.count(b"\n\n") == 1
    head, _, last = failed.removesuffix(b"\n\n").rpartition(b"\n\n")
    assert whole.startswith(head)
    assert b"error" in last


def test_error_event_is_the_sdks_own_error(oai: openai.OpenAI, ant: anthropic.Anthropic) -> None:
    chat = oai.chat.completions.create(model="fault-error-mid-stream", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError, match="Scripted fault"):
        list(chat)
    message = ant.messages.create(model="fault-error-mid-stream", max_tokens=99, messages=HELLO, stream=True)
    with pytest.raises(anthropic.APIStatusError, match="Scripted fault"):
        list(message)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses", "/v1/embeddings"]
)
def test_no_usage_means_none_anywhere(url: str, path: str, stream: bool) -> None:
    reply = stream_of(url, "no-usage", path, stream=stream)
    assert reply.status_code == 200
    assert b'"usage"' not in reply.content
    assert b'"usage"' in stream_of(url, "", path, stream=stream).content or (stream and "completions" in path)


def test_garbage_and_nothing(url: str) -> None:
    with pytest.raises(ValueError, match=r"utf-8|JSON|Expecting"):
        stream_of(url, "garbage", stream=False).json()
    assert stream_of(url, "empty").content == b""


@pytest.mark.parametrize("fault", ["hang-first-byte", "hang-mid-stream"])
def test_hanging_reply_ends_when_the_caller_leaves(server: ModelServer, url: str, fault: str) -> None:
    body = {"model": f"fault-{fault}", "messages": HELLO, "stream": True}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url + "/v1/chat/completions", json=body, timeout=httpx.Timeout(WAIT_S, read=0.2))
    mine: list[Any] = []
    deadline = time.monotonic() + WAIT_S
    while not mine:  # a busy machine may read it only after the caller has left
        assert time.monotonic() < deadline
        mine = [one for one in server.requests if fault.encode() in one.body]
    (received,) = mine
    assert received.ended.wait(WAIT_S)
    assert received.disconnected


# What it remembers, how it paces, what it refuses


async def call(app: ModelServer, path: str = "/v1/chat/completions", **request: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.post(path, **request)


async def test_requests_are_remembered_as_they_came_in_bounded_memory() -> None:
    app = ModelServer(keep=3, keep_bytes=40)
    for number in range(5):
        await call(app, content=b"%d" % number * 10, headers={"x-number": str(number)})
    assert [(one.body, one.header("x-number")) for one in app.requests] == [
        (b"%d" % number * 10, str(number)) for number in (2, 3, 4)
    ]
    await call(app, content=b"x" * 1_000)
    assert [len(one.body) for one in app.requests] == [1_000]
    assert not app.requests[0].disconnected
    assert app.requests[0].ended.is_set()


async def test_pace_is_kept_by_the_injected_sleep() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    app = ModelServer(first_token_delay_s=0.5, token_delay_s=0.1, sleep=sleep)
    reply = await call(app, json={"model": "m", "messages": HELLO, "stream": True, "max_tokens": 5})
    events = reply.content.count(b"\n\n")
    assert slept == [0.5] + [0.1] * events
    slept.clear()
    await call(app, json={"model": "fault-slow", "messages": HELLO, "stream": True, "max_tokens": 5})
    assert slept == [0.5] + [pytest.approx(0.15)] * events
    assert events == 1 + 5 + 1 + 1


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("accept", ["gzip", "identity"])
async def test_reply_is_packed_only_where_it_is_accepted(stream: bool, accept: str) -> None:
    body = {"model": "m", "messages": HELLO, "stream": stream}
    plain = (await call(ModelServer(now=lambda: 1.0), json=body)).content
    app = ModelServer(compress=True, now=lambda: 1.0)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client:
        headers = {"accept-encoding": accept}
        async with client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as reply:
            raw = b"".join([chunk async for chunk in reply.aiter_raw()])
    assert reply.headers.get("content-encoding") == ("gzip" if accept == "gzip" else None)
    assert (gzip.decompress(raw) if accept == "gzip" else raw) == plain


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", b"{"),
        ("/v1/chat/completions", b"[]"),
        ("/v1/chat/completions", b"{}"),
        ("/v1/chat/completions", b'{"model": 5}'),
        ("/v1/chat/completions", b'{"model": "m", "max_tokens": 0}'),
        ("/v1/chat/completions", b'{"model": "m", "max_tokens": true}'),
        ("/v1/chat/completions", b'{"model": "m", "n": 129}'),
        ("/v1/messages", b'{"model": "m", "messages": []}'),
        ("/v1/messages", b"\xff"),
    ],
)
async def test_bad_request_is_refused_in_its_dialect(path: str, body: bytes) -> None:
    reply = await call(ModelServer(), path, content=body)
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert ("type" in reply.json()) == (path == "/v1/messages")


async def test_key_is_required_where_there_is_one() -> None:
    app = ModelServer(api_key="right")
    body = {"model": "m", "messages": HELLO, "max_tokens": 1}
    for path, header, prefix in (
        ("/v1/chat/completions", "authorization", "Bearer "),
        ("/v1/messages", "x-api-key", ""),
    ):
        assert (await call(app, path, json=body, headers={header: prefix + "right"})).status_code == 200
        assert (await call(app, path, json=body, headers={header: prefix + "wrong"})).status_code == 401
        assert (await call(app, path, json=body)).status_code == 401


async def test_unknown_paths_and_methods_are_refused() -> None:
    assert (await call(ModelServer(), "/v1/files", json={})).status_code == 404
    async with httpx.AsyncClient(transport=httpx.ASGITransport(ModelServer()), base_url="http://t") as client:
        assert (await client.get("/v1/chat/completions")).status_code == 405


# Prose


def test_prose_is_deterministic_varied_and_cut_without_loss() -> None:
    texts = [write(seed) for seed in range(200)]
    assert texts == [write(seed) for seed in range(200)]
    assert len(set(texts)) == 200
    assert all("".join(tokenise(text)) == text for text in texts)
    lengths = [len(tokenise(text)) for text in texts]
    assert min(lengths) >= 60
    assert max(lengths) <= 500
    for kind in ("```", "\n1. ", "\n- ", "https://"):
        assert 0 < sum(kind in text for text in texts) < 200
    assert all(isinstance(json.loads(write_json(seed)), dict) for seed in range(20))


@pytest.mark.parametrize("schema", [None, {}, {"properties": None}, [], {"properties": {}}])
def test_tool_without_parameters_gets_none(schema: Any) -> None:
    assert arguments_for(schema, 1) == {}


def test_app_that_does_not_start_is_told() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "lifespan.startup"
        await send({"type": "lifespan.startup.failed", "message": "no"})

    with pytest.raises(RuntimeError, match="did not start"), serve_in_thread(app, lifespan="on"):
        pass
