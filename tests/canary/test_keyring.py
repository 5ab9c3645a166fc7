from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest

from gateway.canary.keyring import Keyring, hkdf_sha256, load_keyring, new_keyring, rotate, save_keyring
from gateway.errors import ConfigError


def make() -> Keyring:
    return new_keyring(inventory="abc", now_s=1000.0, secret=b"s" * 32)


def test_hkdf_gives_what_rfc_5869_says() -> None:
    # RFC 5869, appendix A, test cases 1 and 3.
    ikm, salt = b"\x0b" * 22, bytes.fromhex("000102030405060708090a0b0c")
    one = hkdf_sha256(ikm, bytes.fromhex("f0f1f2f3f4f5f6f7f8f9"), salt=salt, length=42)
    assert one.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    three = hkdf_sha256(ikm, b"", salt=b"", length=42)
    assert three.hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"


@pytest.mark.parametrize("length", [0, 8161])
def test_hkdf_refuses_lengths_that_the_rfc_does_not_have(length: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 8160"):
        hkdf_sha256(b"k", b"", salt=b"", length=length)


def test_clusters_versions_and_counterfactuals_have_keys_of_their_own() -> None:
    ring = rotate(make(), inventory="abc", now_s=2000.0, secret=b"t" * 32)
    keys = [v.cluster_key(c) for v in ring.versions for c in ("c1", "c2")]
    keys += [v.counterfactual_key("c1", i) for v in ring.versions for i in range(3)]
    assert len(set(keys)) == len(keys)
    assert ring.newest.version == 2


def test_a_saved_keyring_is_read_back_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    ring = make().commit("c1", now_s=5.0).commit("c2", now_s=6.0)
    save_keyring(tmp_path / "k.json", ring)
    assert load_keyring(tmp_path / "k.json") == ring
    assert stat.S_IMODE((tmp_path / "k.json").stat().st_mode) == 0o600


def test_what_an_auditor_sees_holds_no_secret() -> None:
    ring = make().commit("c1", now_s=5.0)
    shown = json.dumps(ring.public())
    assert base64.b64encode(b"s" * 32).decode() not in shown
    assert ring.newest.cluster_key("c1").hex() not in shown
    assert ring.newest.commitment in shown
    assert "s" * 32 not in repr(ring)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body["versions"][0].update(secret=base64.b64encode(b"u" * 32).decode()), "match its commitment"),
        (lambda body: body["versions"][0].update(inventory="other"), "match its commitment"),
        (lambda body: body["clusters"][0].update(cluster="c9"), "the ledger is broken at cluster 'c9'"),
        (lambda body: body["clusters"][1].update(committed_at=1.0), "the ledger is broken at cluster 'c2'"),
        (lambda body: body["clusters"].pop(0), "the ledger is broken at cluster 'c2'"),
        (lambda body: body.update(format="other"), "got format 'other'"),
        (lambda body: body.update(versions=[]), "without versions"),
        (lambda body: body.pop("clusters"), "no whole keyring"),
    ],
)
def test_a_keyring_that_was_changed_afterwards_is_refused(tmp_path: Path, change: object, message: str) -> None:
    path = tmp_path / "k.json"
    save_keyring(path, make().commit("c1", now_s=5.0).commit("c2", now_s=6.0))
    body = json.loads(path.read_text())
    change(body)  # type: ignore[operator]
    path.write_text(json.dumps(body))
    with pytest.raises(ConfigError, match=message):
        load_keyring(path)


def test_a_keyring_that_is_not_there_or_not_json_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"k\.json:1:1: cannot be read"):
        load_keyring(tmp_path / "k.json")
    (tmp_path / "k.json").write_text("{\n no")
    with pytest.raises(ConfigError, match=r"k\.json:2:2: got no JSON"):
        load_keyring(tmp_path / "k.json")


def test_a_cluster_is_promised_once_for_each_version() -> None:
    ring = make().commit("c1", now_s=5.0)
    assert ring.commit("c1", now_s=9.0) is ring
    assert len(rotate(ring, inventory="abc", now_s=7.0).commit("c1", now_s=9.0).ledger) == 2


def test_the_holdout_is_the_share_asked_for_and_stays_the_same() -> None:
    ring = make()
    held = [ring.held_out("c1", f"question {i}", 0.1) for i in range(5000)]
    assert 400 <= sum(held) <= 600
    assert held == [ring.held_out("c1", f"question {i}", 0.1) for i in range(5000)]
    assert held != [ring.held_out("c2", f"question {i}", 0.1) for i in range(5000)]
    assert not any(ring.held_out("c1", f"{i}", 0.0) for i in range(100))
    assert all(ring.held_out("c1", f"{i}", 1.0) for i in range(100))
    assert isinstance(ring.held_out("c1", None, 0.5), bool)
    assert isinstance(ring.held_out("c1", "\ud800", 0.5), bool)


def test_a_secret_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="got 31 bytes, expected 32"):
        new_keyring(inventory="", now_s=0.0, secret=b"x" * 31)
