"""Recorded traffic through the same code as ``serve``, with the log's own clock.

``log.py`` reads, ``engine.py`` drives the pipeline and the analysis, ``output.py`` writes.
"""

from __future__ import annotations

from gateway.replay.engine import Decision, Replay
from gateway.replay.log import Accounts, Recorded, read_accounts, read_requests
from gateway.replay.output import run_replay

__all__ = ["Accounts", "Decision", "Recorded", "Replay", "read_accounts", "read_requests", "run_replay"]
