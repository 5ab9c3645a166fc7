"""``build_app`` and an upstream whose certificate no public authority signed."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx
import pytest
import trustme

from gateway.app import build_app
from gateway.errors import ConfigError
from gateway.settings import Settings
from tests.upstream.scripted import Peer, serve

if TYPE_CHECKING:
    from pathlib import Path

REPLY = b'{"object":"list","data":[]}'


async def script(peer: Peer) -> None:
    await peer.request()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(REPLY), REPLY))


@pytest.mark.parametrize(("trusted", "status"), [(True, 200), (False, 502)])
async def test_an_upstream_is_trusted_by_its_own_authority_only(tmp_path: Path, trusted: bool, status: int) -> None:
    authority = trustme.CA()
    ours = authority if trusted else trustme.CA()
    ours.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    async with serve(script, context) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        settings = Settings(upstream=url, state_dir=tmp_path / "state", upstream_ca_file=tmp_path / "ca.pem")
        app = build_app(settings)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
            answer = await client.get("/v1/models", headers={"authorization": "Bearer sk-mine"})
        await app.rooms.stop()
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("text", "why"), [(None, "No such file or directory"), ("no certificate", "no certificate or crl found")]
)
def test_certificates_that_cannot_be_read_are_said_at_the_start(tmp_path: Path, text: str | None, why: str) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        build_app(Settings(upstream_ca_file=path))
    said = str(caught.value)
    assert said.startswith(f"upstream_ca_file: got {path}, expected a PEM file of certificates (")
    assert why in said.lower() or why in said


def test_no_connections_to_an_upstream_are_too_few() -> None:
    with pytest.raises(ConfigError, match=r"^upstream_connections: got 0, expected at least 1$"):
        build_app(Settings(upstream_connections=0))
