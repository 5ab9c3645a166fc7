"""Links between accounts, in bits, and the kin of a cluster.

A link weighs log2 of how much likelier two accounts of one operator share a value than two of the
population (Fellegi and Sunter 1969, with the value's own frequency as in Splink): a value that k of n
holders show gives log2(n / k) bits, so that a public mail provider or a carrier's address weighs nothing.
Values of one kind are capped, because they are correlated (an exit and a sign-up in one block).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gateway.analysis.cohort import Cohort

KINDS: Final = {"mail": "mail", "snet": "address", "net": "address", "ja4": "client", "hour": "sign-up"}
"""Linkage traits and the kind whose cap they share; a telephone's country is too common to link two."""
KIND_CAP_BITS: Final = 10.0
KIN_BITS: Final = 12.0
"""From here on an account is kin: two kinds of values that mostly members show."""
_OWN_MEMBERS: Final = 3
_OWN_SHARE: Final = 0.75


def bits_of(holders: NDArray[np.int64] | int, population: int) -> NDArray[np.float64]:
    """Bits of a value that ``holders`` of ``population`` show; 0 where everybody does.

    >>> float(bits_of(4, 1024))
    8.0
    """
    return np.asarray(np.log2(np.maximum(population, 1) / np.maximum(holders, 1)))


def kin(cohort: Cohort, members: Mapping[int, float]) -> list[int]:
    """Accounts outside that show values of at least two kinds which are the cluster's own.

    A value is the cluster's own where at least three holders in it show it and three quarters of all accounts
    that show it are members: an address that strangers use too makes nobody kin, whoever forges what.
    """
    size = len(cohort)
    inside = np.zeros(size, bool)
    inside[list(members)] = True
    best: dict[str, NDArray[np.float64]] = {}
    for trait, kind in KINDS.items():
        column = cohort.columns[trait]
        value = column.value[:size]
        shown = value >= 0
        every = np.bincount(value[shown], minlength=1)
        mine = np.bincount(value[shown & inside], minlength=every.size)
        single = np.bincount(value[shown & inside & column.counted[:size]], minlength=every.size)
        own = (single >= _OWN_MEMBERS) & (mine >= _OWN_SHARE * every)
        bits = np.zeros(size)
        bits[shown] = np.where(own, np.minimum(bits_of(every, size), KIND_CAP_BITS), 0.0)[value[shown]]
        best[kind] = np.maximum(best.get(kind, np.zeros(size)), bits)
    kinds = np.sum([bits > 0 for bits in best.values()], axis=0)
    total = np.sum(list(best.values()), axis=0)
    return np.flatnonzero(~inside & (kinds >= 2) & (total >= KIN_BITS)).tolist()  # noqa: PLR2004 - two kinds
