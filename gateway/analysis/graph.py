"""The account graph: pairs of accounts that share rare values, and its communities.

Two accounts are linked by each rare value that both show: log2 of its rarity, divided by the logarithm of how
many show it (FRAUDAR, KDD 2016: a value that many show is cheap to have), summed within a mechanism up to one
cap. Values that more than ``MOST_DEGREE`` holders show make no pairs (CGNAT, VPN exits, public mail providers), so
the number of pairs grows with that of new (account, value) pairs, never with requests.

Communities come from Leiden with the Constant Potts Model (Traag 2011, 2019): inside, the mean weight of a pair is
at least the resolution, so that a chain of single shared values joins nobody (single linkage would). What is
smaller than a group may be goes to the community that it is linked with most, or to none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse

from gateway.analysis.links import CAP_BITS, MECHANISM
from gateway.analysis.templates import leiden

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gateway.analysis.values import ValueBook

MOST_DEGREE: Final = 64
"""Values that more holders show make no pairs: 64 make 2,016 of them, twice as many would make 8,128."""
_DENSITY: Final = 0.25
"""The resolution, as a share of the mean weight of all pairs: two groups that share nothing fall apart, one whose
values come in clumps stays whole."""


def pair_bits(
    book: ValueBook,
    holder: NDArray[np.int64],
    rare: Mapping[str, NDArray[np.float64]],
    accounts: NDArray[np.int64],
) -> sparse.csr_matrix:
    """Upper triangle of the links between ``accounts`` (positions in it), in bits.

    ``rare`` gives the bits of each kind's values, by code; 0: not to be used. Accounts of one holder are not
    linked: they belong together openly.
    """
    place = np.full(holder.size, -1, np.int64)
    place[accounts] = np.arange(accounts.size)
    total = sparse.csr_matrix((accounts.size, accounts.size))
    for mechanism in sorted(set(MECHANISM.values())):
        one = sparse.csr_matrix((accounts.size, accounts.size))
        for kind in (kind for kind, of in MECHANISM.items() if of == mechanism and kind in rare):
            pairs = book.pairs(kind)
            use = (place[pairs.account] >= 0) & (rare[kind][pairs.code] > 0)
            one = one + _of_kind(place[pairs.account[use]], pairs.code[use], rare[kind], accounts.size)
        one.data = np.minimum(one.data, CAP_BITS)
        total = total + one
    upper = sparse.triu(total, 1).tocoo()
    keep = holder[accounts[upper.row]] != holder[accounts[upper.col]]
    return sparse.csr_matrix((upper.data[keep], (upper.row[keep], upper.col[keep])), shape=upper.shape)


def _of_kind(
    row: NDArray[np.int64], code: NDArray[np.int64], bits: NDArray[np.float64], size: int
) -> sparse.csr_matrix:
    """Links of one kind: bits of the shared values over the logarithm of how many of the accounts show them."""
    degree = np.bincount(code, minlength=bits.size)
    weight = np.where((degree > 1) & (degree <= MOST_DEGREE), bits / np.log2(np.maximum(degree, 1) + 1.0), 0.0)
    used = weight[code] > 0
    shown = sparse.csr_matrix((np.ones(int(used.sum())), (row[used], code[used])), shape=(size, bits.size))
    return sparse.csr_matrix(shown @ sparse.diags(weight) @ shown.T)


def communities(
    book: ValueBook,
    holder: NDArray[np.int64],
    rare: Mapping[str, NDArray[np.float64]],
    accounts: NDArray[np.int64],
    least: int,
) -> list[list[int]]:
    """Communities of ``accounts`` with at least ``least`` holders each, the largest first; seeded, always the same."""
    if accounts.size < least:
        return []
    linked = pair_bits(book, holder, rare, accounts).tocoo()
    if not linked.nnz:
        return []
    pairs = accounts.size * (accounts.size - 1) / 2
    edges = np.column_stack([linked.row, linked.col]).astype(np.int64)
    label = leiden(edges, linked.data, np.ones(accounts.size, np.int64), _DENSITY * linked.data.sum() / pairs)
    label = _adopt(label, edges, linked.data, holder[accounts], least)
    groups = [accounts[label == one].tolist() for one in np.unique(label[label >= 0])]
    return sorted(groups, key=lambda group: (-len(group), group[0]))


def _adopt(
    label: NDArray[np.int64],
    edges: NDArray[np.int64],
    weights: NDArray[np.float64],
    holder: NDArray[np.int64],
    least: int,
) -> NDArray[np.int64]:
    """Labels after small communities joined the large one that they are linked with most; -1: with none."""
    counted = np.unique((label << 32) | holder)
    large = np.bincount(counted >> 32, minlength=int(label.max()) + 1) >= least
    sides = np.concatenate([edges, edges[:, ::-1]])
    towards = large[label[sides[:, 1]]] & ~large[label[sides[:, 0]]]
    pull = sparse.csr_matrix(
        (np.concatenate([weights, weights])[towards], (label[sides[towards, 0]], label[sides[towards, 1]])),
        shape=(large.size, large.size),
    )
    target = np.where(large, np.arange(large.size), -1)
    for small in np.flatnonzero(~large).tolist():
        start, end = pull.indptr[small], pull.indptr[small + 1]
        if start < end:
            target[small] = pull.indices[start:end][np.argmax(pull.data[start:end])]
    return np.asarray(target[label])
