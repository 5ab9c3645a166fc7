"""Links between accounts, in bits; the values that are a group's own; the kin of a cluster.

A link weighs log2 of how much likelier two accounts of one operator share a value than two of the
population (Fellegi and Sunter 1969, with the value's own frequency as in Splink): a value that k of n
holders show gives log2(n / k) bits, so that a public mail provider or a carrier's address weighs nothing.
Values of one mechanism share one cap, because they are correlated: a privacy gateway or a VPN gives its customers
exits *and* a TLS fingerprint in common, so both are one mechanism.

A value is a group's *own* where enough of its holders show it and hardly anybody else does. Whoever shows own
values of two mechanisms is linked; one value, shared or forged, links nobody.

Where nothing but its working hours holds a group together (``pools``), rarity says too little: strangers are in it. There
a value weighs how much likelier it is in the group than outside (``likelihoods``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from gateway.analysis.values import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gateway.analysis.values import Pairs, ValueBook

MECHANISM: Final = {"mail": 0, "phone": 1, "hour": 2, "net": 3, "ja4": 3}
"""Of each kind of value: mail, telephone, time of sign-up, access (addresses and the program that connects)."""
CAP_BITS: Final = 10.0
"""No mechanism links by more: a value that only two accounts ever showed may be a coincidence of a thin log."""
KIN_BITS: Final = 12.0
"""From here on, with two mechanisms, accounts are linked."""
TOLD_BITS: Final = 8.0
"""Likelihood ratios from here on, of two mechanisms, tell a member of a pool: 256 to 1, on top of working every day."""
_EACH_BITS: Final = 2.0
"""What a mechanism must give to count as one."""
_OTHERS: Final = 2
"""Other holders of the group that must show a value."""
_MECHANISMS: Final = 4
_OWN_MEMBERS: Final = 3
_OWN_SHARE: Final = 0.75
_LOW: Final = 0xFFFFFFFF


def bits_of(holders: NDArray[np.int64] | int, population: int) -> NDArray[np.float64]:
    """Bits of a value that ``holders`` of ``population`` show; 0 where everybody does.

    >>> float(bits_of(4, 1024))
    8.0
    """
    return np.asarray(np.log2(np.maximum(population, 1) / np.maximum(holders, 1)))


def holders_of(pairs: Pairs, holder: NDArray[np.int64], among: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many different holders of the accounts ``among`` show each value, by its code."""
    use = among[pairs.account]
    seen = np.unique((pairs.code[use] << 32) | holder[pairs.account[use]])
    return np.bincount(seen >> 32, minlength=pairs.size)


def own_values(
    book: ValueBook,
    holder: NDArray[np.int64],
    inside: NDArray[np.bool_],
    among: NDArray[np.bool_],
    *,
    members: int = _OWN_MEMBERS,
    share: float = _OWN_SHARE,
) -> dict[str, NDArray[np.float64]]:
    """Bits of each kind's values that are the own ones of ``inside``; 0 for the others.

    Own: ``members`` holders of ``inside`` or more show it, and they are at least ``share`` (0 to 1) of all holders
    ``among`` which it is looked for. ``holder[i]`` stands for everybody who openly belongs together with the i-th
    account.
    """
    found = {}
    population = int(np.unique(holder[among]).size)
    for kind in KINDS:
        pairs = book.pairs(kind)
        every = holders_of(pairs, holder, among)
        mine = holders_of(pairs, holder, inside & among)
        own = (mine >= members) & (mine >= share * every)
        found[kind] = np.where(own, np.clip(bits_of(every, population), 0.0, CAP_BITS), 0.0)
    return found


def likelihoods(
    book: ValueBook, holder: NDArray[np.int64], group: NDArray[np.bool_], others: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """How much likelier each account's values are in ``group`` than among ``others``, in bits (Fellegi and Sunter 1969).

    For each account and mechanism: log2 of the share of the group's *other* holders that show the value, over the
    share of the others' (half an account is imagined to show it), of its best value; less log2 of how many values of the
    kind it shows, each of which might have been the best. At least 0, at most ``CAP_BITS``. And the same for each
    kind's values by their codes, as the whole group sees them.
    """
    told, rare = np.zeros((holder.size, _MECHANISMS)), {}
    members, strangers = (max(1, int(np.unique(holder[one]).size)) for one in (group, others))
    for kind in KINDS:
        pairs = book.pairs(kind)
        mine, theirs = holders_of(pairs, holder, group), holders_of(pairs, holder, others)
        base = (theirs + 0.5) / (strangers + 1.0)
        rare[kind] = np.where(mine > _OTHERS, _bits(mine / members / base), 0.0)
        besides = mine[pairs.code] - group[pairs.account]
        shown = np.bincount(pairs.account, minlength=holder.size)[pairs.account]
        bits = np.where(besides >= _OTHERS, _bits(besides / members / base[pairs.code] / shown), 0.0)
        np.maximum.at(told[:, MECHANISM[kind]], pairs.account, bits)
    return told, rare


def _bits(ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.clip(np.log2(np.maximum(ratio, 1.0)), 0.0, CAP_BITS))


def are_told(told: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Accounts that ``likelihoods`` tells: two mechanisms at least, and ``TOLD_BITS`` together."""
    return np.asarray(((told >= _EACH_BITS).sum(axis=1) >= 2) & (told.sum(axis=1) >= TOLD_BITS))  # noqa: PLR2004 - two mechanisms


def shown_bits(book: ValueBook, own: Mapping[str, NDArray[np.float64]], size: int) -> NDArray[np.float64]:
    """For ``size`` accounts and each mechanism, the bits of the strongest own value that the account shows."""
    best = np.zeros((size, _MECHANISMS))
    for kind, bits in own.items():
        pairs = book.pairs(kind)
        strong = bits[pairs.code] > 0
        np.maximum.at(best[:, MECHANISM[kind]], pairs.account[strong], bits[pairs.code[strong]])
    return best


def linked(best: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Accounts that ``shown_bits`` links: two mechanisms at least, and ``KIN_BITS`` together."""
    return np.asarray(((best > 0).sum(axis=1) >= 2) & (best.sum(axis=1) >= KIN_BITS))  # noqa: PLR2004 - two mechanisms


def kin(book: ValueBook, holder: NDArray[np.int64], inside: NDArray[np.bool_]) -> list[int]:
    """Accounts outside that show values of at least two mechanisms which are the cluster's own.

    Own: at least three holders in it show the value and three quarters of all who show it are members: an address
    that strangers use too makes nobody kin, whoever forges what.
    """
    own = own_values(book, holder, inside, np.ones(holder.size, bool))
    return np.flatnonzero(linked(shown_bits(book, own, holder.size)) & ~inside).tolist()
