"""What every test has: one event loop library, and a Redis of its own where it asks for one."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.redis_server"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
