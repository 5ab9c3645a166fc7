from __future__ import annotations

import asyncio

from gateway.tasks import end_tasks


async def swallow(times: int) -> str:
    """A task that does not hear its first cancellations."""
    for _ in range(times):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue
    await asyncio.Event().wait()
    return "never"


async def fail() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("while ending")


async def test_tasks_end_though_they_swallow_cancellations_fail_or_ended_before() -> None:
    ended = asyncio.create_task(asyncio.sleep(0))
    await ended
    tasks = [*(asyncio.create_task(swallow(times)) for times in (0, 1, 2)), asyncio.create_task(fail()), ended]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end_tasks(tasks)
    assert all(task.done() for task in tasks)
    assert [task.cancelled() for task in tasks] == [True, True, True, False, False]


async def test_no_tasks_are_over_at_once() -> None:
    await end_tasks([])
