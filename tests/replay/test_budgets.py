"""A replay's budgets answer as those of the request path do."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from gateway.budgets import Budgets, MemoryStore
from gateway.clock import ManualClock
from gateway.replay.budgets import ReplayBudgets
from gateway.types import Algorithm, Amounts, Balance, Budget, Charge, Grant, Refusal, Subject, Unit, Window

WINDOWS = [
    Window(algorithm=Algorithm.SLIDING, length_s=60),
    Window(algorithm=Algorithm.BUCKET, length_s=60, burst=7),
    Window(algorithm=Algorithm.CALENDAR, length_s=86_400),
]
BUDGETS = [
    Budget(name=f"b{index}", subject=subject, unit=unit, limit=limit, window=window, shadow=shadow)
    for index, (subject, unit, limit, window, shadow) in enumerate(
        [
            (Subject.ACCOUNT, Unit.REQUESTS, 6, WINDOWS[0], False),
            (Subject.ACCOUNT, Unit.OUTPUT_TOKENS, 90, WINDOWS[1], False),
            (Subject.ORGANISATION, Unit.TOTAL_TOKENS, 900, WINDOWS[2], False),
            (Subject.ACCOUNT, Unit.REQUESTS, 2, WINDOWS[0], True),
            (Subject.CLUSTER, Unit.REQUESTS, 8, WINDOWS[0], False),
        ]
    )
]


def near(one: Sequence[Balance], other: Sequence[Balance]) -> bool:
    """Equal to two microseconds: settling in two steps leaves a rounding behind that one step does not."""
    return all(
        (mine.budget, mine.remaining) == (its.budget, its.remaining) and abs(mine.reset_s - its.reset_s) <= 2e-6
        for mine, its in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("seed", range(8))
async def test_the_same_requests_get_the_same_answers(seed: int) -> None:
    rng = random.Random(seed)
    clock = ManualClock(1_800_000_000.0)
    both = [Budgets(MemoryStore(clock), clock), ReplayBudgets(clock)]
    granted = refused = 0
    for number in range(300):
        clock.advance(rng.choice([0.0, 0.5, 3.0, 30.0]))
        name = rng.choice("ab")
        charges = tuple(
            Charge(budget=budget, value="c1" if budget.subject is Subject.CLUSTER else name)
            for budget in BUDGETS
            if rng.random() < 0.8
        )
        amounts = Amounts(requests=1, input_tokens=rng.randrange(20), output_tokens=rng.randrange(1, 12))
        actual = Amounts(requests=1, input_tokens=rng.randrange(20), output_tokens=rng.randrange(30))
        answers = [await budgets.reserve(f"r{number}", charges, amounts) for budgets in both]
        if isinstance(answers[0], Refusal):
            assert isinstance(answers[1], Refusal)
            assert replace(answers[0], balances=(), retry_after_s=0) == replace(
                answers[1], balances=(), retry_after_s=0
            )
            waits = [answer.retry_after_s for answer in (answers[0], answers[1])]
            assert waits[0] == waits[1] or abs((waits[0] or 0.0) - (waits[1] or 0.0)) <= 2e-6
            assert near(answers[0].balances, answers[1].balances)
            refused += 1
            continue
        granted += 1
        for budgets, answer in zip(both, answers, strict=True):
            assert isinstance(answer, Grant)
            assert answer.shadowed == answers[0].shadowed
            await (budgets.settle(answer, actual) if number % 5 else budgets.refund(answer))
        assert near(await both[0].peek(charges), await both[1].peek(charges))
    assert granted > 20
    assert refused > 20
