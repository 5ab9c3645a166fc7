"""The connection to Redis: encrypted, authenticated, on either event loop, shared by all calls."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from gateway.budgets.redis_link import RedisLink, open_link
from gateway.budgets.scripts import Script
from gateway.errors import ConfigError, StoreError
from tests.redis_server import free_port, running_redis

if TYPE_CHECKING:
    from tests.redis_server import RedisServer

ECHO = Script("echo", "return {KEYS[1], ARGV[1]}")
FAULTY = Script("faulty", "return redis.call('GET')")


@pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {"use_uvloop": use}) for use in (False, True)], ids=["asyncio", "uvloop"]
)
async def test_replies_find_their_callers_on_either_loop(redis_url: str) -> None:
    link = open_link(redis_url, 5.0)
    for _ in range(3):
        calls = [link.call(ECHO, [f"k{n}"], [b"x" * (n * 37)]) for n in range(300)]
        replies = await asyncio.gather(*calls)
        assert replies == [[f"k{n}".encode(), b"x" * (n * 37)] for n in range(300)]
    await link.aclose()


@pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {"use_uvloop": use}) for use in (False, True)], ids=["asyncio", "uvloop"]
)
async def test_every_call_to_a_frozen_server_ends_however_close_their_times_are() -> None:
    """uvloop rounds timers to milliseconds; a call whose time was up within the same one was never looked at again."""
    with running_redis() as server:
        link = open_link(server.url, 0.02)
        await link.ping()
        server.freeze()
        for _ in range(5):
            calls = []
            for number in range(40):
                calls.append(asyncio.ensure_future(link.call(ECHO, [f"k{number}"], ["1"])))
                turned_s = time.perf_counter()
                while time.perf_counter() - turned_s < 0.0003:  # noqa: ASYNC110 - loop turns are what is tested
                    await asyncio.sleep(0)
            async with asyncio.timeout(10):
                replies = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(reply) for reply in replies} == {StoreError}
        await link.aclose()


async def test_a_call_is_sent_at_once_only_where_no_other_is_open(redis_url: str) -> None:
    link = open_link(redis_url, 5.0)
    assert link.send(ECHO, ["early"], ["1"]) is None, "there is no connection yet"
    await link.ping()
    first = link.send(ECHO, ["first"], ["1"])
    assert first is not None
    assert link.send(ECHO, ["second"], ["1"]) is None
    assert await first == [b"first", b"1"]
    again = link.send(ECHO, ["again"], ["1"])
    assert again is not None
    assert await again == [b"again", b"1"]
    await link.aclose()


async def test_one_call_that_fails_or_is_given_up_takes_no_other_with_it(redis_url: str) -> None:
    link = open_link(redis_url, 5.0)
    await link.ping()
    cancelled = asyncio.create_task(link.call(ECHO, ["gone"], ["1"]))
    calls = [asyncio.create_task(link.call(FAULTY if n % 3 == 0 else ECHO, [f"k{n}"], ["1"])) for n in range(9)]
    await asyncio.sleep(0)
    cancelled.cancel()
    replies = await asyncio.gather(*calls, return_exceptions=True)
    for number, reply in enumerate(replies):
        if number % 3 == 0:
            assert isinstance(reply, StoreError)
        else:
            assert reply == [f"k{number}".encode(), b"1"]
    await link.aclose()


async def test_a_server_that_was_started_anew_is_found_by_the_next_call() -> None:
    with running_redis() as server:
        link = open_link(server.url, 5.0)
        await link.ping()
        server.kill()
        server.start()
        await asyncio.sleep(0)
        for _ in range(2):
            try:
                assert await link.call(ECHO, ["k"], ["1"]) == [b"k", b"1"]
                break
            except StoreError:  # the end of the old connection was not read yet
                continue
        else:
            raise AssertionError("not found again")
        await link.aclose()


async def test_calls_without_a_server_fail_with_the_reason(shared_redis: RedisServer) -> None:
    link = open_link("redis://127.0.0.1:1/0", 5.0)
    replies = await asyncio.gather(*(link.call(ECHO, ["k"], []) for _ in range(3)), return_exceptions=True)
    assert {str(reply) for reply in replies} == {
        "store: no connection (Error 111 connecting to 127.0.0.1:1. Connect call failed ('127.0.0.1', 1).), expected a reply"
    }
    await link.aclose()


async def test_tls_is_verified_and_the_password_is_sent(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    with running_redis() as server, server.client() as client:
        for name, value in {
            "tls-cert-file": tmp_path / "cert.pem",
            "tls-key-file": tmp_path / "key.pem",
            "tls-ca-cert-file": tmp_path / "ca.pem",
            "tls-auth-clients": "no",
        }.items():
            client.config_set(name, str(value))
        client.config_set("tls-port", (port := free_port()))
        client.config_set("requirepass", "secret")
        trusted = f"?ssl_ca_certs={tmp_path / 'ca.pem'}"
        for url, works in {
            f"rediss://:secret@127.0.0.1:{port}/2{trusted}": True,
            f"rediss://:wrong@127.0.0.1:{port}/2{trusted}": False,
            f"rediss://:secret@127.0.0.1:{port}/2": False,
        }.items():
            link = open_link(url, 5.0)
            assert isinstance(link, RedisLink)
            if works:
                await link.ping()
            else:
                with pytest.raises(StoreError, match="no connection"):
                    await link.ping()
            await link.aclose()


def test_another_kind_of_url_is_told() -> None:
    with pytest.raises(ConfigError, match="scheme 'http'"):
        open_link("http://127.0.0.1", 1.0)
