from __future__ import annotations

import zlib
from collections import defaultdict
from typing import Any

import anthropic
import httpx
import openai
import orjson
import pytest
from anthropic.types import RawMessageStreamEvent
from hypothesis import given, settings
from hypothesis import strategies as st
from openai._streaming import SSEDecoder
from openai.types import Completion
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.dialects import ReplyReader, TextWriter, read_reply
from gateway.types import Headers
from tests.dialects.samples import (
    CHAT,
    JSON,
    MESSAGE_START,
    MESSAGES,
    RESPONSES,
    SSE,
    STREAMS,
    WORDS,
    chat_delta,
    chat_event,
    event,
    facts_of,
    messages_event,
    response_object,
    responses_stream,
    route_of,
    text_block,
)


class CompletionChunk(Completion):
    """On the wire the reason is null until the last chunk, which the SDK's type does not say."""

    choices: list[Any]


TYPES: dict[str, Any] = {
    "chat": ChatCompletionChunk,
    "completions": CompletionChunk,
    "messages": RawMessageStreamEvent,
    "responses": ResponseStreamEvent,
}
TEXT = "".join(WORDS)


class Shout:
    """Upper case, up to the last space; what follows is held back."""

    made = 0

    def __init__(self) -> None:
        Shout.made += 1
        self.held = ""

    def feed(self, text: str) -> str:
        ready, space, self.held = (self.held + text).rpartition(" ")
        return (ready + space).upper()

    def finish(self) -> str:
        held, self.held = self.held, ""
        return held.upper()


class Same:
    def feed(self, text: str) -> str:
        return text

    def finish(self) -> str:
        return ""


def reader_of(name: str, writer: type[TextWriter] = Shout, headers: Headers = SSE, **more: Any) -> ReplyReader:
    facts = facts_of(name, **{"stream": headers == SSE, **more})
    return read_reply(route_of(name), facts, status=200, headers=headers, writers=writer)


def run(reader: ReplyReader, chunks: list[bytes]) -> bytes:
    return b"".join([reader.feed(chunk) for chunk in chunks]) + reader.finish()


def objects_of(stream: bytes) -> list[dict[str, Any]]:
    events = SSEDecoder().iter_bytes(iter([stream]))
    return [orjson.loads(one.data) for one in events if one.data and one.data != "[DONE]"]


def prose_of(name: str, stream: bytes) -> dict[Any, str]:
    """The prose of a stream by choice, block or part, put together as a client does."""
    found: dict[Any, str] = defaultdict(str)
    for obj in objects_of(stream):
        if name in {"chat", "completions"}:
            for choice in obj["choices"]:
                found[choice["index"]] += (choice.get("delta", {}).get("content") or choice.get("text")) or ""
        elif name == "messages" and obj["type"] == "content_block_delta":
            found[obj["index"]] += obj["delta"].get("text", "")
        elif obj.get("type") == "response.output_text.delta":
            found[obj["output_index"], obj["content_index"]] += obj["delta"]
    return dict(found)


def splits(stream: bytes) -> list[list[bytes]]:
    two = [[stream[:cut], stream[cut:]] for cut in range(0, len(stream), 7)]
    return [[stream], [stream[i : i + 1] for i in range(len(stream))], *two]


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_rewritten_alike_in_every_split_and_still_what_the_sdk_expects(name: str) -> None:
    stream = b"".join(STREAMS[name])
    outputs = {run(reader_of(name), chunks) for chunks in splits(stream)}
    assert len(outputs) == 1
    (out,) = outputs
    assert set(prose_of(name, out).values()) == {TEXT.upper()}
    for obj in objects_of(out):
        if obj.get("type") != "ping":  # which the SDK skips by its event name
            TypeAdapter(TYPES[name]).validate_python(obj)
    assert len(objects_of(out)) == len(objects_of(stream)) + 1  # the held tail came in an event of its own
    assert out.endswith(STREAMS[name][-1]) == (name != "responses")


@pytest.mark.parametrize("name", STREAMS)
def test_a_writer_that_changes_nothing_changes_no_byte(name: str) -> None:
    stream = b"".join(STREAMS[name])
    for chunks in splits(stream):
        assert run(reader_of(name, Same), chunks) == stream


