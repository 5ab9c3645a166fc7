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
    seen = b""
    while b"\r\n\r\n" not in seen:
        chunk = connection.recv(65_536)
        assert chunk, f"closed without an answer after {seen!r}"
        seen += chunk
    head, _, body = seen.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    length = int(headers.get("content-length", "0"))
    while len(body) < length:
        chunk = connection.recv(65_536)
        assert chunk, f"closed in mid-body after {body!r}"
        body += chunk
    return Answer(status=int(lines[0].split(" ")[1]), headers=headers, body=body)


def post(body: bytes, *headers: bytes, path: bytes = b"/v1/chat/completions", key: bytes = b"sk-mine") -> bytes:
    """A well-framed POST."""
    fields = [b"host: x", b"authorization: Bearer " + key, b"content-length: %d" % len(body), *headers]
    return b"POST " + path + b" HTTP/1.1\r\n" + b"\r\n".join(fields) + b"\r\n\r\n" + body
