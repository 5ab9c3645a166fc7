"""Verdicts as bytes: one JSON object each; fields of newer releases are left out."""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson

from gateway.types import Level, Verdict

_FIELDS = {spec.name for spec in dataclasses.fields(Verdict)}
_TUPLES = ("members", "reasons", "replaces", "evidence")


def encode_verdict(verdict: Verdict) -> bytes:
    """JSON. Raises TypeError where evidence or signatures hold what JSON cannot say."""
    return orjson.dumps(verdict, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def decode_verdict(data: bytes | str | dict[str, Any]) -> Verdict:
    """The verdict of an object, or of its JSON. Raises ValueError where it is none."""
    row = data if isinstance(data, dict) else orjson.loads(data)
    try:
        values = {name: value for name, value in row.items() if name in _FIELDS}
        values["level"] = Level(values["level"])
        for name in _TUPLES:
            values[name] = tuple(values.get(name) or ())
        return Verdict(**values)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"got a verdict that cannot be read ({error})") from error


def supersedes(new: Verdict, old: Verdict | None) -> bool:
    """Whether ``new`` takes the place of ``old``, a verdict on the same cluster."""
    return old is None or (new.version, new.decided_at) > (old.version, old.decided_at)
