"""Redis goes away and comes back under two loaded workers; one file stops them both."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from gateway.demo.live import serve_in_thread
from gateway.demo.model import ModelServer
from tests.live import ROOMY
from tests.redis_server import RedisServer, running_redis
from tests.test_server import BODY, KEY, Process, serving
from tests.test_server_faults import eventually

DENYING = """\
version: 1
plans:
  free:
    budgets:
      - {limit: 100_000/day, on_store_error: local_share}
  careful:
    budgets:
      - {limit: 100_000/day, on_store_error: deny}
"""


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with running_redis() as server:
        yield server


class Load:
    """Callers that never stop, and what each answer was and how long it took."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: list[tuple[int, float]] = []
        self.failures: list[str] = []
        self._over = threading.Event()

    def call(self) -> None:
        while not self._over.is_set():
            with httpx.Client(headers=KEY, timeout=10) as client:  # a new connection: any worker may take it
                started_s = time.monotonic()
                try:
                    status = client.post(f"{self.url}/v1/chat/completions", json=BODY).status_code
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    return
                self.answers.append((status, time.monotonic() - started_s))

    @contextmanager
    def running(self) -> Iterator[Load]:
        threads = [threading.Thread(target=self.call) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def more(self, count: int = 30) -> list[tuple[int, float]]:
        """The next ``count`` answers."""
        before = len(self.answers)
        eventually(lambda: len(self.answers) >= before + count or bool(self.failures))
        assert not self.failures
        return self.answers[before : before + count]


def ready(gateway: Process) -> bool:
    return httpx.get(f"{gateway.admin}/readyz", timeout=5).status_code == 200


@pytest.mark.parametrize("fault", ["frozen", "killed"])
def test_a_store_that_goes_and_comes_back_is_felt_by_nobody_who_may_spend(
    tmp_path: Path, redis: RedisServer, fault: str
) -> None:
    (tmp_path / "policy.yaml").write_text(DENYING)
    with serve_in_thread(ModelServer()) as upstream:
        options = ("--upstream", upstream, "--redis", redis.url, "--workers", "2")
        with serving(tmp_path, *options) as gateway:
            with Load(gateway.url).running() as load:
                assert {status for status, _ in load.more()} == {200}
                (redis.freeze if fault == "frozen" else redis.kill)()
                eventually(lambda: not ready(gateway))
                answers = load.more()
                assert {status for status, _ in answers} == {200}
                assert max(took_s for _, took_s in answers) < 2.0
                reasons = httpx.get(f"{gateway.admin}/readyz", timeout=5).json()["reasons"]
                assert any(reason.startswith("store:") for reason in reasons)
                (redis.thaw if fault == "frozen" else redis.start)()
                eventually(lambda: all(ready(gateway) for _ in range(8)))  # either worker may answer
                assert {status for status, _ in load.more()} == {200}
            code, log = gateway.stop()
    assert code == 0
    assert not [line for line in log if "exception" in line]


def test_the_kill_switch_reaches_every_worker_within_a_second(tmp_path: Path, redis: RedisServer) -> None:
    with serve_in_thread(ModelServer()) as upstream:
        options = ("--upstream", upstream, "--redis", redis.url, "--workers", "2")
        with serving(tmp_path, *options) as gateway, Load(gateway.url).running() as load:
            assert {status for status, _ in load.more()} == {200}
            (tmp_path / "new.yaml").write_text(ROOMY + 'access:\n  kill: "*"\n')
            (tmp_path / "new.yaml").rename(tmp_path / "policy.yaml")
            switched_s = time.monotonic()
            eventually(lambda: time.monotonic() - switched_s > 1.0)
            assert {status for status, _ in load.more()} == {403}


def test_a_broken_file_changes_nothing_and_says_so(tmp_path: Path) -> None:
    accounts = tmp_path / "accounts.ndjson"
    accounts.write_text('{"account":"a","plan":"free","api_key":"sk-mine"}\n')
    with serve_in_thread(ModelServer()) as upstream:
        options = ("--upstream", upstream, "--accounts", str(accounts))
        with serving(tmp_path, *options) as gateway, Load(gateway.url).running() as load:
            assert {status for status, _ in load.more(5)} == {200}
            accounts.write_text('{"account":"a","plan":"free","api_key":"sk-mine"}\n{"account":')
            (tmp_path / "policy.yaml").write_text("version: 1\nplanz: {}\n")
            status = f"{gateway.admin}/api/status"
            eventually(lambda: httpx.get(status).json()["identity"]["accounts"]["error"] is not None)
            eventually(lambda: httpx.get(status).json()["policy"]["error"] is not None)
            shown = httpx.get(status).json()
            assert "accounts.ndjson:2:" in shown["identity"]["accounts"]["error"]
            assert "policy.yaml:2:1" in shown["policy"]["error"]
            assert {status for status, _ in load.more(5)} == {200}
            assert "distillguard_policy_reload" in httpx.get(f"{gateway.admin}/metrics").text
            assert ready(gateway)


def test_a_folder_of_policies_behind_a_symlink_is_swapped_whole(tmp_path: Path) -> None:
    """As a ConfigMap is: ``..data`` points to a new folder from one moment to the next."""
    for name, text in (("one", ROOMY), ("two", ROOMY + 'access:\n  kill: "*"\n')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.yaml").write_text(text)
    (tmp_path / "current").symlink_to("one")
    with serve_in_thread(ModelServer()) as upstream:
        options = ("--upstream", upstream, "--policies", str(tmp_path / "current"))
        with serving(tmp_path, *options) as gateway, Load(gateway.url).running() as load:
            assert {status for status, _ in load.more(5)} == {200}
            (tmp_path / "next").symlink_to("two")
            (tmp_path / "next").rename(tmp_path / "current")
            switched_s = time.monotonic()
            eventually(lambda: time.monotonic() - switched_s > 1.0)
            assert {status for status, _ in load.more(5)} == {403}
