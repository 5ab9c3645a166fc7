"""Let writers rewrite the free prose of a stream, and nothing else in it.

A writer sees one piece of prose in order and may hold some back; what it still holds is put into one more
delta event of the right shape before that piece ends. Every event, id and index stays; edits are splices, so
all other bytes stay too. What is never touched is listed in ``prose``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import orjson

from gateway.dialects.prose import hidden, splice
from gateway.dialects.routes import Shape
from gateway.dialects.sse import with_data

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from gateway.dialects.prose import Changes, Path, TextWriter
    from gateway.types import JSON


def _spliced(obj: Mapping[str, JSON], data: bytes, changes: Changes) -> bytes:
    """``splice``, three times faster for the common event with one short text: where its name stands only
    once and nothing else is escaped (which could be another spelling of it), it is found by search.
    """
    if len(changes) == 1 and isinstance(changes[0][0][-1], str):
        ((path, new),) = changes
        old: JSON = obj
        try:
            for step in path:
                old = old[step]
        except (LookupError, TypeError):
            return data  # an event that ends a part need not repeat its text
        name = b'"%b"' % str(path[-1]).encode()
        written = b"%b:%b" % (name, orjson.dumps(old))
        if data.count(name) == 1 and data.count(b"\\") == written.count(b"\\") and written in data:
            return data.replace(written, b"%b:%b" % (name, orjson.dumps(new)))
    return splice(data, changes)


class StreamProse:
    """What all shapes share: writers by the piece of prose they write, and the events that are put in."""

    def __init__(self, make: Callable[[], TextWriter] | None) -> None:
        self._make = make
        self._writers: dict[Hashable, TextWriter | None] = {}
        """A writer, or None where this piece of prose must stay as it is."""
        self.inserted = 0
        self.plain_key: Hashable = None
        """The piece of prose whose text was all that the last event had to change; None: it had more, or none."""
        self._fed: list[Hashable] = []

    def event(self, obj: Mapping[str, JSON], event: bytes, data: bytes) -> bytes:
        """The events to give for ``event``, whose ``data`` parsed to ``obj``."""
        self._fed.clear()
        self.plain_key = None
        before, changes = self._look(obj)
        plain = not before and len(self._fed) == 1 and len(changes) <= 1
        self.plain_key = self._fed[0] if plain else None
        changed = with_data(event, data, _spliced(obj, data, changes)) if changes else event
        return before + changed if before else changed

    def alike(self, key: Hashable, text: bytes) -> bytes:
        """The text of one more event like that which ``plain_key`` was of, as its writer gives it, in JSON."""
        writer = self._writers[key]
        return text if writer is None else orjson.dumps(writer.feed(text.decode("ascii")))[1:-1]

    def end(self) -> bytes:
        """Delta events for all that writers still hold, at the end of the stream."""
        return b"".join([self._flush(key) for key in list(self._writers)])

    def _look(self, obj: Mapping[str, JSON]) -> tuple[bytes, Changes]:
        raise NotImplementedError

    def _delta(self, key: Hashable, text: str) -> bytes:
        raise NotImplementedError

    def _feed(self, key: Hashable, text: str) -> str:
        """``text`` as the writer of ``key`` gives it; a writer is made at first sight."""
        if key not in self._writers:
            self._writers[key] = self._make() if self._make is not None else None
        if text:
            self._fed.append(key)
        writer = self._writers[key]
        return text if writer is None else writer.feed(text)

    def _tail(self, key: Hashable) -> str:
        """What the writer of ``key`` still held; it writes no more."""
        self._fed.append(None)
        writer = self._writers.get(key)
        self._writers[key] = None
        return "" if writer is None else writer.finish()

    def _flush(self, key: Hashable) -> bytes:
        """The delta event with what the writer of ``key`` still held; empty where it held nothing."""
        tail = self._tail(key)
        if not tail:
            return b""
        self.inserted += 1
        return self._delta(key, tail)


class ChatProse(StreamProse):
    """Chat completions and completions: a writer a choice."""

    _KEPT = ("id", "object", "created", "model", "system_fingerprint", "service_tier")

    def __init__(self, make: Callable[[], TextWriter] | None, *, chat: bool, hide_reasoning: bool) -> None:
        super().__init__(make)
        self._chat = chat
        self._hide_reasoning = hide_reasoning
        self._last: Mapping[str, JSON] = {}

    def _look(self, obj: Mapping[str, JSON]) -> tuple[bytes, Changes]:
        before: list[bytes] = []
        changes: Changes = []
        if obj.get("choices"):
            self._last = obj
        for at, choice in enumerate(obj.get("choices") or ()):
            key = choice.get("index", 0)
            turn = choice.get("delta") or {} if self._chat else choice
            path: Path = ("choices", at, "delta", "content") if self._chat else ("choices", at, "text")
            text = turn.get(path[-1])
            if choice.get("logprobs"):
                before.append(self._flush(key))
            finished = choice.get("finish_reason") is not None
            if type(text) is str and text:
                new = self._feed(key, text) + (self._tail(key) if finished else "")
                if new != text:
                    changes.append((path, new))
            elif finished:
                before.append(self._flush(key))
            if self._hide_reasoning:
                changes += hidden(turn, ("choices", at, "delta"))
        return b"".join(before), changes

    def _delta(self, key: Hashable, text: str) -> bytes:
        turn: dict[str, JSON] = {"delta": {"content": text}} if self._chat else {"text": text}
        choice = {"index": key, **turn, "logprobs": None, "finish_reason": None}
        kept = {name: self._last[name] for name in self._KEPT if name in self._last}
        return b"data: " + orjson.dumps({**kept, "choices": [choice]}) + b"\n\n"


class MessagesProse(StreamProse):
    """Messages: a writer a text block."""

    def _look(self, obj: Mapping[str, JSON]) -> tuple[bytes, Changes]:
        kind = obj.get("type")
        key = obj.get("index")
        if kind == "content_block_start":
            block = obj["content_block"]
            if block.get("type") != "text" or block.get("citations") is not None:
                self._writers[key] = None
            elif block.get("text"):
                return b"", self._changed(("content_block", "text"), key, block["text"])
        elif kind == "content_block_delta":
            delta = obj["delta"]
            if delta.get("type") == "text_delta" and type(delta.get("text")) is str:
                return b"", self._changed(("delta", "text"), key, delta["text"])
            if delta.get("type") == "citations_delta":
                return self._flush(key), []
        elif kind == "content_block_stop":
            return self._flush(key), []
        return b"", []

    def _changed(self, path: Path, key: Hashable, text: str) -> Changes:
        new = self._feed(key, text)
        return [(path, new)] if new != text else []

    def _delta(self, key: Hashable, text: str) -> bytes:
        delta = {"type": "content_block_delta", "index": key, "delta": {"type": "text_delta", "text": text}}
        return b"event: content_block_delta\ndata: " + orjson.dumps(delta) + b"\n\n"


class ResponsesProse(StreamProse):
    """Responses: a writer an output part. Later events repeat the text of earlier ones (``done`` events and
    the final response), so what was shown is kept and put there; sequence numbers after an event that was
    put in move up by one.
    """

    _FINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})
    _OWN_PART: ClassVar[dict[str, Path]] = {
        "response.output_text.done": ("text",),
        "response.content_part.done": ("part", "text"),
        "response.output_text.annotation.added": (),
    }
    """Events that close the part they name, and where they repeat its text."""

    def __init__(self, make: Callable[[], TextWriter] | None) -> None:
        super().__init__(make)
        self._shown: dict[tuple[int, int], list[str]] = {}
        self._items: dict[Hashable, tuple[JSON, int]] = {}
        """Item id, and the last sequence number as the upstream counted, by part."""

    def _look(self, obj: Mapping[str, JSON]) -> tuple[bytes, Changes]:
        kind = obj.get("type") or ""
        key = (obj.get("output_index", 0), obj.get("content_index", 0))
        before = b""
        changes: Changes = []
        if kind == "response.output_text.delta":
            before, changes = self._text_delta(key, obj)
        else:
            for part, path in self._closed(kind, key):
                before += self._close(part, obj)
                changes += self._repeated(part, path)
        if self.inserted and type(obj.get("sequence_number")) is int:
            changes.append((("sequence_number",), obj["sequence_number"] + self.inserted))
        return before, changes

    def _closed(self, kind: str, key: tuple[int, int]) -> list[tuple[tuple[int, int], Path]]:
        """The parts whose prose is over with this event, and where the event repeats it."""
        if kind in self._OWN_PART:
            return [(key, self._OWN_PART[kind])]
        if kind == "response.output_item.done":
            return [(part, ("item", "content", part[1], "text")) for part in self._shown if part[0] == key[0]]
        if kind in self._FINAL:
            return [(part, ("response", "output", part[0], "content", part[1], "text")) for part in self._shown]
        return []

    def _text_delta(self, key: tuple[int, int], obj: Mapping[str, JSON]) -> tuple[bytes, Changes]:
        self._fed.append(None)  # events with a number of their own, repeated later, are not alike
        self._items[key] = (obj.get("item_id"), obj.get("sequence_number") or 0)
        before = self._close(key, obj) if obj.get("logprobs") else b""
        text = obj["delta"]
        new = self._feed(key, text)
        self._shown.setdefault(key, []).append(new)
        return before, [(("delta",), new)] if new != text else []

    def _close(self, key: tuple[int, int], obj: Mapping[str, JSON]) -> bytes:
        if key in self._items:
            # The event that is put in takes the number of the one it is put before.
            self._items[key] = (self._items[key][0], obj.get("sequence_number") or 0)
        return self._flush(key)

    def _repeated(self, key: tuple[int, int], path: Path) -> Changes:
        return [(path, "".join(self._shown[key]))] if path and key in self._shown else []

    def _delta(self, key: Hashable, text: str) -> bytes:
        part = key if isinstance(key, tuple) else (0, 0)
        item, sequence = self._items.get(key, (None, 0))
        self._shown.setdefault(part, []).append(text)
        delta = {
            "type": "response.output_text.delta",
            "item_id": item,
            "output_index": part[0],
            "content_index": part[1],
            "delta": text,
            "logprobs": [],
            "sequence_number": sequence + self.inserted - 1,
        }
        return b"event: response.output_text.delta\ndata: " + orjson.dumps(delta) + b"\n\n"


def prose_of_stream(
    shape: Shape, make: Callable[[], TextWriter] | None, *, hide_reasoning: bool = False
) -> StreamProse:
    """The rewriter for a stream of this shape."""
    if shape is Shape.MESSAGES:
        return MessagesProse(make)
    if shape is Shape.RESPONSES:
        return ResponsesProse(make)
    return ChatProse(make, chat=shape is Shape.CHAT, hide_reasoning=hide_reasoning)
