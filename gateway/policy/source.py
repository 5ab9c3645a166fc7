"""YAML text to plain values, with the line and column of every one of them.

Invariants: YAML 1.2 core schema (``NO`` is a text, not false); no tags, no objects, no code; a file has
at most ``MAX_BYTES`` bytes, ``MAX_DEPTH`` levels and, after its aliases are written out, ``MAX_NODES``
values, so that an alias bomb costs as little as any other mistake; a key stands once in its mapping.
Nothing here knows what a policy is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from gateway.errors import FileError, FileErrors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ruamel.yaml.events import Event

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_NODES = 50_000
MAX_LINE_BYTES = 4_096
"""The parser takes a square of a token's length for some tokens; a token is no longer than its line."""
MAX_MESSAGE = 500

Path: TypeAlias = tuple[str | int, ...]
"""Where a value stands: keys and list indexes from the top of the file."""

_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_MAX_INT_DIGITS = 30


@dataclass(slots=True)
class _Node:
    """A value before its aliases are written out; ``items`` holds (key, value) pairs or plain values."""

    line: int
    column: int
    scalar: Any = None
    pairs: list[tuple[_Node, _Node]] | None = None
    values: list[_Node] | None = None


@dataclass(slots=True, kw_only=True)
class Document:
    """The values of one file and where each stands (line and column count from 1)."""

    file: str
    data: Any = None
    values_at: dict[Path, tuple[int, int]] = field(default_factory=dict)
    keys_at: dict[Path, tuple[int, int]] = field(default_factory=dict)
    errors: list[FileError] = field(default_factory=list)
    """Mistakes that did not stop the reading: keys that stand twice."""

    def error(self, path: Path, message: str, *, at_key: bool = False) -> FileError:
        """A FileError at ``path``, or at the nearest place above it that the file has."""
        places = self.keys_at if at_key else self.values_at
        where = path
        while where and where not in places:
            where, places = where[:-1], self.values_at
        line, column = places.get(where, (1, 1))
        return FileError(file=self.file, line=line, column=column, message=_short(message))


