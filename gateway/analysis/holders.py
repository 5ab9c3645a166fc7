"""Which accounts openly belong together: a union-find over accounts and the values that tie them.

Everybody tied by a value (an organisation, a card, a sign-up address, an office's mail domain) is one holder, for
good, for as long as one of them is remembered. Path halving keeps a look-up near constant (Tarjan and van Leeuwen 1984).

Memory: 13 bytes an account, about 100 a value.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from gateway.analysis.renumbering import Renumbering

TIES: Final = ("org", "pay", "sip")
"""Directory traits that tie whoever shows them; mail domains do where they are an office's."""
_KINDS: Final = (*TIES, "mail")


class Holders:
    """Holders of accounts, by the accounts' numbers; a holder is named by a number of its own."""

    def __init__(self) -> None:
        self._up = array("i")
        self._counted = bytearray()
        self._account = array("i")
        self._values: dict[str, dict[int, int]] = {kind: {} for kind in _KINDS}

    def enter(self) -> None:
        """Give the next account a place of its own."""
        self._account.append(self._new())

    def tie(self, number: int, kind: str, value: int) -> None:
        """Make the account one with everybody who was tied by the same value."""
        values = self._values[kind]
        node = values.get(value)
        if node is None:
            node = values[value] = self._new()
        mine, theirs = self.of(number), self._root(node)
        self._up[mine] = theirs
        self._counted[theirs] |= self._counted[mine]

    def of(self, number: int) -> int:
        """What stands for everybody who openly belongs together with the account; it may change with later ties."""
        return self._root(self._account[number])

    def is_first(self, number: int) -> bool:
        """Whether nobody was asked for who stands for the same holder."""
        root = self.of(number)
        first = not self._counted[root]
        self._counted[root] = 1
        return first

    def renumber(self, accounts: Renumbering, shown: Mapping[str, AbstractSet[int | None]]) -> None:
        """Forget accounts that do not stay, and values that are not among those ``shown`` by the others, by kind.

        Who stays stays tied, also where only somebody who goes had tied them.
        """
        roots = np.array([self.of(number) for number in accounts.kept.tolist()], np.int64)
        held, node = np.unique(roots, return_inverse=True)
        place = {root: new for new, root in enumerate(held.tolist())}
        for kind, values in self._values.items():
            kept = {value: self._root(values[value]) for value in values.keys() & shown.get(kind, frozenset())}
            self._values[kind] = {value: place[root] for value, root in kept.items() if root in place}
        self._up = array("i", np.arange(held.size, dtype=np.int32).tobytes())
        self._counted = bytearray(b"\1") * held.size
        self._account = array("i", node.astype(np.int32).tobytes())

    def _new(self) -> int:
        node = len(self._up)
        self._up.append(node)
        self._counted.append(0)
        return node

    def _root(self, node: int) -> int:
        up = self._up
        while (above := up[node]) != node:
            up[node] = up[above]
            node = above
        return node
