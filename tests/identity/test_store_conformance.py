"""What every key store does, on all of them: the fake, SQLite and a real Redis."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from gateway.identity import KeyRecord, UnknownKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.identity import KeyStore


def record(public_id: str = "id1", **more: object) -> KeyRecord:
    values: dict[str, object] = {"public_id": public_id, "secret_hash": bytes(range(32)), "account": "a1"}
    return KeyRecord(**{**values, "created_at": 100.5, **more})  # type: ignore[arg-type]


def test_a_new_store_never_had_a_key(store: KeyStore) -> None:
    snapshot = store.snapshot()
    assert (snapshot.epoch, snapshot.version, dict(snapshot.records)) == ("", 0, {})


def test_a_record_comes_back_as_it_was_given(store: KeyStore) -> None:
    full = record("full", org="o1", plan="pro", label="Büro 'x'; -- \"", expires_at=1e9, account="ä/ö")
    bare = record("bare")
    store.add(full)
    store.add(bare)
    snapshot = store.snapshot()
    assert snapshot.records == {"full": full, "bare": bare}
    assert snapshot.epoch
    assert snapshot.version == 2


def test_an_id_is_never_given_twice(store: KeyStore) -> None:
    store.add(record(account="owner"))
    with pytest.raises(ValueError, match="got the id id1 again"):
        store.add(record(account="thief"))
    assert store.snapshot().records["id1"].account == "owner"


def test_a_revoked_key_stays_revoked_since_the_first_time(store: KeyStore) -> None:
    store.add(record())
    assert store.revoke("id1", 200.25).revoked_at == 200.25
    assert store.revoke("id1", 300.0).revoked_at == 200.25
    assert store.snapshot().records["id1"] == record(revoked_at=200.25)


def test_a_revoked_id_cannot_be_made_again(store: KeyStore) -> None:
    store.add(record())
    store.revoke("id1", 200.0)
    with pytest.raises(ValueError, match="again"):
        store.add(record())
    assert store.snapshot().records["id1"].revoked_at == 200.0


@pytest.mark.parametrize("public_id", ["", "id2", "id1' OR '1'='1", "*", "id1\x00", "ID1"])
def test_revoking_what_is_no_id_changes_nothing(store: KeyStore, public_id: str) -> None:
    store.add(record())
    with pytest.raises(UnknownKey):
        store.revoke(public_id, 200.0)
    assert store.snapshot().records == {"id1": record()}


def test_every_write_changes_the_stamp_that_another_process_sees(open_store: Callable[[], KeyStore]) -> None:
    writer, reader = open_store(), open_store()
    seen = [reader.stamp()]
    writer.add(record())
    seen.append(reader.stamp())
    writer.revoke("id1", 1.0)
    seen.append(reader.stamp())
    assert len({repr(stamp) for stamp in seen}) == 3
    assert reader.stamp() == seen[-1]
    assert reader.snapshot().records == {"id1": record(revoked_at=1.0)}


def test_a_stores_own_write_changes_its_stamp(store: KeyStore) -> None:
    store.add(record())
    before = store.stamp()
    store.revoke("id1", 1.0)
    assert store.stamp() != before


def test_the_epoch_is_the_stores_own_and_stays(open_store: Callable[[], KeyStore]) -> None:
    store = open_store()
    store.add(record("id1"))
    epoch = store.snapshot().epoch
    store.add(record("id2"))
    assert open_store().snapshot().epoch == epoch


def test_the_hash_key_may_change_only_while_there_are_no_keys(open_store: Callable[[], KeyStore]) -> None:
    store = open_store()
    assert store.bind("first") == "first"
    assert open_store().bind("second") == "second"
    store.add(record())
    assert open_store().bind("third") == "second"
    assert store.bind("second") == "second"


def test_many_processes_at_once_lose_no_key_and_no_revocation(open_store: Callable[[], KeyStore]) -> None:
    stores = [open_store() for _ in range(4)]

    def work(worker: int) -> None:
        for count in range(10):
            stores[worker].add(record(f"w{worker}-{count}"))
            if count % 2:
                stores[worker].revoke(f"w{worker}-{count}", 7.0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    snapshot = stores[0].snapshot()
    assert len(snapshot.records) == 40
    assert sum(each.revoked_at == 7.0 for each in snapshot.records.values()) == 20
    assert snapshot.version == 60
    assert len({dataclasses.replace(each, revoked_at=None, public_id="") for each in snapshot.records.values()}) == 1
