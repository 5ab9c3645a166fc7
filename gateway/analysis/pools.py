"""Pools: accounts that work like hands of one queue, weighed by what they share.

A relay of real people's prompts ("serve and harvest") says nothing of its own, so no template leads to it. What is
left is how its accounts work and where they come from. One of the two must form the group and the other
weigh it, or the group would be judged by what it was chosen for:

* *formed* by rhythm alone: accounts that left no day out since their first. Who is in the group depends on when
  requests came, on nothing else.
* *weighed* by what sign-ups share (mail domain by country, hour by age, telephone) and by TLS fingerprints within the
  program that they claim; and by sudden changes (``changes``). Where accounts are independent, these do not depend on the rhythm: the e-values of
  ``grounds`` hold for the group as they would for a random one. Exits and sign-up blocks are left out: programs
  run in clouds and work every day, so rhythm and address are not independent.

A group that suffices proves that an operator is in it, not that everybody in it is. Members are those whose values, of
two mechanisms, are much likelier in it than among accounts with another rhythm (``links``). A community pass then separates
operators who share nothing (``graph``), and each community must suffice by itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from gateway.analysis import graph, grounds, links

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from gateway.analysis.accounts import Accounts
    from gateway.analysis.cohort import Cohort
    from gateway.analysis.config import AnalysisConfig

EVERY_S: Final = 6 * 3_600.0
"""Event time between looks: an account needs days to show a rhythm."""
_WITHIN_DAYS: Final = (None, 7, 4, 2)
"""Groups looked at: all accounts that work every day, and the young ones among them: a pool is brought up in days."""
_USED: Final = ("phone", "hour", "mail", "ja4")


class Pool(NamedTuple):
    """A group that was weighed. ``parts`` are its linked members, one list an operator; empty where it does not
    suffice.
    """

    accounts: list[int]
    holders: list[int]
    found: grounds.Grounds
    parts: list[list[int]]


def find(accounts: Accounts, apart: NDArray[np.bool_], config: AnalysisConfig, now_s: float) -> Iterator[Pool]:
    """Weigh the groups that the rhythm forms now; none that is larger than what it is compared with, as in a log's
    first days, when hardly anybody has had a day to leave out. Each of several looks at once needs the more.

    ``apart`` flags accounts that belong to other clusters or are exempt: neither members nor cohort.
    """
    config = replace(config, alpha=config.alpha / len(_WITHIN_DAYS))
    for within_days in _WITHIN_DAYS:
        group = accounts.rhythm.working(now_s, within_days) & ~apart
        numbers = np.flatnonzero(group).tolist()
        holders = accounts.cohort.holders(numbers)
        inside = group | apart
        if len(holders) < config.min_entities or 2 * int(inside.sum()) > inside.size:
            continue
        change = accounts.change(holders, inside, now_s, config.family_cap)
        found = _weigh(accounts.cohort, holders, inside, config, coordination=change.e_value)
        parts = _members(accounts, group, apart, config) if found.suffice(config) else []
        yield Pool(numbers, holders, found, [part for part in parts if _holds(accounts, part, inside, config)])


def _holds(accounts: Accounts, part: list[int], inside: NDArray[np.bool_], config: AnalysisConfig) -> bool:
    """Whether a community suffices by itself: who works beside an operator (a class, an office) is not proved by it."""
    return _weigh(accounts.cohort, accounts.cohort.holders(part), inside, config).suffice(config)


def _weigh(
    cohort: Cohort, holders: list[int], inside: NDArray[np.bool_], config: AnalysisConfig, **given: float
) -> grounds.Grounds:
    """Grounds from what does not depend on the rhythm."""
    logs = {kind: grounds.repeats(cohort, kind, holders, inside, config.benign_share) for kind in _USED}
    return grounds.combine(logs, given, config)


def _members(
    accounts: Accounts, group: NDArray[np.bool_], apart: NDArray[np.bool_], config: AnalysisConfig
) -> list[list[int]]:
    """The accounts of the group that its values tell from those with another rhythm, one list a community."""
    book, holder = accounts.values, accounts.holders()
    told, rare = links.likelihoods(book, holder, group, accounts.rhythm.known() & ~group & ~apart)
    return graph.communities(book, holder, rare, np.flatnonzero(links.are_told(told) & group), config.min_entities)
