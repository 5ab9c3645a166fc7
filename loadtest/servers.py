"""The servers of a load test: the upstreams, the gateway with everything on, and its peers.

All listen on 127.0.0.1 on free ports and end with their block. The gateway runs the shipped policies with the
plans of ``loadtest/plans.yaml`` in place of the shipped ones: as many budgets, with limits that no test reaches.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from loadtest.processes import Server, free_port, run, wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).parent
_HASH_KEY = "the hash key of a load test"
_VERDICT_S = 86_400.0
REPLY = (
    '{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"gpt-4o-mini","choices":[{"index":0,'
    '"message":{"role":"assistant","content":"' + "A reply of some words. " * 20 + '","refusal":null},'
    '"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":400,"completion_tokens":100,"total_tokens":500}}'
)
"""What the plain upstream answers: some 700 bytes, usage included."""

_STATIC = "server {{ listen 127.0.0.1:{port} backlog=8192; location / {{ default_type application/json; return 200 '{reply}'; }} }}"
_PROXY = (
    "server {{ listen 127.0.0.1:{port} backlog=8192; location / {{ limit_req zone=accounts burst=100000 nodelay; "
    'proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; '
    "proxy_read_timeout 3600s; }} }}"
)


def nginx_path() -> str:
    """The path of nginx, also where Debian puts it. Raises SystemExit saying what to install."""
    return tool("nginx", "nginx-light")


def tool(name: str, package: str) -> str:
    """The path of a program. Raises SystemExit with the Debian package that has it."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        raise SystemExit(f"{name} is not installed; on Debian: apt-get install {package}")
    return found


@contextmanager
def static_upstream(folder: Path) -> Iterator[Server]:
    """An nginx that answers everything with ``REPLY``."""
    with _nginx(folder, "upstream", _STATIC.format(port="@PORT@", reply=REPLY), 1) as server:
        yield server


@contextmanager
def nginx_proxy(folder: Path, upstream: Server) -> Iterator[Server]:
    """An nginx with ``limit_req`` and ``proxy_pass``: the floor that a gateway in Python is measured against."""
    with _nginx(folder, "nginx", _PROXY.format(port="@PORT@"), upstream.port) as server:
        yield server


@contextmanager
def _nginx(folder: Path, name: str, server: str, upstream_port: int) -> Iterator[Server]:
    home = folder / f"{name}-{upstream_port}"
    home.mkdir()
    port = free_port()
    text = (HERE / "nginx.conf").read_text()
    for key, value in (
        ("@SERVER@", server),
        ("@DIR@", str(home)),
        ("@UPSTREAM@", str(upstream_port)),
        ("@PORT@", str(port)),
    ):
        text = text.replace(key, value)
    (home / "nginx.conf").write_text(text)
    log = home / "log"
    with run([nginx_path(), "-p", str(home), "-c", str(home / "nginx.conf")], log) as process:
        wait_until_ready(process, port, log)
        yield Server(name=name, port=port, process=process)


@contextmanager
def paced_upstream(folder: Path, events: int, gap_ms: float) -> Iterator[Server]:
    """The streaming model server of ``paced.py``."""
    port, log = free_port(), folder / "paced.log"
    with run([sys.executable, "-m", "loadtest.paced", str(port), str(events), str(gap_ms)], log) as process:
        wait_until_ready(process, port, log)
        yield Server(name="paced", port=port, process=process)


@contextmanager
def bare_uvicorn(folder: Path) -> Iterator[Server]:
    """The server under the gateway, with nothing on it (see ``bare.py``): how fast this machine's Python is."""
    port, log = free_port(), folder / "bare.log"
    with run([sys.executable, "-m", "loadtest.bare", str(port)], log) as process:
        wait_until_ready(process, port, log)
        yield Server(name="uvicorn", port=port, process=process)


@contextmanager
def redis_server(folder: Path) -> Iterator[Server]:
    """An empty redis-server that keeps nothing on disk."""
    port, log = free_port(), folder / "redis.log"
    command = [tool("redis-server", "redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    command += ["--save", "", "--appendonly", "no", "--dir", str(folder)]
    with run(command, log) as process:
        wait_until_ready(process, port, log)
        yield Server(name="redis", port=port, process=process)


@contextmanager
def gateway(
    folder: Path,
    upstream: Server,
    redis: Server | None = None,
    *,
    workers: int = 1,
    name: str = "",
    suspects: Sequence[str] = (),
) -> Iterator[Server]:
    """``distillguard serve`` with budgets, events, traits and metrics on; ready when it is yielded.

    ``suspects`` are credentials whose accounts stand as one suspected cluster from the start: they get marks.
    """
    name = name or ("gateway+redis" if redis else "gateway")
    home = folder / f"{name}-{upstream.port}-{time.monotonic_ns()}"
    home.mkdir()
    port, admin_port, log = free_port(), free_port(), home / "log"
    command = [sys.executable, "-m", "gateway", "serve", "--policies", str(policies(home)), "--upstream", upstream.url]
    command += ["--port", str(port), "--admin-port", str(admin_port), "--state-dir", str(home / "state")]
    command += ["--log-level", "warning"]
    if redis is not None:
        command += ["--redis", f"redis://127.0.0.1:{redis.port}/0", "--workers", str(workers)]
    if suspects:
        suspect(home / "state", suspects)
    with run(command, log, {"DISTILLGUARD_HASH_KEY": _HASH_KEY}) as process:
        started_in_s = wait_until_ready(process, admin_port, log, "/readyz")
        yield Server(name=name, port=port, process=process, admin_port=admin_port, started_in_s=started_in_s)


def suspect(state_dir: Path, credentials: Sequence[str]) -> None:
    """Write the verdict that an analysis would have written before."""
    from gateway.clock import SystemClock  # here: most servers of a load test need nothing of the gateway
    from gateway.identity import open_identities
    from gateway.settings import Secret, Settings
    from gateway.standing.file_store import FileStore
    from gateway.types import Level, Verdict

    settings = Settings(hash_key=Secret(_HASH_KEY), state_dir=state_dir, upstream="http://127.0.0.1:1")
    identities = open_identities(settings, SystemClock())
    members = [
        identities.identify([(b"authorization", b"Bearer " + credential.encode())], None).account
        for credential in credentials
    ]
    now_s = time.time()
    verdict = Verdict(
        cluster="c1", level=Level.SUSPECT, members=tuple(members), decided_at=now_s, expires_at=now_s + _VERDICT_S
    )
    asyncio.run(FileStore(state_dir / "standing").save([verdict]))


def policies(home: Path) -> Path:
    """The shipped policies with the load test's plans."""
    found = home / "policies"
    shutil.copytree(HERE.parent / "policies", found)
    shutil.copy(HERE / "plans.yaml", found / "plans.yaml")
    return found


@contextmanager
def litellm(folder: Path, command: Path, upstream: Server) -> Iterator[Server]:
    """LiteLLM's proxy from a virtual environment of its own, without limits; ``command`` is its ``litellm``."""
    port, log, config = free_port(), folder / "litellm.log", folder / "litellm.yaml"
    config.write_text(
        "model_list:\n  - model_name: gpt-4o-mini\n    litellm_params:\n      model: openai/gpt-4o-mini\n"
        f"      api_base: {upstream.url}/v1\n      api_key: sk-none\n"
    )
    call = [str(command), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    # Any key is taken: 500 accounts call it, and a key store of its own would be a database more.
    with run(call, log, {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}) as process:
        wait_until_ready(process, port, log, "/health/liveliness")
        yield Server(name="litellm", port=port, process=process)
