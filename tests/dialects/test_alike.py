"""Events that are recognised without parsing, against the same reader made to parse every one."""

from __future__ import annotations

import random
import sys
from typing import Any

import orjson
import pytest

from gateway.dialects import read_reply
from gateway.dialects.alike import PLAIN, Alike
from gateway.dialects.stream_reply import StreamReply
from tests.dialects.samples import SSE, chat_delta, chat_event, event, facts_of, messages_event, route_of

TEXTS = [
    *(
        "Hel",
        "lo",
        " world",
        ".",
        " It's",
        "x-1",
        "\u00e9t\u00e9",
        "\u4f60\u597d",
        "a\nb",
        'say "so"',
        "back\\slash",
        "\t",
        "\x7f",
    ),
    *("", " ", ":", ",", ":0,", "[", "}", "content", "assistant", "m-1", "stop", "null", "0", "data: x", "text_delta"),
]


class Slow:
    """Shouts, and holds every text back until the next one; at the end of a piece says so."""

    def __init__(self) -> None:
        self.held = ""

    def feed(self, text: str) -> str:
        given, self.held = self.held, text.upper() + ('"' if "s" in text else "")
        return given

    def finish(self) -> str:
        return self.held + "\n."


def reader(name: str, *, strip: bool, write: bool) -> StreamReply:
    made = read_reply(
        route_of(name), facts_of(name, stream=True), status=200, headers=SSE, strip_usage=strip,
        writers=Slow if write else None,
    )  # fmt: skip
    assert isinstance(made, StreamReply)
    return made


class Parses(Alike):
    """Recognises nothing."""

    __slots__ = ()

    def wants(self) -> bool:
        return False


def chat_row(rng: random.Random) -> bytes:
    """One event of a chat, mostly a delta of one text."""
    text = rng.choice(TEXTS)
    kind = rng.random()
    index = rng.choice((0, 0, 0, 1))
    if kind < 0.7:
        return chat_event([chat_delta(index, content=text)])
    odd: list[bytes] = [
        chat_event([chat_delta(index, role="assistant", content=text)]),
        chat_event([chat_delta(index, reasoning_content=text)]),
        chat_event([chat_delta(index, reasoning_content=text, reasoning=text)]),
        chat_event([chat_delta(index, content=text, refusal=text)]),
        chat_event([chat_delta(index, tool_calls=[{"index": 0, "function": {"arguments": text}}])]),
        chat_event([chat_delta(0, content=text), chat_delta(1, content=text)]),
        chat_event([chat_delta(index, "stop", content=text)]),
        chat_event([chat_delta(index, "stop")]),
        chat_event([{**chat_delta(index, content=text), "logprobs": {"content": []}}]),
        chat_event(
            [chat_delta(index, content=text)], usage={"prompt_tokens": 3, "completion_tokens": rng.randrange(4)}
        ),
        chat_event([], usage={"prompt_tokens": 3, "completion_tokens": 2}),
        chat_event([chat_delta(index, content=text)], system_fingerprint=rng.choice(("a", "b"))),
        chat_event([chat_delta(index, content=text)]).replace(b'"content":', b'"content" : '),
        chat_event([chat_delta(index, content=text)]).replace(b"\n", b"\r\n"),
        chat_event([chat_delta(index, content="Hel")]).replace(b"Hel", b"\\u0048el"),
        chat_event([chat_delta(index, content="Hel")]).replace(b"Hel", b"H\xffl"),
        chat_event([chat_delta(index, content="Hel")]).replace(b"Hel", b"H\nl"),
        event({"error": {"message": text}}),
        b": ping\n\n",
    ]
    return rng.choice(odd)


def messages_row(rng: random.Random) -> bytes:
    text = rng.choice(TEXTS)
    index = rng.choice((0, 0, 1))
    delta = {"type": "text_delta", "text": text}
    if rng.random() < 0.7:
        return messages_event("content_block_delta", index=index, delta=delta)
    odd: list[bytes] = [
        messages_event("content_block_start", index=index, content_block={"type": "text", "text": ""}),
        messages_event("content_block_delta", index=index, delta={"type": "thinking_delta", "thinking": text}),
        messages_event("content_block_delta", index=index, delta={**delta, "thinking": "Hel"}),
        messages_event("content_block_delta", index=index, delta={"type": "citations_delta", "citation": {}}),
        messages_event("content_block_stop", index=index),
        messages_event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": rng.randrange(9)}),
        messages_event("ping"),
    ]
    return rng.choice(odd)


