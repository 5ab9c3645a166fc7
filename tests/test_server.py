"""``distillguard serve`` as a process: ports, readiness, metrics, SIGTERM, workers, errors in one line."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import server
from gateway.demo.live import serve_in_thread
from gateway.demo.model import ModelServer
from gateway.events import list_segments, read_events
from gateway.server import listen
from tests.live import ROOMY
from tests.redis_server import free_port

KEY = {"authorization": "Bearer sk-mine"}
BODY: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Why does bread rise?"}]}
WITHIN_S = 60.0
"""A hang, not a measure: a machine may be busy with other tests."""


class Process:
    """A ``distillguard serve`` that is ready, and what it wrote."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.admin = f"http://127.0.0.1:{(admin_port := free_port())}"
        policies = folder / "policy.yaml"
        if not policies.exists():
            policies.write_text(ROOMY)
        command = [sys.executable, "-m", "gateway", "serve", "--policies", str(policies), "--port", str(port)]
        command += ["--admin-port", str(admin_port), "--state-dir", str(folder / "state"), *options]
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "TMPDIR": str(folder), **environment},  # what it leaves when it is killed
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def until_ready(self) -> None:
        deadline = time.monotonic() + WITHIN_S
        while True:
            assert self.process.poll() is None, self.process.communicate()[1].decode()
            assert time.monotonic() < deadline, "not ready in time"
            try:
                if httpx.get(f"{self.admin}/readyz", timeout=1).status_code == 200:
                    return
            except httpx.TransportError:
                continue

    def stop(self) -> tuple[int, list[dict[str, Any]]]:
        """SIGTERM; the exit code and the log."""
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=WITHIN_S)
        return self.process.returncode, [json.loads(line) for line in log.splitlines()]


@contextmanager
def serving(folder: Path, *options: str, **environment: str) -> Iterator[Process]:
    process = Process(folder, *options, **environment)
    try:
        process.until_ready()
        yield process
    finally:
        if process.process.poll() is None:  # the workers too: one that hangs would keep the pipes open
            os.killpg(process.process.pid, signal.SIGKILL)
            process.process.communicate()


def test_it_serves_tells_how_it_is_and_logs_no_secret(tmp_path: Path) -> None:
    with serve_in_thread(ModelServer()) as upstream, serving(tmp_path, "--upstream", upstream) as gateway:
        assert httpx.post(f"{gateway.url}/v1/chat/completions", json=BODY, headers=KEY).status_code == 200
        assert httpx.get(f"{gateway.admin}/livez").json() == {"live": True}
        status = httpx.get(f"{gateway.admin}/api/status").json()
        assert status["ready"]
        assert len(status["policy"]["hash"]) >= 12
        metrics = httpx.get(f"{gateway.admin}/metrics").text
        assert (
            'distillguard_requests_total{outcome="answered",route="openai.chat_completions",status_class="2xx"} 1.0'
            in metrics
        )
        assert "gen_ai_client_token_usage" in metrics
        code, log = gateway.stop()
    assert code == 0
    assert [line["event"] for line in log][-1] == "stopped"
    assert "sk-mine" not in json.dumps(log)
    assert "bread" not in json.dumps(log)


def test_sigterm_lets_a_stream_finish_settles_it_and_writes_its_event(tmp_path: Path) -> None:
    model = ModelServer(token_delay_s=0.01)
    with serve_in_thread(model) as upstream, serving(tmp_path, "--upstream", upstream) as gateway:
        body = {**BODY, "stream": True, "max_tokens": 60}
        seen = b""
        with httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=body, headers=KEY, timeout=20) as answer:
            for chunk in answer.iter_bytes():
                if not seen:
                    gateway.process.send_signal(signal.SIGTERM)
                seen += chunk
        _, log = gateway.process.communicate(timeout=WITHIN_S)
    assert seen.endswith(b"data: [DONE]\n\n")
    assert gateway.process.returncode == 0, log
    (event,) = [event for path in list_segments(tmp_path / "state" / "events") for event in read_events(path)]
    assert event.usage is not None
    assert event.usage.reported


def test_a_stream_that_outlasts_the_deadline_is_cut_with_an_error_event(tmp_path: Path) -> None:
    model = ModelServer()
    with serve_in_thread(model) as upstream:
        with serving(tmp_path, "--upstream", upstream, "--drain-timeout-s", "1") as gateway:
            body = {**BODY, "stream": True, "model": "fault-hang-mid-stream"}
            seen = b""
            with httpx.stream("POST", f"{gateway.url}/v1/chat/completions", json=body, headers=KEY) as answer:
                for chunk in answer.iter_bytes():
                    if not seen:
                        gateway.process.send_signal(signal.SIGTERM)
                    seen += chunk
            gateway.process.communicate(timeout=WITHIN_S)
            assert gateway.process.returncode == 0
        assert model.requests[0].ended.wait(5)
    assert b"shutting down" in seen.rpartition(b"data: ")[2]


