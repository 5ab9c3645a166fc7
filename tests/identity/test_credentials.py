"""Every way to write credentials and attribution into headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RequestRefused
from gateway.identity.credentials import (
    ATTRIBUTION_HEADERS,
    CREDENTIAL_HEADERS,
    MAX_CREDENTIAL_BYTES,
    pick_headers,
    read_country,
    read_credential,
    read_label,
)
from gateway.types import RefusalKind

AUTH, X_API_KEY, API_KEY = b"authorization", b"x-api-key", b"api-key"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        ([(AUTH, b"Bearer abc")], b"abc"),
        ([(AUTH, b"bearer abc")], b"abc"),
        ([(AUTH, b"BEARER   abc ")], b"abc"),
        ([(AUTH, b"\tBearer abc\t")], b"abc"),
        ([(X_API_KEY, b"abc")], b"abc"),
        ([(API_KEY, b" abc ")], b"abc"),
        ([(AUTH, b"Bearer abc"), (X_API_KEY, b"abc"), (API_KEY, b"abc")], b"abc"),
        ([(AUTH, b"Bearer abc"), (AUTH, b"bearer abc")], b"abc"),
        ([(AUTH, b"Bearer abc"), (X_API_KEY, b"")], b"abc"),
        ([(AUTH, b"Bearer "), (X_API_KEY, b"abc")], b"abc"),
        ([(AUTH, b"Bearer"), (X_API_KEY, b"abc")], b"abc"),
        ([(AUTH, b""), (X_API_KEY, b"   ")], None),
        ([(X_API_KEY, b"Bearer")], b"Bearer"),
        ([(X_API_KEY, bytes(range(0x21, 0x7F)))], bytes(range(0x21, 0x7F))),
        ([(X_API_KEY, b"a" * MAX_CREDENTIAL_BYTES)], b"a" * MAX_CREDENTIAL_BYTES),
    ],
)
def test_a_credential_is_read(headers: list[tuple[bytes, bytes]], expected: bytes | None) -> None:
    assert read_credential(headers) == expected


@pytest.mark.parametrize(
    "headers",
    [
        [(AUTH, b"Basic YTpi")],
        [(AUTH, b"Basic YTpi"), (X_API_KEY, b"abc")],
        [(X_API_KEY, b"abc"), (AUTH, b"abc")],
        [(AUTH, b"Bearer a b")],
        [(AUTH, b"Bearer abc, Bearer abc")],
        [(AUTH, b"Bearer\tabc")],
        [(AUTH, b"Bearerabc")],
        [(X_API_KEY, b"a\x00b")],
        [(X_API_KEY, b"a\x7fb")],
        [(X_API_KEY, b"a b")],
        [(X_API_KEY, "schlüssel".encode())],
        [(X_API_KEY, b"\xff\xfe")],
        [(AUTH, b"Bearer \xe2\x80\x8b")],
        [(X_API_KEY, b"a" * (MAX_CREDENTIAL_BYTES + 1))],
        [(AUTH, b"Bearer " + b"a" * 10_000_000)],
        [(AUTH, b"Bearer abc")] * 3 + [(X_API_KEY, b"\xff")],
    ],
)
def test_a_malformed_credential_never_counts_as_absent(headers: list[tuple[bytes, bytes]]) -> None:
    assert read_credential(headers) == b""


@pytest.mark.parametrize(
    "headers",
    [
        [(AUTH, b"Bearer abc"), (X_API_KEY, b"abd")],
        [(AUTH, b"Bearer abc"), (AUTH, b"Bearer abd")],
        [(X_API_KEY, b"abc"), (API_KEY, b"ABC")],
        [(X_API_KEY, b"abc"), (X_API_KEY, b""), (API_KEY, b"abcd")],
    ],
)
def test_two_different_credentials_are_refused_by_400(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(RequestRefused, match="Two different API keys were given in one request; send one") as caught:
        read_credential(headers)
    assert caught.value.refusal.kind is RefusalKind.BAD_REQUEST
    assert "abc" not in str(caught.value)


@given(st.lists(st.tuples(st.sampled_from([AUTH, X_API_KEY, API_KEY, b"accept"]), st.binary(max_size=30)), max_size=5))
def test_any_bytes_give_a_credential_nothing_or_a_refusal(headers: list[tuple[bytes, bytes]]) -> None:
    try:
        found = read_credential(pick_headers(headers))
    except RequestRefused:
        return
    assert found is None or found == b"" or any(found in value for _, value in headers)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        ([(b"x-client-country", b"DE")], "DE"),
        ([(b"cf-ipcountry", b" de ")], "DE"),
        ([(b"cf-ipcountry", b"T1")], "T1"),
        ([(b"cloudfront-viewer-country", b"FR"), (b"x-client-country", b"DE")], "DE"),
        ([(b"x-client-country", b"US"), (b"x-client-country", b"DE")], "DE"),
        ([(b"x-client-country", b"XX"), (b"cf-ipcountry", b"DE")], None),
        ([(b"x-client-country", b"")], None),
        ([(b"x-client-country", b"DEU")], None),
        ([(b"x-client-country", b"D\xc9")], None),
        ([(b"x-client-country", b"D-")], None),
    ],
)
def test_the_proxys_country_is_two_letters_or_nothing(headers: list[tuple[bytes, bytes]], expected: str | None) -> None:
    assert read_country(headers) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], None),
        ([b"t13d1516h2_8daaf6152771_b186095e22b6"], "t13d1516h2_8daaf6152771_b186095e22b6"),
        ([b"forged", b"seen"], "seen"),
        ([b"forged", b""], None),
        ([b"a" * 128], "a" * 128),
        ([b"a" * 129], None),
        ([b"\xff"], None),
        ([b"a\r\nset-cookie: x"], None),
    ],
)
def test_the_last_value_of_a_label_counts_if_it_can_be_written_down(values: list[bytes], expected: str | None) -> None:
    assert read_label([(b"x-ja4", value) for value in values], b"x-ja4") == expected


def test_what_a_proxy_strips_is_in_the_lists() -> None:
    assert {b"authorization", b"x-api-key", b"api-key"} == CREDENTIAL_HEADERS
    assert {b"x-ja4", b"x-client-country", b"cf-ipcountry", b"x-end-user-id"} <= ATTRIBUTION_HEADERS
    assert all(name == name.lower() for name in CREDENTIAL_HEADERS | ATTRIBUTION_HEADERS)
