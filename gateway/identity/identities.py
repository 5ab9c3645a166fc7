"""Who is calling: from the headers and the peer of a request to an ``Identity``.

Invariants: ``identify`` awaits nothing and asks nobody: it reads what the refreshers have brought; a
credential that is not good is refused with one text, whatever is wrong with it; secrets are compared in
constant time, also for ids that do not exist; no secret is kept. Attribution counts only where a
trusted proxy is the peer.

Two modes. *Open*: no key was ever made and no directory is given; any credential is an account of its
own, named by a keyed hash, and is passed on to the upstream. *Strict*: anything else; unknown credentials
are refused, and the upstream's own credential takes the place of good ones. A gateway that turned strict
stays it.

The country of an identity is where the call comes from (a trusted proxy's word), because access rules ask
that; the directory's country stands in where no proxy tells, and is kept beside as ``home_country``.
"""

from __future__ import annotations

import asyncio
import hmac
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import ConfigError, RequestRefused
from gateway.identity.address import Addresses, block_of, read_address
from gateway.identity.book import KeyBook
from gateway.identity.credentials import (
    END_USER_HEADERS,
    JA4_HEADERS,
    no_credential,
    pick_headers,
    read_country,
    read_credential,
    read_label,
    wrong_credential,
)
from gateway.identity.directory import Account, sha256_of
from gateway.identity.failures import FailureLimiter
from gateway.identity.hashing import digester, fingerprint, keyed_hash, load_hash_key, shown
from gateway.identity.keys import KEY_KIND, claimed_id, looks_like_key, newest_of
from gateway.identity.refresh import LOOK_EVERY_S, DirectoryRefresher, KeyRefresher, Ticker
from gateway.types import Identity, Refusal, RefusalKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.clock import Clock
    from gateway.identity.keys import KeyStore
    from gateway.settings import Network, Settings
    from gateway.types import Headers

ANONYMOUS = "anon-"
KEYS_FILE = "keys.db"
_NO_SECRET = bytes(32)
_KEPT_CALLERS = 8_192
"""Identities that are kept for a caller's next request, at about 400 bytes each."""
_KEPT_ADDRESSES = 16_384
_UNAVAILABLE_RETRY_S = 5.0


class Call(NamedTuple):
    """What is known of a call besides its credential; all but ``address`` only from a trusted proxy."""

    address: str | None
    country: str | None = None
    ja4: str | None = None
    end_user: str | None = None


