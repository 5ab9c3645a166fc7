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
from random import Random
from typing import TYPE_CHECKING, Final

import igraph
import numpy as np
from scipy import sparse

from gateway.analysis.config import MATCH_BITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_BITS: Final = 6.0
_OVERLAP: Final = 0.5
_MIN_TOGETHER: Final = 3
_MIN_PHRASES: Final = 3
_RESOLUTION: Final = 0.5
_MAX_PHRASES: Final = 4_000
_SEED: Final = 1
_ALL_ACCOUNTS: Final = 0.8
_MANY_ACCOUNTS: Final = 0.4
_ROUNDS: Final = 3
_GROW_SHARE: Final = 0.9
_SURE: Final = 1.3
_LOOSE_BITS: Final = 1.5
_SAME_AGE_S: Final = 43_200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Requests as (request, phrase) entries: ``request[i]`` shows ``phrase[i]``; ``account`` and ``ts`` per request."""

    request: NDArray[np.int64]
    phrase: NDArray[np.int32]
    account: NDArray[np.int64]
    ts: NDArray[np.float64]
    wants: NDArray[np.int64]
    """Intent bits of each request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """Phrases with their bits, and the requests (positions in the rows) that match."""

    phrases: NDArray[np.int64]
    bits: NDArray[np.float64]
    matched: NDArray[np.int64]


def account_counts(rows: Rows, phrases: int) -> NDArray[np.int64]:
    """How many accounts said each of ``phrases`` numbered phrases in these rows."""
    pairs = np.unique((rows.account[rows.request] << 32) | rows.phrase)
    return np.bincount(pairs & 0xFFFFFFFF, minlength=phrases)


def find(rows: Rows, candidates: NDArray[np.int64], phrases: int) -> list[Template]:
    """Templates among ``candidates`` (numbers of phrases), the ones with most phrases first."""
    candidates = candidates[:_MAX_PHRASES]
    place = np.full(phrases, -1, np.int64)
    place[candidates] = np.arange(candidates.size)
    mine = place[rows.phrase] >= 0
    shape = (rows.account.size, candidates.size)
    said = sparse.csr_matrix(
        (np.ones(int(mine.sum()), np.float32), (rows.request[mine], place[rows.phrase[mine]])), shape=shape
    )
    said.data[:] = 1.0
    return [
        template
        for community in _communities(said, rows.account)
        if (template := _fit(said, community, candidates)) is not None
    ]


def merge(found: list[Template], rows: Rows, born_s: list[float]) -> list[list[Template]]:
    """Templates that the same accounts send, together: parts of one campaign, or habits of one program.

    A template joins a larger one where nearly all of its accounts send that too (``_ALL_ACCOUNTS``), or many
    (``_MANY_ACCOUNTS``) and it is not older: cover traffic borrows templates that were there before.
    ``born_s`` is when each template was new.
    """
    groups: list[tuple[list[Template], set[int], float]] = []
    order = sorted(range(len(found)), key=lambda place: -found[place].matched.size)
    for place in order:
        accounts = set(rows.account[found[place].matched].tolist())
        for index, (members, known, born) in enumerate(groups):
            share = len(known & accounts) / len(accounts)
            if share >= _ALL_ACCOUNTS or (share >= _MANY_ACCOUNTS and born_s[place] >= born - _SAME_AGE_S):
                groups[index] = ([*members, found[place]], known | accounts, born)
                break
        else:
            groups.append(([found[place]], accounts, born_s[place]))
    return [group for group, _, _ in groups]


def grow(rows: Rows, bits: NDArray[np.float64], allowed: NDArray[np.bool_], loose: float) -> NDArray[np.float64]:
    """Let a template find the rest of itself: phrases that stand almost only in requests that match already.

    ``bits`` has a weight for every numbered phrase (0: not in the template); ``allowed`` says which phrases may
    join (not the ones that are older than the template). Interchangeable parts stand beside known ones, so a
    few rounds reach all of them, the first ones with a share of ``loose`` in matching requests, the last ones
    with nearly all (``_GROW_SHARE``). Returns the new weights, of as few phrases as cover the matching requests
    twice: what the payload says is left out where the instruction suffices.
    """
    shares = (*([loose] * _ROUNDS), _GROW_SHARE, _GROW_SHARE)
    for share in shares:
        sure = scores(rows, bits) >= (MATCH_BITS if share < _GROW_SHARE else _SURE * MATCH_BITS)
        inside, outside = _by_accounts(rows, sure, bits.size)
        joins = allowed & (inside >= _MIN_TOGETHER) & (inside >= share * (inside + outside))
        weight = np.clip(np.log2((inside + 0.5) / (outside + 0.5)), 0.0, _MAX_BITS) * _OVERLAP
        absent = (inside + outside == 0) & (bits > 0)
        bits = np.where(joins, weight if share >= _GROW_SHARE else np.maximum(weight, _LOOSE_BITS), np.where(absent, bits, 0.0))
    return _cover(rows, bits, inside)