@pytest.mark.parametrize("name", STREAMS)
def test_usage_is_what_the_upstream_made(name: str) -> None:
    reader = reader_of(name)
    run(reader, STREAMS[name])
    assert reader.usage().reported
    assert reader.usage().output_tokens == 7
    assert reader.ended


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_cut_gives_what_the_writer_held(name: str) -> None:
    reader = reader_of(name)
    upto = next(at for at, one in enumerate(STREAMS[name]) if b'"ld"' in one) + 1
    out = run(reader, STREAMS[name][:upto])
    assert list(prose_of(name, out).values()) == ["HELLO, WORLD"]
    assert not reader.ended
    assert out.endswith(b"\n\n")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(words=st.lists(st.text(alphabet=' ab"\\é😀\n', max_size=4), min_size=1, max_size=6))
def test_whatever_the_words_the_client_reads_what_the_writer_wrote(words: list[str]) -> None:
    whole = "".join(words)
    events = [chat_event([chat_delta(content=word)]) for word in words]
    out = run(reader_of("chat"), [*events, chat_event([chat_delta(finish="stop")]), event(b"[DONE]")])
    assert prose_of("chat", out) == {0: whole.upper()}
    blocks = [MESSAGE_START, *text_block(0, tuple(words)), messages_event("message_stop")]
    assert prose_of("messages", run(reader_of("messages"), blocks)).get(0, "") == whole.upper()
    out = run(reader_of("responses"), responses_stream(tuple(words)))
    assert prose_of("responses", out)[0, 0] == whole.upper()


def test_each_choice_has_a_writer_of_its_own() -> None:
    Shout.made = 0
    rows = [
        chat_event([chat_delta(0, content="a b"), chat_delta(1, content="c d")]),
        chat_event([chat_delta(1, content="e", finish="stop")]),
        chat_event([chat_delta(0, content=" f")]),
        chat_event([chat_delta(0, finish="length")]),
        event(b"[DONE]"),
    ]
    out = run(reader_of("chat", n=2), rows)
    assert prose_of("chat", out) == {0: "AB F".replace("AB", "A B"), 1: "C DE"}
    assert Shout.made == 2
    ends = [(obj["choices"][0]["index"], obj["choices"][0]["finish_reason"]) for obj in objects_of(out)[1:]]
    assert ends == [(1, "stop"), (0, None), (0, None), (0, "length")]


def test_the_tail_comes_before_done_where_no_choice_was_finished() -> None:
    out = run(reader_of("chat"), [CHAT[1], event(b"[DONE]")])
    assert prose_of("chat", out) == {0: "HEL"}
    assert out.endswith(b"data: [DONE]\n\n")


