"""Templates: phrases that meet in the same requests more often than chance.

A prompt that is sent by many accounts, whole or put together from interchangeable parts, shows as a
community in the graph of phrases: two phrases are linked where the requests that hold both are more than
independence explains (log2 of the lift), and Leiden with the Constant Potts Model (Traag 2011, 2019) keeps
communities dense. Communities are looked for among phrases, not accounts, so that an account's cover
traffic says nothing for or against its other requests.

A request matches a template when the bits of the phrases that it shows add up: each weighs log2 of how much
more often it stands in the template's requests than in others (naive Bayes), halved because runs of four
words overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Final

import igraph
import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from gateway.analysis.config import MATCH_BITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_BITS: Final = 6.0
_OVERLAP: Final = 0.5
_MIN_TOGETHER: Final = 3
_MIN_PHRASES: Final = 3
_RESOLUTION: Final = 0.2
_MAX_PHRASES: Final = 4_000
_MOST_EDGES: Final = 1_000_000
"""Links between phrases that one pass looks at; the strongest are kept."""
_SEED: Final = 1
_LOW: Final = 0xFFFFFFFF
_ROUNDS: Final = 3
_JOIN_SHARE: Final = 0.8
_SAME_BLOCK: Final = 0.5
_STRANGERS: Final = 0.9
"""Of a block's senders, as many send nothing else of a template whose part it is not."""
_MEET: Final = 0.5
_PART_SHARE: Final = 0.012
"""What joins a template is said by so many of its accounts: parts of an instruction are, payloads are not."""


@dataclass(frozen=True, kw_only=True)  # no slots: they would leave no place for what is counted once
class Rows:
    """Requests as (request, phrase) entries: ``request[i]`` shows ``phrase[i]``; ``account`` and ``ts`` per request."""

    request: NDArray[np.int64]
    phrase: NDArray[np.int32]
    account: NDArray[np.int64]
    ts: NDArray[np.float64]
    wants: NDArray[np.int64]
    """Intent bits of each request."""

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How many accounts said each phrase, up to the last that is here."""
        return np.bincount(distinct((self.account[self.request] << 32) | self.phrase) & _LOW)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """Phrases with their bits, and the requests (positions in the rows) that match."""

    phrases: NDArray[np.int64]
    bits: NDArray[np.float64]
    matched: NDArray[np.int64]


def distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """``numpy.unique``, several times as fast: numpy hashes whole numbers (since 2.3) before it sorts them."""
    ordered = np.sort(values)
    first = np.ones(ordered.size, bool)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def account_counts(rows: Rows, phrases: int) -> NDArray[np.int64]:
    """How many accounts said each of ``phrases`` numbered phrases in these rows."""
    return np.concatenate([rows.counts, np.zeros(phrases - rows.counts.size, np.int64)])


def find(rows: Rows, candidates: NDArray[np.int64], phrases: int) -> list[Template]:
    """Templates among ``candidates`` (numbers of phrases), the ones with most phrases first."""
    candidates = candidates[:_MAX_PHRASES]
    if not candidates.size:
        return []
    place = np.full(phrases, -1, np.int64)
    place[candidates] = np.arange(candidates.size)
    column = place[rows.phrase]
    mine = column >= 0
    shape = (rows.account.size, candidates.size)
    shown = sparse.csr_matrix((np.ones(int(mine.sum()), np.float32), (rows.request[mine], column[mine])), shape=shape)
    shown.data[:] = 1.0
    said = _Said.of(shown, rows.account)
    found = []
    for community in _communities(said):
        for part in _parts(said, community):
            own = _without_strangers(said, part)
            if own.matched.any():
                matched = np.flatnonzero(own.matched[said.kind])
                found.append(
                    Template(phrases=candidates[own.columns], bits=own.bits.astype(np.float64), matched=matched)
                )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """Which candidates each request shows, once for all requests that show the same ones: most texts recur.

    ``rows`` has a row for each of the distinct ones, in the order in which they first came, ``times`` how many
    requests each stands for, ``kind`` which one each request is, ``account`` whose it is.
    """

    rows: sparse.csr_matrix
    times: NDArray[np.float32]
    kind: NDArray[np.int64]
    account: NDArray[np.int64]

    @classmethod
    def of(cls, shown: sparse.csr_matrix, account: NDArray[np.int64]) -> _Said:
        """Of requests (rows) that show phrases (columns; entries are 1), with each one's ``account``."""
        first, kind, times = _kinds(shown)
        return cls(rows=shown[first], times=times.astype(np.float32), kind=kind, account=account)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weighed:
    """Some of the candidates (``columns``): what each row shows of them, their bits, and which rows match."""

    columns: NDArray[np.int64]
    rows: sparse.csr_matrix
    bits: NDArray[np.float32]
    matched: NDArray[np.bool_]

    @classmethod
    def of(cls, said: _Said, columns: NDArray[np.int64]) -> _Weighed:
        """The weighed ``columns`` of ``said``."""
        rows = said.rows[:, columns]
        bits, matched = _bits(rows, said.times)
        return cls(columns=columns, rows=rows, bits=bits, matched=matched)


