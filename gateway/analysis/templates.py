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
from typing import TYPE_CHECKING, Final

import igraph
import leidenalg
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
_SAME_ACCOUNTS: Final = 0.4


@dataclass(frozen=True, slots=True)
class Rows:
    """Requests as (request, phrase) entries: ``request[i]`` shows ``phrase[i]``; ``account`` and ``ts`` per request."""

    request: NDArray[np.int64]
    phrase: NDArray[np.int32]
    account: NDArray[np.int64]
    ts: NDArray[np.float64]


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


def merge(found: list[Template], rows: Rows) -> list[list[Template]]:
    """Templates that the same accounts send, together: parts of one campaign, or habits of one program.

    Two are joined where at least ``_SAME_ACCOUNTS`` of the smaller one's accounts send the other too.
    """
    groups: list[tuple[list[Template], set[int]]] = []
    for template in sorted(found, key=lambda one: -one.matched.size):
        accounts = set(rows.account[template.matched].tolist())
        mine: tuple[list[Template], set[int]] = ([template], accounts)
        rest = []
        for group in groups:
            if len(group[1] & accounts) >= _SAME_ACCOUNTS * min(len(group[1]), len(accounts)):
                mine = (group[0] + mine[0], group[1] | mine[1])
            else:
                rest.append(group)
        groups = [*rest, mine]
    return [group for group, _ in groups]


def _communities(said: sparse.csr_matrix, account: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Dense communities of phrases; an account's n requests weigh sqrt(n), so that none dominates."""
    weight = 1.0 / np.sqrt(np.bincount(account, minlength=1)[account])
    together = (said.T @ sparse.diags(weight.astype(np.float32)) @ said).tocoo()
    count = (said.T @ said).tocoo()
    single = np.asarray(said.T @ weight).ravel()
    keep = (together.row < together.col) & (count.data >= _MIN_TOGETHER)
    left, right = together.row[keep], together.col[keep]
    lift = np.log2(together.data[keep] * weight.sum() / (single[left] * single[right]))
    strong = lift > 1.0
    if not strong.any():
        return []
    graph = igraph.Graph(n=said.shape[1], edges=np.column_stack([left[strong], right[strong]]))
    partition = leidenalg.find_partition(
        graph,
        leidenalg.CPMVertexPartition,
        weights=np.clip(lift[strong] - 1.0, 0.0, _MAX_BITS).tolist(),
        resolution_parameter=_RESOLUTION,
        n_iterations=2,
        seed=_SEED,
    )
    return [np.array(members) for members in partition if len(members) >= _MIN_PHRASES]


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
