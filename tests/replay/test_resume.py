"""A replay that was killed goes on to the same bytes, or begins anew where it must not go on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigError
from gateway.replay.checkpoint import CHECKPOINT, Checkpoint, load, program, save
from gateway.replay.output import Job, inputs_of, run_replay
from tests.replay.logs import START_S, account, job_of, request, write_rows

POLICY = """\
version: 1
plans:
  free:
    budgets:
      - limit: 9/day
      - limit: 400 output_tokens/hour
      - limit: 200 total_tokens/day
        name: trial
        shadow: true
standings:
  suspect: {mark: true, cluster_budgets: [{limit: 2/day}]}
"""
ROWS = [
    request(number, f"a{number * number % 23}", after_s=number * 300.0, text=f"Tell {number % 5} facts about ants")
    for number in range(800)
]
ACCOUNTS = [account(f"a{number}") for number in range(20)]


class Killed(BaseException):
    """Stands for what ends a process without a word."""


def job(folder: Path, *, apart: bool = False) -> Job:
    folder.mkdir(exist_ok=True)
    made = job_of(folder, ROWS, accounts=ACCOUNTS, policy=POLICY, apart=apart)
    return replace(made, member=256, checkpoint_s=0.0)


def run(of: Job, *, resume: bool = False, until: int | None = None) -> dict[str, Any]:
    """Replay; ``until``: killed when so many requests are decided."""

    def step(done: int, position: int) -> None:
        if until is not None and done >= until:
            raise Killed

    return asyncio.run(run_replay(of, step, resume=resume))


def results(of: Job) -> list[bytes]:
    return [(of.out / name).read_bytes() for name in ("decisions.ndjson.gz", "clusters.json")]


def counted(summary: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value for key, value in summary.items() if key in {"requests", "actions", "by_rule", "hours", "inputs"}
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], dict[str, Any]]:
    """What an uninterrupted replay gives."""
    made = job(tmp_path_factory.mktemp("whole"))
    summary = run(made)
    assert summary["actions"]["throttle"] > 50
    assert summary["shadow_refusals"]["free/trial"] > 10
    return results(made), counted(summary)


@pytest.mark.parametrize(
    ("until", "at", "apart"), [(256, 0, False), (512, 256, False), (800, 768, False), (768, 512, True)]
)
def test_a_replay_that_was_killed_goes_on_to_the_same_bytes(
    tmp_path: Path, until: int, at: int, apart: bool, whole: tuple[list[bytes], dict[str, Any]]
) -> None:
    made = job(tmp_path, apart=apart)
    with pytest.raises(Killed):
        run(made, until=until)
    assert not (made.out / "summary.json").exists()
    summary = run(made, resume=True)
    # The step is told of a member before its checkpoint is saved.
    assert summary["resumed_at"] == at
    assert (results(made), counted(summary)) == whole
    assert sorted(path.name for path in made.out.iterdir()) == [
        "clusters.json",
        "decisions.ndjson.gz",
        "report.html",
        "summary.json",
    ]


def test_a_replay_may_be_killed_again_and_again(tmp_path: Path, whole: tuple[list[bytes], dict[str, Any]]) -> None:
    made = job(tmp_path)
    for until in (512, 512, 768):
        with pytest.raises(Killed):
            run(made, resume=True, until=until)
    assert run(made, resume=True)["resumed_at"] == 512
    assert results(made) == whole[0]


def test_sigkill_leaves_what_the_next_replay_needs(tmp_path: Path, whole: tuple[list[bytes], dict[str, Any]]) -> None:
    made = job(tmp_path)
    program = (
        "import asyncio, os, signal, sys\nfrom dataclasses import replace\nfrom pathlib import Path\n"
        "from gateway.policy import load_policies\nfrom gateway.replay.output import Job, run_replay\n"
        "def step(done, position):\n    if done >= 512:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "f = Path(sys.argv[1])\n"
        "job = Job(policies=load_policies(f / 'policy.yaml'), accounts=f / 'accounts.ndjson',"
        " requests=f / 'requests.ndjson', out=f / 'out', apart=False, member=256, checkpoint_s=0.0)\n"
        "asyncio.run(run_replay(job, step))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, capture_output=True)
    assert ended.returncode == -9, ended.stderr
    assert run(made, resume=True)["resumed_at"] == 256
    assert results(made) == whole[0]


def killed(folder: Path) -> Job:
    made = job(folder)
    with pytest.raises(Killed):
        run(made, until=768)
    assert load(made.out, inputs_of(made)) is not None
    return made


def test_without_resume_a_replay_begins_anew(tmp_path: Path) -> None:
    assert run(killed(tmp_path))["resumed_at"] == 0


def test_another_log_or_policy_begins_anew(tmp_path: Path) -> None:
    made = killed(tmp_path)
    write_rows(made.requests, ROWS[:-1])
    assert run(made, resume=True)["resumed_at"] == 0
    made = killed(tmp_path)
    changed = job_of(tmp_path, ROWS, accounts=ACCOUNTS, policy=POLICY.replace("9/day", "8/day"))
    assert run(changed, resume=True)["resumed_at"] == 0


def test_another_program_begins_anew(tmp_path: Path) -> None:
    made = killed(tmp_path)
    inputs = inputs_of(made)
    found = load(made.out, inputs)
    assert found is not None
    save(made.out, found._replace(program="another"))
    assert load(made.out, inputs) is None


@pytest.mark.parametrize("damage", [b"", b"\x80\x05garbage", b"\x80\x05N."])
def test_a_checkpoint_that_is_damaged_or_not_ours_alone_is_none(tmp_path: Path, damage: bytes) -> None:
    made = killed(tmp_path)
    inputs, path = inputs_of(made), made.out / CHECKPOINT
    path.chmod(0o666)
    assert load(made.out, inputs) is None
    path.chmod(0o600)
    path.write_bytes(damage)
    assert load(made.out, inputs) is None
    assert run(made, resume=True)["resumed_at"] == 0


def test_decisions_that_are_gone_are_told(tmp_path: Path) -> None:
    made = killed(tmp_path)
    partial = made.out / ".decisions.ndjson.gz.partial"
    partial.write_bytes(partial.read_bytes()[:10])
    with pytest.raises(ConfigError, match="got fewer decisions than the checkpoint"):
        run(made, resume=True)
    assert run(made, resume=True)["resumed_at"] == 0


def test_a_checkpoint_whose_snapshot_is_gone_is_none(tmp_path: Path) -> None:
    made = Checkpoint({}, program(), 256, 10, tmp_path / ".analysis-256", {"tally": START_S})
    save(tmp_path, made)
    assert load(tmp_path, {}) is None
