"""Events as bytes: one JSON object, ``"v"`` first, the fields of ``Event`` after it.

Phrases, which are most of an event (``array("Q")`` in memory), are written as base64 of 8 bytes each, little-endian: a third of
the time and half of the size of decimal numbers. Version 1, where they were a list of numbers, is read by every later
release. A reader takes events of a newer release too: fields that it does not know are left out, and missing ones
have their defaults. Leaves out: where the bytes are kept.
"""

from __future__ import annotations

import dataclasses
from array import array
from binascii import a2b_base64, b2a_base64
from typing import Any

import orjson

from gateway.types import Event, Outcome, Usage

VERSION = 2
_HEAD = b'{"v":%d,' % VERSION
_FIELDS = {spec.name for spec in dataclasses.fields(Event)}
_USAGE_FIELDS = {spec.name for spec in dataclasses.fields(Usage)}
_HASHES = "Q"
_PHRASES = "ph"
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def encode(event: Event) -> bytes:
    """One line without its newline. Raises TypeError where ``traits`` holds what JSON cannot say."""
    return _HEAD + orjson.dumps(event, _packed, _OPTIONS)[1:]


def _packed(value: Any) -> str:
    if isinstance(value, array) and value.typecode == _HASHES:
        return b2a_base64(value, newline=False).decode("ascii")
    raise TypeError


def decode(line: bytes) -> Event:
    """The event of a line.

    Raises ValueError where the line is no JSON object, has no version or lacks a required field.
    """
    row = orjson.loads(line)
    if not isinstance(row, dict) or not isinstance(row.get("v"), int):
        raise ValueError("got a line that is no event, expected a JSON object with a version")  # noqa: TRY004 - a value of a file, not a programmer's type
    values: dict[str, Any] = {name: value for name, value in row.items() if name in _FIELDS}
    try:
        values["outcome"] = Outcome(values["outcome"])
        values["shadowed"] = tuple(values.get("shadowed") or ())
        if (usage := values.get("usage")) is not None:
            values["usage"] = Usage(**{name: value for name, value in usage.items() if name in _USAGE_FIELDS})
        if (traits := values.get("traits")) and isinstance(packed := traits.get(_PHRASES), str):
            traits[_PHRASES] = array(_HASHES, a2b_base64(packed, strict_mode=True))
        return Event(**values)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"got an event of version {row['v']} that cannot be read ({error})") from error
