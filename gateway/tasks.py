"""Ending background tasks for certain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_ASK_AGAIN_S = 0.1


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and return when all are over; their results and exceptions are dropped.

    Asks again until they are: before Python 3.12 ``asyncio.wait_for`` swallows a cancellation that comes as its
    inner task ends (https://github.com/python/cpython/issues/81839), and redis-py sends commands through it.
    """
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        done, waiting = await asyncio.wait(waiting, timeout=_ASK_AGAIN_S)
        for task in done:
            if not task.cancelled():
                task.exception()  # seen: else the loop would log it as never retrieved
