"""What is recorded replays to the same decisions; recording costs nobody anything and keeps no secret."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import zstandard

from gateway.clock import ManualClock
from gateway.errors import ConfigError
from gateway.pipeline import Exchange
from gateway.policy import RecordingPolicy, SamplesPolicy, load_policies
from gateway.recording import Recorder
from gateway.recording import recorder as recorder_module
from gateway.replay.output import Job, run_replay
from gateway.settings import Secret
from gateway.types import Family, Identity, RequestFacts
from tests.live import Live, live_gateway
from tests.replay.logs import Results

POLICY = """\
version: 1
plans:
  free:
    budgets: [{limit: 3/day}]
  pro:
    budgets: [{limit: 2000 total_tokens/day, window: calendar}]
rules:
  - name: no-opus
    match: {model: "opus*"}
    then: {refuse: true}
  - name: not-long
    if: input_chars > 900 || body_bytes > 1500
    then: {refuse: true}
  - name: watermark
    match: {account: a-pro}
    then: {mark: true}
"""
KEY = base64.b64encode(b"k" * 32).decode()
SAMPLED = (
    POLICY
    + """\
  - name: keep
    then: {sample: true}
recording:
  samples: {key: "${SAMPLES_KEY}", retention: 7d}
"""
)
SECRET = "Kowalski's recipe"
ACCOUNTS = [
    {"account": "a-free", "plan": "free", "api_key": "key-free-0001"},
    {"account": "a-pro", "plan": "pro", "org": "o1", "api_key": "key-pro-0001"},
]


def chat(model: str = "m", text: str = SECRET, **more: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 60, "messages": [{"role": "user", "content": text}], **more}


def send_mixed(live: Live) -> list[int]:
    """Requests that are allowed, marked, throttled, refused, wrong and lost."""
    sent: list[tuple[str, str, dict[str, Any]]] = [
        ("key-free-0001", "/v1/chat/completions", chat()),
        ("key-pro-0001", "/v1/chat/completions", chat(stream=True)),
        ("key-pro-0001", "/v1/messages", {**chat(), "system": "short"}),
        ("key-free-0001", "/v1/chat/completions", chat("opus-1")),
        ("key-free-0001", "/v1/chat/completions", chat(text="long " * 200)),
        ("key-free-0001", "/v1/chat/completions", chat(metadata={"pad": "x" * 1600})),
        ("key-free-0001", "/v1/chat/completions", chat(max_tokens="many")),
        ("key-free-0001", "/v1/nothing", chat()),
        ("key-free-0001", "/v1/embeddings", {"model": "e", "input": ["a", "b"]}),
        ("key-free-0001", "/v1/chat/completions", chat()),
        ("key-free-0001", "/v1/chat/completions", chat()),
        *(("key-pro-0001", "/v1/chat/completions", chat(max_tokens=900)) for _ in range(3)),
    ]
    with httpx.Client(base_url=live.url) as client:
        return [
            client.post(path, json=body, headers={"authorization": f"Bearer {key}"}).status_code
            for key, path, body in sent
        ]


def recorded_rows(folder: Path, kind: str = "requests") -> list[dict[str, Any]]:
    rows = []
    for path in sorted(folder.glob(f"{kind}-*.ndjson.zst")):
        data = zstandard.ZstdDecompressor().decompress(path.read_bytes(), max_output_size=1 << 26)
        rows += [orjson.loads(line) for line in data.splitlines()]
    return rows


@pytest.mark.parametrize("sampled", [False, True])
def test_live_traffic_replays_to_the_same_decisions(
    tmp_path: Path, sampled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "recorded"
    monkeypatch.setenv("SAMPLES_KEY", KEY)
    with live_gateway(
        tmp_path / "live", policies=SAMPLED if sampled else POLICY, accounts=ACCOUNTS, record=record
    ) as live:
        statuses = send_mixed(live)
        assert live.rooms.status()["recording"]["samples"] == sampled  # type: ignore[index]
    job = Job(
        policies=load_policies(live.policies), accounts=record / "accounts.ndjson", requests=record,
        out=tmp_path / "out", apart=False,
    )  # fmt: skip
    summary = asyncio.run(run_replay(job))
    replayed = {decision["id"]: decision for decision in Results(job.out, summary).decisions}
    events = {event.id: event for event in live.events()}
    assert {200, 400, 403, 404, 429} <= set(statuses)
    known = {name: event for name, event in events.items() if event.account is not None}
    assert replayed.keys() == known.keys()  # who asks for a path that is not served was not asked for a name
    assert len(known) == len(statuses) - statuses.count(404)
    for name, event in known.items():
        live_action = {403: "refuse", 400: "refuse", 429: "throttle"}.get(event.status)
        action = live_action or ("mark" if event.rule == "watermark" else "allow")
        assert replayed[name]["action"] == action, (event, replayed[name])
        if event.status in {200, 403, 429}:
            assert replayed[name]["rule"] == event.rule
    text = b"".join(orjson.dumps(row) for row in recorded_rows(record)).decode()
    assert "Kowalski" not in text
    assert "key-free-0001" not in text
    assert "key-pro-0001" not in (record / "accounts.ndjson").read_text()


class Rig:
    """A recorder on a clock of its own."""

    def __init__(self, folder: Path, *, retention_s: float = 1e9, samples_s: float | None = None) -> None:
        self.clock = ManualClock(1_800_000_000.0)
        samples = None if samples_s is None else SamplesPolicy(key=Secret(KEY), retention_s=samples_s)
        self.policy = RecordingPolicy(retention_s=retention_s, samples=samples)
        self.recorder = Recorder(folder, b"k" * 32, self.clock, lambda: self.policy)

    def request(self, number: int, *, after_s: float = 0.0, account: str | None = "a1", size: int = 10) -> Exchange:
        started = self.clock.now() + after_s
        exchange = Exchange(
            id=f"req_{number}", family=Family.OPENAI, method="POST", path="/v1/chat/completions",
            started_at=started, started_s=started,
            headers=[(b"authorization", b"Bearer secret"), (b"cookie", b"c=1"), (b"user-agent", b"tests/1")],
        )  # fmt: skip
        exchange.identity = Identity(account=account, plan="free") if account else None
        exchange.facts = RequestFacts(
            family=Family.OPENAI, route="openai.chat_completions", model="m", body=chat(), body_bytes=size
        )
        exchange.traits = {"ph": [1, 2]}
        return exchange


def test_no_header_that_may_hold_a_secret_is_written(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.recorder.record(rig.request(1))
    rig.recorder.close()
    (row,) = recorded_rows(tmp_path)
    assert row["headers"] == {"user-agent": "tests/1"}
    assert row["traits"] == {"ph": [1, 2]}
    assert "status" not in row
    assert oct(next(tmp_path.glob("*.zst")).stat().st_mode & 0o777) == "0o600"


def test_a_full_buffer_drops_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "MAX_WAITING", 3)
    monkeypatch.setattr(recorder_module, "_WRITE_EVERY_S", 60.0)
    rig = Rig(tmp_path)
    for number in range(5):
        rig.recorder.record(rig.request(number))
    assert rig.recorder.status()["dropped"] == 2
    rig.recorder.close()
    assert [row["id"] for row in recorded_rows(tmp_path)] == ["req_0", "req_1", "req_2"]


def test_large_bodies_fill_the_buffer_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "MAX_WAITING_BYTES", 100)
    monkeypatch.setattr(recorder_module, "_WRITE_EVERY_S", 60.0)
    rig = Rig(tmp_path)
    for number, size in enumerate((60, 41, 40)):
        rig.recorder.record(rig.request(number, size=size))
    rig.recorder.close()
    assert [row["id"] for row in recorded_rows(tmp_path)] == ["req_0", "req_2"]


def test_a_caller_without_an_account_is_not_recorded(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.recorder.record(rig.request(1, account=None))
    rig.recorder.close()
    assert recorded_rows(tmp_path) == []
    assert rig.recorder.status()["dropped"] == 0


def test_replies_that_end_in_another_order_are_one_sorted_log(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    late = rig.request(0)
    rig.recorder.record(rig.request(1, after_s=5))
    rig.recorder.record(rig.request(2, after_s=3650))
    rig.recorder.flush()
    rig.clock.advance(3700)
    rig.recorder.tidy()
    rig.recorder.record(late)
    rig.recorder.close()
    rows = recorded_rows(tmp_path)
    assert [row["id"] for row in rows] == ["req_1", "req_0", "req_2"]
    times = [row["ts"] for row in rows]
    assert times == sorted(times)
    assert len(list(tmp_path.glob("*.zst"))) == 2


def test_what_a_killed_process_left_is_sealed_without_its_torn_line(tmp_path: Path) -> None:
    lines = [orjson.dumps({"id": "b", "ts": 2.0}), orjson.dumps({"id": "a", "ts": 1.0}), b'{"id": "torn'][:]
    (tmp_path / "requests-20260101T000000-000-1.ndjson.part").write_bytes(b"\n".join(lines))
    rig = Rig(tmp_path)
    assert [row["id"] for row in recorded_rows(tmp_path)] == ["a", "b"]
    rig.recorder.close()
    assert list(tmp_path.glob("*.part")) == []


def test_a_file_that_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    first = Rig(tmp_path)
    first.recorder.record(first.request(1))
    second = Rig(tmp_path)
    second.recorder.close()
    first.recorder.close()
    assert [row["id"] for row in recorded_rows(tmp_path)] == ["req_1"]


def test_a_disk_that_takes_nothing_is_told_and_costs_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path)

    def full(lines: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rig.recorder._segments["requests"], "write", full)
    rig.recorder.record(rig.request(1))
    rig.recorder.flush()
    status = rig.recorder.status()
    assert (status["ok"], status["dropped"]) == (False, 1)
    assert status["error"] == f"No space left on device ({tmp_path})"
    monkeypatch.undo()
    rig.recorder.record(rig.request(2))
    rig.recorder.flush()
    assert rig.recorder.status()["ok"]
    rig.recorder.close()
    assert [row["id"] for row in recorded_rows(tmp_path)] == ["req_2"]


def test_a_request_that_cannot_be_written_is_dropped_and_the_next_one_is_not(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    odd = rig.request(1)
    odd.traits = {"odd": object()}
    rig.recorder.record(odd)
    rig.recorder.record(rig.request(2))
    rig.recorder.close()
    assert rig.recorder.status()["dropped"] == 1
    assert [row["id"] for row in recorded_rows(tmp_path)] == ["req_2"]


def test_accounts_that_somebody_broke_are_told_and_stop_nothing(tmp_path: Path) -> None:
    (tmp_path / "accounts.ndjson").write_text("no json\n")
    rig = Rig(tmp_path)
    rig.recorder.record(rig.request(1))
    rig.recorder.close()
    assert not rig.recorder.status()["ok"]
    assert [row["id"] for row in recorded_rows(tmp_path)] == ["req_1"]
    assert (tmp_path / "accounts.ndjson").read_text() == "no json\n"


def test_a_folder_that_cannot_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError) as raised:
        Rig(tmp_path / "file")
    expected = f"record: cannot write to {tmp_path / 'file'} (File exists), expected a folder of our own"
    assert str(raised.value) == expected