def _kinds(said: sparse.csr_matrix) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of rows that are equal: the first of each, which kind each row is, and how many there are; in order of the first.

    Rows are told apart by a sum of 64-bit codes of their columns, random but always the same.
    """
    codes = np.random.default_rng(_SEED).integers(1, 1 << 63, size=said.shape[1], dtype=np.uint64)
    sums = np.r_[np.uint64(0), np.cumsum(codes[said.indices], dtype=np.uint64)]
    _, first, kind, times = np.unique(
        np.diff(sums[said.indptr]), return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first)
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    return first[order], rank[kind], times[order]


def extend(rows: Rows, bits: NDArray[np.float64], allowed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Add to a template the phrases that stand almost only in requests that match without them.

    ``bits`` has a weight for every numbered phrase (0: not in the template); ``allowed`` says which phrases may
    join (not the ones that are older than the template). Interchangeable parts stand beside known ones; what
    stands alone (cover traffic, somebody else's prompt) finds no way in.
    """
    entry = allowed[rows.phrase]
    row, phrase = rows.request[entry], rows.phrase[entry]
    every = account_counts(rows, bits.size)
    for _ in range(_ROUNDS):
        matched = scores(rows, bits) >= MATCH_BITS
        among = matched[row]
        inside = np.bincount(distinct((rows.account[row[among]] << 32) | phrase[among]) & _LOW, minlength=bits.size)
        enough = max(_MIN_TOGETHER, _PART_SHARE * distinct(rows.account[matched]).size)
        joins = (bits <= 0) & (inside >= enough) & (inside >= _JOIN_SHARE * every)
        if not joins.any():
            break
        bits = np.where(
            joins, np.clip(np.log2((inside + 0.5) / (every - inside + 0.5)), 0.0, _MAX_BITS) * _OVERLAP, bits
        )
    return bits


