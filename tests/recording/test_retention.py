"""Nothing is kept for longer than the policies say, and what customers wrote is under a key."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.clock import ManualClock
from gateway.errors import ConfigError, FileErrors
from gateway.pipeline import Exchange
from gateway.policy import RecordingPolicy, SamplesPolicy, check_policies, load_policies
from gateway.recording import Recorder
from gateway.recording.samples import SealBroken, Sealer, make_key
from gateway.recording.segments import LATE_S, add_accounts, began_at, list_recordings
from gateway.settings import Secret
from gateway.types import Family, Identity, Level, Plan, RequestFacts, Standing
from tests.policy.helpers import BASE, asks, caller, policies_of, standing
from tests.recording.test_recorder import KEY, SECRET, recorded_rows

DAY_S = 86_400.0
NOW = 1_800_000_000.0
RECORDING = "recording: {retention: 10d, samples: {key: '${SAMPLES_KEY}', retention: 2d}}\n"


class Rig:
    """A recorder on a clock of its own, whose thread has nothing to do but write."""

    def __init__(self, folder: Path, *, retention_s: float = 10 * DAY_S, samples_s: float | None = 2 * DAY_S) -> None:
        self.clock = ManualClock(NOW)
        self.policy = RecordingPolicy(retention_s=retention_s)
        if samples_s is not None:
            self.policy = RecordingPolicy(
                retention_s=retention_s, samples=SamplesPolicy(key=Secret(KEY), retention_s=samples_s)
            )
        self.folder = folder
        self.recorder = Recorder(folder, b"k" * 32, self.clock, lambda: self.policy)

    def record(self, number: int, *, sample: bool = True, account: str = "a1", size: int = 10) -> None:
        now_s = self.clock.now()
        exchange = Exchange(
            id=f"req_{number}", family=Family.OPENAI, method="POST", path="/v1/chat/completions",
            started_at=now_s, started_s=now_s, headers=[(b"authorization", b"Bearer secret")],
        )  # fmt: skip
        exchange.identity = Identity(account=account, plan="free", address="203.0.113.9")
        body = {"model": "m", "messages": [{"role": "user", "content": f"{SECRET} {'x' * size}"}]}
        exchange.facts = RequestFacts(
            family=Family.OPENAI, route="openai.chat_completions", model="m", body=body, body_bytes=size
        )
        exchange.plan = Plan(plan="free", sample=sample)
        exchange.standing = Standing(level=Level.SUSPECT, cluster="c7")
        self.recorder.record(exchange)

    def files(self, kind: str) -> int:
        return len(list_recordings(self.folder, kind))


# -- retention


@pytest.mark.parametrize(("kind", "retention_s"), [("requests", 10 * DAY_S), ("samples", 2 * DAY_S)])
def test_a_file_goes_when_its_oldest_request_may_be_as_old_as_the_retention(
    tmp_path: Path, kind: str, retention_s: float
) -> None:
    rig = Rig(tmp_path)
    rig.record(1)
    rig.recorder.flush()
    rig.clock.advance(3_601)
    rig.recorder.tidy()
    rig.clock.advance(LATE_S)  # the youngest go on into the next file: nothing is left of this one
    rig.recorder.tidy()
    assert rig.files(kind) == 1
    oldest_s = NOW - LATE_S
    rig.clock.move_to(oldest_s + retention_s)
    rig.recorder.tidy()
    assert rig.files(kind) == 1
    rig.clock.advance(1)
    rig.recorder.tidy()
    assert rig.files(kind) == 0
    rig.recorder.close()


def test_samples_go_before_the_recordings_that_they_are_samples_of(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.record(1)
    rig.recorder.flush()
    for _ in range(3):
        rig.clock.advance(DAY_S)
        rig.recorder.tidy()
    assert (rig.files("requests"), rig.files("samples")) == (1, 0)
    rig.recorder.close()


def test_no_request_is_ever_older_than_the_retention_however_short(tmp_path: Path) -> None:
    """A day of traffic under the shortest retention, looked at each minute as the thread does."""
    rig = Rig(tmp_path, retention_s=3_600.0, samples_s=3_600.0)
    most_s = 0.0
    for minute in range(600):
        if minute % 7 == 0:
            rig.record(minute, size=1)
        rig.recorder.flush()
        rig.clock.advance(60)
        rig.recorder.tidy()
        for kind in ("requests", "samples"):
            for row in [*recorded_rows(tmp_path, kind), *open_rows(tmp_path, kind)]:
                most_s = max(most_s, rig.clock.now() - row["ts"])
    assert 1_800 < most_s <= 3_600 + 60
    rig.recorder.close()


def open_rows(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [orjson.loads(line) for path in folder.glob(f"{kind}-*.part") for line in path.read_bytes().splitlines()]


def test_neither_touching_nor_copying_a_file_makes_it_younger(tmp_path: Path) -> None:
    old = tmp_path / "requests-20200101T000000-000-1.ndjson.zst"
    old.write_bytes(b"")
    os.utime(old, (NOW, NOW))
    rig = Rig(tmp_path)
    assert not old.exists()
    rig.recorder.close()


def test_a_shorter_retention_holds_from_the_next_look_on(tmp_path: Path) -> None:
    rig = Rig(tmp_path, samples_s=None)
    rig.record(1)
    rig.recorder.flush()
    rig.clock.advance(2 * DAY_S)
    rig.recorder.tidy()
    assert rig.files("requests") == 1
    rig.policy = RecordingPolicy(retention_s=DAY_S)
    rig.recorder.tidy()
    assert rig.files("requests") == 0
    rig.recorder.close()


def test_samples_are_not_thrown_away_by_an_edit_that_forgets_their_section(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.record(1)
    rig.recorder.flush()
    rig.policy = RecordingPolicy(retention_s=10 * DAY_S)
    rig.clock.advance(DAY_S)
    rig.recorder.tidy()
    assert rig.files("samples") == 1
    rig.recorder.close()


@pytest.mark.parametrize(
    "name", ["requests-draft.ndjson.zst", "requests.ndjson.zst", "samples.ndjson.zst", "requests-20200101T000000-000-1.txt"]
)  # fmt: skip
def test_files_of_somebody_else_are_never_removed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    Rig(tmp_path).recorder.close()
    assert (tmp_path / name).read_bytes() == b"x"
    assert began_at(tmp_path / name) is None


def test_accounts_that_were_last_seen_before_the_retention_are_forgotten(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    add_accounts(tmp_path, {"from elsewhere": {"account": "from elsewhere"}})
    rig.record(1, account="gone")
    rig.recorder.flush()
    rig.recorder.tidy()
    rig.clock.advance(11 * DAY_S)
    rig.record(2, account="here")
    rig.recorder.flush()
    rig.recorder.close()
    kept = [orjson.loads(line)["account"] for line in (tmp_path / "accounts.ndjson").read_bytes().splitlines()]
    assert kept == ["from elsewhere", "here"]


def test_what_a_dead_process_left_is_closed_while_the_gateway_runs(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(NOW))
    (tmp_path / f"samples-{stamp}-000-1.ndjson.part").write_bytes(orjson.dumps({"id": "a", "ts": NOW}) + b"\n")
    rig.recorder.tidy()
    assert [row["id"] for row in recorded_rows(tmp_path, "samples")] == ["a"]
    rig.recorder.close()


# -- samples


def test_a_sample_is_the_whole_request_to_the_key_and_nothing_to_others(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.record(1)
    rig.record(2, sample=False)
    rig.recorder.close()
    raw = b"".join(orjson.dumps(row) for kind in ("requests", "samples") for row in recorded_rows(tmp_path, kind))
    for secret in (b"Kowalski", b"Bearer", b"secret"):
        assert secret not in raw
    (line,) = recorded_rows(tmp_path, "samples")
    assert {name: line[name] for name in ("id", "account", "cluster", "level", "ts")} == {
        "id": "req_1", "account": "a1", "cluster": "c7", "level": "suspect", "ts": NOW,
    }  # fmt: skip
    assert b"203.0.113.9" not in orjson.dumps(line)
    row = Sealer(KEY).open(line)
    assert row["body"]["messages"][0]["content"].startswith(SECRET)
    assert (row["ip"], row["path"], row["headers"]) == ("203.0.113.9", "/v1/chat/completions", {})
    assert [row["id"] for row in recorded_rows(tmp_path)] == ["req_1", "req_2"]
    assert {oct(path.stat().st_mode & 0o777) for path in tmp_path.glob("*.zst")} == {"0o600"}


@pytest.mark.parametrize("field", ["id", "account", "cluster", "level", "key", "sealed"])
def test_a_line_that_was_changed_is_not_opened(field: str) -> None:
    sealer = Sealer(KEY)
    line = sealer.seal({"id": "r", "ts": 1.0, "account": "a"}, cluster="c", level="suspect")
    assert sealer.open({**line, "ts": 5.0}) == {"id": "r", "ts": 5.0, "account": "a"}
    data = base64.b64decode(line["sealed"])
    flipped = base64.b64encode(data[:-1] + bytes([data[-1] ^ 1])).decode()
    other = flipped if field == "sealed" else "other"
    with pytest.raises(SealBroken):
        sealer.open({**line, field: other})


@pytest.mark.parametrize("line", [{}, {"sealed": 5}, {"sealed": "="}, {"sealed": ""}, {"sealed": "QQ=="}])
def test_what_is_no_sealed_line_is_not_opened(line: dict[str, Any]) -> None:
    with pytest.raises(SealBroken):
        Sealer(KEY).open(line)


def test_another_key_opens_nothing_and_two_seals_of_one_request_differ() -> None:
    one, two = Sealer(make_key()), Sealer(make_key())
    row = {"id": "r", "ts": 1.0, "account": "a"}
    lines = [one.seal(row, cluster=None, level="none") for _ in range(2)]
    assert lines[0]["sealed"] != lines[1]["sealed"]
    assert one.name != two.name
    with pytest.raises(SealBroken):
        two.open(lines[0])


@pytest.mark.parametrize("key", ["", "x", base64.b64encode(b"k" * 31).decode(), base64.b64encode(b"k" * 33).decode()])
def test_a_key_of_another_length_is_refused(key: str) -> None:
    with pytest.raises(ConfigError):
        Sealer(key)
    with pytest.raises(FileErrors, match=r"SAMPLES_KEY|32 bytes in base64"):
        policies_of(BASE + RECORDING, {"SAMPLES_KEY": key})


def test_a_key_that_is_changed_while_the_gateway_runs_seals_from_then_on(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.record(1)
    rig.recorder.flush()
    fresh = make_key()
    rig.policy = RecordingPolicy(samples=SamplesPolicy(key=Secret(fresh), retention_s=DAY_S))
    rig.record(2)
    rig.recorder.close()
    first, second = recorded_rows(tmp_path, "samples")
    assert Sealer(KEY).open(first)["id"] == "req_1"
    assert Sealer(fresh).open(second)["id"] == "req_2"


# -- what the policies say


def test_a_level_a_rule_and_an_exemption_say_whose_requests_are_kept() -> None:
    policies = policies_of(
        BASE + "rules: [{name: some, share: 50%, match: {plan: pro}, then: {sample: true}}]\n"
        "standings: {suspect: {mark: true, sample: true}, confirmed: {refuse: true, sample: true}}\n"
        "exempt: [{name: e, match: {declared_use: evaluation}, from: [samples]}]\n" + RECORDING,
        {"SAMPLES_KEY": KEY},
    )

    def kept(level: str, **who: Any) -> bool:
        return policies.decide(caller(**who), asks(), standing(level), 0.0).sample

    assert [kept(level) for level in ("none", "watch", "suspect", "confirmed")] == [False, False, True, True]
    assert not kept("suspect", declared_use="evaluation")
    share = sum(kept("none", account=f"a{n}", plan="pro") for n in range(400))
    assert 150 < share < 250
    assert policies.parts.recording.samples == SamplesPolicy(key=Secret(KEY), retention_s=2 * DAY_S)
    assert KEY not in repr(policies.parts)


def test_only_checking_needs_no_key(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(BASE + RECORDING)
    assert check_policies(tmp_path).parts.recording.retention_s == 10 * DAY_S
    with pytest.raises(FileErrors, match="SAMPLES_KEY"):
        load_policies(tmp_path, environ={})
