from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.dialects import find_route, read_request
from gateway.dialects.request import MAX_COUNT, MAX_MODEL_CHARS
from gateway.errors import RequestRefused
from gateway.types import Refusal, RefusalKind, TextPart
from tests.dialects.samples import PATHS, body_of, facts_of, route_of

STREAMING = ("chat", "completions", "responses", "messages")


def refusal_of(name: str, body: bytes) -> Refusal:
    with pytest.raises(RequestRefused) as caught:
        read_request(route_of(name), body)
    assert caught.value.refusal.kind is RefusalKind.BAD_REQUEST
    return caught.value.refusal


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"{}x",
        b'{"model":"m"',
        b"[]",
        b"null",
        b"1",
        b'"text"',
        b"\xef\xbb\xbf{}",
        b'{"model":"\xff"}',
        b'{"model":"\xed\xa0\x80"}',
        b'{"model":"\\ud800"}',
        b"{'model':'m'}",
        b'{"model":NaN}',
        '{"model":"m"}'.encode("utf-16"),
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_a_body_that_is_not_one_json_object_is_refused(name: str, body: bytes) -> None:
    assert refusal_of(name, body).message.startswith("The body is ")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "model: got null, expected the name of a model."),
        (1, "model: got a number, expected the name of a model."),
        (["m"], "model: got an array, expected the name of a model."),
        ("", "model: got 0 characters, expected 1 to 256."),
        ("m" * (MAX_MODEL_CHARS + 1), "model: got 257 characters, expected 1 to 256."),
        (" m", "model: got a control character or white space around it, expected a plain name."),
        ("m\n", "model: got a control character or white space around it, expected a plain name."),
        ("m\u00a0", "model: got a control character or white space around it, expected a plain name."),
        ("a\x00b", "model: got a control character or white space around it, expected a plain name."),
        ("a\x85b", "model: got a control character or white space around it, expected a plain name."),
    ],
)
def test_a_model_that_is_no_plain_name_is_refused(model: Any, message: str) -> None:
    refusal = refusal_of("chat", body_of("chat", model=model))
    assert (refusal.message, refusal.param) == (message, "model")


def test_a_missing_model_is_refused() -> None:
    assert refusal_of("chat", b"{}").message == "model: got nothing, expected the name of a model."


@pytest.mark.parametrize("model", ["m", "m" * MAX_MODEL_CHARS, "meta/llama 3", "模型"])
def test_any_plain_name_of_a_model_passes(model: str) -> None:
    assert facts_of("chat", model=model).model == model


