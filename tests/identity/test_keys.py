"""The shape of keys and what a record says of its key."""

from __future__ import annotations

import base64
import hashlib
import string

import pytest

from gateway.identity import make_key, public_id_of
from gateway.identity.keys import KEY_CHARS, KeyRecord, claimed_id, looks_like_key

ALPHABET = string.ascii_lowercase + "234567"


def test_a_key_has_version_id_secret_and_check(hash_key: bytes) -> None:
    text, record = make_key(hash_key, "a1", now_s=5.0, plan="pro", org="o1", label="ci", lifetime_s=10.0)
    version, public_id, rest = text.split("_")
    assert (version, len(public_id), len(rest), len(text)) == ("dg1", 16, 39, KEY_CHARS)
    assert public_id_of(text) == claimed_id(text) == record.public_id == public_id
    assert (record.account, record.plan, record.org, record.label) == ("a1", "pro", "o1", "ci")
    assert (record.created_at, record.expires_at, record.revoked_at) == (5.0, 15.0, None)


def test_the_secret_has_160_bits_and_is_never_the_same(hash_key: bytes) -> None:
    texts = [make_key(hash_key, "a1", now_s=0.0)[0] for _ in range(200)]
    secrets = {base64.b32decode(text.split("_")[2][:32].upper()) for text in texts}
    assert {len(secret) for secret in secrets} == {20}
    assert len(secrets) == len({text.split("_")[1] for text in texts}) == 200


def test_a_record_holds_nothing_that_the_secret_could_be_read_from(hash_key: bytes) -> None:
    text, record = make_key(hash_key, "a1", now_s=0.0)
    assert text.split("_")[2] not in repr(record)
    assert record.secret_hash.hex() not in repr(record)
    assert (
        record.secret_hash
        == hashlib.blake2b(text.encode(), key=hash_key, person=b"credential", digest_size=32).digest()
    )


def test_one_wrong_character_anywhere_is_told_from_a_key(hash_key: bytes) -> None:
    text, _ = make_key(hash_key, "a1", now_s=0.0)
    for place, char in enumerate(text):
        for other in (ALPHABET[ALPHABET.find(char) - 1], char.upper(), "1", "é", "\x00"):
            if other != char:
                assert public_id_of(text[:place] + other + text[place + 1 :]) is None, (place, other)


@pytest.mark.parametrize("cut", [0, 1, 3, 4, 20, 21, 58, 59])
def test_a_cut_key_is_no_key(hash_key: bytes, cut: int) -> None:
    text, _ = make_key(hash_key, "a1", now_s=0.0)
    assert public_id_of(text[:cut]) is None
    assert public_id_of(text + "a") is None


def test_what_claims_to_be_a_key_is_told_by_its_prefix() -> None:
    assert looks_like_key("dg1_")
    assert not looks_like_key("sk-dg1_")
    assert not looks_like_key("")


@pytest.mark.parametrize(
    ("now_s", "state"), [(99.999, "active"), (100.0, "expired"), (100.001, "expired")], ids=["before", "at", "after"]
)
def test_a_key_is_dead_at_its_very_expiry(now_s: float, state: str) -> None:
    record = KeyRecord(public_id="k", secret_hash=bytes(32), account="a", created_at=0.0, expires_at=100.0)
    assert record.state(now_s) == state


def test_revoked_is_told_before_expired() -> None:
    record = KeyRecord(public_id="k", secret_hash=b"", account="a", created_at=0.0, expires_at=1.0, revoked_at=0.5)
    assert record.state(2.0) == "revoked"
    assert record.state(0.0) == "revoked"
