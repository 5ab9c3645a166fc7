"""Small policy sets and requests for the tests of this room."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from gateway.policy import PolicySet, load_policies
from gateway.types import Family, Identity, Level, RequestFacts, Standing

BASE = """\
version: 1
plans:
  free: {budgets: [{limit: 200/day}]}
  pro: {budgets: [{limit: 2000/day}]}
"""


def policies_of(text: str, environ: dict[str, str] | None = None) -> PolicySet:
    """The set that one file with ``text`` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.yaml"
        path.write_text(text, encoding="utf-8")
        return load_policies(path, environ=environ or {})


def asks(model: str = "gpt-4o", **more: Any) -> RequestFacts:
    return RequestFacts(**{"family": Family.OPENAI, "route": "openai.chat_completions", "model": model, **more})


def caller(account: str = "a1", **more: Any) -> Identity:
    return Identity(account=account, **{"plan": "free", **more})


def standing(level: str, cluster: str | None = "c1", **more: Any) -> Standing:
    return Standing(level=Level(level), cluster=cluster, **more)
