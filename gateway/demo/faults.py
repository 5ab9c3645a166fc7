"""Scripted faults of the embedded model server: what goes wrong, asked for by the model's name or by a header.

Model ``fault-NAME``, or header ``x-demo-fault: NAME`` with any model:

| name | what happens |
| --- | --- |
| ``400``, ``401``, ``403``, ``404``, ``413``, ``429``, ``500``, ``503``, ``529`` | that status, in the dialect; 429 and 503 with ``retry-after: 1`` |
| ``html`` | 502 with a web page, as a balancer in front of the model server writes it |
| ``hang-first-byte`` | no reply until the caller goes away |
| ``hang-mid-stream`` | half of the reply, then nothing until the caller goes away |
| ``break-mid-stream`` | half of the reply, then the connection is closed |
| ``error-mid-stream`` | half of a stream, then the dialect's error event and a regular end |
| ``no-end`` | a stream that ends regularly without its terminal event |
| ``garbage`` | status 200 and bytes that are neither JSON nor events |
| ``empty`` | status 200 and no body |
| ``no-usage`` | a reply without any usage |
| ``slow`` | a reply with 50 ms more before each token |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

STATUSES = frozenset((400, 401, 403, 404, 413, 429, 500, 503, 529))
NAMES = frozenset(
    {str(status) for status in STATUSES}
    | {"html", "hang-first-byte", "hang-mid-stream", "break-mid-stream", "error-mid-stream"}
    | {"no-end", "garbage", "empty", "no-usage", "slow"}
)
HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\n"
GARBAGE = b'data: {"id": \xff\xfe not json\n\n{"choices": [}'
SLOW_TOKEN_S = 0.05
_PREFIX = "fault-"
_HEADER = b"x-demo-fault"


def fault_of(model: str, headers: Mapping[bytes, bytes]) -> str | None:
    """The fault that was asked for; an unknown name is a mistake in a test: ValueError with the known ones."""
    name = headers.get(_HEADER, b"").decode("latin-1") or (
        model.removeprefix(_PREFIX) if model.startswith(_PREFIX) else ""
    )
    if name and name not in NAMES:
        raise ValueError(f"got fault {name!r}, expected one of {', '.join(sorted(NAMES))}")
    return name or None


def without_usage(data: bytes) -> bytes:
    """A JSON reply, or an event with a line of JSON, with every ``usage`` member taken out."""
    head, mark, tail = data.rpartition(b"data: ") if b"data: " in data else (b"", b"", data)
    if tail.startswith(b"[DONE]"):
        return data
    value = _drop_usage(orjson.loads(tail))
    if value.get("choices") == []:
        return b""
    return head + mark + orjson.dumps(value) + (b"\n\n" if mark else b"")


def _drop_usage(value: Any) -> Any:
    """``value`` without ``usage`` members, at any depth."""
    if isinstance(value, dict):
        return {name: _drop_usage(part) for name, part in value.items() if name != "usage"}
    if isinstance(value, list):
        return [_drop_usage(part) for part in value]
    return value
