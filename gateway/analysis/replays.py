"""What was given to one account and shown by another: reasoning signatures and conversations.

An opaque signature is issued with one account's reply; a conversation has one author. Where another account
holder shows it, the two are linked, and linked accounts are a group. People hand a conversation to a
colleague (one holder: not counted) or paste one; large groups of strangers who do so are one operator.

Memory: about 100 bytes a signature or conversation, the oldest are forgotten beyond ``capacity``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.analysis.cohort import Cohort
    from gateway.analysis.renumbering import Renumbering

_KINDS: Final = ("sig", "conv")


class ReplayBook:
    """Who showed each signature and conversation first, and who showed somebody else's."""

    def __init__(self, capacity: int = 2_000_000) -> None:
        self._capacity = capacity
        self._owner: dict[int, int] = {}
        self._parents: dict[int, int] = {}
        self.linked_s: dict[int, float] = {}
        """Accounts that showed somebody else's, and when first, in that order; whose it was is nobody's fault."""
        self.shown: dict[int, list[int]] = {}
        """Replayed values of each linked account: part of the signature of its cluster."""

    def note(self, ts: float, number: int, traits: Mapping[str, Any], cohort: Cohort) -> None:
        """Enter a request's signatures and conversation prefixes."""
        for kind in _KINDS:
            for code in traits.get(kind, ()):
                owner = self._owner.setdefault(code, number)
                if owner != number and cohort.holder(owner) != cohort.holder(number):
                    self._link(ts, owner, number, code)
        while len(self._owner) > self._capacity:
            del self._owner[next(iter(self._owner))]

    def _link(self, ts: float, owner: int, number: int, code: int) -> None:
        self._parents[self._find(owner)] = self._find(number)
        self.linked_s.setdefault(number, ts)
        codes = self.shown.setdefault(number, [])
        if code not in codes:
            codes.append(code)

    def _find(self, number: int) -> int:
        while (up := self._parents.get(number, number)) != number:
            self._parents[number] = self._parents.get(up, up)
            number = up
        return number

    def renumber(self, accounts: Renumbering) -> None:
        """Forget accounts that do not stay; those that they linked stay linked. A code that only one of them had shown
        is nobody's again.
        """
        nodes = sorted(number for number in {*self._parents, *self._parents.values()} if accounts.place[number] >= 0)
        heads: dict[int, int] = {}
        linked = {int(accounts.place[node]): heads.setdefault(self._find(node), node) for node in nodes}
        self._parents = {node: int(accounts.place[head]) for node, head in linked.items()}
        self._owner = accounts.values(self._owner)
        self.linked_s = accounts.keys(self.linked_s)
        self.shown = accounts.keys(self.shown)

    def groups(self, at_least: int) -> list[list[int]]:
        """Groups of linked accounts with that many members, each in the order in which it grew."""
        groups: dict[int, list[int]] = {}
        for number in self.linked_s:
            groups.setdefault(self._find(number), []).append(number)
        return [group for group in groups.values() if len(group) >= at_least]

    def codes_of(self, accounts: Sequence[int]) -> list[int]:
        """Replayed values that the accounts showed."""
        return list(dict.fromkeys(code for number in accounts for code in self.shown.get(number, ())))
