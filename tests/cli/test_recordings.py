from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.cli import main
from gateway.clock import SystemClock
from tests.live import live_gateway
from tests.policy.helpers import BASE
from tests.recording.test_recorder import ACCOUNTS, KEY, SAMPLED, SECRET, recorded_rows, send_mixed
from tests.recording.test_retention import Rig

OTHER = base64.b64encode(b"o" * 32).decode()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAMPLES_KEY", KEY)

    def call(*arguments: str) -> tuple[object, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(["recordings", *arguments])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return call


def recorded(folder: Path) -> None:
    """Two samples of cluster c7, of the accounts a1 and a2."""
    rig = Rig(folder)
    rig.record(1, account="a1")
    rig.record(2, account="a2")
    rig.recorder.close()


def test_live_samples_are_opened_as_a_log_that_replays(tmp_path: Path, run: Any) -> None:
    with live_gateway(tmp_path / "live", policies=SAMPLED, accounts=ACCOUNTS, record=tmp_path / "recorded") as live:
        statuses = send_mixed(live)
    code, _, err = run("open", "recorded", "--policies", str(live.policies), "--out", "whole.ndjson")
    rows = [orjson.loads(line) for line in (tmp_path / "whole.ndjson").read_bytes().splitlines()]
    assert (code, err) == (0, f"{len(rows)} samples opened\n")
    read = [
        status for status in statuses if status not in {400, 404}
    ]  # what has no body that can be read has no sample
    assert len(rows) == len(read)
    assert sum(SECRET in json.dumps(row["body"]) for row in rows) > 5
    assert oct((tmp_path / "whole.ndjson").stat().st_mode & 0o777) == "0o600"
    with pytest.raises(SystemExit) as caught:
        main(["replay", "--policies", str(live.policies), "--accounts", "recorded/accounts.ndjson",
              "--requests", "whole.ndjson", "--out", "results"])  # fmt: skip
    assert caught.value.code == 0
    assert json.loads((tmp_path / "results" / "summary.json").read_text())["requests"] == len(rows)


def test_a_cluster_or_an_account_is_picked_out(tmp_path: Path, run: Any) -> None:
    recorded(tmp_path / "r")
    (tmp_path / "keys").write_text(f"{OTHER}\n{KEY}\n")
    for number, (flags, count) in enumerate(
        [((), 2), (("--account", "a2"), 1), (("--cluster", "c7"), 2), (("--cluster", "c8"), 0)]
    ):
        code, _, err = run("open", "r", "--key-file", "keys", "--out", f"{number}.ndjson", *flags)
        assert (code, err) == (0, f"{count} samples opened\n")


def test_what_another_key_sealed_or_somebody_changed_is_told_and_the_rest_is_opened(tmp_path: Path, run: Any) -> None:
    recorded(tmp_path / "r")
    (tmp_path / "other").write_text(OTHER)
    code, _, err = run("open", "r", "--key-file", "other", "--out", "x.ndjson")
    name = recorded_rows(tmp_path / "r", "samples")[0]["key"]
    assert (code, err) == (1, f"2 samples not opened: key {name} was not given\n0 samples opened\n")


def test_a_log_in_the_clear_is_never_written_over_another_file(tmp_path: Path, run: Any) -> None:
    recorded(tmp_path / "r")
    (tmp_path / "keys").write_text(KEY)
    (tmp_path / "there").write_text("mine")
    code, _, err = run("open", "r", "--key-file", "keys", "--out", "there")
    assert (code, (tmp_path / "there").read_text()) == (2, "mine")
    assert err == "distillguard: --out there: got File exists, expected a new file\n"


@pytest.mark.parametrize(
    "arguments",
    [("list", "nowhere"), ("forget", "nowhere"), ("open", "nowhere", "--out", "x"), ("open", "r", "--out", "x", "--key-file", "none"),
     ("open", "r", "--out", "x", "--policies", "plain.yaml"), ("nonsense",)],
)  # fmt: skip
def test_what_cannot_be_used_is_two_and_one_line(tmp_path: Path, run: Any, arguments: tuple[str, ...]) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "plain.yaml").write_text(BASE)
    code, _, err = run(*arguments)
    assert code == 2
    assert err.count("\n") == 1


def test_keys_are_fresh_and_of_the_right_form(run: Any) -> None:
    keys = [run("keygen")[1].strip() for _ in range(2)]
    assert keys[0] != keys[1]
    assert {len(base64.b64decode(key)) for key in keys} == {32}


def test_list_tells_files_and_samples_without_a_key(tmp_path: Path, run: Any) -> None:
    recorded(tmp_path / "r")
    code, out, _ = run("list", "r", "--json")
    told = json.loads(out)
    assert code == 0
    assert [file["kind"] for file in told["files"]] == ["requests", "samples"]
    assert [(row["cluster"], row["level"], row["samples"]) for row in told["samples"]] == [("c7", "suspect", 2)]
    assert "2 samples of c7 (suspect), key " in run("list", "r")[1]


def test_forget_removes_what_is_older_than_the_policies_say(tmp_path: Path, run: Any) -> None:
    (tmp_path / "p.yaml").write_text(BASE + "recording: {samples: {key: '${SAMPLES_KEY}', retention: 1d}}\n")
    recorded(tmp_path / "r")  # in 2027, on the rig's clock
    now_s = SystemClock().now()
    for kind, age_s in (("requests", 20 * 86_400), ("samples", 20 * 86_400), ("requests", 40 * 86_400)):
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now_s - age_s))
        (tmp_path / "r" / f"{kind}-{stamp}-000-1.ndjson.zst").write_bytes(b"")
    code, out, _ = run("forget", "r", "--policies", "p.yaml", "--json")
    assert code == 0
    assert [name.split("-")[0] for name in json.loads(out)["removed"]] == ["requests", "samples"]
    assert run("forget", "r", "--policies", "p.yaml")[1] == "0 removed\n"
