"""The child process of a gateway: it ends with its parent, comes back when it dies, and never holds anybody up."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Settings
from gateway.worker import child as module
from gateway.worker.child import AnalysisChild

WITHIN_S = 30.0
SAYS = "import sys, json; print(json.dumps({'ok': True, 'observed': 7}), flush=True); "


class Heard(AnalysisChild):
    """Lets a test wait for what the child says instead of sleeping."""

    def __init__(self, folder: Path, program: str | None) -> None:
        settings = Settings.load({}, state_dir=folder / "state", log_level="error")
        super().__init__(settings, None if program is None else [sys.executable, "-c", program])
        self.heard = threading.Semaphore(0)

    def _hear(self, line: bytes) -> None:
        super()._hear(line)
        self.heard.release()

    def wait(self) -> None:
        assert self.heard.acquire(timeout=WITHIN_S)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Any]:
    children: list[Heard] = []

    def start(program: str | None) -> Heard:
        child = Heard(tmp_path, program)
        children.append(child)
        child.start()
        return child

    yield start
    for child in children:
        child.stop()


@pytest.fixture(autouse=True)
def again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BACK_OFF_S", (0.0,))
    monkeypatch.setattr(module, "_START_AFTER_S", 0.0)


def gone(pid: int) -> bool:
    """Whether the process ends in time."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], WITHIN_S)[0])
    finally:
        os.close(handle)


def test_it_tells_how_it_goes_and_ends_when_asked(started: Any) -> None:
    child = started(SAYS + "sys.stdin.read()")
    child.wait()
    status = child.status()
    assert (status["ok"], status["state"], status["observed"]) == (True, "running", 7)
    pid = status["pid"]
    child.stop()
    assert gone(pid)
    assert (child.status()["ok"], child.status()["state"], child.status()["pid"]) == (False, "stopped", None)
    child.stop()


def test_one_that_dies_is_started_again(started: Any) -> None:
    child = started(SAYS + "sys.exit(3)")
    for _ in range(3):
        child.wait()
    assert child.status()["restarts"] >= 2


def test_one_that_hangs_at_its_end_is_killed(started: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_END_WITHIN_S", 0.05)
    child = started(SAYS + "import time, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)")
    child.wait()
    pid = child.status()["pid"]
    child.stop()
    assert gone(pid)


def test_what_is_no_json_or_no_object_is_not_believed(started: Any) -> None:
    child = started(SAYS + "print('oops'); print('[1]', flush=True); sys.stdin.read()")
    for _ in range(3):
        child.wait()
    assert child.status()["observed"] == 7


def test_a_silent_child_is_not_well(started: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    child = started(SAYS + "sys.stdin.read()")
    child.wait()
    monkeypatch.setattr(module, "_SILENT_S", -1.0)
    assert child.status()["ok"] is False
    assert child.status()["state"] == "running"


def test_an_interpreter_that_is_not_there_is_a_status_and_no_error(tmp_path: Path) -> None:
    settings = Settings.load({}, state_dir=tmp_path / "state")
    child = AnalysisChild(settings, [str(tmp_path / "no-such-python")])
    child.start()
    assert child.status()["ok"] is False
    child.stop()


def test_secrets_do_not_stand_in_the_list_of_processes(tmp_path: Path) -> None:
    settings = Settings.load({}, state_dir=tmp_path, hash_key="a-very-secret-key", admin_token="token-of-the-admin")
    shown = " ".join(module._command(settings))
    assert "a-very-secret-key" not in shown
    assert "token-of-the-admin" not in shown
    assert module._environment(settings)["DISTILLGUARD_HASH_KEY"] == "a-very-secret-key"


def test_the_real_child_works_on_an_empty_state_folder(started: Any, tmp_path: Path) -> None:
    child = started(None)
    child.wait()
    status = child.status()
    assert (status["ok"], status["caught_up"], status["observed"]) == (True, True, 0)
    child.stop()
    assert (tmp_path / "state" / "hash.key").exists()


PARENT = """
import sys, json, threading
from pathlib import Path
from gateway.settings import Settings
from gateway.worker.child import AnalysisChild

class Heard(AnalysisChild):
    def _hear(self, line):
        super()._hear(line)
        print(json.dumps(self.status()), flush=True)

Heard(Settings.load({}, state_dir=Path(sys.argv[1]), log_level="error")).start()
threading.Event().wait()
"""


def test_it_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "state")], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    try:
        pid = json.loads(parent.stdout.readline())["pid"]
        os.kill(pid, 0)
        parent.send_signal(signal.SIGKILL)
        assert gone(pid)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