def cover(rows: Rows, bits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep the commonest phrases until each request that matches has twice the bits that it needs.

    What the payload says is left out where the instruction suffices.
    """
    matched = scores(rows, bits) >= MATCH_BITS
    entries = matched[rows.request] & (bits[rows.phrase] > 0)
    request, phrase = rows.request[entries], rows.phrase[entries]
    pairs = distinct((rows.account[request] << 32) | phrase)
    inside = np.bincount(pairs & _LOW, minlength=bits.size)
    order = np.lexsort((phrase, -inside[phrase], request))
    request, phrase = request[order], phrase[order]
    total = np.cumsum(bits[phrase])
    starts = np.r_[True, request[1:] != request[:-1]]
    before = total - bits[phrase]
    before -= np.maximum.accumulate(np.where(starts, before, 0.0))
    kept = np.zeros(bits.size, bool)
    kept[phrase[before < 2 * MATCH_BITS]] = True
    return np.where(kept, bits, 0.0)


def scores(rows: Rows, bits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the bits of each request's phrases."""
    shown = np.flatnonzero((bits != 0)[rows.phrase])  # few of all entries
    total = np.bincount(rows.request[shown], weights=bits[rows.phrase[shown]], minlength=rows.account.size)
    return np.asarray(total, np.float64)


def _communities(said: _Said) -> list[NDArray[np.int64]]:
    """Communities of phrases, by way of blocks: phrases that nearly always stand together are one part."""
    block = _blocks(said.rows, said.times)
    parts = sparse.csr_matrix((np.ones(block.size, np.float32), (np.arange(block.size), block)))
    shown = said.rows @ parts
    shown.data[:] = 1.0
    community = _block_communities(shown[said.kind], said.account)[block]
    order = np.argsort(community, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(community[order])) + 1)
    return sorted((group for group in groups if group.size >= _MIN_PHRASES), key=lambda group: -group.size)


def _together(rows: sparse.csr_matrix, weight: NDArray[np.float32]) -> sparse.csc_matrix:
    """For each pair of columns, the ``weight`` of the rows that show both; pairs in no order."""
    weighted = sparse.csr_matrix((np.repeat(weight, np.diff(rows.indptr)), rows.indices, rows.indptr), shape=rows.shape)
    together: sparse.csc_matrix = weighted.T @ rows
    return together


def _requests(rows: sparse.csr_matrix, times: NDArray[np.float32]) -> NDArray[np.float64]:
    """For each column, how many requests show it, where each row stands for so many ``times``."""
    found = np.bincount(rows.indices, weights=np.repeat(times, np.diff(rows.indptr)), minlength=rows.shape[1])
    return np.asarray(found, np.float64)


def _blocks(own: sparse.csr_matrix, times: NDArray[np.float32]) -> NDArray[np.int64]:
    """Block of each phrase: connected by a Jaccard similarity of their requests of ``_SAME_BLOCK`` or more."""
    count = _together(own, times).tocoo()
    single = _requests(own, times)
    near = count.data >= _SAME_BLOCK * (single[count.row] + single[count.col] - count.data)
    linked = sparse.coo_matrix((np.ones(int(near.sum())), (count.row[near], count.col[near])), shape=count.shape)
    return np.asarray(csgraph.connected_components(linked, directed=False)[1], np.int64)


def _block_communities(shown: sparse.csr_matrix, account: NDArray[np.int64]) -> NDArray[np.int64]:
    """Community of each block; an account's n requests weigh 1 / sqrt(n) each, so that none dominates."""
    weight = 1.0 / np.sqrt(np.bincount(account, minlength=1)[account])
    together = _together(shown, weight.astype(np.float32)).tocsr().tocoo()
    single = np.asarray(shown.T @ weight).ravel()
    keep = together.row < together.col
    left, right = together.row[keep], together.col[keep]
    lift = np.log2(together.data[keep] * weight.sum() / (single[left] * single[right]))
    strong = strongest(lift > 1.0, lift, _MOST_EDGES)
    edges = np.column_stack([left[strong], right[strong]]).astype(np.int64)
    return leiden(edges, np.clip(lift[strong] - 1.0, 0.0, _MAX_BITS), np.ones(shown.shape[1], np.int64), _RESOLUTION)


def strongest(strong: NDArray[np.bool_], lift: NDArray[np.float64], most: int) -> NDArray[np.bool_]:
    """``strong``, but no more than ``most`` of it: the largest of ``lift``, of equals the first.

    Texts of very few distinct words, which any caller can send, make every phrase a neighbour of every other.
    """
    if int(strong.sum()) <= most:
        return strong
    kept = np.zeros(strong.size, bool)
    held = np.flatnonzero(strong)
    kept[held[np.argsort(-lift[held], kind="stable")[:most]]] = True
    return kept


