from __future__ import annotations

import httpx
import pytest

from gateway.upstream import UpstreamTimeouts, open_transport
from gateway.upstream.wire import CHUNKED
from gateway.upstream.wire import write_head as write


def request(method: str = "POST", target: bytes = b"/v1", **more: object) -> httpx.Request:
    return httpx.Request(method, "http://host:81/", extensions={"target": target}, **more)  # type: ignore[arg-type]


def write_head(request: httpx.Request, body: bytes | None) -> tuple[bytes, int]:
    target = request.extensions["target"]
    return write(request.method, target, request.headers.raw, body, host=request.url.netloc)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x", b"a\r\nEvil: 1"),
        (b"x", b"a\nb"),
        (b"x", b"a\rb"),
        (b"x", b"a\x00b"),
        (b"x\r\nEvil", b"1"),
        (b"x: 1\r\nEvil", b"1"),
        (b"x:y", b"1"),
        (b"x y", b"1"),
        (b"", b"1"),
        (b"x\xe9", b"1"),
    ],
)
def test_header_that_would_end_its_line_early_is_not_written(name: bytes, value: bytes) -> None:
    with pytest.raises(ValueError, match=r"nothing was sent$"):
        write_head(request(headers=[(b"host", b"h"), (name, value)]), b"")


@pytest.mark.parametrize("target", [b"/a b", b"/a\r\nx", b"/\x00", b"/\xe9", b"/\x7f"])
def test_target_that_would_end_the_request_line_early_is_not_written(target: bytes) -> None:
    with pytest.raises(ValueError, match=r"nothing was sent$"):
        write_head(request(target=target), b"")


def test_method_that_is_not_a_token_is_not_written() -> None:
    with pytest.raises(ValueError, match=r"nothing was sent$"):
        write_head(request("GET /x HTTP/1.1\r\nA:"), b"")


@pytest.mark.parametrize(
    "lengths", [[b"2"], [b"4"], [b"-3"], [b"+3"], [b"3 "], [b"0x3"], [b"3", b"4"], [b""], [b"3,3"]]
)
def test_declared_length_that_is_not_the_bodys_is_not_written(lengths: list[bytes]) -> None:
    fields = [(b"content-length", length) for length in lengths]
    with pytest.raises(ValueError, match=r"nothing was sent$"):
        write_head(request(headers=fields, stream=httpx.ByteStream(b"abc")), b"abc")


def test_framing_of_the_caller_is_replaced_by_ours() -> None:
    fields = [(b"Host", b"h"), (b"Content-Length", b"3"), (b"content-length", b"3"), (b"Transfer-Encoding", b"chunked")]
    head, length = write_head(request(headers=fields, stream=httpx.ByteStream(b"abc")), b"abc")
    assert head == b"POST /v1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n"
    assert length == 3


@pytest.mark.parametrize(
    ("method", "body", "framing", "length"),
    [
        ("GET", b"", b"", 0),
        ("POST", b"", b"Content-Length: 0\r\n", 0),
        ("GET", b"x", b"Content-Length: 1\r\n", 1),
        ("POST", None, b"Transfer-Encoding: chunked\r\n", CHUNKED),
    ],
)
def test_host_and_framing_are_all_that_is_added(method: str, body: bytes | None, framing: bytes, length: int) -> None:
    bare = request(method, stream=httpx.ByteStream(body or b""))
    head, framed = write_head(bare, body)
    assert head == method.encode() + b" /v1 HTTP/1.1\r\nHost: host:81\r\n" + framing + b"\r\n"
    assert framed == length


@pytest.mark.parametrize("name", ["connect_s", "first_byte_s", "idle_s"])
@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_time_limit_that_is_no_time_is_refused(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=f"^{name}: got {seconds}, expected seconds > 0$"):
        UpstreamTimeouts(**{name: seconds})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (1, 2, 3)),
        ({"connect": None, "first_byte": None, "idle": None}, (1, 2, 3)),
        ({"connect": 7, "idle": 9}, (7, 2, 9)),
        ({"read": 5, "write": 6, "pool": 7}, (1, 5, 5)),
        ({"read": 5, "first_byte": 8}, (1, 8, 5)),
    ],
)
def test_time_limits_are_overridden_one_by_one(given: dict[str, float | None], expected: tuple[float, ...]) -> None:
    limits = UpstreamTimeouts(connect_s=1, first_byte_s=2, idle_s=3).overridden(given)
    assert (limits.connect_s, limits.first_byte_s, limits.idle_s) == expected


def test_no_connections_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^max_connections: got 0, expected at least 1$"):
        open_transport(UpstreamTimeouts(), max_connections=0)


def test_certificates_that_cannot_be_read_are_refused_when_opened() -> None:
    with pytest.raises(OSError, match="No such file"):
        open_transport(UpstreamTimeouts(), verify="/nonexistent/ca.pem")
