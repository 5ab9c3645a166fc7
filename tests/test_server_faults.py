"""What happens to a ``distillguard serve`` on a bad day: kills, lost stores, bad disks, signals that come twice."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.budgets.core import Shapes
from gateway.budgets.embedded import EmbeddedStore
from gateway.clock import SystemClock
from gateway.demo.live import serve_in_thread
from gateway.demo.model import ModelServer
from gateway.events import list_segments, read_events
from gateway.policy import load_policies
from gateway.types import Charge
from tests.redis_server import free_port
from tests.test_server import BODY, KEY, WITHIN_S, serving

TEN_A_DAY = "version: 1\nplans:\n  free:\n    budgets:\n      - limit: 10/day\n"


def ask(url: str, **more: Any) -> int:
    return httpx.post(f"{url}/v1/chat/completions", json={**BODY, **more}, headers=KEY, timeout=20).status_code


def events(folder: Path) -> list[Any]:
    return [event for path in list_segments(folder / "state" / "events") for event in read_events(path)]


def eventually(true: Callable[[], bool], within_s: float = WITHIN_S) -> None:
    ticks, deadline = threading.Event(), time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, "not in time"
        ticks.wait(0.02)


def left_on_disk(folder: Path) -> int:
    """What a gateway that starts now would leave to the only account: the embedded budgets are on disk 0.1 s late."""
    copy = folder / "copy"
    copy.mkdir(exist_ok=True)
    shutil.copy(folder / "state" / "budgets.journal", copy)
    store = EmbeddedStore(SystemClock(), copy)
    store.load()
    (budget,) = load_policies(folder / "policy.yaml").budgets
    line = Shapes().line(Charge(budget=budget, value=events(folder)[0].account))
    (view,) = store.peek_now([line], store.now_us())
    asyncio.run(store.aclose())
    return view.remaining


def test_a_kill_loses_no_budget_and_no_event_that_is_older_than_a_moment(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(TEN_A_DAY)
    with serve_in_thread(ModelServer()) as upstream:
        with serving(tmp_path, "--upstream", upstream) as gateway:
            assert [ask(gateway.url) for _ in range(7)] == [200] * 7
            eventually(lambda: len(events(tmp_path)) == 7)
            eventually(lambda: left_on_disk(tmp_path) == 3)
            gateway.process.kill()
            gateway.process.communicate()
        with serving(tmp_path, "--upstream", upstream) as gateway:
            assert [ask(gateway.url) for _ in range(5)] == [200] * 3 + [429] * 2
            gateway.stop()
    assert len(events(tmp_path)) == 12
    assert len({event.id for event in events(tmp_path)}) == 12


def test_workers_whose_parent_is_killed_end_and_free_the_ports(tmp_path: Path, redis_url: str) -> None:
    with serve_in_thread(ModelServer()) as upstream:
        options = ("--upstream", upstream, "--redis", redis_url, "--workers", "2")
        with serving(tmp_path, *options) as gateway:
            gateway.process.kill()
            gateway.process.communicate(timeout=WITHIN_S)  # its pipes close when the last worker has ended
            port = int(gateway.url.rsplit(":", 1)[1])
            eventually(lambda: refuses(port))


def refuses(port: int) -> bool:
    """Whether nobody listens on a port any more."""
    try:
        httpx.get(f"http://127.0.0.1:{port}/", timeout=1)
    except httpx.ConnectError:
        return True
    except httpx.TransportError:
        return False
    return False


def test_a_signal_that_comes_twice_at_once_still_lets_streams_finish(tmp_path: Path) -> None:
    """Ctrl-C reaches the whole group, and a parent passes it on as well; ``timeout`` does the same."""
    model = ModelServer(token_delay_s=0.02)
    with serve_in_thread(model) as upstream, serving(tmp_path, "--upstream", upstream) as gateway:
        body = {**BODY, "stream": True, "max_tokens": 40}
        seen = b""
        with httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=body, headers=KEY, timeout=20) as answer:
            for chunk in answer.iter_bytes():
                if not seen:
                    gateway.process.send_signal(signal.SIGINT)
                    gateway.process.send_signal(signal.SIGTERM)
                seen += chunk
        _, log = gateway.process.communicate(timeout=WITHIN_S)
    assert seen.endswith(b"data: [DONE]\n\n")
    assert gateway.process.returncode == 0
    assert b'"level":"error"' not in log


def test_sigterm_under_load_answers_whole_or_not_at_all(tmp_path: Path) -> None:
    """Nobody gets half a reply, and every reply has its event."""
    answered: list[int] = []
    cut: list[str] = []
    with serve_in_thread(ModelServer(first_token_delay_s=0.01)) as upstream:
        with serving(tmp_path, "--upstream", upstream) as gateway:

            def load() -> None:
                with httpx.Client(headers=KEY, timeout=20) as client:
                    while True:
                        try:
                            answer = client.post(f"{gateway.url}/v1/chat/completions", json=BODY)
                        except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError) as error:
                            cut.append(str(error))
                            return
                        answered.append(answer.status_code)
                        assert answer.json()

            threads = [threading.Thread(target=load) for _ in range(4)]
            for thread in threads:
                thread.start()
            eventually(lambda: len(answered) > 20)
            code, _ = gateway.stop()
            for thread in threads:
                thread.join()
    assert code == 0
    assert set(answered) == {200}
    assert not [
        text for text in cut if "incomplete" in text or "peer closed connection without sending complete" in text
    ]
    assert len(events(tmp_path)) == len(answered)


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", "serve", "--admin-port", "0", "--port", "0"]
    command += ["--upstream", "http://127.0.0.1:9", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=WITHIN_S, check=False)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a person reads: all that is not the JSON log."""
    lines = {line for line in done.stderr.splitlines() if not line.startswith("{")}
    assert len(lines) == 1, done.stderr
    assert '"exception"' not in done.stderr
    return lines.pop()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_redis_that_is_away_at_start_is_one_line_without_its_password(tmp_path: Path, workers: str) -> None:
    redis = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    done = run(tmp_path, "--redis", redis, "--workers", workers)
    assert done.returncode == 2
    assert "cannot be asked" in one_line(done)
    assert "hunter2" not in done.stderr


