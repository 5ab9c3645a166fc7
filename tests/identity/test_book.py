"""What a gateway believes when its key store lies, forgets or goes away."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from gateway.errors import StoreError
from gateway.identity import KeyRecord
from gateway.identity.book import EMPTIED, OUTLIVE_S, KeyBook
from gateway.identity.keys import KeySnapshot
from gateway.identity.memory_store import MemoryKeyStore
from gateway.identity.refresh import KeyRefresher

if TYPE_CHECKING:
    from gateway.clock import ManualClock

GOOD = KeyRecord(public_id="k1", secret_hash=bytes(32), account="a1", created_at=1.0)
DEAD = dataclasses.replace(GOOD, revoked_at=50.0)


def snapshot(*records: KeyRecord, version: int = 1, epoch: str = "e1") -> KeySnapshot:
    return KeySnapshot(epoch=epoch, version=version, records={each.public_id: each for each in records})


def test_a_stale_copy_never_brings_back_a_revoked_key() -> None:
    book = KeyBook()
    book.install(snapshot(GOOD, version=1), 0.0)
    book.install(snapshot(DEAD, version=2), 1.0)
    risen = book.install(snapshot(GOOD, version=1), 2.0)
    assert risen == ("k1",)
    assert book.records["k1"].revoked_at == 50.0


def test_another_store_does_not_bring_back_a_revoked_key() -> None:
    book = KeyBook()
    book.install(snapshot(DEAD), 0.0)
    book.install(snapshot(GOOD, epoch="e2"), 1.0)
    assert book.records["k1"].revoked_at == 50.0


def test_a_key_that_an_older_copy_does_not_have_is_not_good() -> None:
    book = KeyBook()
    book.install(snapshot(GOOD, version=2), 0.0)
    book.install(snapshot(dataclasses.replace(GOOD, public_id="k0"), version=1), 1.0)
    assert list(book.records) == ["k0"]


def test_an_emptied_store_counts_as_away_and_never_opens_the_gateway() -> None:
    book = KeyBook()
    book.install(snapshot(GOOD), 0.0)
    book.install(KeySnapshot(), 10.0)
    assert book.strict
    assert book.error == EMPTIED
    assert list(book.records) == ["k1"]
    assert not book.outlived(10.0 + OUTLIVE_S)
    assert book.outlived(10.1 + OUTLIVE_S)


def test_a_store_that_never_had_keys_leaves_the_gateway_open() -> None:
    book = KeyBook()
    book.install(KeySnapshot(), 0.0)
    assert not book.strict
    assert book.error is None


def test_a_store_whose_every_key_is_revoked_is_still_strict() -> None:
    book = KeyBook()
    book.install(snapshot(DEAD), 0.0)
    assert book.strict


def test_an_outage_lasts_from_its_first_failure_until_the_store_answers() -> None:
    book = KeyBook()
    book.install(snapshot(GOOD), 0.0)
    book.failed("away", 100.0)
    book.failed("still away", 100.0 + OUTLIVE_S)
    assert not book.outlived(100.0 + OUTLIVE_S)
    assert book.outlived(100.5 + OUTLIVE_S)
    book.seen()
    assert not book.outlived(1e9)


@pytest.fixture
def memory() -> MemoryKeyStore:
    return MemoryKeyStore()


def test_a_store_that_forgot_a_revocation_is_told_again(memory: MemoryKeyStore, clock: ManualClock) -> None:
    book = KeyBook()
    refresher = KeyRefresher(memory, book, clock)
    memory.add(GOOD)
    backup = memory.snapshot()
    memory.revoke("k1", 60.0)
    refresher.look()
    memory.restore(backup)
    refresher.look()
    assert memory.snapshot().records["k1"].revoked_at == 60.0
    assert book.records["k1"].revoked_at == 60.0


def test_what_was_written_during_an_outage_is_seen_after_it(memory: MemoryKeyStore, clock: ManualClock) -> None:
    book = KeyBook()
    refresher = KeyRefresher(memory, book, clock)
    memory.add(GOOD)
    refresher.look()
    memory.revoke("k1", 70.0)
    memory.failure = StoreError("away")
    refresher.look()
    assert (book.error, book.records["k1"].revoked_at) == ("away", None)
    memory.failure = None
    refresher.look()
    assert (book.error, book.records["k1"].revoked_at) == (None, 70.0)


def test_a_store_that_goes_away_between_two_calls_is_read_again(memory: MemoryKeyStore, clock: ManualClock) -> None:
    """The stamp was read, the snapshot failed: the change must not count as seen."""

    class Flaky(MemoryKeyStore):
        def stamp(self) -> object:
            return 1

    flaky, book = Flaky(), KeyBook()
    flaky.add(GOOD)
    flaky.failure = StoreError("away")
    refresher = KeyRefresher(flaky, book, clock)
    refresher.look()
    flaky.failure = None
    refresher.look()
    assert list(book.records) == ["k1"]