CAPS = {
    "chat": ("max_tokens", "max_completion_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
    "messages": ("max_tokens",),
}
COUNTS = {"chat": ("n",), "completions": ("n", "best_of"), "responses": (), "messages": ()}
NUMBERS = [(name, field) for name in STREAMING for field in (*CAPS[name], *COUNTS[name])]


@pytest.mark.parametrize(("name", "field"), NUMBERS)
@pytest.mark.parametrize("value", [0, -1, True, False, 16.0, 1e3, "16", [], {}, MAX_COUNT + 1, 2**64, 10**30])
def test_a_cap_that_is_not_a_whole_number_of_at_least_one_is_refused(name: str, field: str, value: Any) -> None:
    body = body_of(name).replace(b'"model"', b'"%b":%b,"model"' % (field.encode(), str(value).lower().encode()))
    if isinstance(value, (str, list, dict)):
        body = body_of(name, **{field: value})
    elif name == "messages":
        body = b'{"model":"m","messages":[],"max_tokens":%b}' % str(value).lower().encode()
    assert refusal_of(name, body).param == field


@pytest.mark.parametrize(("name", "field"), NUMBERS)
@pytest.mark.parametrize("value", [1, 2, MAX_COUNT])
def test_a_cap_is_read(name: str, field: str, value: int) -> None:
    facts = facts_of(name, **{field: value})
    assert (facts.max_output_tokens if field in CAPS[name] else facts.choices) == value


@pytest.mark.parametrize(("name", "field"), NUMBERS)
def test_a_null_is_no_cap(name: str, field: str) -> None:
    facts = facts_of(name, **{field: None})
    assert (facts.max_output_tokens, facts.choices) == (None, 1)


def test_the_larger_declared_cap_counts() -> None:
    assert facts_of("chat", max_tokens=1, max_completion_tokens=10_000).max_output_tokens == 10_000
    assert facts_of("chat", max_tokens=10_000, max_completion_tokens=1).max_output_tokens == 10_000
    assert facts_of("completions", n=2, best_of=5).choices == 5


@pytest.mark.parametrize(
    ("prompt", "prompts", "chars"),
    [
        ("abc", 1, 3),
        (["abc", "de"], 2, 5),
        ([1, 2, 3], 1, 12),
        ([[1, 2], [3]], 2, 12),
        ([], 1, 0),
        ("", 1, 0),
        (None, 1, 0),
        ([""], 1, 0),
    ],
)
def test_every_prompt_of_a_completion_multiplies_its_choices(prompt: Any, prompts: int, chars: int) -> None:
    facts = facts_of("completions", prompt=prompt, n=3)
    assert (facts.choices, facts.input_chars) == (3 * prompts, chars)
    facts = facts_of("embeddings", input=prompt)
    assert (facts.choices, facts.input_chars, facts.makes_output) == (1, chars, False)


@pytest.mark.parametrize("name", STREAMING)
@pytest.mark.parametrize(("value", "stream"), [(True, True), (False, False), (None, False)])
def test_stream_is_a_flag(name: str, value: Any, stream: bool) -> None:
    assert facts_of(name, stream=value).stream is stream


@pytest.mark.parametrize("name", STREAMING)
@pytest.mark.parametrize("value", ["true", 1, 0, [], {}])
def test_a_stream_flag_of_another_type_is_refused(name: str, value: Any) -> None:
    assert refusal_of(name, body_of(name, stream=value)).param == "stream"


@pytest.mark.parametrize(
    ("name", "more", "asked"),
    [
        ("chat", {"stream": True}, False),
        ("chat", {"stream": True, "stream_options": None}, False),
        ("chat", {"stream": True, "stream_options": {}}, False),
        ("chat", {"stream": True, "stream_options": {"include_usage": False}}, False),
        ("chat", {"stream": True, "stream_options": {"include_usage": None}}, False),
        ("chat", {"stream": True, "stream_options": {"include_usage": True}}, True),
        ("completions", {"stream": True}, False),
        ("chat", {}, True),
        ("responses", {"stream": True}, True),
        ("messages", {"stream": True}, True),
    ],
)
def test_whether_usage_comes_without_our_asking(name: str, more: dict[str, Any], asked: bool) -> None:
    assert facts_of(name, **more).usage_asked is asked


@pytest.mark.parametrize("options", [[], "x", 1, {"include_usage": "true"}, {"include_usage": 1}])
def test_stream_options_of_another_type_are_refused(options: Any) -> None:
    assert "stream_options" in refusal_of("chat", body_of("chat", stream=True, stream_options=options)).message


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("chat", "messages", "text"),
        ("chat", "messages", {"role": "user"}),
        ("chat", "tools", {}),
        ("completions", "prompt", {"text": "x"}),
        ("completions", "prompt", 1),
        ("responses", "input", {"role": "user"}),
        ("responses", "instructions", 1),
        ("embeddings", "input", True),
        ("messages", "messages", "text"),
        ("messages", "system", {"text": "x"}),
        ("count", "messages", 1),
    ],
)
def test_a_container_of_another_type_would_hide_texts_and_is_refused(name: str, field: str, value: Any) -> None:
    assert refusal_of(name, body_of(name, **{field: value})).param == field


def doubled(name: str, first: bytes, second: bytes) -> bytes:
    return body_of(name)[:-1] + b"," + first + b"," + second + b"}"


