from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis, RedisCluster

from gateway.errors import ConfigError
from gateway.redis_url import connect
from tests.redis_server import RedisServer, free_port, running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def sentinel(redis_url: str, shared_redis: RedisServer, tmp_path: Path) -> Iterator[int]:
    """The port of a sentinel that knows the shared server as the primary of "main"."""
    port = free_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {shared_redis.port} 1\n")
    with subprocess.Popen(["redis-server", str(config), "--sentinel"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("+monitor master main" in line for line in process.stdout)
        yield port
        process.kill()


async def test_one_server(redis_url: str) -> None:
    client = connect(redis_url, timeout_s=5)
    assert isinstance(client, Redis)
    assert await client.set("a", "1")
    await client.aclose()


async def test_a_cluster() -> None:
    with running_redis("--cluster-enabled", "yes", "--cluster-port", str(free_port())) as server:
        with server.client() as plain:
            plain.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            while b"cluster_state:ok" not in plain.execute_command("CLUSTER", "INFO"):
                pass
        client = connect(server.url.replace("redis://", "redis+cluster://"), timeout_s=5)
        assert isinstance(client, RedisCluster)
        assert await client.set("a", "1")
        await client.aclose()


async def test_a_sentinel_tells_the_primary(sentinel: int, shared_redis: RedisServer) -> None:
    client = connect(f"redis+sentinel://127.0.0.1:{sentinel}/main/0", timeout_s=5)
    await client.set("a", "from sentinel")
    with shared_redis.client() as plain:
        assert plain.get("a") == b"from sentinel"
    await client.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://:hunter2@localhost",
        "redis+sentinel://:hunter2@localhost:26379",
        "redis+sentinel://:hunter2@/main",
        "redis+sentinel://localhost:hunter2/main",
        "redis://:hunter2@localhost:port",
        "redis+sentinel://localhost/main/zero",
    ],
)
def test_a_url_of_another_form_is_an_error_that_keeps_the_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^redis: got a URL .*expected redis://HOST") as caught:
        connect(url, timeout_s=1)
    if "@" in url:
        assert "hunter2" not in str(caught.value)