def test_a_key_store_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "keys.db").write_bytes(b"not a database")
    done = run(tmp_path, "--state-dir", "state")
    assert done.returncode == 2
    assert "keys.db" in one_line(done)


@pytest.mark.parametrize("state", ["file", "file/below", "/proc/nowhere"])
def test_a_state_folder_that_cannot_be_is_one_line(tmp_path: Path, state: str) -> None:
    (tmp_path / "file").touch()
    done = run(tmp_path, "--state-dir", state)
    assert done.returncode == 2
    assert "state_dir" in one_line(done)


def test_nothing_that_is_written_holds_a_credential_or_a_prompt(tmp_path: Path) -> None:
    """Not events, state, logs at debug level, metrics, the admin API or errors; plain or as a fragment."""
    secrets = ["sk-caller-7f3a9b2c", "sk-upstream-1d2e3f", "admin-token-55aa", "xylophone quagmire"]
    accounts = tmp_path / "accounts.ndjson"
    accounts.write_text(json.dumps({"account": "a1", "plan": "free", "api_key": secrets[0]}) + "\n")
    options = ("--accounts", str(accounts), "--log-level", "debug")
    environment = {"DISTILLGUARD_UPSTREAM_API_KEY": secrets[1], "DISTILLGUARD_ADMIN_TOKEN": secrets[2]}
    said = b""
    with serve_in_thread(ModelServer()) as upstream:
        with serving(tmp_path, "--upstream", upstream, *options, **environment) as gateway:
            prompt = [{"role": "user", "content": f"The {secrets[3]} is a secret."}]
            calls: list[dict[str, Any]] = [
                {"model": "gpt-4o", "messages": prompt},
                {"model": "fault-500", "messages": prompt},
                {"model": "fault-break-mid-stream", "messages": prompt, "stream": True},
                {"model": "gpt-4o", "messages": secrets[3]},
                {"model": secrets[3], "messages": prompt, "max_tokens": -1},
            ]
            with httpx.Client(base_url=gateway.url) as client:
                for key in (secrets[0], secrets[0] + "x"):
                    for body in calls:
                        answer = client.post(
                            "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}
                        )
                        if answer.status_code >= 400:
                            said += answer.content + repr(answer.headers.raw).encode()
                said += client.get(f"/v1/nothing?key={secrets[0]}", headers={"x-api-key": secrets[0]}).content
            admin = {"authorization": f"Bearer {secrets[2]}"}
            for path in ("/metrics", "/api/status", "/readyz", "/livez", "/api/nothing"):
                said += httpx.get(f"{gateway.admin}{path}", headers=admin).content
            gateway.process.send_signal(signal.SIGTERM)
            out, log = gateway.process.communicate(timeout=WITHIN_S)
    accounts.unlink()
    written = {"log": out + log, "answers": said}
    written |= {str(path): path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()}
    for event in events(tmp_path):
        written["events"] = written.get("events", b"") + repr(event).encode()
    assert len(events(tmp_path)) == 11
    for name, data in written.items():
        for secret in (*secrets, "xylophone", "quagmire"):
            assert secret.encode() not in data, f"{secret} in {name}"
    with sqlite3.connect(tmp_path / "state" / "keys.db") as keys:
        assert secrets[0] not in "".join(keys.iterdump())
