"""Budgets to test with, and Redis scripts that take their time from a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.budgets.core import Shapes
from gateway.budgets.scripts import Scripts, script_texts
from gateway.types import Algorithm, Amounts, Budget, Charge, OnStoreError, Subject, Unit, Window

if TYPE_CHECKING:
    from redis import Redis

    from gateway.budgets.core import Line

START_S = 1_772_000_000  # 2026-02-25 06:13:20 UTC
DAY_S = 86_400
REAL_TIME = "redis.call('TIME')"
TEST_TIME = "redis.call('MGET', 'test:s', 'test:us')"

SLIDING = Algorithm.SLIDING
BUCKET = Algorithm.BUCKET
CALENDAR = Algorithm.CALENDAR
LEASE = Algorithm.LEASE


def budget(
    name: str = "b",
    limit: int = 10,
    *,
    algorithm: Algorithm = SLIDING,
    length_s: int = 60,
    burst: int = 0,
    unit: Unit = Unit.REQUESTS,
    subject: Subject = Subject.ACCOUNT,
    shadow: bool = False,
    on_store_error: OnStoreError = OnStoreError.LOCAL_SHARE,
) -> Budget:
    window = Window(algorithm=algorithm, length_s=0 if algorithm is LEASE else length_s, burst=burst)
    unit = Unit.CONCURRENCY if algorithm is LEASE else unit
    return Budget(
        name=name, subject=subject, unit=unit, limit=limit, window=window, shadow=shadow, on_store_error=on_store_error
    )


def charge(of: Budget, value: str = "a1") -> Charge:
    return Charge(budget=of, value=value)


def requests(count: int) -> Amounts:
    return Amounts(requests=count)


def lines(charges: list[Charge], amounts: Amounts, floors: Amounts | None = None) -> list[Line]:
    return Shapes().lines(charges, amounts, floors or amounts)


def timed_scripts() -> Scripts:
    """The real scripts with one expression replaced in each: where the time comes from."""
    return Scripts({name: text.replace(REAL_TIME, TEST_TIME) for name, text in script_texts().items()})


def set_time(client: Redis, now_us: int) -> None:
    client.mset({"test:s": now_us // 1_000_000, "test:us": now_us % 1_000_000})
