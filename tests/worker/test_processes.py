"""Real processes: the child of ``serve``, and two ``analyze`` of which one is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from gateway.demo.live import serve_in_thread
from gateway.demo.model import ModelServer
from gateway.worker.shared import LEASE
from tests.test_server import BODY, KEY, serving
from tests.worker.test_child import gone

WITHIN_S = 30.0


def until(found: Any) -> Any:
    """What ``found()`` gives once it gives something: other processes have to start."""
    deadline = time.monotonic() + WITHIN_S
    while not (value := found()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)
    return value


def test_the_child_of_serve_comes_back_and_ends_with_it_and_callers_notice_nothing(tmp_path: Path) -> None:
    with serve_in_thread(ModelServer()) as upstream, serving(tmp_path, "--upstream", upstream) as gateway:

        def analysis() -> dict[str, Any]:
            found: dict[str, Any] = httpx.get(f"{gateway.admin}/api/status", timeout=5).json()["analysis"]
            return found

        def ask() -> int:
            return httpx.post(f"{gateway.url}/v1/chat/completions", json=BODY, headers=KEY, timeout=10).status_code

        assert ask() == 200
        first = until(lambda: (found := analysis()).get("observed") == 1 and found)
        assert first["ok"]
        os.kill(first["pid"], signal.SIGKILL)
        assert ask() == 200
        again = until(lambda: (found := analysis())["restarts"] == 1 and found.get("observed") == 2 and found)
        assert again["pid"] != first["pid"]
        assert 'distillguard_store_up{store="analysis"} 1.0' in httpx.get(f"{gateway.admin}/metrics").text
        code, log = gateway.stop()
        assert code == 0
        assert gone(again["pid"])
        assert [line["event"] for line in log][-1] == "stopped"


def test_the_child_ends_with_a_gateway_that_is_killed_and_off_means_off(tmp_path: Path) -> None:
    (tmp_path / "on").mkdir()
    (tmp_path / "off").mkdir()
    with serve_in_thread(ModelServer()) as upstream:
        with serving(tmp_path / "on", "--upstream", upstream) as gateway:
            status = f"{gateway.admin}/api/status"
            pid = until(lambda: httpx.get(status).json()["analysis"]["pid"])
            gateway.process.kill()
            assert gone(pid)
            gateway.process.communicate()
        with serving(tmp_path / "off", "--upstream", upstream, "--analysis", "off") as gateway:
            assert httpx.get(f"{gateway.admin}/api/status").json()["analysis"] == {"state": "off"}


@pytest.fixture
def pair(redis_url: str, tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two workers of one deployment, as on two machines."""
    command = [sys.executable, "-m", "gateway", "analyze", "--redis", redis_url, "--state-dir"]
    started = [
        subprocess.Popen([*command, str(tmp_path / name)], stderr=subprocess.PIPE, env={**os.environ}, cwd=tmp_path)
        for name in ("one", "two")
    ]
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_second_worker_takes_over_when_the_leader_is_killed(
    redis_url: str, pair: list[subprocess.Popen[bytes]]
) -> None:
    with Redis.from_url(redis_url) as client:
        name = until(lambda: client.get(LEASE))
        leader = next(process for process in pair if name.decode().endswith(f"-{process.pid}"))
        (standby,) = [process for process in pair if process is not leader]
        leader.kill()
        killed_s = time.monotonic()
        until(lambda: (client.get(LEASE) or b"").decode().endswith(f"-{standby.pid}"))
        assert time.monotonic() - killed_s < 15
        standby.terminate()
        _, log = standby.communicate(timeout=WITHIN_S)
        assert standby.returncode == 0
        assert "leading" in [json.loads(line)["event"] for line in log.splitlines()]
        assert client.get(LEASE) is None