def test_a_kill_switch_written_into_the_file_works_within_a_second(tmp_path: Path) -> None:
    with serve_in_thread(ModelServer()) as upstream, serving(tmp_path, "--upstream", upstream) as gateway:
        with httpx.Client(headers=KEY) as client:
            assert client.post(f"{gateway.url}/v1/chat/completions", json=BODY).status_code == 200
            (tmp_path / "new.yaml").write_text(ROOMY + 'access:\n  kill: "*"\n')
            started_s = time.monotonic()
            (tmp_path / "new.yaml").rename(tmp_path / "policy.yaml")
            while client.post(f"{gateway.url}/v1/chat/completions", json=BODY).status_code != 403:
                assert time.monotonic() - started_s < 1.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--port", "http"], "port: got 'http', expected a whole number"),
        (["--workers", "2"], "workers: got 2 without redis, expected --redis URL so that they share state"),
        (["--upstream", "localhost:8000"], "upstream: got 'localhost:8000', expected http(s)://HOST[:PORT][/PATH]"),
        ([], "upstream: got nothing, expected --upstream URL or an entry with a url in the policies' upstreams"),
        (["--policies", "missing"], "missing"),
        (["--accounts", "missing.ndjson", "--upstream", "http://127.0.0.1:9"], "missing.ndjson"),
    ],
)
def test_what_cannot_start_says_why_in_one_line_and_exits_2(tmp_path: Path, options: list[str], said: str) -> None:
    command = [sys.executable, "-m", "gateway", "serve", "--admin-port", "0", "--port", "0"]
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len([line for line in done.stderr.splitlines() if not line.startswith("{")]) == 1, done.stderr


def test_a_port_that_is_taken_says_so(tmp_path: Path) -> None:
    with serve_in_thread(ModelServer()) as taken:
        port = taken.rsplit(":", 1)[1]
        command = [sys.executable, "-m", "gateway", "serve", "--port", port, "--upstream", "http://127.0.0.1:9"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr


def test_workers_share_budgets_and_metrics_and_are_replaced(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\nplans:\n  free:\n    budgets:\n      - limit: 20/day\n")
    with serve_in_thread(ModelServer()) as upstream:
        options = ("--upstream", upstream, "--redis", redis_url, "--workers", "2")
        with serving(tmp_path, *options) as gateway:
            statuses: list[int] = []

            def ask() -> None:
                with httpx.Client(headers=KEY) as client:
                    statuses.extend(
                        client.post(f"{gateway.url}/v1/chat/completions", json=BODY, timeout=20).status_code
                        for _ in range(5)
                    )

            threads = [threading.Thread(target=ask) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sorted(statuses) == [200] * 20 + [429] * 10
            metrics = httpx.get(f"{gateway.admin}/metrics").text
            counted = [line for line in metrics.splitlines() if line.startswith("distillguard_requests_total")]
            assert sum(float(line.rsplit(" ", 1)[1]) for line in counted) == 30.0
            code, _ = gateway.stop()
    assert code == 0


async def test_replies_do_not_wait_for_acknowledgements() -> None:
    """A bound socket that does not name its protocol would keep Nagle's algorithm on, at 40 ms a reply."""
    bound = listen("127.0.0.1", 0)
    accepted: asyncio.Queue[asyncio.BaseTransport] = asyncio.Queue()

    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.put_nowait(transport)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, sock=bound)
    client, _ = await loop.create_connection(asyncio.Protocol, *bound.getsockname())
    transport = await accepted.get()
    connection: socket.socket = transport.get_extra_info("socket")
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    client.close()
    transport.close()
    server.close()
    await server.wait_closed()


def test_the_file_limit_is_raised_as_far_as_allowed_and_half_of_it_is_for_clients() -> None:
    """A shell gives 1,024 files: 500 streams, and then no connection to the upstream."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = min(before[1] if before[1] != resource.RLIM_INFINITY else 1_048_576, 1_048_576)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, before[1]))
        assert server._most_connections() == (1_024 - 128) // 2
        server.raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (allowed, before[1])
        server.raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (allowed, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