class Identities:
    """All that a gateway knows of its callers. ``open_identities`` makes one from settings.

    ``keys`` is None only where there is no key store at all (replay). The directory must be loaded.
    """

    def __init__(
        self,
        *,
        hash_key: bytes,
        clock: Clock,
        keys: KeyStore | None = None,
        directory: DirectoryRefresher | None = None,
        trusted_proxies: Sequence[Network] = (),
        failures: FailureLimiter | None = None,
        reload_interval_s: float = LOOK_EVERY_S,
    ) -> None:
        self.hash_key = hash_key
        self.hash_address = lru_cache(maxsize=_KEPT_ADDRESSES)(partial(keyed_hash, hash_key, "address"))
        """An address as it is written down."""
        self._digest = digester(hash_key, KEY_KIND)
        self._anonymous: dict[bytes, tuple[Call, Identity]] = {}
        self._clock = clock
        self._book = KeyBook()
        self._keys = keys
        self._key_refresher = None if keys is None else KeyRefresher(keys, self._book, clock)
        self._directory = directory
        self._addresses = Addresses(trusted_proxies)
        self._failures = failures or FailureLimiter(clock)
        self._tickers = []
        if self._key_refresher is not None:
            self._tickers.append(Ticker("distillguard-keys", self._key_refresher.look, LOOK_EVERY_S))
        if directory is not None:
            self._tickers.append(Ticker("distillguard-accounts", directory.look, reload_interval_s))

    @property
    def strict(self) -> bool:
        """Whether only known credentials are answered."""
        return self._directory is not None or self._book.strict

    @property
    def keys_outlived(self) -> bool:
        """Whether there are keys and their store has been away for so long that they are refused."""
        return bool(self._book.records) and self._book.outlived(self._clock.monotonic())

    async def start(self) -> None:
        """Read the keys once and go on doing so in the background."""
        await asyncio.to_thread(self.refresh)
        for ticker in self._tickers:
            ticker.start()

    async def stop(self) -> None:
        """End the background work and close the store."""
        for ticker in self._tickers:
            await asyncio.to_thread(ticker.stop)
        if self._keys is not None:
            self._keys.close()

    def refresh(self) -> None:
        """Look for changed keys and accounts now; blocks. Not while started: the threads do it then."""
        if self._key_refresher is not None:
            self._key_refresher.look()
        if self._directory is not None:
            self._directory.look()

    def identify(self, headers: Headers, client: tuple[str, int] | None) -> Identity:
        """The caller of a request with these headers from this peer (None: a Unix socket).

        Raises RequestRefused: 401 no credential, or one that is malformed, unknown, revoked or expired;
        400 two that differ; 429 too many failures from the address; 503 the key store is away for too long.
        """
        picked = pick_headers(headers)
        peer = None if client is None else read_address(client[0])
        address, trusted = peer, False
        if peer is not None and self._addresses.trusts(peer):
            trusted = True
            address = self._caller(peer, picked)
        credential = read_credential(picked)
        if credential is None:
            raise no_credential()
        call = _attributed(address, picked) if trusted else Call(address)
        return self._verify(credential, None if address is None else block_of(address), call)

    def account(self, account_id: str) -> Account | None:
        """What is known of an account: what the directory says of it, else its newest good key; else None."""
        account = self._described(account_id)
        if account is None:
            key = newest_of(self._book.records.values(), account_id, self._clock.now())
            return None if key is None else Account(account=account_id, plan=key.plan, org=key.org)
        return account

    def _described(self, account_id: str) -> Account | None:
        return None if self._directory is None else self._directory.current.account(account_id)

    def status(self) -> dict[str, Any]:
        """For ``/api/status``: mode, keys, accounts and failures; no secrets, no addresses."""
        now_s, mono_s, book = self._clock.now(), self._clock.monotonic(), self._book
        states = [record.state(now_s) for record in book.records.values()]
        away_s = 0.0 if book.away_since_s is None else mono_s - book.away_since_s
        keys = {
            "store": None if self._keys is None else self._keys.name,
            "version": book.version,
            **{state: states.count(state) for state in ("active", "revoked", "expired")},
            "error": book.error,
            "away_s": round(away_s, 3),
            "outlived": book.outlived(mono_s),
        }
        directory = self._directory
        accounts = {
            "file": None if directory is None else str(directory.path),
            "count": 0 if directory is None else len(directory.current),
            "error": None if directory is None else directory.error,
        }
        failures = {"addresses": self._failures.addresses, "refused": self._failures.refused}
        return {"mode": "strict" if self.strict else "open", "keys": keys, "accounts": accounts, "failures": failures}

    def _caller(self, peer: str, picked: Headers) -> str:
        """The address that the trusted peer speaks for."""
        forwarded_for = [value for name, value in picked if name == b"x-forwarded-for"]
        forwarded = [value for name, value in picked if name == b"forwarded"]
        return self._addresses.of(peer, forwarded_for, forwarded)

    def _verify(self, credential: bytes, block: str | None, call: Call) -> Identity:
        """The identity of a credential. Raises RequestRefused."""
        hashed = self._digest(credential)
        if block is not None and self._failures.blocks(block, hashed):
            raise _too_many_failures(self._failures.retry_after_s(block))
        try:
            if not credential:
                raise wrong_credential("identity:malformed")
            identity = self._strict(credential, hashed, call) if self.strict else self._open(hashed, call)
        except RequestRefused as refused:
            if block is not None and refused.refusal.kind is RefusalKind.UNAUTHENTICATED:
                self._failures.failed(block)
            raise
        if block is not None:
            self._failures.succeeded(block, hashed)
        return identity

    def _open(self, hashed: bytes, call: Call) -> Identity:
        """Any credential's own account; the same again while the call says the same of itself."""
        found = self._anonymous.get(hashed)
        if found is not None and found[0] == call:
            return found[1]
        if len(self._anonymous) >= _KEPT_CALLERS:
            self._anonymous.clear()
        identity = _anonymous(hashed, call)
        self._anonymous[hashed] = (call, identity)
        return identity

    def _strict(self, credential: bytes, hashed: bytes, call: Call) -> Identity:
        """The identity of a known credential. Raises RequestRefused."""
        text = credential.decode("ascii")
        if looks_like_key(text):
            return self._by_key(text, hashed, call)
        account = None
        if self._directory is not None:
            account = self._directory.current.by_credential(sha256_of(text))
        if account is None:
            raise wrong_credential("identity:unknown")
        return _known(account, shown(hashed), call)

    def _by_key(self, text: str, hashed: bytes, call: Call) -> Identity:
        """The identity of a key that the gateway gave out. Raises RequestRefused."""
        if self._book.outlived(self._clock.monotonic()):
            raise _store_away()
        record = self._book.records.get(claimed_id(text))
        same = hmac.compare_digest(hashed, _NO_SECRET if record is None else record.secret_hash)
        if record is None or not same:
            raise wrong_credential("identity:unknown")
        if (state := record.state(self._clock.now())) != "active":
            raise wrong_credential(f"identity:{state}")
        account = self._described(record.account)
        if account is not None:
            return _known(account, record.public_id, call)
        return Identity(
            account=record.account,
            plan=record.plan,
            org=record.org,
            country=call.country,
            address=call.address,
            ja4=call.ja4,
            end_user=call.end_user,
            credential=record.public_id,
            own_credential=False,
        )