@pytest.mark.parametrize(
    ("name", "first", "second", "param"),
    [
        ("chat", b'"max_tokens":1', b'"max_tokens":100000', "max_tokens"),
        ("chat", b'"max_tokens":1', b'"max_\\u0074okens":100000', "max_tokens"),
        ("chat", b'"max\\u005ftokens":1', b'"max\\u005Ftokens":100000', "max_tokens"),
        ("chat", b'"stream":true', b'"stream" : false', "stream"),
        ("chat", b'"user":"a"', b'"model":"m-2"', "model"),
        ("chat", b'"user":"a"', b'"m\\u006Fdel":"m-2"', "model"),
        ("chat", b'"user":"a"', b'"messages":[]', "messages"),
        ("chat", b'"n":1', b'"n":9', "n"),
        ("chat", b'"stream_options":{}', b'"stream_options":{}', "stream_options"),
        ("completions", b'"best_of":1', b'"best_of":9', "best_of"),
        ("responses", b'"max_output_tokens":1', b'"max_output_tokens":9', "max_output_tokens"),
        ("responses", b'"background":false', b'"background":true', "background"),
        ("messages", b'"system":"a"', b'"system":"b"', "system"),
        ("embeddings", b'"user":"a"', b'"input":"b"', "input"),
    ],
)
def test_two_values_of_a_deciding_member_are_a_parser_differential(
    name: str, first: bytes, second: bytes, param: str
) -> None:
    refusal = refusal_of(name, doubled(name, first, second))
    assert (refusal.message, refusal.param) == (f"{param}: got it more than once, expected it once.", param)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b'"max_tokens":1', b'"metadata":{"max_tokens":2,"max_tokens":3}'),
        (b'"max_tokens":1', b'"x":"\\"max_tokens\\": 5 \\u0041"'),
        (b'"max_tokens":1', b'"x":["max_tokens","max_tokens"]'),
        (b'"x":1', b'"x":2'),
        (b'"max_tokens":1', b'"max_tokens_x":"\\u0061"'),
        (b'"max_tokens":1', b'"x":%b' % (b"1" * 300 + b',"y":"\\u0061"')),
    ],
)
def test_what_only_looks_like_a_second_member_passes(first: bytes, second: bytes) -> None:
    assert read_request(route_of("chat"), doubled("chat", first, second)).max_output_tokens in {1, None}


def test_a_suspicious_body_nested_deeply_is_refused_and_not_a_crash() -> None:
    deep = b'"x":' + b"[" * 1000 + b"]" * 1000
    refusal = refusal_of("chat", doubled("chat", b'"\\u0061":1', deep))
    assert "nested" in refusal.message or "not valid JSON" in refusal.message


def test_a_background_reply_cannot_be_metered_and_is_refused() -> None:
    assert refusal_of("responses", body_of("responses", background=True)).param == "background"
    assert facts_of("responses", background=False).stream is False


@pytest.mark.parametrize(
    ("name", "more", "wanted"),
    [
        ("chat", {}, False),
        ("chat", {"logprobs": False}, False),
        ("chat", {"logprobs": True}, True),
        ("chat", {"top_logprobs": 5}, True),
        ("completions", {"logprobs": 0}, True),
        ("completions", {"logprobs": None}, False),
        ("responses", {"include": ["message.output_text.logprobs"]}, True),
        ("responses", {"include": ["reasoning.encrypted_content"]}, False),
    ],
)
def test_a_wish_for_log_probabilities_is_seen(name: str, more: dict[str, Any], wanted: bool) -> None:
    assert facts_of(name, **more).logprobs is wanted


@pytest.mark.parametrize(
    ("name", "more", "user"),
    [
        ("chat", {"user": "u1"}, "u1"),
        ("chat", {"user": "u1", "safety_identifier": "s1"}, "s1"),
        ("chat", {"user": 5}, None),
        ("messages", {"metadata": {"user_id": "u2"}}, "u2"),
        ("messages", {"metadata": "u2"}, None),
        ("messages", {"user": "u1"}, None),
    ],
)
def test_the_end_user_is_read(name: str, more: dict[str, Any], user: str | None) -> None:
    assert facts_of(name, **more).end_user == user


def test_a_route_without_a_body_reads_none() -> None:
    route = find_route("GET", "/v1/models", [])
    assert route is not None
    assert read_request(route, b"whatever").model == ""


