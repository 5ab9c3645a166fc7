"""What ``policy explain`` asks of the state of running gateways: balances, standings, who an account is.

It looks and charges nothing. Embedded state is read from the files that the gateway keeps (at most a tenth of a
second old); shared state is asked for with the store's own calls.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gateway.clock import SystemClock
from gateway.errors import ConfigError
from gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.identity import KeyRecord
    from gateway.types import Balance, Charge, Standing


def balances_now(charges: Sequence[Charge], state_dir: Path, redis: str | None) -> tuple[Balance, ...] | None:
    """What is left of each charge; ``None`` where no gateway keeps budgets. Raises StoreError."""
    from gateway.budgets import Budgets, open_budgets
    from gateway.budgets.embedded import EmbeddedStore

    clock = SystemClock()

    async def shared() -> tuple[Balance, ...]:
        budgets = open_budgets(Settings.load(redis=redis), clock)
        try:
            return await budgets.peek(charges)
        finally:
            await budgets.aclose()

    if redis:
        return asyncio.run(shared())
    if not (state_dir / "budgets.journal").exists():
        return None
    store = EmbeddedStore(clock, state_dir)
    store.look()
    return asyncio.run(Budgets(store, clock).peek(charges))


def standing_now(account: str, state_dir: Path, redis: str | None, now_s: float) -> Standing | None:
    """What is held of an account; ``None`` where no gateway keeps standings. Raises StoreError."""
    from gateway.standing import open_standing

    if not redis and not state_dir.is_dir():
        return None

    async def ask() -> Standing:
        table = open_standing(Settings.load(redis=redis, state_dir=state_dir), SystemClock())
        try:
            await table.refresh()
            return table.of(account, now_s)
        finally:
            await table.stop()

    return asyncio.run(ask())


def known_account(account: str, accounts: Path | None, state_dir: Path, redis: str | None) -> dict[str, Any]:
    """What the directory says of an account, else its newest good key, as the keys of a case.

    Raises ConfigError where there is a directory and neither knows the account, StoreError where keys cannot be read.
    """
    from gateway.identity import load_accounts

    if accounts is not None and (found := load_accounts(accounts).get(account)) is not None:
        told = {
            "plan": found.plan,
            "organisation": found.org,
            "country": found.country,
            "verified": found.verified,
            "declared_use": found.declared_use,
        }
    elif (key := _key_of(account, state_dir, redis)) is not None:
        told = {"plan": key.plan, "organisation": key.org}
    elif accounts is not None:
        raise ConfigError(f"{accounts}: got no account {account!r}, expected one of its lines")
    else:
        told = {}
    return {key: value for key, value in told.items() if value is not None}


def _key_of(account: str, state_dir: Path, redis: str | None) -> KeyRecord | None:
    """The account's newest good key; looking makes no files. Raises StoreError."""
    from gateway.identity import open_key_store
    from gateway.identity.identities import KEYS_FILE
    from gateway.identity.keys import newest_of

    if not redis and not (state_dir / KEYS_FILE).exists():
        return None
    store = open_key_store(Settings.load(redis=redis, state_dir=state_dir), None)
    try:
        return newest_of(store.snapshot().records.values(), account, SystemClock().now())
    finally:
        store.close()
