"""Who stays: the one mapping by which every store forgets accounts (or phrases) and closes the gaps in its numbers.

Numbers keep their order, so whatever is decided by who came first is decided as before. Where all stay nothing changes.
A store that applies it keeps nothing of what is gone and is as large as what stays.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

GONE: Final = -1
_LEAST: Final = 1_024


class Renumbering(NamedTuple):
    """``kept``: the old numbers that stay, in order; ``place[old]``: the new number, or ``GONE``."""

    kept: NDArray[np.int64]
    place: NDArray[np.int64]

    @classmethod
    def of(cls, stays: NDArray[np.bool_]) -> Renumbering:
        """``stays[number]`` says whether it does."""
        kept = np.flatnonzero(stays)
        place = np.full(stays.size, GONE, np.int64)
        place[kept] = np.arange(kept.size)
        return cls(kept, place)

    @classmethod
    def of_used(cls, codes: NDArray[Any], size: int) -> Renumbering:
        """Of ``size`` codes, those stay that stand in ``codes``; negative ones are none."""
        stays = np.zeros(size, bool)
        stays[codes[codes >= 0]] = True
        return cls.of(stays)

    @property
    def is_nobody_gone(self) -> bool:
        """Whether all stay."""
        return self.kept.size == self.place.size

    def column(self, values: array[Any]) -> array[Any]:
        """One value a number, of those that stay."""
        return array(values.typecode, np.array(values, values.typecode)[self.kept].tobytes())

    def room(self, values: NDArray[Any], empty: Any) -> NDArray[Any]:
        """The same of an array with room to grow, which is filled with ``empty``."""
        rows = np.full(max(_LEAST, self.kept.size), empty, values.dtype)
        rows[: self.kept.size] = values[self.kept]
        return rows

    def new(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """New numbers (or codes) of old ones; negative ones stay as they are."""
        found, some = numbers.copy(), numbers >= 0
        found[some] = self.place[numbers[some]]
        return found

    def keys(self, table: Mapping[int, Any]) -> dict[int, Any]:
        """A table by number, of those that stay."""
        new = self.place[np.fromiter(table, np.int64, len(table))].tolist()
        return {number: value for number, value in zip(new, table.values(), strict=True) if number >= 0}

    def values(self, table: Mapping[int, int]) -> dict[int, int]:
        """A table of numbers, of those that stay."""
        new = self.place[np.fromiter(table.values(), np.int64, len(table))].tolist()
        return {key: number for key, number in zip(table, new, strict=True) if number >= 0}

    def numbers(self, old: Iterable[int]) -> list[int]:
        """New numbers of those that stay, in their order."""
        return [int(self.place[number]) for number in old if self.place[number] >= 0]