def test_each_text_block_has_a_writer_and_other_blocks_stay() -> None:
    tool = [
        messages_event(
            "content_block_start", index=1, content_block={"type": "tool_use", "id": "t", "name": "f", "input": {}}
        ),
        messages_event("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '{"a b'}),
        messages_event("content_block_stop", index=1),
    ]
    think = messages_event("content_block_delta", index=3, delta={"type": "thinking_delta", "thinking": "a b"})
    last = messages_event("message_stop")
    out = run(
        reader_of("messages"), [MESSAGE_START, *text_block(0, ("a b",)), *tool, *text_block(2, ("c",)), think, last]
    )
    assert {key: text for key, text in prose_of("messages", out).items() if text} == {0: "A B", 2: "C"}
    for one in [*tool, think, last, MESSAGE_START]:
        assert one in out


@pytest.mark.parametrize("name", ["block", "delta"])
def test_a_block_with_citations_is_left_as_it_is(name: str) -> None:
    block = {"type": "text", "text": "", "citations": []} if name == "block" else {"type": "text", "text": ""}
    cite = messages_event("content_block_delta", index=0, delta={"type": "citations_delta", "citation": {}})
    word = messages_event("content_block_delta", index=0, delta={"type": "text_delta", "text": "a b"})
    stream = [messages_event("content_block_start", index=0, content_block=block), cite, word]
    assert run(reader_of("messages"), stream) == b"".join(stream)


def test_a_responses_stream_repeats_what_was_shown_and_counts_on() -> None:
    objects = objects_of(run(reader_of("responses"), RESPONSES))
    assert [obj["sequence_number"] for obj in objects] == list(range(len(RESPONSES) + 1))
    by_type = {obj["type"]: obj for obj in objects}
    text = TEXT.upper()
    assert by_type["response.output_text.done"]["text"] == text
    assert by_type["response.content_part.done"]["part"]["text"] == text
    assert by_type["response.output_item.done"]["item"]["content"][0]["text"] == text
    assert by_type["response.completed"]["response"]["output"][0]["content"][0]["text"] == text


def test_the_next_sequence_number_counts_inserted_events() -> None:
    reader = reader_of("responses")
    run(reader, RESPONSES)
    assert reader.next_sequence == len(RESPONSES) + 1


def test_a_responses_stream_with_an_early_end_still_repeats_what_was_shown() -> None:
    stream = responses_stream(end="incomplete")
    out = run(reader_of("responses"), [one for one in stream if b".done" not in one])
    last = objects_of(out)[-1]
    assert last["response"]["output"][0]["content"][0]["text"] == TEXT.upper()
    assert prose_of("responses", out)[0, 0] == TEXT.upper()


LOGPROBS = {"content": [{"token": "a", "logprob": -0.1, "bytes": None, "top_logprobs": []}]}


def test_a_choice_with_log_probabilities_is_left_as_it_is() -> None:
    stream = [
        chat_event([{**chat_delta(content="a b"), "logprobs": LOGPROBS}]),
        chat_event([chat_delta(finish="stop")]),
    ]
    assert run(reader_of("chat"), stream) == b"".join(stream)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("chat", {"response_format": {"type": "json_object"}}),
        ("chat", {"response_format": {"type": "json_schema", "json_schema": {}}}),
        ("chat", {"response_format": "json"}),
        ("chat", {"guided_json": {"type": "object"}}),
        ("chat", {"web_search_options": {}}),
        ("completions", {"echo": True}),
        ("completions", {"suffix": "end"}),
        ("responses", {"text": {"format": {"type": "json_schema"}}}),
        ("responses", {"tools": [{"type": "web_search"}]}),
        ("messages", {"output_config": {"format": {"type": "json_schema"}}}),
    ],
)
def test_a_reply_that_is_not_free_prose_is_left_as_it_is(name: str, more: dict[str, Any]) -> None:
    stream = b"".join(STREAMS[name])
    assert run(reader_of(name, **more), [stream]) == stream


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("chat", {"response_format": {"type": "text"}}),
        ("chat", {"tools": [{"type": "function", "function": {}}]}),
        ("responses", {"text": {"format": {"type": "text"}}, "tools": [{"type": "function"}]}),
    ],
)
def test_plain_text_formats_and_functions_may_be_written(name: str, more: dict[str, Any]) -> None:
    out = run(reader_of(name, **more), [b"".join(STREAMS[name])])
    assert set(prose_of(name, out).values()) == {TEXT.upper()}


WHOLE: dict[str, tuple[bytes, bytes]] = {
    "chat": (
        b'{"id" : "x", "n":1.0, "choices":[{"message":{"content":"a \\u00e9","reasoning":"r r"}},{"message":{"content":null,"tool_calls":[{"function":{"arguments":"{a b}"}}]}},{"message":{"content":"c"},"logprobs":{"content":[]}}]}',
        '{"id" : "x", "n":1.0, "choices":[{"message":{"content":"A É","reasoning":"r r"}},{"message":{"content":null,"tool_calls":[{"function":{"arguments":"{a b}"}}]}},{"message":{"content":"c"},"logprobs":{"content":[]}}]}'.encode(),
    ),
    "completions": (b'{"choices":[{"text":"a b"},{"text":""}]}', b'{"choices":[{"text":"A B"},{"text":""}]}'),
    "messages": (
        b'{"content":[{"type":"thinking","thinking":"t"},{"text":"a","type":"text"},{"type":"text","text":"b","citations":[{}]}]}',
        b'{"content":[{"type":"thinking","thinking":"t"},{"text":"A","type":"text"},{"type":"text","text":"b","citations":[{}]}]}',
    ),
    "responses": (
        orjson.dumps(response_object("completed", "a b")),
        orjson.dumps(response_object("completed", "A B")),
    ),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_reply_is_rewritten_in_its_prose_only(name: str) -> None:
    body, expected = WHOLE[name]
    for chunks in splits(body):
        reader = reader_of(name, headers=JSON)
        assert not reader.passes_bytes
        assert run(reader, chunks) == expected
        assert reader.ended


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"choices":[1]}', b'{"choices":7,"content":[7],"output":[7]}'])
@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_reply_that_makes_no_sense_is_given_as_it_is(name: str, body: bytes) -> None:
    assert run(reader_of(name, headers=JSON), [body]) == body


