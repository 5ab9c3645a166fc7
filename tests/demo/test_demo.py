"""``distillguard demo --once`` as its first user runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path


def test_it_answers_refuses_tells_why_and_ends_by_itself(tmp_path: Path) -> None:
    environment = {**os.environ, "COLUMNS": "110", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "demo", "--once"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    shown = done.stdout
    sent, written = re.findall(r"(\d+) sent in .* (\d+) events written", shown)[0]
    assert sent == written
    for rule in ("identity:unknown", "access/deny_countries", "free/requests-per-minute"):
        assert rule in shown
    assert "; ready" in shown
    assert list(tmp_path.iterdir()) == [], "the demo leaves nothing behind"
