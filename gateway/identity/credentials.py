"""Credentials of a request and what trusted proxies say about it, read from its headers in one pass.

Invariants: a request has one credential or none; a malformed one never counts as absent while another
one decides; values are compared whole. Leaves out: whether a credential is good (``identities.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import RequestRefused
from gateway.types import Refusal, RefusalKind

if TYPE_CHECKING:
    from gateway.types import Headers

CREDENTIAL_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key"})
JA4_HEADERS = (b"x-ja4",)
COUNTRY_HEADERS = (b"x-client-country", b"cf-ipcountry", b"cloudfront-viewer-country")
"""The first that is there counts; a trusted proxy must set or remove every one of them."""
END_USER_HEADERS = (b"x-end-user-id",)
ATTRIBUTION_HEADERS = frozenset({*JA4_HEADERS, *COUNTRY_HEADERS, *END_USER_HEADERS})
FORWARDING_HEADERS = frozenset({b"x-forwarded-for", b"forwarded"})
MAX_CREDENTIAL_BYTES = 8_192
"""Long enough for a JSON Web Token with claims; nobody's API key comes near it."""
WRONG_CREDENTIAL = "The API key is malformed, unknown, revoked or expired."
"""One text for all four, so that nobody learns which keys exist."""
_NO_CREDENTIAL = "No API key was given; send it as 'Authorization: Bearer KEY' or 'x-api-key: KEY'."
_TWO_CREDENTIALS = "Two different API keys were given in one request; send one."
_SEEN = CREDENTIAL_HEADERS | ATTRIBUTION_HEADERS | FORWARDING_HEADERS
_VISIBLE = bytes(range(0x21, 0x7F))
_BLANK = b" \t"


def wrong_credential(rule: str) -> RequestRefused:
    """The refusal of a credential that is not good; ``rule`` tells the operator why."""
    return RequestRefused(Refusal(kind=RefusalKind.UNAUTHENTICATED, message=WRONG_CREDENTIAL, rule=rule))


def no_credential() -> RequestRefused:
    """The refusal of a request without one."""
    return RequestRefused(
        Refusal(kind=RefusalKind.UNAUTHENTICATED, message=_NO_CREDENTIAL, rule="identity:no-credential")
    )


def two_credentials() -> RequestRefused:
    """The refusal of a request with two that differ."""
    return RequestRefused(
        Refusal(kind=RefusalKind.BAD_REQUEST, message=_TWO_CREDENTIALS, rule="identity:two-credentials")
    )


def pick_headers(headers: Headers) -> list[tuple[bytes, bytes]]:
    """The few headers that this room reads, in their order."""
    seen = _SEEN
    return [header for header in headers if header[0] in seen]


def read_credential(picked: list[tuple[bytes, bytes]]) -> bytes | None:
    """The one credential of a request; ``b""`` where it is malformed, None where there is none.

    An empty value counts as not given (some SDKs send their empty default). ``Authorization`` is read as
    ``Bearer TOKEN`` (RFC 6750, 2.1; the scheme in any case, RFC 9110, 11.1). Raises RequestRefused (400)
    where two well-formed ones differ.
    """
    found: bytes | None = None
    for name, value in picked:
        if name not in CREDENTIAL_HEADERS:
            continue
        text = value.strip(_BLANK)
        if name == b"authorization":
            if text[:7] == b"Bearer ":
                text = text[7:].strip(_BLANK)
            else:
                scheme, _, rest = text.partition(b" ")
                if text and scheme.lower() != b"bearer":
                    return b""
                text = rest.strip(_BLANK)
        if not text:
            continue
        if len(text) > MAX_CREDENTIAL_BYTES or text.translate(None, _VISIBLE):
            return b""
        if found is not None and text != found:
            raise two_credentials()
        found = text
    return found


def read_country(picked: list[tuple[bytes, bytes]]) -> str | None:
    """Where a trusted proxy says the call comes from; None where it says nothing or ``XX`` (unknown)."""
    for wanted in COUNTRY_HEADERS:
        for name, value in reversed(picked):
            if name == wanted:
                text = value.strip(_BLANK).upper()
                if len(text) == 2 and text.isalnum() and text != b"XX":  # noqa: PLR2004 - ISO 3166-1 alpha-2
                    return text.decode("ascii")
                return None
    return None


def read_label(picked: list[tuple[bytes, bytes]], wanted: bytes, max_bytes: int = 128) -> str | None:
    """The last value of a header as a text; None where it is absent, empty, too long or not visible ASCII."""
    for name, value in reversed(picked):
        if name == wanted:
            text = value.strip(_BLANK)
            if not text or len(text) > max_bytes or text.translate(None, _VISIBLE):
                return None
            return text.decode("ascii")
    return None
