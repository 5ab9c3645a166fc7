"""The hash key: made once, the same for all, never believed half."""

from __future__ import annotations

import hashlib
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from gateway.errors import ConfigError, StoreError
from gateway.identity import keyed_hash, load_hash_key
from gateway.identity.hashing import digest, digester, fingerprint
from gateway.identity.redis_link import META
from gateway.settings import Secret, Settings

if TYPE_CHECKING:
    from pathlib import Path


def test_a_hash_is_keyed_blake2b_of_its_kind(hash_key: bytes) -> None:
    plain = hashlib.blake2b(b"192.0.2.1", key=hash_key, person=b"address", digest_size=32)
    assert digest(hash_key, "address", b"192.0.2.1") == plain.digest()
    text = keyed_hash(hash_key, "address", "192.0.2.1")
    assert (len(text), text.isalnum(), text) == (16, True, text.lower())


def test_kinds_keys_and_values_are_kept_apart(hash_key: bytes) -> None:
    hashes = {
        keyed_hash(key, kind, value)
        for key in (hash_key, b"l" * 32)
        for kind in ("address", "credential")
        for value in ("", "x", "x\x00", "é", "\udcff")
    }
    assert len(hashes) == 20


@pytest.mark.parametrize(("key", "kind"), [(b"", "address"), (b"k", ""), (b"k", "k" * 17)])
def test_a_hash_without_key_or_kind_is_refused(key: bytes, kind: str) -> None:
    with pytest.raises(ValueError, match="expected a key and 1 to 16 bytes of kind"):
        digest(key, kind, b"x")


def test_the_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    key = load_hash_key(settings)
    path = tmp_path / "state" / "hash.key"
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_hash_key(settings) == key
    assert [each.name for each in path.parent.iterdir()] == ["hash.key"]
    assert load_hash_key(Settings(state_dir=tmp_path / "other")) != key


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load_hash_key(settings), range(32)))
    assert len(keys) == 1


def test_gateways_on_one_redis_agree_on_one_key(redis_url: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(
            pool.map(lambda name: load_hash_key(Settings(redis=redis_url, state_dir=tmp_path / str(name))), range(16))
        )
    assert len(keys) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_given_key_wins_and_touches_nothing(tmp_path: Path) -> None:
    given = Settings(hash_key=Secret("sixteen letters!"), redis="redis://127.0.0.1:1", state_dir=tmp_path)
    assert load_hash_key(given) == load_hash_key(Settings(hash_key=Secret("sixteen letters!")))
    assert list(tmp_path.iterdir()) == []


def test_a_guessable_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="hash_key: got 15 characters, expected at least 16; make one with: openssl"):
        load_hash_key(Settings(hash_key=Secret("fifteen letters")))


@pytest.mark.parametrize("content", [b"", b"00", b"00" * 31, b"00" * 33, b"zz" * 32, b"\xff" * 64])
def test_a_damaged_key_file_is_refused_not_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "hash.key").write_bytes(content)
    with pytest.raises(ConfigError, match=f"hash.key: got {len(content)} bytes, expected 64 hexadecimal digits"):
        load_hash_key(Settings(state_dir=tmp_path))
    assert (tmp_path / "hash.key").read_bytes() == content


def test_a_state_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(ConfigError, match="make state_dir writable or set DISTILLGUARD_HASH_KEY"):
        load_hash_key(Settings(state_dir=tmp_path / "state"))


def test_a_damaged_key_in_redis_is_refused(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        client.hset(META, "hash_key", b"short")
    with pytest.raises(ConfigError, match="the hash key in Redis: got 5 bytes"):
        load_hash_key(Settings(redis=redis_url))


def test_without_redis_there_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be asked"):
        load_hash_key(Settings(redis="redis://127.0.0.1:1/0", state_dir=tmp_path))


def test_a_fingerprint_does_not_give_the_key_away(hash_key: bytes) -> None:
    assert fingerprint(hash_key) == fingerprint(hash_key)
    assert fingerprint(hash_key) != fingerprint(b"l" * 32)


@pytest.mark.parametrize("value", [b"", b"x", b"sk-" + bytes(200)])
def test_a_digester_gives_what_digest_gives_time_after_time(value: bytes) -> None:
    of = digester(b"k" * 32, "credential")
    assert of(value) == of(value) == digest(b"k" * 32, "credential", value)
    with pytest.raises(ValueError, match="expected a key"):
        digester(b"", "credential")
