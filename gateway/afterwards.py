"""Requests that are over: looked at and written down a few at a time, when nobody waits for them any more.

What is left of a request whose reply went out is its traits, its event and its metrics. Done in between the replies of
others, each of these steps finds the processor's caches full of something else, and takes up to twice as long.

Invariants: requests are written down once, in the order in which they ended; at most ``MOST`` wait, for at most
``WAIT_S``; one that cannot be written down is logged, and is no trouble to the others. Leaves out: what the steps are.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.exchange import Exchange

MOST = 32
"""Written down in one go, some 2 ms in which nobody is answered; only a busy gateway has so many in ``WAIT_S``."""
WAIT_S = 0.01
"""Of the 100 ms within which an event is durable (``events.interface``)."""

log = logging.getLogger("gateway.afterwards")


class Afterwards:
    """Leads requests through ``steps``: all that wait through the first, then all through the next."""

    def __init__(self, *steps: Callable[[Exchange], None]) -> None:
        self._steps = steps
        self._waiting: list[Exchange] = []
        self._timed = False

    def add(self, exchange: Exchange) -> None:
        """A request is over. Needs a running event loop; never raises."""
        self._waiting.append(exchange)
        if len(self._waiting) >= MOST:
            self.flush()
        elif not self._timed:
            self._timed = True
            asyncio.get_running_loop().call_later(WAIT_S, self._due)

    def flush(self) -> None:
        """Lead all that wait through the steps now."""
        waiting, self._waiting = self._waiting, []
        for step in self._steps:
            for exchange in waiting:
                try:
                    step(exchange)
                except Exception as error:
                    log.exception(
                        "request not written down", extra={"request": exchange.id, "error": type(error).__name__}
                    )

    def _due(self) -> None:
        self._timed = False
        self.flush()
