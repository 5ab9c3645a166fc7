"""What goes wrong with files and servers."""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from gateway.errors import ConfigError, StoreError
from gateway.identity import KeyRecord
from gateway.identity.book import EMPTIED, KeyBook
from gateway.identity.redis_link import RECORDS, connect, shown_url, store_errors
from gateway.identity.redis_store import RedisKeyStore
from gateway.identity.refresh import KeyRefresher
from gateway.identity.sqlite_store import SqliteKeyStore
from tests.redis_server import RedisServer, free_port, running_redis

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.clock import ManualClock


def record(public_id: str) -> KeyRecord:
    return KeyRecord(public_id=public_id, secret_hash=bytes(32), account="a1", created_at=1.0)


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    store = SqliteKeyStore(tmp_path / "state" / "keys.db")
    store.add(record("id1"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
    assert set(modes.values()) == {0o600}, modes
    store.close()


def test_a_file_that_takes_the_old_ones_name_is_read(tmp_path: Path) -> None:
    store = SqliteKeyStore(tmp_path / "keys.db")
    store.add(record("old"))
    before = store.stamp()
    other = SqliteKeyStore(tmp_path / "other.db")
    other.add(record("new"))
    other.close()
    store.close()
    os.replace(tmp_path / "other.db", tmp_path / "keys.db")  # noqa: PTH105 - as a restore does
    assert store.stamp() != before
    assert list(store.snapshot().records) == ["new"]
    store.close()


def test_a_file_replaced_under_an_open_connection_is_noticed(tmp_path: Path) -> None:
    reader = SqliteKeyStore(tmp_path / "keys.db")
    before = reader.stamp()
    (tmp_path / "keys.db").rename(tmp_path / "aside.db")
    for ending in ("-wal", "-shm"):
        (tmp_path / f"keys.db{ending}").unlink(missing_ok=True)
    writer = SqliteKeyStore(tmp_path / "keys.db")
    writer.add(record("new"))
    assert reader.stamp() != before
    assert list(reader.snapshot().records) == ["new"]
    reader.close()
    writer.close()


def test_a_file_that_is_no_database_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "keys.db").write_bytes(b"not a database, but long enough to be looked at as one" * 20)
    with pytest.raises(StoreError, match=r"key store .*keys\.db cannot be used: file is not a database"):
        SqliteKeyStore(tmp_path / "keys.db")


def test_a_folder_in_the_files_place_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "keys.db").mkdir()
    with pytest.raises(StoreError, match="cannot be used"):
        SqliteKeyStore(tmp_path / "keys.db")


def test_a_redis_that_is_away_is_a_store_error_without_the_password() -> None:
    store = RedisKeyStore("redis://user:hunter2@127.0.0.1:1/0")
    for call in (store.stamp, store.snapshot, lambda: store.add(record("x")), lambda: store.revoke("x", 1.0)):
        with pytest.raises(StoreError, match=r"key store redis://127\.0\.0\.1:1/0 cannot be asked") as caught:
            call()
        assert "hunter2" not in str(caught.value)
    store.close()


def test_a_cluster_that_is_away_is_a_store_error() -> None:
    with pytest.raises(StoreError, match=r"key store redis\+cluster://127\.0\.0\.1:1/0 cannot be asked"):
        RedisKeyStore("redis+cluster://:hunter2@127.0.0.1:1/0")


def test_a_frozen_redis_is_given_up_after_the_time_limit() -> None:
    with running_redis() as server, store_errors(server.url):
        client = connect(server.url, timeout_s=0.05)
        client.ping()
        server.freeze()
        with pytest.raises(StoreError, match="cannot be asked: Timeout"), store_errors(server.url):
            client.ping()
        server.thaw()
        client.close()


def test_a_redis_that_comes_back_empty_neither_opens_the_gateway_nor_locks_callers_out(clock: ManualClock) -> None:
    with running_redis() as server:
        store, book = RedisKeyStore(server.url), KeyBook()
        refresher = KeyRefresher(store, book, clock)
        store.add(record("good"))
        store.add(record("dead"))
        store.revoke("dead", 5.0)
        refresher.look()
        server.kill()
        refresher.look()
        assert "cannot be asked" in str(book.error)
        server.start()
        refresher.look()
        assert book.error == EMPTIED
        assert book.strict
        assert {name: each.revoked_at for name, each in book.records.items()} == {"good": None, "dead": 5.0}
        store.add(record("dead"))
        refresher.look()
        assert store.snapshot().records["dead"].revoked_at == 5.0, "the gateway told the new Redis"
        assert book.records["dead"].revoked_at == 5.0
        store.close()


def test_one_damaged_record_in_redis_takes_no_other_with_it(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    store = RedisKeyStore(redis_url)
    store.add(record("good"))
    with Redis.from_url(redis_url) as client:
        client.hset(RECORDS, "bad1", b"{")
        client.hset(RECORDS, "bad2", b'{"secret_hash": "zz"}')
    assert list(store.snapshot().records) == ["good"]
    assert "the record b'bad1' is damaged" in caplog.text
    store.close()


@pytest.mark.parametrize(
    "url",
    ["", "keys", "http://:hunter2@x", "redis+sentinel://:hunter2@127.0.0.1/", "redis://:hunter2@127.0.0.1:port"],
)
def test_an_unusable_url_is_told_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^redis: got a URL .*expected redis://HOST") as caught:
        RedisKeyStore(url)
    assert "hunter2" not in str(caught.value)


def test_keys_in_a_cluster_stand_in_one_slot_and_are_read_whole() -> None:
    with running_redis("--cluster-enabled", "yes", "--cluster-port", str(free_port())) as server:
        with server.client() as plain:
            plain.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            while b"cluster_state:ok" not in plain.execute_command("CLUSTER", "INFO"):
                pass
        store = RedisKeyStore(server.url.replace("redis://", "redis+cluster://"))
        before = store.stamp()
        store.add(record("id1"))
        store.add(record("id2"))
        store.revoke("id1", 5.0)
        assert store.stamp() != before
        assert {name: each.revoked_at for name, each in store.snapshot().records.items()} == {"id1": 5.0, "id2": None}
        assert store.bind("fingerprint") == "fingerprint"
        store.close()


def test_keys_behind_a_sentinel_are_the_primarys(redis_url: str, shared_redis: RedisServer, tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {shared_redis.port} 1\n")
    with subprocess.Popen(["redis-server", str(config), "--sentinel"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("+monitor master main" in line for line in process.stdout)
        behind, direct = RedisKeyStore(f"redis+sentinel://127.0.0.1:{port}/main/0"), RedisKeyStore(redis_url)
        behind.add(record("id1"))
        assert list(direct.snapshot().records) == ["id1"]
        behind.close()
        direct.close()
        process.kill()


def test_a_shown_url_has_no_login_and_no_query() -> None:
    assert shown_url("rediss://u:p@host:6379/2?password=secret") == "rediss://host:6379/2"