def read_yaml(text: bytes, file: str) -> Document:
    """The document in ``text``. Raises FileErrors with ``file`` in each message."""
    if len(text) > MAX_BYTES:
        raise _one(file, 1, 1, f"got a file of {len(text):,} bytes, expected at most {MAX_BYTES:,}: split it")
    for number, piece in enumerate(text.split(b"\n"), 1):
        if len(piece) > MAX_LINE_BYTES:
            raise _one(
                file, number, 1, f"got a line of {len(piece):,} bytes, expected at most {MAX_LINE_BYTES:,}: fold it"
            )
    try:
        root = _compose(text.decode("utf-8-sig"), file)
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise _one(file, line, 1, f"got byte 0x{text[error.start]:02x}, expected UTF-8 text") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        said = " ".join(str(part) for part in (error.problem, error.context) if part).replace("\n", " ")
        raise _one(file, line, column, f"got broken YAML ({said}), expected one YAML 1.2 document") from None
    except ReaderError as error:
        shown = f"U+{error.character:04X}" if isinstance(error.character, int) else repr(error.character)
        before = text.decode("utf-8-sig", "replace")[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise _one(file, line, column, f"got the unprintable character {shown}, expected text") from None
    except (YAMLError, ValueError, RecursionError) as error:
        raise _one(file, 1, 1, f"got broken YAML ({type(error).__name__}), expected one YAML 1.2 document") from None
    document = Document(file=file)
    if root is not None:
        _Writer(document).write(root)
    return document


def _one(file: str, line: int, column: int, message: str) -> FileErrors:
    return FileErrors([FileError(file=file, line=line, column=column, message=_short(message))])


def _short(message: str) -> str:
    """A message that a hostile file cannot blow up: quoted text in its middle is cut."""
    half = MAX_MESSAGE // 2
    return message if len(message) <= MAX_MESSAGE else f"{message[:half]} [...] {message[-half:]}"


class _Composer:
    """Builds nodes from parse events without recursion, so that depth is ours to bound."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: _Node | None = None
        self.stack: list[tuple[_Node, str | None]] = []
        self.key: list[_Node | None] = []
        self.anchors: dict[str, _Node] = {}
        self.documents = 0
        self.nodes = 0

    def take(self, event: Event) -> None:
        """One event; raises FileErrors where this reader allows less than YAML does."""
        mark = event.start_mark
        line, column = mark.line + 1, mark.column + 1
        if isinstance(event, DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise _one(self.file, line, column, "got a second document ('---'), expected one document a file")
        elif isinstance(event, (MappingStartEvent, SequenceStartEvent)):
            self._no_tag(event, line, column)
            if len(self.stack) >= MAX_DEPTH:
                raise _one(self.file, line, column, f"got more than {MAX_DEPTH} levels, expected a flatter file")
            node = _Node(line, column)
            if isinstance(event, MappingStartEvent):
                node.pairs = []
            else:
                node.values = []
            self.stack.append((node, event.anchor))
            self.key.append(None)
        elif isinstance(event, (MappingEndEvent, SequenceEndEvent)):
            node, anchor = self.stack.pop()
            self.key.pop()
            self._place(node, anchor)
        elif isinstance(event, ScalarEvent):
            self._no_tag(event, line, column)
            plain = bool(event.implicit[0])
            self._place(_Node(line, column, _scalar(event.value) if plain else event.value), event.anchor)
        elif isinstance(event, AliasEvent):
            self._alias(event, line, column)

    def _alias(self, event: AliasEvent, line: int, column: int) -> None:
        if event.anchor not in self.anchors:
            said = f"got the alias *{event.anchor}, expected an anchor &{event.anchor} that ended before it"
            raise _one(self.file, line, column, said)
        self._place(self.anchors[event.anchor], None)

    def _no_tag(self, event: ScalarEvent | MappingStartEvent | SequenceStartEvent, line: int, column: int) -> None:
        if event.tag is not None and str(event.tag) != "!":
            raise _one(self.file, line, column, f"got the tag {str(event.tag)!r}, expected none: delete it")

    def _place(self, node: _Node, anchor: str | None) -> None:
        """Put a finished node where it belongs."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _one(
                self.file, node.line, node.column, f"got more than {MAX_NODES:,} values, expected a smaller file"
            )
        if anchor is not None:
            self.anchors[anchor] = node
        if not self.stack:
            self.root = node
            return
        parent, _ = self.stack[-1]
        if parent.values is not None:
            parent.values.append(node)
        elif (key := self.key[-1]) is None:
            self.key[-1] = node
        else:
            assert parent.pairs is not None
            parent.pairs.append((key, node))
            self.key[-1] = None


def _compose(text: str, file: str) -> _Node | None:
    """The root node, or None for an empty file."""
    composer = _Composer(file)
    events: Iterator[Event] = YAML(typ="safe", pure=True).parse(text)
    for event in events:
        composer.take(event)
    return composer.root


def _scalar(text: str) -> Any:
    """A plain scalar by the YAML 1.2 core schema (section 10.3.2)."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        if len(text) > _MAX_INT_DIGITS:
            return text
        return int(text, 0) if text[:2] in {"0x", "0o"} else int(text)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


class _Writer:
    """Writes nodes out as plain values, noting where each stands."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.nodes = 0

    def write(self, root: _Node) -> None:
        self.document.data = self._value(root, ())

    def _value(self, node: _Node, path: Path) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES or len(path) > MAX_DEPTH:
            said = f"got more than {MAX_NODES:,} values or {MAX_DEPTH} levels once aliases are written out"
            raise _one(self.document.file, node.line, node.column, f"{said}, expected a smaller file")
        self.document.values_at[path] = (node.line, node.column)
        if node.values is not None:
            return [self._value(value, (*path, index)) for index, value in enumerate(node.values)]
        if node.pairs is None:
            return node.scalar
        return {self._key(key, path): self._value(value, (*path, key.scalar)) for key, value in node.pairs}

    def _key(self, node: _Node, path: Path) -> str:
        if not isinstance(node.scalar, str):
            shown = "a mapping or list" if node.scalar is None else repr(node.scalar)
            said = f"got {shown} as a key, expected a text: put it in quotes"
            raise _one(self.document.file, node.line, node.column, said)
        here = (*path, node.scalar)
        if here in self.document.keys_at:
            line = self.document.keys_at[here][0]
            said = f"got the key {node.scalar!r} a second time (first in line {line}), expected it once: delete one"
            where = FileError(file=self.document.file, line=node.line, column=node.column, message=_short(said))
            self.document.errors.append(where)
        self.document.keys_at[here] = (node.line, node.column)
        return node.scalar
