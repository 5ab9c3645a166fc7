"""The analysis as a child process of a gateway: started, watched, started again, ended.

The gateway never waits for it and goes on without it. The child ends when its standard input does, so it cannot
outlive the gateway, not even one that was killed. It tells how it goes in lines of JSON on standard output; its
log goes where the gateway's goes. One thread does all this, so that any event loop, or none, will do.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

import gateway

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.settings import Settings
    from gateway.types import JSON

_BACK_OFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_START_AFTER_S = 1.0
"""The gateway becomes ready first; both import their libraries, and a machine may have one core."""
_LIVED_S = 60.0
"""A child that lived so long starts again at once; the row of failures is over."""
_END_WITHIN_S = 10.0
_SILENT_S = 30.0
"""Without a word for so long the analysis is said to be behind: a pass over much takes some seconds."""
_NICE = 5
"""The request path goes first, also while the child imports its libraries."""
_log = logging.getLogger(__name__)


class AnalysisChild:
    """The child of one gateway. ``start`` and ``stop`` return at once and when it has ended."""

    def __init__(self, settings: Settings, command: Sequence[str] | None = None) -> None:
        self._settings = settings
        self._command = list(command) if command is not None else _command(settings)
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._told: dict[str, Any] = {}
        self._told_at_s = 0.0
        self._starts = 0
        self._failures = 0

    def start(self) -> None:
        """Start it, in the background."""
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._watch, name="analysis-child", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End it and return when it has ended; it gets ``_END_WITHIN_S`` to keep its state, then it is killed."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stopping.set()
        process = self._process
        if process is not None:
            _close(process)
        thread.join(_END_WITHIN_S)
        if thread.is_alive() and process is not None:
            process.kill()
            thread.join()

    def status(self) -> dict[str, JSON]:
        """For /api/status and metrics: ``ok`` while it runs and speaks."""
        process = self._process
        runs = process is not None and process.poll() is None
        silent_s = time.monotonic() - self._told_at_s
        state = "running" if runs else "starting again" if self._starts else "starting"
        state = state if self._thread is not None else "stopped"
        return {
            **self._told,
            "ok": bool(runs and silent_s < _SILENT_S and self._told.get("ok", True)),
            "state": state,
            "pid": process.pid if process is not None and runs else None,
            "restarts": max(0, self._starts - 1),
        }

    def _watch(self) -> None:
        self._stopping.wait(_START_AFTER_S)
        while not self._stopping.is_set():
            began_s = time.monotonic()
            self._live()
            if self._stopping.is_set():
                return
            self._failures = 0 if time.monotonic() - began_s >= _LIVED_S else self._failures + 1
            wait_s = _BACK_OFF_S[min(self._failures, len(_BACK_OFF_S) - 1)]
            code = self._process.returncode if self._process is not None else None
            _log.error("analysis_ended", extra={"code": code, "again_in_s": wait_s})
            self._stopping.wait(wait_s)

    def _live(self) -> None:
        """One life of the child, from its start to its end."""
        self._starts += 1
        self._told_at_s = time.monotonic()
        try:
            self._process = process = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=_environment(self._settings),
                start_new_session=True,  # Ctrl-C is the gateway's to answer; it ends the child when it is done
            )
        except OSError as error:
            _log.error("analysis_not_started", extra={"reason": str(error)})
            return
        if self._stopping.is_set():
            _close(process)
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._hear(line)
        process.wait()
        _close(process)

    def _hear(self, line: bytes) -> None:
        try:
            told = orjson.loads(line)
        except orjson.JSONDecodeError:
            return
        if isinstance(told, dict):
            self._told, self._told_at_s = told, time.monotonic()


def _command(settings: Settings) -> list[str]:
    """This interpreter, with this package, wherever it was imported from."""
    home = str(Path(gateway.__file__).parent.parent)
    program = f"import os, sys; os.nice({_NICE}); sys.path.append({home!r}); from gateway.cli import main; main()"
    command = [sys.executable, "-c", program, "analyze", "--embedded", "--state-dir", str(settings.state_dir)]
    for name in ("accounts", "policies"):
        if (path := getattr(settings, name)) is not None:
            command += [f"--{name}", str(path)]
    return [*command, "--log-level", settings.log_level]


def _environment(settings: Settings) -> dict[str, str]:
    """The gateway's own, with its hash key; not with what the child must not take for its own settings."""
    environment = {name: value for name, value in os.environ.items() if name != "DISTILLGUARD_REDIS"}
    if settings.hash_key:
        environment["DISTILLGUARD_HASH_KEY"] = str(settings.hash_key)
    return environment


def _close(process: subprocess.Popen[bytes]) -> None:
    """Close the child's standard input: it ends by itself."""
    if process.stdin is not None:
        try:
            process.stdin.close()
        except OSError:
            return