def open_identities(settings: Settings, clock: Clock) -> Identities:
    """The identities of a gateway: its hash key, key store and directory, read once.

    Raises FileErrors for a bad directory, ConfigError where the store was made under another hash key,
    StoreError where it cannot be asked.
    """
    hash_key = load_hash_key(settings)
    keys = open_key_store(settings, hash_key)
    directory = None
    if settings.accounts is not None:
        directory = DirectoryRefresher(Path(settings.accounts))
        directory.load()
    identities = Identities(
        hash_key=hash_key,
        clock=clock,
        keys=keys,
        directory=directory,
        trusted_proxies=settings.trusted_proxies,
        reload_interval_s=settings.reload_interval_s,
    )
    identities.refresh()
    return identities


def open_key_store(settings: Settings, hash_key: bytes | None) -> KeyStore:
    """The store that the settings name: Redis, or the file in ``state_dir``. Without ``hash_key`` it is good
    for listing and revoking only.

    Raises ConfigError where its keys were made under another hash key, StoreError where it cannot be asked.
    """
    store: KeyStore
    if settings.redis:
        from gateway.identity.redis_store import RedisKeyStore

        store = RedisKeyStore(settings.redis)
    else:
        from gateway.identity.sqlite_store import SqliteKeyStore

        store = SqliteKeyStore(Path(settings.state_dir) / KEYS_FILE)
    if hash_key is None:
        return store
    held, ours = store.bind(fingerprint(hash_key)), fingerprint(hash_key)
    if held != ours:
        store.close()
        raise ConfigError(
            f"hash_key: got the key {ours}, expected {held} that the key store's keys were made with; "
            "give the same DISTILLGUARD_HASH_KEY, or the same state, to every gateway"
        )
    return store


def identity_of(
    account: Account,
    *,
    credential: str,
    address: str | None = None,
    country: str | None = None,
    ja4: str | None = None,
    end_user: str | None = None,
) -> Identity:
    """The identity of an account that a directory describes, however it was recognised, and of its call."""
    return Identity(
        account=account.account,
        plan=account.plan,
        org=account.org,
        country=country or account.country,
        home_country=account.country,
        verified=account.verified,
        declared_use=account.declared_use,
        created_at=account.created_at,
        address=address,
        ja4=ja4,
        end_user=end_user,
        credential=credential,
        own_credential=False,
    )


def _known(account: Account, credential: str, call: Call) -> Identity:
    return identity_of(
        account,
        credential=credential,
        address=call.address,
        country=call.country,
        ja4=call.ja4,
        end_user=call.end_user,
    )


def _anonymous(hashed: bytes, call: Call) -> Identity:
    """Any credential's own account."""
    name = shown(hashed)
    return Identity(
        account=ANONYMOUS + name,
        country=call.country,
        address=call.address,
        ja4=call.ja4,
        end_user=call.end_user,
        credential=name,
        own_credential=True,
    )


def _attributed(address: str | None, picked: Headers) -> Call:
    """The call with what a trusted proxy says of it."""
    return Call(
        address, read_country(picked), read_label(picked, JA4_HEADERS[0]), read_label(picked, END_USER_HEADERS[0])
    )


def _too_many_failures(retry_after_s: float) -> RequestRefused:
    return RequestRefused(
        Refusal(
            kind=RefusalKind.RATE_LIMITED,
            message="Too many requests with invalid API keys came from this address; wait before the next one.",
            rule="identity:failures",
            retry_after_s=retry_after_s,
        )
    )


def _store_away() -> RequestRefused:
    return RequestRefused(
        Refusal(
            kind=RefusalKind.UNAVAILABLE,
            message="API keys cannot be verified at the moment.",
            rule="identity:store-away",
            retry_after_s=_UNAVAILABLE_RETRY_S,
        )
    )
