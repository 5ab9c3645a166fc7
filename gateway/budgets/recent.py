"""Which reservations were settled lately, so that none is settled or made twice: bounded by time, small."""

from __future__ import annotations

from collections import deque

from gateway.budgets.windows import SECOND_US

DONE_US = 60 * SECOND_US
DONE_STEP_US = 10 * SECOND_US


class Recent:
    """Ids that were settled in the last ``DONE_US`` and up to ``DONE_STEP_US`` longer, as 64-bit hashes in generations: a
    third of the memory of the ids with a time each. Of a million ids none is likely to be taken for another (1e-7).
    """

    __slots__ = ("_generations", "_newest", "_until_us")

    def __init__(self) -> None:
        self._newest: set[int] = set()
        self._generations: deque[set[int]] = deque([self._newest], maxlen=DONE_US // DONE_STEP_US + 1)
        self._until_us = 0

    def __len__(self) -> int:
        return sum(map(len, self._generations))

    def __contains__(self, name: str) -> bool:
        hashed = hash(name)
        for generation in self._generations:  # noqa: SIM110 - ``any`` takes three times as long, twice a request
            if hashed in generation:
                return True
        return False

    def add(self, name: str, now_us: int) -> None:
        """``name`` is settled at ``now_us``."""
        if now_us >= self._until_us:
            self.turn(now_us)
        self._newest.add(hash(name))

    def turn(self, now_us: int) -> None:
        """Begin generations where it is time; the oldest are forgotten."""
        passed = (now_us - self._until_us) // DONE_STEP_US + 1
        for _ in range(min(passed, DONE_US // DONE_STEP_US + 1)):
            self._newest = set()
            self._generations.append(self._newest)
        self._until_us = max(self._until_us, (now_us // DONE_STEP_US + 1) * DONE_STEP_US)
