"""Processes of a load test: start, wait, measure, stop.

CPU is user and system time of a process and all its children from /proc (Linux). Memory is RSS. Nothing is
measured from inside the measured process. Every process that is started here is ended here, by its id.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STOP_WITHIN_S = 20.0
_POLL_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server: where it listens and what it costs."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    admin_port: int = 0
    started_in_s: float = 0.0

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return f"http://127.0.0.1:{self.port}"

    def cpu_s(self) -> float:
        """CPU seconds of the process and its living and waited-for descendants so far."""
        return sum(_cpu_s(pid) for pid in tree(self.process.pid))

    def own_cpu_s(self) -> float:
        """CPU seconds of the process alone."""
        return _cpu_s(self.process.pid)

    def metric(self, name: str) -> float:
        """A value from ``/metrics``, summed over its labels; 0 where it is not there."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=10) as page:
            return summed(page.read().decode(), name)

    def rss_bytes(self) -> int:
        """Resident memory of the process alone."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"{self.name} has no memory: it ended with code {self.process.poll()}")


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            found += tree(int(child))
    return found


def summed(page: str, name: str) -> float:
    """The values of a metric on a page of Prometheus' text format, all labels together."""
    lines = (line for line in page.splitlines() if line.startswith((f"{name} ", f"{name}{{")))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def pin(server: Server, cpus: set[int]) -> None:
    """Keep all threads of a server's processes on these processors; threads that they start later stay there too."""
    for pid in tree(server.process.pid):
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), cpus)


def _cpu_s(pid: int) -> float:
    """User and system time, children that were waited for included; 0 where the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0.0
    fields = text.rpartition(")")[2].split()
    return sum(int(value) for value in fields[11:15]) / _TICKS_PER_S


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def run(command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its output in ``log``, ended with the block."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            list(command), stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(
    process: subprocess.Popen[bytes], port: int, log: Path, path: str = "", within_s: float = 60
) -> float:
    """Seconds until ``port`` accepts connections or, with ``path``, answers it with 200.

    Raises RuntimeError with the end of the log where the process ends first or time is up.
    """
    started_s = time.monotonic()
    while time.monotonic() - started_s < within_s:
        if process.poll() is not None:
            break
        if _answers(port, path):
            return time.monotonic() - started_s
        time.sleep(_POLL_S)
    raise RuntimeError(f"{process.args!r} did not start; its log ends with:\n{log.read_text()[-2000:]}")


def _answers(port: int, path: str) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            if not path:
                return True
            connection.sendall(b"GET %b HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n" % path.encode())
            return connection.recv(64).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False
