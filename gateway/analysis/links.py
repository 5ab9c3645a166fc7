"""Links between accounts, in bits; the values that are a group's own; the kin of a cluster.

A link weighs log2 of how much likelier two accounts of one operator share a value than two of the
population (Fellegi and Sunter 1969, with the value's own frequency as in Splink): a value that k of n
holders show gives log2(n / k) bits, so that a public mail provider or a carrier's address weighs nothing.
Values of one mechanism share one cap, because they are correlated: a privacy gateway or a VPN gives its customers
exits *and* a TLS fingerprint in common, so both are one mechanism.

A value is a group's *own* where enough of its holders show it and hardly anybody else does. Whoever shows own
values of two mechanisms is linked; one value, shared or forged, links nobody.
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
STRICT_MEMBERS: Final = 6
STRICT_SHARE: Final = 0.9
"""Own values of groups that no text or signature holds together: more holders, fewer strangers."""
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


def kin(book: ValueBook, holder: NDArray[np.int64], inside: NDArray[np.bool_], *, strict: bool = False) -> list[int]:
    """Accounts outside that show values of at least two mechanisms which are the cluster's own.

    Own: at least three holders in it show the value and three quarters of all who show it are members: an address
    that strangers use too makes nobody kin, whoever forges what. ``strict`` (for clusters whose members are
    known by their links alone) asks for ``STRICT_MEMBERS`` and ``STRICT_SHARE``.
    """
    least, share = (STRICT_MEMBERS, STRICT_SHARE) if strict else (_OWN_MEMBERS, _OWN_SHARE)
    own = own_values(book, holder, inside, np.ones(holder.size, bool), members=least, share=share)
    return np.flatnonzero(linked(shown_bits(book, own, holder.size)) & ~inside).tolist()
