"""Pools: accounts that work like hands of one queue, weighed by what they share.

A relay of real people's prompts ("serve and harvest") says nothing of its own, so no template leads to it. What is
left is how its accounts work and where they come from. One of the two must form the group and the other
weigh it, or the group would be judged by what it was chosen for:

* *formed* by rhythm alone: accounts that left no day out since their first. Who is in the group depends on when
  requests came, on nothing else.
* *weighed* by what sign-ups share (mail domain by country, hour by age, telephone) and by TLS fingerprints within the
  program that they claim. Where accounts are independent, these do not depend on the rhythm: the e-values of
  ``grounds`` hold for the group as they would for a random one. Exits and sign-up blocks are left out: programs
  run in clouds and work every day, so rhythm and address are not independent.

A group that suffices proves that an operator is in it, not that everybody in it is. Members are those linked
to it: values of two mechanisms that are the group's own (``links``). A community pass then separates operators
who share nothing (``graph``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from gateway.analysis import graph, grounds, links

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from gateway.analysis.cohort import Cohort
    from gateway.analysis.config import AnalysisConfig
    from gateway.analysis.rhythm import Rhythm
    from gateway.analysis.values import ValueBook

EVERY_S: Final = 6 * 3_600.0
"""Event time between looks: an account needs days to show a rhythm."""
_WITHIN_DAYS: Final = (None, 7)
"""Groups looked at: all accounts that work every day, and the young ones among them."""
_OWN_MEMBERS: Final = 8
_OWN_SHARE: Final = 0.7
"""A value is the group's own where so many holders show it, and so large a share of all whose rhythm is known."""
_UNUSED: Final = ("snet", "net")


class Pool(NamedTuple):
    """A group that was weighed. ``parts`` are its linked members, one list an operator; empty where it does not
    suffice.
    """

    accounts: list[int]
    holders: list[int]
    found: grounds.Grounds
    parts: list[list[int]]


def find(
    cohort: Cohort,
    rhythm: Rhythm,
    book: ValueBook,
    apart: NDArray[np.bool_],
    config: AnalysisConfig,
    now_s: float,
) -> Iterator[Pool]:
    """Weigh the groups that the rhythm forms now.

    ``apart`` flags accounts that belong to other clusters or are exempt: neither members nor cohort.
    """
    for within_days in _WITHIN_DAYS:
        group = rhythm.working(now_s, within_days) & ~apart
        accounts = np.flatnonzero(group).tolist()
        holders = cohort.holders(accounts)
        if len(holders) < config.min_entities:
            continue
        found = _weigh(cohort, holders, group | apart, config)
        parts = _members(cohort, rhythm, book, group, apart, config) if found.suffice(config) else []
        yield Pool(accounts, holders, found, parts)


def _weigh(
    cohort: Cohort, holders: list[int], inside: NDArray[np.bool_], config: AnalysisConfig, **given: float
) -> grounds.Grounds:
    """Grounds from what does not depend on the rhythm."""
    used = [kind for kind in (*grounds.PROVENANCE, "ja4") if kind not in _UNUSED]
    logs = dict.fromkeys(_UNUSED, 0.0)
    logs |= {kind: grounds.repeats(cohort, kind, holders, inside, config.benign_share) for kind in used}
    return grounds.combine(logs, given, config)


def _members(
    cohort: Cohort,
    rhythm: Rhythm,
    book: ValueBook,
    group: NDArray[np.bool_],
    apart: NDArray[np.bool_],
    config: AnalysisConfig,
) -> list[list[int]]:
    """The accounts of the group that its own values link, one list a community."""
    holder = cohort.holder_numbers()
    among = (rhythm.known() | group) & ~apart
    own = links.own_values(book, holder, group, among, members=_OWN_MEMBERS, share=_OWN_SHARE)
    core = np.flatnonzero(links.linked(links.shown_bits(book, own, holder.size)) & group)
    return graph.communities(book, holder, own, core, config.min_entities)