def completions_row(rng: random.Random) -> bytes:
    finish = rng.choice((None, None, None, "stop"))
    return chat_event([{"index": 0, "text": rng.choice(TEXTS), "logprobs": None, "finish_reason": finish}])


ROWS: dict[str, Any] = {"chat": chat_row, "messages": messages_row, "completions": completions_row}


def chunks_of(stream: bytes, rng: random.Random) -> list[bytes]:
    """Whole events, several at once, or cut anywhere."""
    if rng.random() < 0.3:
        return [part + b"\n\n" for part in stream.split(b"\n\n")]
    cuts = sorted(rng.randrange(len(stream)) for _ in range(rng.choice((0, 3, 30))))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("strip", [False, True])
def test_what_is_recognised_is_given_and_metered_as_if_it_were_parsed(name: str, write: bool, strip: bool) -> None:
    recognised = 0
    for seed in range(60):
        rng = random.Random(f"{name} {seed}")
        stream = b"".join([ROWS[name](rng) for _ in range(30)])
        chunks = chunks_of(stream, rng)
        fast = reader(name, strip=strip, write=write)
        full = reader(name, strip=strip, write=write)
        full._alike = Parses()
        for chunk in chunks:
            # Byte by byte equal at every moment, not only in the end: what is held back is held back by both.
            assert fast.feed(chunk) == full.feed(chunk), (seed, chunk)
            assert (fast.usage(), fast.ended, fast.refused) == (full.usage(), full.ended, full.refused), (seed, chunk)
        assert fast.finish() == full.finish(), seed
        assert (fast._tally.chars, fast._tally.deltas) == (full._tally.chars, full._tally.deltas), seed
        recognised += bool(fast._alike.head)
    assert recognised > 30  # else the two readers are the same one


def test_a_plain_stream_is_parsed_once() -> None:
    alike = Alike()
    first = chat_event([chat_delta(content="Hello")])
    assert alike.text(first) == b""
    assert alike.wants()
    alike.learn(first, "Hello")
    assert alike.text(first) == b"Hello"
    assert alike.text(chat_event([chat_delta(content=" you: 5%")])) == b" you: 5%"
    for other in ("caf\u00e9", 'a"b', "a\\b", "a\nb", ""):
        assert alike.text(chat_event([chat_delta(content=other)])) == b""
    assert alike.text(chat_event([chat_delta(1, content="Hello")])) == b""
    assert alike.text(first[: len(alike.head)] + alike.tail[1:]) == b""


@pytest.mark.parametrize("text", [":", ",", ":0,", "", "content", "index", "m-1", "\u00e9", "0"])
def test_a_text_that_could_stand_elsewhere_too_teaches_nothing(text: str) -> None:
    alike = Alike()
    alike.learn(chat_event([chat_delta(content=text)]), text)
    assert alike.head == b""


def test_an_escape_anywhere_teaches_nothing() -> None:
    alike = Alike()
    spelt = (
        chat_event([chat_delta(content="A")])
        .replace(b'"m-1"', b'"A"')
        .replace(b'"content":"A"', b'"content":"\\u0041"')
    )
    alike.learn(spelt, "A")
    assert alike.head == b""


def test_where_nothing_is_alike_learning_is_tried_ever_more_seldom() -> None:
    alike = Alike()
    tried = sum(alike.wants() for _ in range(2_000))
    assert 20 < tried < 200
    alike.learn(chat_event([chat_delta(content="Hello")]), "Hello")
    assert alike.text(chat_event([chat_delta(content="you")]))
    assert alike.wants()


@pytest.mark.parametrize("code", range(256))
def test_plain_characters_are_those_that_json_writes_as_they_are(code: int) -> None:
    as_they_are = code < 0x80 and code != 0x7F and orjson.dumps(chr(code)) == b'"%c"' % code
    assert (code in PLAIN) is as_they_are


def test_an_event_that_is_recognised_costs_a_few_calls() -> None:
    events = [chat_event([chat_delta(content=f" word{number}")]) for number in range(120)]
    fast = reader("chat", strip=True, write=False)
    for one in events[:20]:
        fast.feed(one)
    counted = 0

    def saw(_frame: object, what: str, _arg: object) -> None:
        nonlocal counted
        counted += what in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(saw)
    for one in events[20:]:
        fast.feed(one)
    sys.setprofile(before)
    assert 2 < counted / 100 < 14  # nine were counted; read in full it is some 30
    assert fast._tally.deltas == 120
