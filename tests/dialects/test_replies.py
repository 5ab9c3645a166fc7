from __future__ import annotations

import gzip
import zlib
from typing import Any

import brotli  # type: ignore[import-untyped]
import orjson
import pytest
import zstandard

from gateway.dialects import (
    METERED_ENCODINGS,
    ReplyReader,
    decoding,
    find_route,
    read_reply,
    read_request,
    replies,
    sse,
)
from gateway.types import Headers, Usage
from tests.dialects.samples import (
    CHAT,
    CHAT_USAGE,
    CHAT_USAGE_EVENT,
    JSON,
    MESSAGE_START,
    MESSAGES,
    MESSAGES_USAGE,
    RESPONSES_USAGE,
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
)

REPORTED = Usage(input_tokens=11, output_tokens=7, cached_input_tokens=4, reasoning_tokens=2, reported=True)
REPORTED_BY = {
    "chat": REPORTED,
    "completions": REPORTED,
    "responses": REPORTED,
    "messages": Usage(input_tokens=12, output_tokens=7, cached_input_tokens=4, reported=True),
}
INPUT_FLOOR = 2  # the samples' eight characters


def reader_of(name: str, *, status: int = 200, headers: Headers = SSE, strip: bool = False, **more: Any) -> ReplyReader:
    facts = facts_of(name, **{"stream": headers == SSE, **more})
    return read_reply(route_of(name), facts, status=status, headers=headers, strip_usage=strip)


def run(reader: ReplyReader, chunks: list[bytes]) -> bytes:
    given = b"".join([reader.feed(chunk) for chunk in chunks])
    return given + reader.finish()


def splits(stream: bytes) -> list[list[bytes]]:
    two = [[stream[:cut], stream[cut:]] for cut in range(0, len(stream), 3)]
    return [[stream], [stream[i : i + 1] for i in range(len(stream))], *two]


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_passes_unchanged_and_is_metered_in_every_split(name: str, line_end: bytes) -> None:
    stream = b"".join(STREAMS[name]).replace(b"\n", line_end)
    for chunks in splits(stream):
        reader = reader_of(name)
        assert run(reader, chunks) == stream
        assert reader.usage() == REPORTED_BY[name]
        assert (reader.ended, reader.refused) == (True, False)


@pytest.mark.parametrize("name", ["chat", "completions"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_the_usage_that_only_we_asked_for_is_removed_in_every_split(name: str, line_end: bytes) -> None:
    events = [one.replace(b"\n", line_end) for one in STREAMS[name]]
    kept = b"".join(one for one in events if b'"choices":[]' not in one)
    assert len(kept) < len(b"".join(events))
    for chunks in splits(b"".join(events)):
        reader = reader_of(name, strip=True)
        assert run(reader, chunks) == kept
        assert reader.usage() == REPORTED


@pytest.mark.parametrize("name", ["responses", "messages"])
def test_dialects_that_always_tell_usage_are_not_stripped(name: str) -> None:
    stream = b"".join(STREAMS[name])
    assert run(reader_of(name, strip=True), [stream]) == stream


def test_usage_in_every_chunk_is_cumulative_and_only_the_bare_one_is_removed() -> None:
    usage = [{"prompt_tokens": 11, "completion_tokens": n, "total_tokens": 11 + n} for n in (1, 2, 2)]
    rows = [
        chat_event([chat_delta(content="a")], usage=usage[0]),
        chat_event([chat_delta(content="b")], usage=usage[1]),
    ]
    filters = chat_event([], prompt_filter_results=[])
    stream = b"".join([filters, *rows])
    reader = reader_of("chat", strip=True)
    assert run(reader, [stream, chat_event([], usage=usage[2])]) == stream
    assert reader.usage() == Usage(input_tokens=11, output_tokens=2, reported=True)


def cut(name: str, events: int) -> ReplyReader:
    reader = reader_of(name)
    for one in STREAMS[name][:events]:
        reader.feed(one)
    return reader


@pytest.mark.parametrize(
    ("name", "events", "usage"),
    [
        ("chat", 0, Usage(input_tokens=INPUT_FLOOR)),
        ("chat", 1, Usage(input_tokens=INPUT_FLOOR)),
        ("chat", 2, Usage(input_tokens=INPUT_FLOOR, output_tokens=1)),
        ("chat", 6, Usage(input_tokens=INPUT_FLOOR, output_tokens=5)),
        ("completions", 3, Usage(input_tokens=INPUT_FLOOR, output_tokens=3)),
        ("responses", 9, Usage(input_tokens=INPUT_FLOOR, output_tokens=5)),
        ("messages", 1, Usage(input_tokens=12, output_tokens=1, cached_input_tokens=4)),
        ("messages", 8, Usage(input_tokens=12, output_tokens=5, cached_input_tokens=4)),
    ],
)
def test_a_stream_that_is_cut_costs_what_flowed(name: str, events: int, usage: Usage) -> None:
    reader = cut(name, events)
    assert reader.usage() == usage
    assert reader.finish() == b""
    assert (reader.usage(), reader.ended) == (usage, False)


def test_long_deltas_count_by_their_characters() -> None:
    reader = reader_of("chat")
    reader.feed(chat_event([chat_delta(content="x" * 41)]))
    assert reader.usage().output_tokens == 11


@pytest.mark.parametrize(
    ("name", "one"),
    [
        ("chat", chat_event([chat_delta(reasoning_content="think", reasoning="think")])),
        ("chat", chat_event([chat_delta(reasoning="think")])),
        ("chat", chat_event([chat_delta(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}])])),
        ("chat", chat_event([chat_delta(function_call={"arguments": "{}"})])),
        ("messages", messages_event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "t"})),
        (
            "messages",
            messages_event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": "{"}),
        ),
        ("responses", event({"type": "response.function_call_arguments.delta", "delta": "{", "sequence_number": 1})),
        ("responses", event({"type": "response.reasoning_summary_text.delta", "delta": "t", "sequence_number": 1})),
    ],
)
def test_reasoning_and_tool_calls_flow_too(name: str, one: bytes) -> None:
    reader = reader_of(name)
    reader.feed(one)
    assert 1 <= reader.usage().output_tokens <= 2


