from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.live import Live, live_gateway

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One roomy gateway for all calls of a module."""
    with live_gateway(tmp_path_factory.mktemp("gateway")) as found:
        yield found
