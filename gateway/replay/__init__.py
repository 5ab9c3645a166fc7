"""Recorded traffic through the same code as ``serve``, with the log's own clock.

``log`` reads lines, ``prepare`` brings them to what deciding needs, ``analyse`` finds clusters among them, ``feed``
does all that in a second process where it pays; ``engine`` drives the pipeline and the analysis, ``tally`` counts, ``output`` and ``report`` write.
"""

from __future__ import annotations

from gateway.replay.engine import Decision, Replay
from gateway.replay.feed import GC_SELDOM
from gateway.replay.log import Accounts, Recorded, log_files, read_accounts, read_requests
from gateway.replay.output import Job, finished, run_replay

__all__ = [
    "GC_SELDOM",
    "Accounts",
    "Decision",
    "Job",
    "Recorded",
    "Replay",
    "finished",
    "log_files",
    "read_accounts",
    "read_requests",
    "run_replay",
]