def test_the_body_stays_as_parsed_with_unknown_members() -> None:
    facts = facts_of("chat", unknown={"deep": [1, 2.5, None]})
    assert facts.body["unknown"] == {"deep": [1, 2.5, None]}
    assert facts.body_bytes == len(body_of("chat", unknown={"deep": [1, 2.5, None]}))


def roles_of(name: str, **more: Any) -> list[tuple[str, str]]:
    body = orjson.loads(body_of(name))
    facts = read_request(route_of(name), orjson.dumps({"model": "m", **body, **more}))
    assert facts.input_chars == sum(len(part.text) for part in facts.texts)
    return [(part.role, part.text) for part in facts.texts]


def test_texts_of_a_chat() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:..."}}
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    found = roles_of(
        "chat",
        tools=[tool],
        messages=[
            {"role": "system", "content": "s"},
            {"role": "developer", "content": [{"type": "text", "text": "d"}]},
            {"role": "user", "content": [{"type": "text", "text": "u"}, image, {"type": "new_kind", "text": "?"}]},
            {"role": "assistant", "content": None, "reasoning_content": "r", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "t"},
            {"role": "new_role", "content": "x"},
            "not a message",
            {"role": 7, "content": 7},
        ],
    )
    assert found == [
        ("tools", orjson.dumps(tool).decode()),
        ("system", "s"),
        ("system", "d"),
        ("user", "u"),
        ("assistant", "r"),
        ("assistant", "{}"),
        ("tool", "t"),
        ("user", "x"),
    ]


def test_texts_of_messages() -> None:
    tool = {"name": "f", "input_schema": {}}
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "doc"}, "title": "T"}
    found = roles_of(
        "messages",
        tools=[tool],
        system=[{"type": "text", "text": "s"}],
        messages=[
            {"role": "user", "content": [{"type": "text", "text": "u"}, {"type": "image", "source": {}}, document]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "think", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "opaque"},
                    {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "result"}]},
            {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "r2"}]}]},
        ],
    )
    assert found == [
        ("tools", orjson.dumps(tool).decode()),
        ("system", "s"),
        ("user", "u"),
        ("user", "T"),
        ("user", "doc"),
        ("assistant", "think"),
        ("signature", "sig"),
        ("signature", "opaque"),
        ("assistant", '{"a":1}'),
        ("tool", "result"),
        ("tool", "r2"),
    ]


def test_texts_of_responses() -> None:
    found = roles_of(
        "responses",
        instructions="i",
        prompt={"id": "p", "variables": {"a": "v", "b": {"type": "input_text", "text": "w"}}},
        input=[
            {"role": "user", "content": "u"},
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "p"}, {"type": "input_image"}],
            },
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "sum"}], "encrypted_content": "enc"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "out"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "o2"}]},
            {"type": "item_reference", "id": "x"},
        ],
    )
    assert found == [
        ("system", "i"),
        ("user", "v"),
        ("user", "w"),
        ("user", "u"),
        ("user", "p"),
        ("assistant", "sum"),
        ("signature", "enc"),
        ("assistant", "{}"),
        ("tool", "out"),
        ("tool", "o2"),
    ]
    assert roles_of("responses", input="plain") == [("user", "plain")]


def test_texts_of_completions_and_embeddings() -> None:
    assert facts_of("completions", prompt=["a", "b"], suffix="z").texts == (
        TextPart(role="input", text="a"),
        TextPart(role="input", text="b"),
        TextPart(role="input", text="z"),
    )
    assert facts_of("embeddings", input="a").texts == (TextPart(role="input", text="a"),)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize(
    "junk", [None, 1, "x", [], {}, [[]], [{}], [None], [{"type": []}], [{"role": [], "content": {}}]]
)
def test_parts_of_unknown_kinds_are_passed_over(name: str, junk: Any) -> None:
    for field in ("messages", "input", "prompt", "system", "tools", "instructions"):
        try:
            read_request(route_of(name), body_of(name, **{field: junk}))
        except RequestRefused as refused:
            assert refused.refusal.param == field  # noqa: PT017 - only some of the pairs are refused
