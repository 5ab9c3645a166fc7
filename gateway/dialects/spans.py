"""Find where a value of a JSON text begins and ends, and put other bytes in its place.

The text must be valid JSON (it was parsed before); nothing is validated again. Offsets are in bytes.
Nothing outside a replaced span changes, so numbers, key order, white space and escapes stay as they were
received. No recursion: depth does not matter.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Span: TypeAlias = tuple[int, int]
"""First byte and the byte after the last one."""

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TOKEN = re.compile(_STRING + rb"|[{}\[\],:]|[^\s{}\[\],:\"]++")


def members(text: bytes, start: int = 0) -> Iterator[tuple[str, Span]]:
    """``(name, span of the value)`` for each member of the object that begins at ``start`` or after white
    space; doubled names are all given, in order.
    """
    position = text.index(b"{", start) + 1
    while True:
        name = _next(text, position)
        if text[name[0]] == ord("}"):
            return
        if text[name[0]] == ord(","):
            name = _next(text, name[1])
        colon = _next(text, name[1])
        value = span_at(text, colon[1])
        yield orjson.loads(text[name[0] : name[1]]), value
        position = value[1]


def elements(text: bytes, start: int = 0) -> Iterator[Span]:
    """The span of each element of the array that begins at ``start`` or after white space."""
    position = text.index(b"[", start) + 1
    while True:
        token = _next(text, position)
        if text[token[0]] == ord("]"):
            return
        value = span_at(text, token[1] if text[token[0]] == ord(",") else position)
        yield value
        position = value[1]


def span_at(text: bytes, start: int) -> Span:
    """The span of the value that begins at ``start`` or after white space."""
    first = _next(text, start)
    if text[first[0]] not in b"{[":
        return first
    depth = 1
    for token in _TOKEN.finditer(text, first[1]):
        byte = text[token.start()]
        if byte in b"{[":
            depth += 1
        elif byte in b"}]":
            depth -= 1
            if not depth:
                return first[0], token.end()
    raise ValueError(f"got a JSON value at byte {first[0]} that does not end, expected valid JSON")


def span_of(text: bytes, path: Sequence[str | int]) -> Span | None:
    """The span of the value at ``path`` (names and indexes), or None. Of doubled names the last counts,
    as it does for the parser.
    """
    span = span_at(text, 0)
    for step in path:
        found: Span | None = None
        opening = text[span[0]]
        if isinstance(step, str) and opening == ord("{"):
            for name, value in members(text, span[0]):
                if name == step:
                    found = value
        elif isinstance(step, int) and opening == ord("["):
            for index, value in enumerate(elements(text, span[0])):
                if index == step:
                    found = value
                    break
        if found is None:
            return None
        span = found
    return span


def replace(text: bytes, changes: Sequence[tuple[Span, bytes]]) -> bytes:
    """``text`` with each span replaced; spans must not overlap, an empty span inserts."""
    pieces: list[bytes] = []
    position = 0
    for (start, end), new in sorted(changes):
        pieces += (text[position:start], new)
        position = end
    pieces.append(text[position:])
    return b"".join(pieces)


def _next(text: bytes, start: int) -> Span:
    token = _TOKEN.search(text, start)
    if token is None:
        raise ValueError(f"got no JSON token after byte {start}, expected valid JSON")
    return token.span()
