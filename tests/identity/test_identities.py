"""Who is let in, who is not, and what an attacker learns."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import threading
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from gateway.errors import ConfigError, FileErrors, RequestRefused, StoreError
from gateway.identity import (
    Identities,
    KeyRecord,
    keyed_hash,
    make_key,
    open_identities,
    open_key_store,
)
from gateway.identity.book import OUTLIVE_S
from gateway.identity.credentials import WRONG_CREDENTIAL
from gateway.identity.failures import FailureLimiter
from gateway.identity.hashing import load_hash_key
from gateway.identity.memory_store import MemoryKeyStore
from gateway.identity.refresh import DirectoryRefresher, Ticker
from gateway.settings import Secret, Settings
from gateway.types import Identity, RefusalKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.clock import ManualClock
    from gateway.identity import KeyStore

HERE = ("203.0.113.9", 51_000)
PROXY = ("10.0.0.1", 443)
HASH_KEY = b"k" * 32


def bearer(key: str | bytes) -> list[tuple[bytes, bytes]]:
    return [
        (b"host", b"api.example"),
        (b"authorization", b"Bearer " + (key if isinstance(key, bytes) else key.encode())),
    ]


def refused(
    identities: Identities, headers: list[tuple[bytes, bytes]], client: Any = HERE
) -> tuple[RefusalKind, str, str | None]:
    with pytest.raises(RequestRefused) as caught:
        identities.identify(headers, client)
    refusal = caught.value.refusal
    return refusal.kind, refusal.message, refusal.rule


class Gateway:
    """Identities over a store, and an operator who makes and revokes keys beside it."""

    def __init__(
        self, clock: ManualClock, store: KeyStore, directory: DirectoryRefresher | None = None, limit: int = 120
    ) -> None:
        self.clock = clock
        self.store = store
        self.identities = Identities(
            hash_key=HASH_KEY,
            clock=clock,
            keys=store,
            directory=directory,
            trusted_proxies=[ip_network("10.0.0.0/8")],
            failures=FailureLimiter(clock, limit),
        )
        self.identities.refresh()

    def make(self, account: str = "a1", **more: Any) -> str:
        text, record = make_key(HASH_KEY, account, now_s=self.clock.now(), **more)
        self.store.add(record)
        self.identities.refresh()
        return text


@pytest.fixture
def gateway(clock: ManualClock) -> Gateway:
    return Gateway(clock, MemoryKeyStore())


@pytest.fixture
def directory(tmp_path: Path) -> DirectoryRefresher:
    rows = [
        {"account": "a1", "plan": "team", "org": "o1", "country": "DE", "verified": True, "declared_use": "evaluation",
         "created_at": 5.0, "api_key_sha256": hashlib.sha256(b"sk-own").hexdigest()},
        {"account": "a2"},
    ]  # fmt: skip
    (tmp_path / "accounts.ndjson").write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    refresher = DirectoryRefresher(tmp_path / "accounts.ndjson")
    refresher.load()
    return refresher


def test_open_any_credential_is_an_account_of_its_own(gateway: Gateway) -> None:
    identity = gateway.identities.identify(bearer("sk-abc"), HERE)
    name = keyed_hash(HASH_KEY, "credential", "sk-abc")
    assert identity == Identity(account=f"anon-{name}", credential=name, address="203.0.113.9", own_credential=True)
    assert gateway.identities.identify([(b"x-api-key", b"sk-abc")], None).account == identity.account
    assert gateway.identities.identify(bearer("sk-abd"), HERE).account != identity.account
    assert not gateway.identities.strict


def test_a_caller_who_is_kept_is_not_taken_for_where_it_called_from_before(gateway: Gateway) -> None:
    identify = gateway.identities.identify
    proxied = [*bearer("sk-abc"), (b"x-forwarded-for", b"198.51.100.7"), (b"x-client-country", b"FR")]
    first, again = identify(bearer("sk-abc"), HERE), identify(bearer("sk-abc"), HERE)
    assert first is again
    elsewhere = identify(proxied, PROXY)
    assert (elsewhere.account, elsewhere.address, elsewhere.country) == (first.account, "198.51.100.7", "FR")
    assert identify(bearer("sk-abc"), HERE) == first
    gateway.make()
    assert refused(gateway.identities, bearer("sk-abc"))[0] is RefusalKind.UNAUTHENTICATED


def test_open_without_a_credential_is_refused(gateway: Gateway) -> None:
    kind, message, _ = refused(gateway.identities, [(b"host", b"x")])
    assert kind is RefusalKind.UNAUTHENTICATED
    assert message.startswith("No API key was given")


def test_the_first_key_turns_the_gateway_strict_for_good(gateway: Gateway) -> None:
    key = gateway.make(plan="pro", org="o9")
    assert gateway.identities.strict
    assert gateway.identities.identify(bearer(key), HERE) == Identity(
        account="a1", plan="pro", org="o9", credential=key.split("_")[1], address="203.0.113.9", own_credential=False
    )
    assert refused(gateway.identities, bearer("sk-abc"))[0] is RefusalKind.UNAUTHENTICATED
    gateway.store.revoke(key.split("_")[1], 1.0)
    gateway.identities.refresh()
    assert gateway.identities.strict
    assert refused(gateway.identities, bearer("sk-abc"))[2] == "identity:unknown"


def forgeries(key: str) -> dict[str, bytes]:
    other, _ = make_key(b"another hash key", "a1", now_s=0.0)
    return {
        "another's secret": f"{key[:21]}{other[21:]}".encode(),
        "another's id": f"{other[:21]}{key[21:]}".encode(),
        "of another gateway": other.encode(),
        "cut": key[:-1].encode(),
        "longer": key.encode() + b"a",
        "id only": key[:20].encode(),
        "prefix": b"dg1_",
        "upper case": key.upper().encode(),
        "operator's style": b"sk-guess",
        "no ascii": key.encode() + "é".encode(),
        "with a blank": key.encode() + b" x",
        "huge": b"dg1_" + b"a" * 1_000_000,
        "null byte": key.encode() + b"\x00",
    }


def test_a_forged_key_is_refused_like_any_other_wrong_one(gateway: Gateway) -> None:
    key = gateway.make()
    for name, forged in forgeries(key).items():
        kind, message, _ = refused(gateway.identities, bearer(forged))
        assert (kind, message) == (RefusalKind.UNAUTHENTICATED, WRONG_CREDENTIAL), name
    assert gateway.identities.identify(bearer(key), HERE).account == "a1"


def test_revoked_and_expired_keys_are_refused_by_the_same_text(gateway: Gateway) -> None:
    dead, brief = gateway.make("a1"), gateway.make("a2", lifetime_s=60.0)
    gateway.store.revoke(dead.split("_")[1], 1.0)
    gateway.identities.refresh()
    assert refused(gateway.identities, bearer(dead)) == (
        RefusalKind.UNAUTHENTICATED,
        WRONG_CREDENTIAL,
        "identity:revoked",
    )
    gateway.clock.advance(59.999)
    assert gateway.identities.identify(bearer(brief), HERE).account == "a2"
    gateway.clock.advance(0.001)
    assert refused(gateway.identities, bearer(brief)) == (
        RefusalKind.UNAUTHENTICATED,
        WRONG_CREDENTIAL,
        "identity:expired",
    )


def test_secrets_are_compared_in_constant_time_also_for_ids_that_do_not_exist(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def spy(left: bytes, right: bytes) -> bool:
        compared.append((len(left), len(right)))
        return compare(left, right)

    key = gateway.make()
    monkeypatch.setattr(hmac, "compare_digest", spy)
    gateway.identities.identify(bearer(key), HERE)
    refused(gateway.identities, bearer(forgeries(key)["another's secret"]))
    refused(gateway.identities, bearer(forgeries(key)["another's id"]))
    assert compared == [(32, 32)] * 3


def test_a_revocation_is_in_force_on_every_worker_after_one_look(
    open_store: Callable[[], KeyStore], clock: ManualClock
) -> None:
    operator = open_store()
    workers = [Gateway(clock, open_store()).identities for _ in range(3)]
    text, record = make_key(HASH_KEY, "a1", now_s=clock.now())
    assert not any(worker.strict for worker in workers)
    operator.add(record)
    for worker in workers:
        worker.refresh()
        assert worker.identify(bearer(text), HERE).account == "a1"
    operator.revoke(record.public_id, clock.now())
    for worker in workers:
        worker.refresh()
        assert refused(worker, bearer(text))[2] == "identity:revoked"


def test_a_restored_backup_does_not_bring_a_revoked_key_back(clock: ManualClock) -> None:
    store = MemoryKeyStore()
    gateway = Gateway(clock, store)
    key = gateway.make()
    backup = store.snapshot()
    store.revoke(key.split("_")[1], 1.0)
    gateway.identities.refresh()
    store.restore(backup)
    gateway.identities.refresh()
    assert refused(gateway.identities, bearer(key))[2] == "identity:revoked"


def test_last_known_keys_outlive_the_store_for_an_hour_then_are_unavailable(clock: ManualClock) -> None:
    store = MemoryKeyStore()
    gateway = Gateway(clock, store)
    key = gateway.make()
    store.failure = StoreError("away")
    gateway.identities.refresh()
    clock.advance(OUTLIVE_S)
    gateway.identities.refresh()
    assert gateway.identities.identify(bearer(key), HERE).account == "a1"
    assert gateway.identities.status()["keys"]["error"] == "away"
    clock.advance(0.001)
    assert refused(gateway.identities, bearer(key))[0] is RefusalKind.UNAVAILABLE
    store.failure = None
    gateway.identities.refresh()
    assert gateway.identities.identify(bearer(key), HERE).account == "a1"
    assert gateway.identities.status()["failures"]["addresses"] == 0, "an outage is nobody's failed guess"


def test_the_directory_describes_the_account_of_a_key(clock: ManualClock, directory: DirectoryRefresher) -> None:
    gateway = Gateway(clock, MemoryKeyStore(), directory)
    key = gateway.make("a1", plan="free", org="other")
    identity = gateway.identities.identify(bearer(key), HERE)
    assert (identity.account, identity.plan, identity.org, identity.country) == ("a1", "team", "o1", "DE")
    assert (identity.verified, identity.declared_use, identity.created_at) == (True, "evaluation", 5.0)
    assert identity.own_credential is False
    elsewhere = gateway.identities.identify(bearer(gateway.make("a9", plan="free")), HERE)
    assert (elsewhere.account, elsewhere.plan, elsewhere.verified) == ("a9", "free", False)


def test_what_is_known_of_an_account_is_what_its_next_call_is_decided_by(
    clock: ManualClock, directory: DirectoryRefresher
) -> None:
    gateway = Gateway(clock, MemoryKeyStore(), directory)
    gateway.make("a1", plan="free", org="other")
    gateway.make("a9", plan="free")
    clock.advance(1)
    gateway.make("a9", plan="pro", org="o9")
    known = [gateway.identities.account(name) for name in ("a1", "a9", "nobody")]
    assert [(one.plan, one.org) if one else None for one in known] == [("team", "o1"), ("pro", "o9"), None]


def test_a_directory_alone_is_strict_and_knows_its_operators_keys(
    clock: ManualClock, directory: DirectoryRefresher
) -> None:
    identities = Identities(hash_key=HASH_KEY, clock=clock, directory=directory)
    assert identities.strict
    identity = identities.identify(bearer("sk-own"), HERE)
    assert (identity.account, identity.own_credential) == ("a1", False)
    assert identity.credential == keyed_hash(HASH_KEY, "credential", "sk-own")
    assert refused(identities, bearer("sk-ownx"))[2] == "identity:unknown"
    assert refused(identities, bearer(hashlib.sha256(b"sk-own").hexdigest()))[2] == "identity:unknown"
    directory.path.write_bytes(b'{"account":"a2"}')
    identities.refresh()
    assert refused(identities, bearer("sk-own"))[2] == "identity:unknown"
    assert identities.account("a1") is None
    assert identities.account("a2") is not None


def test_guessing_is_stopped_but_not_the_office_behind_the_same_address(clock: ManualClock) -> None:
    gateway = Gateway(clock, MemoryKeyStore(), limit=3)
    used, unused = gateway.make("a1"), gateway.make("a2")
    gateway.identities.identify(bearer(used), HERE)
    for _ in range(3):
        assert refused(gateway.identities, bearer("sk-guess"))[0] is RefusalKind.UNAUTHENTICATED
    with pytest.raises(RequestRefused) as caught:
        gateway.identities.identify(bearer("sk-guess"), HERE)
    assert caught.value.refusal.kind is RefusalKind.RATE_LIMITED
    assert 0 < (caught.value.refusal.retry_after_s or 0) <= 120
    assert refused(gateway.identities, bearer(unused))[0] is RefusalKind.RATE_LIMITED
    assert gateway.identities.identify(bearer(used), HERE).account == "a1"
    assert gateway.identities.identify(bearer(unused), ("203.0.113.10", 1)).account == "a2"
    assert gateway.identities.status()["failures"] == {"addresses": 1, "refused": 2}


def test_an_office_of_good_keys_is_never_limited(clock: ManualClock) -> None:
    gateway = Gateway(clock, MemoryKeyStore(), limit=3)
    keys = [gateway.make(f"a{n}") for n in range(10)]
    for _ in range(50):
        for key in keys:
            gateway.identities.identify(bearer(key), HERE)


def test_no_credential_and_two_are_no_guesses(clock: ManualClock) -> None:
    gateway = Gateway(clock, MemoryKeyStore(), limit=1)
    for _ in range(5):
        assert refused(gateway.identities, [])[0] is RefusalKind.UNAUTHENTICATED
        assert refused(gateway.identities, [*bearer("a"), (b"api-key", b"b")])[0] is RefusalKind.BAD_REQUEST


def test_a_network_of_ipv6_addresses_is_one_guesser(clock: ManualClock) -> None:
    gateway = Gateway(clock, MemoryKeyStore(), limit=3)
    gateway.make()
    kinds = [refused(gateway.identities, bearer("sk"), (f"2001:db8::{n:x}", 1))[0] for n in range(1, 5)]
    assert kinds == [RefusalKind.UNAUTHENTICATED] * 3 + [RefusalKind.RATE_LIMITED]
    assert refused(gateway.identities, bearer("sk"), ("2001:db8:0:1::1", 1))[0] is RefusalKind.UNAUTHENTICATED


def test_attribution_is_believed_from_a_trusted_proxy_only(clock: ManualClock, directory: DirectoryRefresher) -> None:
    gateway = Gateway(clock, MemoryKeyStore(), directory)
    said = [
        (b"x-forwarded-for", b"1.2.3.4, 198.51.100.7"),
        (b"x-ja4", b"t13d"),
        (b"x-client-country", b"fr"),
        (b"x-end-user-id", b"user-7"),
    ]
    forged = gateway.identities.identify(bearer("sk-own") + said, HERE)
    assert (forged.address, forged.ja4, forged.end_user) == ("203.0.113.9", None, None)
    assert (forged.country, forged.home_country) == ("DE", "DE")
    told = gateway.identities.identify(bearer("sk-own") + said, PROXY)
    assert (told.address, told.ja4, told.end_user) == ("198.51.100.7", "t13d", "user-7")
    assert (told.country, told.home_country) == ("FR", "DE")
    silent = gateway.identities.identify(bearer("sk-own"), PROXY)
    assert (silent.address, silent.country, silent.ja4) == ("10.0.0.1", "DE", None)


@pytest.mark.parametrize("peer", [None, ("", 0), ("unix:", 0), ("testclient", 50_000)])
def test_a_peer_without_an_address_is_answered_and_has_none(gateway: Gateway, peer: Any) -> None:
    said = (b"x-forwarded-for", b"1.2.3.4")
    assert gateway.identities.identify([*bearer("sk-abc"), said], peer).address is None


def test_status_names_no_credential_and_no_address(gateway: Gateway) -> None:
    key = gateway.make()
    refused(gateway.identities, bearer("sk-guess"))
    status = gateway.identities.status()
    assert status["mode"] == "strict"
    assert status["keys"] == {
        "store": "memory", "version": 1, "active": 1, "revoked": 0, "expired": 0, "error": None, "away_s": 0.0,
        "outlived": False,
    }  # fmt: skip
    assert status["accounts"] == {"file": None, "count": 0, "error": None}
    assert status["failures"] == {"addresses": 1, "refused": 0}
    for secret in (key, key.split("_")[1], "203.0.113.9", "sk-guess"):
        assert secret not in orjson.dumps(status).decode()


async def test_a_started_gateway_follows_the_store_by_itself(clock: ManualClock) -> None:
    looked = threading.Event()

    class Watched(MemoryKeyStore):
        def snapshot(self) -> Any:
            if self._state.records:
                looked.set()
            return super().snapshot()

    store = Watched()
    identities = Identities(hash_key=HASH_KEY, clock=clock, keys=store)
    await identities.start()
    try:
        text, record = make_key(HASH_KEY, "a1", now_s=clock.now())
        store.add(record)
        assert await asyncio.to_thread(looked.wait, 10)
    finally:
        await identities.stop()
    assert identities.identify(bearer(text), HERE).account == "a1"


def test_a_bug_in_a_look_does_not_end_the_looking(caplog: pytest.LogCaptureFixture) -> None:
    again = threading.Event()
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        if len(calls) > 1:
            again.set()
        raise RuntimeError("a bug")

    ticker = Ticker("test", work, 0.0)
    ticker.start()
    assert again.wait(10)
    ticker.stop()
    ticker.stop()
    assert "test failed and will be tried again" in caplog.text


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_gateways_opened_from_settings_share_keys(
    kind: str, tmp_path: Path, clock: ManualClock, request: pytest.FixtureRequest
) -> None:
    redis = request.getfixturevalue("redis_url") if kind == "redis" else None
    settings = Settings(state_dir=tmp_path, redis=redis)
    first, second = open_identities(settings, clock), open_identities(settings, clock)
    assert first.hash_key == second.hash_key
    store = open_key_store(settings, load_hash_key(settings))
    text, record = make_key(first.hash_key, "a1", now_s=clock.now())
    store.add(record)
    for identities in (first, second):
        identities.refresh()
        assert identities.identify(bearer(text), HERE).account == "a1"
    with pytest.raises(ConfigError, match=r"hash_key: got the key .*, expected .* that the key store's keys were made"):
        open_identities(Settings(state_dir=tmp_path, redis=redis, hash_key=Secret("another key, long enough")), clock)
    for each in (first, second):
        asyncio.run(each.stop())
    store.close()


def test_a_bad_directory_refuses_to_start(tmp_path: Path, clock: ManualClock) -> None:
    (tmp_path / "a.ndjson").write_text("{}\n")
    with pytest.raises(FileErrors, match="account: got no account"):
        open_identities(Settings(state_dir=tmp_path, accounts=tmp_path / "a.ndjson"), clock)


def test_a_record_that_another_key_hashed_is_good_for_nobody(gateway: Gateway) -> None:
    text, record = make_key(b"l" * 32, "a1", now_s=0.0)
    gateway.store.add(record)
    gateway.store.add(KeyRecord(public_id="a" * 16, secret_hash=bytes(32), account="a2", created_at=0.0))
    gateway.identities.refresh()
    assert refused(gateway.identities, bearer(text))[2] == "identity:unknown"
    assert refused(gateway.identities, bearer(f"dg1_{'a' * 16}_{'a' * 39}"))[2] == "identity:unknown"
