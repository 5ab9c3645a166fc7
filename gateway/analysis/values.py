"""Which account showed which linkage value: the account-value graph that links, pools and kin are read from.

A value is kept once an account: the cost is that of new (account, value) pairs, a request that shows nothing
new costs one comparison. An account that shows more than ``MOST_VALUES`` of a kind (a crawler's exits, keys
in a build farm) roams: what it shows beyond those links it with nobody.

Memory: 8 bytes a pair, about 100 a distinct value, 16 an account.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from gateway.analysis.cohort import hash_small
from gateway.analysis.renumbering import Renumbering

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

KINDS: Final = ("mail", "phone", "hour", "net", "ja4")
"""Mail domain; a telephone's country with the account's where they differ; hour of sign-up; blocks of sign-up and
exits; TLS fingerprint."""
MOST_VALUES: Final = 16
"""Values of one kind kept of one account."""
_HOUR_S: Final = 3_600
_NEVER: Final = 0


class Pairs(NamedTuple):
    """(account, value) pairs of one kind: ``account[i]`` showed the value with the code ``code[i]``."""

    account: NDArray[np.int64]
    code: NDArray[np.int64]
    size: int
    """How many codes there are."""


class _Kind:
    """One kind: codes of values in the order of their first showing, and the pairs."""

    def __init__(self) -> None:
        self.codes: dict[int, int] = {}
        self.account = array("i")
        self.code = array("i")
        self.more: dict[int, list[int]] = {}
        self.first = array("i")

    def add(self, number: int, value: int) -> None:
        """Enter a value, unless the account has shown it or roams."""
        code = self.codes.setdefault(value, len(self.codes))
        first = self.first[number]
        if first < 0:
            self.first[number] = code
        elif first == code:
            return
        else:
            others = self.more.setdefault(number, [])
            if code in others or len(others) >= MOST_VALUES - 1:
                return
            others.append(code)
        self.account.append(number)
        self.code.append(code)

    def renumber(self, accounts: Renumbering) -> None:
        """Forget accounts that do not stay, and values that only they showed."""
        owner, code = np.array(self.account, np.int32), np.array(self.code, np.int32)
        stays = accounts.place[owner] >= 0
        owner, code = accounts.new(owner[stays]), code[stays]
        codes = Renumbering.of_used(code, len(self.codes))
        self.account, self.code = array("i", owner.tobytes()), array("i", codes.new(code).tobytes())
        self.codes = codes.values(self.codes)
        place = codes.place.tolist()  # of who stays, every value does
        self.more = {number: [place[code] for code in more] for number, more in accounts.keys(self.more).items()}
        self.first = array("i", codes.new(np.array(accounts.column(self.first), np.int32)).tobytes())


class ValueBook:
    """Linkage values of all accounts, by the cohort's numbers."""

    def __init__(self) -> None:
        self._kinds = {kind: _Kind() for kind in KINDS}
        self._last = array("q")

    def __len__(self) -> int:
        """How many accounts have been entered."""
        return len(self._last)

    def note(self, number: int, known: Mapping[str, Any], shown: Mapping[str, Any]) -> None:
        """Enter what a request of the account shows; with its first one, what the directory knows.

        Numbers come in order: a new account's is the number of those entered before.
        """
        last = self._last
        if number == len(last):
            last.append(_NEVER)
            for kind in self._kinds.values():
                kind.first.append(-1)
            self.learn(number, known)
        net, ja4 = shown.get("net", 0), shown.get("ja4", 0)
        mark = hash((net, ja4))
        if mark == last[number]:
            return
        last[number] = mark
        if net:
            self._kinds["net"].add(number, net)
        if ja4:
            self._kinds["ja4"].add(number, ja4)

    def learn(self, number: int, known: Mapping[str, Any]) -> None:
        """Enter what the directory says of an account by now; what it said before stays."""
        for name, value in _of_directory(known):
            self._kinds[name].add(number, value)

    def renumber(self, accounts: Renumbering) -> None:
        """Forget accounts that do not stay."""
        for kind in self._kinds.values():
            kind.renumber(accounts)
        self._last = accounts.column(self._last)

    def pairs(self, kind: str) -> Pairs:
        """All pairs of a kind, in the order in which they were shown."""
        found = self._kinds[kind]
        return Pairs(np.array(found.account, np.int64), np.array(found.code, np.int64), len(found.codes))


def _of_directory(known: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """(kind, value) of an account's directory traits."""
    country = known.get("country", "")
    if "mail" in known:
        yield "mail", known["mail"]
    if known.get("phone") and known["phone"] != country:
        yield "phone", hash_small(f"{known['phone']}{country}")
    if "created" in known:
        yield "hour", int(known["created"] // _HOUR_S)
    if "snet" in known:
        yield "net", known["snet"]
