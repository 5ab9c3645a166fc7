"""The supervisor of workers: who is replaced, and what ends everything."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.test_server import WITHIN_S

PROGRAM = """
import os, signal, sys
from pathlib import Path
from gateway import workers
from gateway.errors import ConfigError

workers._PAUSE_S = 0.01
broken = Path(sys.argv[1])

def work(served):
    if broken.exists():
        raise ConfigError("the policy is wrong at the moment")
    served()
    print(os.getpid(), flush=True)
    signal.pause()

sys.exit(workers.supervise(2, work))
"""


class Supervisor:
    """A supervisor of two workers that do nothing; they cannot start while the file ``broken`` is there."""

    def __init__(self, folder: Path) -> None:
        self.broken = folder / "broken"
        command = [sys.executable, "-c", PROGRAM, str(self.broken)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def started(self) -> int:
        """The next worker that serves."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def errors(self) -> IO[str]:
        """What the supervisor and its workers say."""
        assert self.process.stderr is not None
        return self.process.stderr

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=WITHIN_S)
        return self.process.returncode


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Callable[[], Supervisor]]:
    """Makes a supervisor that ends with the test."""
    made: list[Supervisor] = []

    def make() -> Supervisor:
        made.append(Supervisor(tmp_path))
        return made[-1]

    yield make
    for supervisor in made:
        if supervisor.process.poll() is None:
            supervisor.process.kill()  # its workers end with it
            supervisor.process.communicate(timeout=WITHIN_S)


def test_a_worker_that_cannot_be_replaced_at_the_moment_ends_nobody_else(
    supervised: Callable[[], Supervisor],
) -> None:
    supervisor = supervised()
    first, second = supervisor.started(), supervisor.started()
    supervisor.broken.touch()
    os.kill(first, signal.SIGKILL)
    errors = iter(supervisor.errors().readline, "")
    tried = [next(line for line in errors if line.startswith("distillguard:")) for _ in range(3)]
    assert set(tried) == {"distillguard: the policy is wrong at the moment\n"}
    os.kill(second, 0)  # it lives
    supervisor.broken.unlink()
    assert supervisor.started() not in {first, second}
    assert supervisor.end() == 0


def test_a_worker_that_is_killed_right_after_its_start_is_replaced(supervised: Callable[[], Supervisor]) -> None:
    supervisor = supervised()
    first, second = supervisor.started(), supervisor.started()
    os.kill(first, signal.SIGKILL)
    assert supervisor.started() not in {first, second}
    assert supervisor.end() == 0


def test_workers_that_cannot_start_at_all_end_everything(tmp_path: Path, supervised: Callable[[], Supervisor]) -> None:
    (tmp_path / "broken").touch()
    supervisor = supervised()
    _, errors = supervisor.process.communicate(timeout=WITHIN_S)
    assert supervisor.process.returncode == 2
    assert "the policy is wrong at the moment" in errors
