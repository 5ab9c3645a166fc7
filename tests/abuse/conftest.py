from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live import Live, live_gateway

POLICY = """\
version: 1
plans:
  free:
    budgets:
      - limit: 100_000/day
access:
  kill: "dead-*"
"""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway with a small body limit and short patience."""
    with live_gateway(
        tmp_path_factory.mktemp("abuse"), policies=POLICY, max_body_bytes=100_000, body_timeout_s=0.5
    ) as found:
        yield found


@pytest.fixture(autouse=True)
def nothing_yet(live: Live) -> None:
    live.model.requests.clear()