@pytest.mark.parametrize("stream", [True, False])
def test_reasoning_in_a_chat_is_hidden_where_no_request_field_does(stream: bool) -> None:
    facts = facts_of("chat", stream=stream)
    headers = SSE if stream else JSON
    reader = read_reply(route_of("chat"), facts, status=200, headers=headers, hide_reasoning=True)
    if stream:
        out = run(reader, [chat_event([chat_delta(reasoning_content="secret", content="a b")]), event(b"[DONE]")])
        assert prose_of("chat", out) == {0: "a b"}
    else:
        body = b'{"choices":[{"message":{"content":"a","reasoning":"secret","reasoning_content":"secret"}}]}'
        out = run(reader, [body])
        assert out == body.replace(b'"secret"', b"null")
    assert b"secret" not in out
    assert reader.usage().output_tokens >= 2


def test_a_compressed_reply_is_not_rewritten() -> None:

    body = zlib.compress(b"".join(MESSAGES))
    assert run(reader_of("messages", headers=[*SSE, (b"content-encoding", b"deflate")]), [body]) == body


def final_texts(name: str, body: bytes) -> str:
    """The text of the whole reply as the SDK's own accumulator puts it together."""
    import openai._base_client as base

    library = getattr(base, "httpx2", httpx)
    head = {"content-type": "text/event-stream"}
    client = library.Client(
        transport=library.MockTransport(lambda _: library.Response(200, headers=head, content=body))
    )
    if name == "messages":
        claude = anthropic.Anthropic(api_key="k", base_url="http://t", http_client=client)
        with claude.messages.stream(model="m", max_tokens=5, messages=[{"role": "user", "content": "x"}]) as blocks:
            return "".join(block.text for block in blocks.get_final_message().content if block.type == "text")
    gpt = openai.OpenAI(api_key="k", base_url="http://t/v1", http_client=client)
    if name == "chat":
        with gpt.chat.completions.stream(model="m", messages=[{"role": "user", "content": "x"}]) as chunks:
            return chunks.get_final_completion().choices[0].message.content or ""
    with gpt.responses.stream(model="m", input="x") as events:
        return events.get_final_response().output_text


@pytest.mark.parametrize("name", ["chat", "messages", "responses"])
def test_the_sdks_own_accumulators_put_the_written_text_together(name: str) -> None:
    stream = b"".join(STREAMS[name])
    assert final_texts(name, stream) == TEXT
    assert final_texts(name, run(reader_of(name), [stream])) == TEXT.upper()


@pytest.mark.parametrize(
    ("choice", "more"),
    [
        (b'"content":"a b"', b'"x":{"content":"a b"}'),
        (b'"content":"\\u0061 b"', b'"x":{"content":"a b"}'),
        (b'"content" : "a b"', b'"x":{"content":"a b"}'),
        (b'"content":"a b"', b'"x":"\\"content\\":\\"a b\\""'),
        (b'"con\\u0074ent":"a b"', b'"x":{"content":"a b"}'),
    ],
)
def test_only_the_prose_is_written_where_another_member_looks_like_it(choice: bytes, more: bytes) -> None:
    row = b'{"id":"c","choices":[{"index":0,"delta":{%b},"finish_reason":"stop"}],%b}'
    out = run(reader_of("chat"), [event(row % (choice, more))])
    assert more in out
    assert prose_of("chat", out) == {0: "A B"}


@pytest.mark.parametrize("response", [{"output": []}, {"output": None}, {"output": [{"content": []}]}, {}])
def test_a_last_event_that_repeats_no_text_still_comes_after_the_held_tail(response: dict[str, Any]) -> None:
    last = event({"type": "response.completed", "sequence_number": 5, "response": response}, "response.completed")
    delta = {
        "type": "response.output_text.delta",
        "item_id": "i",
        "output_index": 0,
        "content_index": 0,
        "delta": "a b",
    }
    out = run(reader_of("responses"), [event({**delta, "sequence_number": 4}), last])
    assert prose_of("responses", out) == {(0, 0): "A B"}
    assert [obj["sequence_number"] for obj in objects_of(out)] == [4, 5, 6]
    assert objects_of(out)[-1]["response"] == response