@pytest.mark.parametrize(
    ("name", "one"),
    [
        ("chat", chat_event([chat_delta(role="assistant", content="")])),
        ("chat", chat_event([chat_delta()])),
        (
            "messages",
            messages_event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "x"}),
        ),
        ("responses", event({"type": "response.audio.delta", "delta": "AAAA", "sequence_number": 1})),
    ],
)
def test_events_without_text_count_nothing(name: str, one: bytes) -> None:
    reader = reader_of(name)
    reader.feed(one)
    assert reader.usage().output_tokens == 0


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": 11, "completion_tokens": 0},
        {"prompt_tokens": None, "completion_tokens": "7"},
        {"prompt_tokens": -5, "completion_tokens": -1},
        {"prompt_tokens": True, "completion_tokens": True},
        {"prompt_tokens": 1e3, "completion_tokens": 2**60},
        {},
        [],
        "free",
        1,
    ],
)
def test_a_report_of_nothing_or_nonsense_is_no_report(usage: Any) -> None:
    reader = reader_of("chat")
    reader.feed(chat_event([chat_delta(content="word")], usage=usage))
    found = reader.usage()
    assert not found.reported
    assert found.output_tokens == 1
    assert found.input_tokens >= INPUT_FLOOR


@pytest.mark.parametrize(
    ("name", "one"),
    [
        ("chat", chat_event([chat_delta(refusal="no")])),
        ("chat", chat_event([chat_delta(finish="content_filter")])),
        ("chat", event({"error": {"message": "m"}})),
        ("responses", event({"type": "response.refusal.delta", "delta": "no", "sequence_number": 1})),
        ("responses", event({"type": "error", "message": "m", "sequence_number": 1})),
        ("responses", responses_stream(end="failed")[-1]),
        ("messages", messages_event("message_delta", delta={"stop_reason": "refusal"}, usage={"output_tokens": 1})),
        ("messages", messages_event("error", error={"type": "overloaded_error", "message": "m"})),
    ],
)
def test_a_refusal_or_error_in_a_stream_is_seen(name: str, one: bytes) -> None:
    reader = reader_of(name)
    reader.feed(one)
    assert reader.refused


@pytest.mark.parametrize(
    ("name", "one", "ends"),
    [
        ("chat", event(b"[DONE]"), True),
        ("chat", chat_event([chat_delta(finish="stop")]), False),
        ("chat", event({"error": {"message": "m"}}), True),
        ("messages", messages_event("message_stop"), True),
        ("messages", messages_event("message_delta", delta={"stop_reason": "end_turn"}, usage={}), False),
        *(("responses", responses_stream(end=end)[-1], True) for end in ("completed", "incomplete", "failed")),
        ("responses", responses_stream()[-2], False),
    ],
)
def test_the_end_of_a_stream_is_its_last_event(name: str, one: bytes, ends: bool) -> None:
    reader = reader_of(name)
    reader.feed(one)
    assert reader.ended is ends


