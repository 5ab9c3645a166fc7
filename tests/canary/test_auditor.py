from __future__ import annotations

import base64
import fcntl
import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.canary.audit import judge
from gateway.canary.auditor import load_for_audit
from gateway.canary.evidence import read_texts
from gateway.canary.keyring import Keyring, load_keyring, new_keyring, rotate, save_keyring
from gateway.canary.live import Marker
from gateway.canary.marking import mark_reply
from gateway.canary.slots import load_inventory
from gateway.cli.canary import canary
from gateway.clock import ManualClock
from gateway.errors import ConfigError
from tests.canary.helpers import make_rows, ring_secret

DIGEST = load_inventory().digest
ROWS = make_rows(300, seed=61)


def ring() -> Keyring:
    """c1 is promised in both versions, c2 in the first, c3 in the second."""
    first = new_keyring(inventory=DIGEST, now_s=10.0, secret=ring_secret(11))
    first = first.commit("c1", now_s=11.0).commit("c2", now_s=12.0)
    second = rotate(first, inventory=DIGEST, now_s=20.0, secret=ring_secret(12))
    return second.commit("c1", now_s=21.0).commit("c3", now_s=22.0)


def keygen(*arguments: str) -> str:
    result = CliRunner().invoke(canary, ["keygen", *arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


def auditors_file(folder: Path, clusters: str = "c1,c2") -> Path:
    save_keyring(folder / "k.json", ring())
    keygen("--out", str(folder / "k.json"), "--public", str(folder / "p.json"), "--reveal", clusters)
    return folder / "p.json"


def test_an_auditor_finds_the_same_p_values_without_any_secret(tmp_path: Path) -> None:
    path, own = auditors_file(tmp_path), ring()
    texts = [mark_reply(own, "c1", prompt, reply).reply for prompt, reply in ROWS]
    read, names = read_texts(texts), ["c1"]
    theirs = judge(read, load_for_audit(path, names), names, suspect="s")
    ours = judge(read, own, names, suspect="s")
    assert theirs.results == ours.results
    assert theirs.attributed_to == ("c1",)
    assert theirs.keyring == ours.keyring
    text = path.read_text()
    for version in own.versions:
        assert base64.b64encode(version.raw).decode() not in text
        assert version.cluster_key("c3").hex() not in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_version_that_did_not_promise_a_cluster_finds_nothing_and_is_corrected_for(tmp_path: Path) -> None:
    texts = [mark_reply(ring(), "c3", prompt, reply).reply for prompt, reply in ROWS]
    keyring = load_for_audit(auditors_file(tmp_path, "c1,c3"), ["c1", "c3"])
    report = judge(read_texts(texts), keyring, ["c1", "c3"], suspect="s")
    assert report.attributed_to == ("c3",)
    assert report.results[1].version == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body["revealed"]["c1"].update({"1": "00" * 32}), "the ledger is broken at cluster 'c1'"),
        (lambda body: body["clusters"][3].update(digest="00" * 32), "the ledger is broken at cluster 'c3'"),
        (lambda body: body["clusters"][1].update(committed_at=1.0), "the ledger is broken at cluster 'c2'"),
        (lambda body: body["versions"][0].update(commitment="00" * 32), "the ledger is broken at cluster 'c1'"),
        (lambda body: body["revealed"].pop("c2"), r"got no key of c2, .*it has: c1"),
        (lambda body: body.pop("revealed"), r"got no key of c1, c2, .*it has: none"),
        (lambda body: body.update(revealed=[]), "no whole auditor's file"),
        (lambda body: body.pop("clusters"), "no whole auditor's file"),
    ],
)
def test_an_auditors_file_that_was_changed_is_refused(tmp_path: Path, change: object, message: str) -> None:
    """A key that was chosen afterwards to fit the suspect is not the one that was promised."""
    path = auditors_file(tmp_path)
    body = json.loads(path.read_text())
    change(body)  # type: ignore[operator]
    path.write_text(json.dumps(body))
    with pytest.raises(ConfigError, match=message):
        load_for_audit(path, ["c1", "c2"])


def test_a_cluster_that_was_never_promised_cannot_be_revealed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="got 'c9', which the ledger does not hold"):
        auditors_file(tmp_path, "c1,c9")
    with pytest.raises(ConfigError, match="got no --public"):
        keygen("--out", str(tmp_path / "k.json"), "--reveal", "c1")


@pytest.mark.parametrize("where", ["gateway.cli.canary", "gateway.canary.live"])
def test_no_promise_is_lost_between_keygen_and_a_running_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Both read, change and save under one lock: else the later of two would save without the other's promise."""
    path = tmp_path / "k.json"
    save_keyring(path, ring())
    marker, held = Marker(path, ManualClock()), []

    def load_and_look(at: Path) -> Keyring:
        with at.with_suffix(".lock").open("w") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held.append(where)
        return load_keyring(at)

    monkeypatch.setattr(f"{where}.load_keyring", load_and_look)
    marker.promise("c7")
    keygen("--out", str(path), "--commit", "c8")
    marker.close()
    assert held == [where]
    assert [entry.cluster for entry in load_keyring(path).ledger][-2:] == ["c7", "c8"]


def test_a_keyring_of_another_releases_inventory_gets_a_version_before_it_marks(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    save_keyring(
        path, new_keyring(inventory="of an old release", now_s=10.0, secret=ring_secret(13)).commit("c1", now_s=11.0)
    )
    rows = tmp_path / "rows.ndjson"
    rows.write_text('{"prompt": "p", "reply": "r"}\n')
    mark = ["mark", "--keyring", str(path), "--cluster", "c1", "--in", str(rows), "--out", "-"]
    with pytest.raises(ConfigError, match=r"another release's inventory.*--rotate"):
        CliRunner().invoke(canary, mark, catch_exceptions=False)

    marker = Marker(path, ManualClock())
    assert marker.version == 2
    assert marker.for_reply("c1", "p", ()) is None, "its new key is not promised yet"
    marker.close()
    kept = load_keyring(path)
    assert [version.inventory for version in kept.versions] == ["of an old release", DIGEST]
    assert [(entry.cluster, entry.version) for entry in kept.ledger] == [("c1", 1), ("c1", 2)]
    assert Marker(path, ManualClock()).version == 2, "once"