def scores(rows: Rows, bits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the bits of each request's phrases."""
    return np.bincount(rows.request, weights=bits[rows.phrase], minlength=rows.account.size)


def _by_accounts(
    rows: Rows, matched: NDArray[np.bool_], phrases: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each phrase: accounts that say it in matching requests, and accounts that say it only in others."""
    pairs = (rows.account[rows.request] << 32) | rows.phrase
    every = np.unique(pairs)
    within = np.unique(pairs[matched[rows.request]])
    inside = np.bincount(within & 0xFFFFFFFF, minlength=phrases)
    return inside, np.bincount(every & 0xFFFFFFFF, minlength=phrases) - inside


def _cover(rows: Rows, bits: NDArray[np.float64], inside: NDArray[np.int64]) -> NDArray[np.float64]:
    """Keep the commonest phrases until each request that matches has twice the bits that it needs."""
    matched = scores(rows, bits) >= MATCH_BITS
    entries = matched[rows.request] & (bits[rows.phrase] > 0)
    request, phrase = rows.request[entries], rows.phrase[entries]
    order = np.lexsort((phrase, -inside[phrase], request))
    request, phrase = request[order], phrase[order]
    total = np.cumsum(bits[phrase])
    starts = np.r_[True, request[1:] != request[:-1]]
    before = total - bits[phrase]
    before -= np.maximum.accumulate(np.where(starts, before, 0.0))
    kept = np.zeros(bits.size, bool)
    kept[phrase[before < 2 * MATCH_BITS]] = True
    kept |= (bits > 0) & (inside == 0)
    return np.where(kept, bits, 0.0)


def _communities(said: sparse.csr_matrix, account: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Dense communities of phrases; an account's n requests weigh 1 / sqrt(n) each, so that none dominates.

    Phrases that stand in exactly the same requests are one node, weighed once.
    """
    first, same = _distinct_columns(said)
    said = said[:, first]
    weight = 1.0 / np.sqrt(np.bincount(account, minlength=1)[account])
    together = (said.T @ sparse.diags(weight.astype(np.float32)) @ said).tocoo()
    count = (said.T @ said).tocoo()
    single = np.asarray(said.T @ weight).ravel()
    keep = (together.row < together.col) & (count.data >= _MIN_TOGETHER)
    left, right = together.row[keep], together.col[keep]
    lift = np.log2(together.data[keep] * weight.sum() / (single[left] * single[right]))
    strong = lift > 1.0
    sizes = np.bincount(same, minlength=first.size)
    membership = leiden(
        np.column_stack([left[strong], right[strong]]), np.clip(lift[strong] - 1.0, 0.0, _MAX_BITS), sizes, _RESOLUTION
    )
    community = membership[same]
    order = np.argsort(community, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(community[order])) + 1)
    return [part for part in parts if part.size >= _MIN_PHRASES]


def _distinct_columns(said: sparse.csr_matrix) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(first column of each distinct set of rows, for each column the place of its own set)."""
    random = np.random.default_rng(_SEED).integers(1, 1 << 40, said.shape[0]).astype(np.float64)
    sums = np.asarray(said.T.astype(np.float64) @ random).ravel()
    _, first, same = np.unique(sums, return_index=True, return_inverse=True)
    return first, same


def leiden(
    edges: NDArray[np.int64], weights: NDArray[np.float64], sizes: NDArray[np.int64], resolution: float
) -> NDArray[np.int64]:
    """Community of each node by Leiden with the Constant Potts Model; seeded, so always the same.

    ``sizes`` weigh the nodes in the density that ``resolution`` asks for.
    """
    graph = igraph.Graph(n=sizes.size, edges=edges.astype(np.int64))
    igraph.set_random_number_generator(Random(_SEED))
    found = graph.community_leiden(
        objective_function="CPM", weights=weights.tolist(), resolution=resolution, n_iterations=2
    )
    return np.array(found.membership, np.int64)


def _fit(said: sparse.csr_matrix, community: NDArray[np.int64], names: NDArray[np.int64]) -> Template | None:
    """Weigh a community's phrases by the requests that hold several of them against all others, twice."""
    own = said[:, community]
    matched = np.asarray(own.sum(axis=1)).ravel() >= _MIN_PHRASES
    bits = np.zeros(community.size)
    for _ in range(2):
        inside = np.asarray(own[matched].sum(axis=0)).ravel()
        outside = np.asarray(own[~matched].sum(axis=0)).ravel()
        bits = np.clip(np.log2((inside + 0.5) / (outside + 0.5)), -_MAX_BITS, _MAX_BITS) * _OVERLAP
        matched = np.asarray(own @ bits).ravel() >= MATCH_BITS
        if not matched.any():
            return None
    return Template(phrases=names[community], bits=bits, matched=np.flatnonzero(matched))