def test_a_server_without_a_done_event_has_ended_when_every_choice_has() -> None:
    for finished, ended in ((1, False), (2, True)):
        reader = reader_of("chat", n=2)
        for index in range(finished):
            reader.feed(chat_event([chat_delta(index, finish="stop")]))
        assert reader.finish() == b""
        assert reader.ended is ended


@pytest.mark.parametrize("cut_at", range(1, len(CHAT[1])))
def test_half_an_event_never_reaches_the_client(cut_at: int) -> None:
    reader = reader_of("chat")
    given = reader.feed(CHAT[0] + CHAT[1][:cut_at])
    assert reader.at_boundary
    given += reader.finish()
    assert given.endswith(b"\n\n")
    assert given.rstrip() in {CHAT[0].rstrip(), (CHAT[0] + CHAT[1]).rstrip()}
    assert not reader.ended


def test_a_last_event_without_its_blank_line_is_given_and_metered() -> None:
    stream = b"".join(CHAT).removesuffix(b"\n")
    for strip in (False, True):
        reader = reader_of("chat", strip=strip)
        given = run(reader, [stream])
        assert given == (stream if not strip else stream.replace(CHAT_USAGE_EVENT, b""))
        assert reader.ended
        assert reader.usage() == REPORTED


@pytest.mark.parametrize(
    "junk",
    [
        b"data: {\n\n",
        b"data: []\n\n",
        b"data: 1\n\n",
        b"data: null\n\n",
        b'data: {"choices":7}\n\n',
        b"data: \xff\n\n",
        b'data: {"choices":[null]}\n\n',
        b'data: {"choices":[{"delta":[]}]}\n\n',
        b'data: {"type":[]}\n\n',
        b'data: {"type":"content_block_delta"}\n\n',
        b'data: {"choices":[{"index":[],"finish_reason":1}]}\n\n',
        b"\x00\xff\n\n",
        b'data: {"type":"response.completed","response":[]}\n\n',
        b'data: {"choices":[{"delta":{"tool_calls":[1]}}]}\n\n',
    ],
)
@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("strip", [False, True])
def test_an_event_that_makes_no_sense_is_passed_and_not_a_crash(name: str, junk: bytes, strip: bool) -> None:
    reader = reader_of(name, strip=strip)
    assert reader.feed(junk) == junk
    reader.feed(b"".join(STREAMS[name]))
    assert reader.usage() == REPORTED_BY[name]


