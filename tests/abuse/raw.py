"""Bytes on a socket, and what came back: clients that no library would let you write."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from tests.live import Live

PATIENCE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


def connect(live: Live) -> socket.socket:
    host, port = live.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE_S)


def send(live: Live, data: bytes) -> Answer:
    """Send ``data`` whole and read one answer; a hang is a failure."""
    with connect(live) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # it may answer without reading on
            connection.sendall(data)
        return read_answer(connection)


def read_answer(connection: socket.socket) -> Answer:
    """One answer and not a byte of what follows it: several may be on their way."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += _read(connection, 1, head)
    lines = head.decode("latin-1").rstrip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    length = int(headers.get("content-length", "0"))
    body = b""
    while len(body) < length:
        body += _read(connection, length - len(body), head + body)
    return Answer(status=int(lines[0].split(" ")[1]), headers=headers, body=body)


def _read(connection: socket.socket, most: int, seen: bytes) -> bytes:
    chunk = connection.recv(most)
    assert chunk, f"closed after {seen!r}"
    return chunk


def post(body: bytes, *headers: bytes, path: bytes = b"/v1/chat/completions", key: bytes = b"sk-mine") -> bytes:
    """A well-framed POST."""
    fields = [b"host: x", b"authorization: Bearer " + key, b"content-length: %d" % len(body), *headers]
    return b"POST " + path + b" HTTP/1.1\r\n" + b"\r\n".join(fields) + b"\r\n\r\n" + body
