"""A real redis-server for tests: on 127.0.0.1, a free port, nothing on disk, ended with the test session."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from redis import Redis
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Iterator

STARTS_WITHIN_S = 10.0


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """One server process and what can happen to it."""

    def __init__(self, *options: str, port: int | None = None, first: bool = False) -> None:
        self.port = port or free_port()
        self._options = options
        self._first = first  # a configuration file stands before all options
        self._folder = Path(tempfile.mkdtemp(prefix="distillguard-redis-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> Redis:
        """A plain synchronous client; the caller closes it."""
        return Redis(port=self.port, socket_timeout=5)

    def start(self) -> None:
        """Start (again: empty, as nothing is kept) and wait until it answers."""
        ours = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        if self._first:
            command = ["redis-server", *self._options, *ours]
        else:
            command = ["redis-server", *ours, "--save", "", "--appendonly", "no", *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + STARTS_WITHIN_S
        with self.client() as client:
            while True:
                try:
                    client.ping()
                except RedisError:
                    if time.monotonic() > deadline or self._process.poll() is not None:
                        raise
                    time.sleep(0.01)  # another process starts: there is nothing to wait on
                else:
                    return

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone; everything it held is lost."""
        if self._process is not None and self._process.poll() is None:
            self._signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait(timeout=10)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


@contextmanager
def running_redis(*options: str, first: bool = False) -> Iterator[RedisServer]:
    """A server of one's own, to be stopped, killed or configured at will."""
    server = RedisServer(*options, first=first)
    server.start()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One server for all tests of a session that do it no harm."""
    with running_redis() as server:
        yield server


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> str:
    """URL of an empty Redis."""
    with shared_redis.client() as client:
        client.flushall()
    return shared_redis.url