CHAT_REPLY = {
    "id": "chatcmpl-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "four"}, "finish_reason": "stop"}],
    "usage": CHAT_USAGE,
}
REPLIES: dict[str, dict[str, Any]] = {
    "chat": CHAT_REPLY,
    "completions": {"choices": [{"index": 0, "text": "four", "finish_reason": "stop"}], "usage": CHAT_USAGE},
    "responses": response_object("completed", "four", usage=RESPONSES_USAGE),
    "messages": {
        "type": "message",
        "content": [{"type": "text", "text": "four"}],
        "stop_reason": "end_turn",
        "usage": {**MESSAGES_USAGE, "output_tokens": 7},
    },
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_plain_reply_passes_unchanged_and_is_metered_in_every_split(name: str) -> None:
    body = orjson.dumps(REPLIES[name])
    for chunks in splits(body):
        reader = reader_of(name, headers=JSON, strip=True)
        assert reader.passes_bytes
        assert run(reader, chunks) == body
        assert reader.usage() == REPORTED_BY[name]
        assert (reader.ended, reader.refused, reader.at_boundary) == (True, False, False)


@pytest.mark.parametrize("name", REPLIES)
def test_a_plain_reply_without_usage_costs_its_text(name: str) -> None:
    reply = {key: value for key, value in REPLIES[name].items() if key != "usage"}
    reader = reader_of(name, headers=JSON)
    run(reader, [orjson.dumps(reply)])
    assert reader.usage() == Usage(input_tokens=INPUT_FLOOR, output_tokens=1)


@pytest.mark.parametrize("name", REPLIES)
def test_a_plain_reply_that_is_cut_costs_what_flowed_and_has_not_ended(name: str) -> None:
    body = orjson.dumps(REPLIES[name])
    reader = reader_of(name, headers=JSON)
    reader.feed(body[:40])
    assert reader.usage() == Usage(input_tokens=INPUT_FLOOR, output_tokens=10)
    assert not reader.ended
    reader.feed(body[40:])
    assert reader.usage() == REPORTED_BY[name]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("chat", {"choices": [{"message": {"refusal": "no"}, "finish_reason": "stop"}]}),
        ("chat", {"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}),
        ("chat", {"error": {"message": "m"}}),
        ("responses", {"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}]}),
        ("responses", {"status": "failed"}),
        ("messages", {"stop_reason": "refusal"}),
    ],
)
def test_a_refusal_in_a_plain_reply_is_seen(name: str, change: dict[str, Any]) -> None:
    reader = reader_of(name, headers=JSON)
    run(reader, [orjson.dumps({**REPLIES[name], **change})])
    assert reader.refused


def test_embeddings_are_metered_by_their_end_without_reading_the_numbers() -> None:
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    for size in (10, 100_000):
        reader = reader_of("embeddings", headers=JSON)
        body = orjson.dumps({"data": [{"embedding": [0.5] * size}], "usage": usage})
        assert run(reader, [body[at : at + 50_000] for at in range(0, len(body), 50_000)]) == body
        assert len(reader._held) <= 200_000  # type: ignore[attr-defined]
        assert reader.usage() == Usage(input_tokens=5, reported=True)
        assert reader.ended


def test_a_reply_too_large_to_hold_is_passed_on_and_metered_by_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replies, "MAX_HELD_BYTES", 1000)
    monkeypatch.setattr(replies, "TAIL_BYTES", 400)
    fake = orjson.dumps({"usage": {"prompt_tokens": 1, "completion_tokens": 1}}).decode()
    choice = {"index": 0, "message": {"content": fake * 50}, "finish_reason": "stop"}
    body = orjson.dumps({"choices": [choice], "usage": CHAT_USAGE}, option=orjson.OPT_INDENT_2)
    reader = reader_of("chat", headers=JSON)
    held = 0
    given = b""
    for at in range(0, len(body), 100):
        given += reader.feed(body[at : at + 100])
        held = max(held, len(reader._held))  # type: ignore[attr-defined]
    assert given + reader.finish() == body
    assert held <= 1100
    assert reader.usage() == REPORTED
    assert reader.ended


ENCODERS = {
    b"gzip": gzip.compress,
    b"x-gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": brotli.compress,
    b"zstd": zstandard.compress,
}


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


def test_every_coding_that_is_offered_is_tested() -> None:
    assert set(ENCODERS) == set(METERED_ENCODINGS)


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        *ENCODERS.items(),
        (b"deflate", raw_deflate),
        (b"GZIP", lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:])),
    ],
)
@pytest.mark.parametrize("size", [1, 50, 100_000])
def test_a_compressed_reply_passes_untouched_and_is_metered(coding: bytes, encode: Any, size: int) -> None:
    for name, plain, headers in (("messages", b"".join(MESSAGES), SSE), ("chat", orjson.dumps(CHAT_REPLY), JSON)):
        body = encode(plain)
        reader = reader_of(name, headers=[*headers, (b"content-encoding", coding)], strip=True, stream=headers is SSE)
        assert run(reader, [body[at : at + size] for at in range(0, len(body), size)]) == body
        assert reader.usage() == REPORTED_BY[name]
        assert (reader.ended, reader.at_boundary, reader.is_stream) == (True, False, False)


@pytest.mark.parametrize("coding", ENCODERS)
def test_damaged_compression_is_passed_on(coding: bytes) -> None:
    body = b"\x08\x00not compressed" * 100
    reader = reader_of("chat", headers=[*JSON, (b"content-encoding", coding)])
    assert run(reader, [body]) == body
    assert not reader.usage().reported