def leiden(
    edges: NDArray[np.int64], weights: NDArray[np.float64], sizes: NDArray[np.int64], resolution: float
) -> NDArray[np.int64]:
    """Community of each node by Leiden with the Constant Potts Model; seeded, so always the same.

    ``sizes`` weigh the nodes in the density that ``resolution`` asks for.
    """
    graph = igraph.Graph(n=sizes.size, edges=edges.astype(np.int64))
    igraph.set_random_number_generator(Random(_SEED))  # noqa: S311 - reproducible, not secret
    found = graph.community_leiden(
        objective_function="CPM",
        weights=weights.tolist(),
        resolution=resolution,
        node_weights=sizes.tolist(),
        n_iterations=2,
    )
    return np.array(found.membership, np.int64)


def _parts(said: _Said, community: NDArray[np.int64]) -> list[_Weighed]:
    """The community, or its parts where only turns of the language hold it together.

    What is common outside weighs nothing and is left out; phrases that stay are of one part where they meet in
    the matching requests at least half as often as chance has it. Two prompts that both say "in other words"
    hardly meet; interchangeable parts of one prompt do.
    """
    own = _Weighed.of(said, community)
    kept = np.flatnonzero(own.bits > 0)
    if not own.matched.any() or kept.size < _MIN_PHRASES:
        return []
    times = said.times[own.matched]
    inside = own.rows[np.flatnonzero(own.matched)][:, kept]
    count = _together(inside, times).tocoo()
    single = _requests(inside, times)
    near = count.data * times.sum() >= _MEET * single[count.row] * single[count.col]
    linked = sparse.coo_matrix((np.ones(int(near.sum())), (count.row[near], count.col[near])), shape=count.shape)
    parts, part = csgraph.connected_components(linked, directed=False)
    if parts == 1:
        return [own]
    found = (community[kept[part == one]] for one in range(parts))
    return [_Weighed.of(said, one) for one in found if one.size >= _MIN_PHRASES]


def _without_strangers(said: _Said, own: _Weighed) -> _Weighed:
    """The community without texts whose senders send nothing else of it.

    A fixed text of others (the exercise of a class) that shares a turn or two with the template is a block that
    makes its requests match by itself. Who sends interchangeable parts sends others of them too; who sends only
    this block, as all but a few of its senders do, is somebody else. A block of most senders is the template itself.
    """
    block = _blocks(own.rows, said.times)
    weight = np.bincount(block, weights=np.maximum(own.bits, 0.0))
    heavy = np.flatnonzero(weight >= MATCH_BITS).tolist()
    if not heavy:
        return own
    among = own.matched[said.kind]
    kind, sender = said.kind[among], said.account[among]
    columns = own.rows.tocsc()
    score = np.asarray(own.rows @ own.bits).ravel()
    most, stays = distinct(sender).size / 2, np.ones(own.columns.size, bool)
    for one in heavy:
        mine = np.flatnonzero(block == one)
        rests = (score - np.asarray(columns[:, mine] @ own.bits[mine]).ravel() < MATCH_BITS)[kind]
        only = np.isin(distinct(sender[rests]), sender[~rests], invert=True)
        if 0 < only.size < most and only.mean() >= _STRANGERS:
            stays[mine] = False
    return own if stays.all() else _Weighed.of(said, own.columns[stays])


def _bits(own: sparse.csr_matrix, times: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Weigh phrases by the requests that hold several of them against all others, twice; and who matches."""
    matched = np.diff(own.indptr) >= _MIN_PHRASES
    every = _requests(own, times)
    bits = np.zeros(own.shape[1], np.float32)
    for _ in range(2):
        inside = _requests(own, np.where(matched, times, np.float32(0)))
        ratio = (inside.astype(np.float32) + 0.5) / ((every - inside).astype(np.float32) + 0.5)
        bits = np.asarray(np.clip(np.log2(ratio), -_MAX_BITS, _MAX_BITS) * _OVERLAP, np.float32)
        matched = np.asarray(own @ bits).ravel() >= MATCH_BITS
        if not matched.any():
            break
    return bits, matched