@pytest.mark.parametrize("coding", ENCODERS)
def test_a_compression_bomb_is_read_only_so_far(coding: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_DECODED_BYTES", 1_000_000)
    body = ENCODERS[coding](b"\n" * 30_000_000)
    decoder = decoding.decoder_of(coding)
    assert decoder is not None
    assert len(decoder.feed(body)) <= 1_000_000
    assert decoder.failed
    assert decoder.feed(body) == b""


@pytest.mark.parametrize("coding", [b"gzip, br", b"compress", b"aws-chunked"])
def test_an_unreadable_coding_is_counted_by_its_bytes(coding: bytes) -> None:
    reader = reader_of("chat", headers=[*JSON, (b"content-encoding", coding)])
    assert run(reader, [b"x" * 40, b"y" * 4]) == b"x" * 40 + b"y" * 4
    assert reader.usage() == Usage(input_tokens=INPUT_FLOOR, output_tokens=11)
    assert reader.passes_bytes


@pytest.mark.parametrize("status", [300, 400, 401, 404, 429, 500, 503])
@pytest.mark.parametrize("headers", [JSON, SSE, []])
def test_an_error_costs_nothing(status: int, headers: Headers) -> None:
    body = orjson.dumps(CHAT_REPLY)
    reader = reader_of("chat", status=status, headers=headers)
    assert run(reader, [body]) == body
    assert reader.usage() == Usage()
    assert reader.ended


def test_another_media_type_is_counted_by_its_bytes() -> None:
    reader = reader_of("chat", headers=[(b"content-type", b"text/html")])
    assert run(reader, [b"<html>", b"</html>"]) == b"<html></html>"
    assert reader.usage() == Usage(input_tokens=INPUT_FLOOR, output_tokens=4)


@pytest.mark.parametrize(("stream", "body"), [(True, b"".join(CHAT)), (False, orjson.dumps(CHAT_REPLY))])
def test_without_a_media_type_the_request_decides(stream: bool, body: bytes) -> None:
    reader = reader_of("chat", headers=[], stream=stream)
    assert run(reader, [body]) == body
    assert reader.usage() == REPORTED


def test_a_server_that_answers_a_stream_request_in_one_piece_is_metered() -> None:
    reader = reader_of("chat", headers=[(b"content-type", b"Application/JSON; charset=utf-8")], stream=True, strip=True)
    assert run(reader, [orjson.dumps(CHAT_REPLY)]) == orjson.dumps(CHAT_REPLY)
    assert reader.usage() == REPORTED


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"null", b"1", b"{", b'{"choices":[1]}', b'{"output":7,"content":7}', b"\xff"]
)
@pytest.mark.parametrize("name", [*REPLIES, "embeddings"])
def test_a_plain_reply_that_makes_no_sense_is_passed_and_not_a_crash(name: str, body: bytes) -> None:
    reader = reader_of(name, headers=JSON)
    assert run(reader, [body]) == body
    assert not reader.usage().reported


def test_counting_tokens_and_listing_models_are_free() -> None:
    reader = reader_of("count", headers=JSON)
    run(reader, [b'{"input_tokens":5000}'])
    assert reader.usage() == Usage(reported=True)
    route = find_route("GET", "/v1/models", [])
    assert route is not None
    reader = read_reply(route, read_request(route, b""), status=200, headers=JSON)
    run(reader, [b'{"data":[]}'])
    assert (reader.usage(), reader.ended) == (Usage(reported=True), True)


def test_the_first_guess_of_a_message_is_replaced_by_its_last_word() -> None:
    reader = reader_of("messages")
    reader.feed(MESSAGE_START)
    assert reader.usage() == Usage(input_tokens=12, output_tokens=1, cached_input_tokens=4)
    last = {
        "input_tokens": 4,
        "cache_read_input_tokens": 9,
        "output_tokens": 3,
        "output_tokens_details": {"thinking_tokens": 2},
    }
    reader.feed(messages_event("message_delta", delta={}, usage=last))
    assert reader.usage() == Usage(
        input_tokens=18, output_tokens=3, cached_input_tokens=9, reasoning_tokens=2, reported=True
    )


def test_an_event_too_large_to_read_is_passed_on_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 400)
    large = chat_event([chat_delta(content="x" * 2000)])
    for strip in (False, True):
        reader = reader_of("chat", strip=strip)
        pieces = [large[at : at + 100] for at in range(0, len(large), 100)]
        given = b"".join(reader.feed(piece) for piece in pieces[:-1])
        assert not reader.at_boundary
        assert given + reader.feed(pieces[-1]) == large
        assert reader.at_boundary
        assert reader.usage().output_tokens >= 500
        assert reader.feed(CHAT[1]) == CHAT[1]


def test_words_are_counted_one_by_one() -> None:
    assert cut("chat", 1 + len(WORDS)).usage().output_tokens == len(WORDS)
