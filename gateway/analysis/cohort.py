"""The accounts seen and what the population shows: the base that every surprise is measured against.

Each account gets a number. Its first value of each linkage trait is kept as a small code, and how many
account holders show a value (and show it together with its stratum) is counted as accounts arrive. Accounts
that openly belong together (one organisation, one card, one sign-up address, one office's mail domain)
are one *holder*: a class, an enterprise or a family is counted once, however large, because belonging
together openly is no evidence of hiding it.

Memory: about 900 bytes an account with what the directory says of it, nothing a request.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from gateway.analysis.holders import TIES, Holders
from gateway.analysis.renumbering import Renumbering

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

NONE: Final = -1
TYPES: Final = ("mail", "hour", "phone", "snet", "net", "ja4")
"""Linkage traits: mail domain by country, hour of sign-up by age, telephone's country where it is not the account's,
sign-up block and first exit block by country (a small country has few carriers), TLS fingerprint by the program that
it claims to be."""
_HOUR_S: Final = 3_600
_LOW: Final = 0xFFFFFFFF
_DAY_S: Final = 86_400
_PRIOR: Final = 10.0
"""How many imagined accounts with the population's values a stratum starts with."""
_OPEN_DOMAIN_SHARE: Final = 0.8
_OPEN_DOMAIN_MIN: Final = 3
_OPEN_BLOCK_SHARE: Final = 0.5


class Column:
    """One trait over all accounts: codes, strata and counts of holders."""

    def __init__(self) -> None:
        self._codes: dict[int, int] = {}
        self._strata: dict[int, int] = {}
        self._pairs: dict[int, int] = {}
        self.value: NDArray[Any] = np.full(1_024, NONE, np.int32)
        self.stratum: NDArray[Any] = np.full(1_024, NONE, np.int32)
        self.pair: NDArray[Any] = np.full(1_024, NONE, np.int32)
        self.counted = np.zeros(1_024, bool)

    def put(self, account: int, value: int, stratum: int, *, counts: bool) -> None:
        """Enter the value of an account that has a place; ``counts``: it is the first of its holder."""
        code = self._codes.setdefault(value, len(self._codes))
        within = self._strata.setdefault(stratum, len(self._strata))
        self.value[account], self.stratum[account] = code, within
        self.pair[account] = self._pairs.setdefault(code << 32 | within, len(self._pairs))
        self.counted[account] = counts

    def make_place(self, account: int) -> None:
        """Room for an account, whether it shows a value or not."""
        if account < self.value.size:
            return
        size = max(account + 1, 2 * self.value.size)
        for name in ("value", "stratum", "pair"):
            old = getattr(self, name)
            new = np.full(size, NONE, np.int32)
            new[: old.size] = old
            setattr(self, name, new)
        counted = np.zeros(size, bool)
        counted[: self.counted.size] = self.counted
        self.counted = counted

    def renumber(self, accounts: Renumbering, firsts: NDArray[np.bool_]) -> None:
        """Forget accounts that do not stay, and values that only they showed; ``firsts`` flags who counts now."""
        count = accounts.kept.size
        value, stratum, pair = (accounts.room(getattr(self, name), NONE) for name in ("value", "stratum", "pair"))
        codes = Renumbering.of_used(value[:count], len(self._codes))
        strata = Renumbering.of_used(stratum[:count], len(self._strata))
        pairs = Renumbering.of_used(pair[:count], len(self._pairs))
        self._codes, self._strata = codes.values(self._codes), strata.values(self._strata)
        kept = pairs.values(self._pairs)
        both = np.fromiter(kept, np.int64, len(kept))
        both = codes.place[both >> 32] << 32 | strata.place[both & _LOW]
        self._pairs = dict(zip(both.tolist(), kept.values(), strict=True))
        self.value, self.stratum, self.pair = codes.new(value), strata.new(stratum), pairs.new(pair)
        self.counted = np.zeros(value.size, bool)
        self.counted[:count] = firsts & (value[:count] >= 0)

    def base(self, group: NDArray[np.int64], outside: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Probability of each group account's value for an account like it, from ``outside`` only.

        The share within the stratum, with ``_PRIOR`` imagined accounts drawn from the whole population; a
        value never seen outside has half an account.
        """
        use = outside & self.counted[: outside.size] & (self.value[: outside.size] >= 0)
        values = np.bincount(self.value[: outside.size][use], minlength=len(self._codes))
        strata = np.bincount(self.stratum[: outside.size][use], minlength=len(self._strata))
        pairs = np.bincount(self.pair[: outside.size][use], minlength=len(self._pairs))
        everywhere = (values[self.value[group]] + 0.5) / (use.sum() + 1.0)
        return np.asarray((pairs[self.pair[group]] + _PRIOR * everywhere) / (strata[self.stratum[group]] + _PRIOR))


class Cohort:
    """All accounts seen, their traits and their holders."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}
        self.names: list[str] = []
        self.first_s = array("d")
        self.last_s = array("d")
        self._firsts = array("b")
        self.traits: list[Mapping[str, Any]] = []
        self.columns = {kind: Column() for kind in TYPES}
        self._hours = array("i")
        self._rhythm: dict[str, NDArray[np.float64]] = {}
        self._holders = Holders()
        self._domains: dict[int, list[int]] = {}

    def __len__(self) -> int:
        """How many accounts have been seen."""
        return len(self.names)

    def see(self, ts: float, account: str, known: Mapping[str, Any], shown: Mapping[str, Any]) -> int:
        """The account's number; entered with its directory traits at its first request."""
        number = self.index.get(account)
        if number is not None:
            self.last_s[number] = ts
            self._note_hour(ts, number)
            return number
        number = self.index[account] = len(self.names)
        self.names.append(account)
        self.first_s.append(ts)
        self.last_s.append(ts)
        self.traits.append(known)
        self._hours.append(0)
        self._note_hour(ts, number)
        self._join(number, known)
        counts = self._holders.is_first(number)
        self._firsts.append(counts)
        for column in self.columns.values():
            column.make_place(number)
        for kind, value, stratum in _values(ts, known, shown):
            self.columns[kind].put(number, value, stratum, counts=counts)
        return number

    def _join(self, number: int, known: Mapping[str, Any]) -> None:
        """Give the account a place and unite it with those it openly belongs to."""
        self._holders.enter()
        self._tie(number, known)

    def _tie(self, number: int, known: Mapping[str, Any]) -> None:
        for kind in TIES:
            if kind in known:
                self._holders.tie(number, kind, known[kind])
        mail = known.get("mail")
        if mail is not None:
            members = self._domains.setdefault(mail, [])
            members.append(number)
            if self._is_office(members):
                for member in members[-_OPEN_DOMAIN_MIN:]:
                    self._holders.tie(member, "mail", mail)

    def learn(self, number: int, known: Mapping[str, Any]) -> None:
        """Take over what the directory says of an account by now. What tied it ties it still, and a value that the
        directory does not name any more is kept; if it counted as a holder of its own, it still does.
        """
        before = self.traits[number]
        self._count_hours(number, -1.0)
        self.traits[number] = known
        self._count_hours(number, 1.0)
        if "mail" in before:
            self._domains[before["mail"]].remove(number)
        self._tie(number, known)
        for kind, value, stratum in _values(self.first_s[number], known, {}):
            self.columns[kind].put(number, value, stratum, counts=bool(self._firsts[number]))

    def _count_hours(self, number: int, by: float) -> None:
        rhythm = self._rhythm.setdefault(self.traits[number].get("country", ""), np.ones(24))
        rhythm += by * np.array([self._hours[number] >> hour & 1 for hour in range(24)])

    def _is_office(self, members: list[int]) -> bool:
        """A mail domain of one place: most of its accounts are of one country and sign up from one block."""
        if not _OPEN_DOMAIN_MIN <= len(members) <= _OFFICE_LOOK:
            return False
        for kind in ("country", "snet"):
            shown = [value for member in members if (value := self.traits[member].get(kind))]
            top = max((shown.count(value) for value in set(shown)), default=0)
            share = _OPEN_DOMAIN_SHARE if kind == "country" else _OPEN_BLOCK_SHARE
            if top < share * len(members):
                return False
        return True

    def holder(self, number: int) -> int:
        """What stands for everybody who openly belongs together with the account."""
        return self._holders.of(number)

    def _note_hour(self, ts: float, number: int) -> None:
        """Count the account's country awake at this hour of the day, once an account."""
        hour = int(ts // _HOUR_S) % 24
        if not self._hours[number] >> hour & 1:
            self._hours[number] |= 1 << hour
            country = self.traits[number].get("country", "")
            if country not in self._rhythm:
                self._rhythm[country] = np.ones(24)
            self._rhythm[country][hour] += 1

    def expected(
        self, numbers: Sequence[int], times: NDArray[np.float64], since_s: float, now_s: float
    ) -> NDArray[np.float64]:
        """Density of arrivals at ``times`` within [since_s, now_s] by the rhythm of each account's country,
        relative to an even spread over the same period.
        """
        first, last = int(since_s // _HOUR_S), int(now_s // _HOUR_S)
        period = np.arange(first, last + 1) % 24
        levels = {country: rhythm / rhythm[period].mean() for country, rhythm in self._rhythm.items()}
        hours = (times // _HOUR_S).astype(np.int64) % 24
        return np.array(
            [
                levels[self.traits[number].get("country", "")][hour]
                for number, hour in zip(numbers, hours.tolist(), strict=True)
            ]
        )

    def active_holders(self, since_s: float) -> int:
        """How many holders' first accounts have sent a request since ``since_s``."""
        last, first = np.array(self.last_s), np.array(self._firsts)
        return int(((last >= since_s) & (first > 0)).sum())

    def renumber(self, accounts: Renumbering) -> None:
        """Forget accounts that do not stay. Where the one that counted for its holder goes, the next one counts."""
        self.names = [self.names[number] for number in accounts.kept.tolist()]
        self.index = {name: number for number, name in enumerate(self.names)}
        self.traits = [self.traits[number] for number in accounts.kept.tolist()]
        for name in ("first_s", "last_s", "_firsts", "_hours"):
            setattr(self, name, accounts.column(getattr(self, name)))
        shown = {kind: {one.get(kind) for one in self.traits} for kind in (*TIES, "mail")}
        self._holders.renumber(accounts, shown)
        self._domains = {
            mail: accounts.numbers(members) for mail, members in self._domains.items() if mail in shown["mail"]
        }
        self._count_firsts()
        firsts = np.array(self._firsts) > 0
        for column in self.columns.values():
            column.renumber(accounts, firsts)
        self._count_rhythm()

    def _count_firsts(self) -> None:
        """Let each holder that nobody counts for be counted by its first account."""
        holder = self.holder_numbers()
        counts = np.array(self._firsts, np.int8)
        covered = np.zeros(holder.size, bool)
        covered[holder[counts > 0]] = True
        counts[np.flatnonzero((holder == np.arange(holder.size)) & ~covered)] = 1
        self._firsts = array("b", counts.tobytes())

    def _count_rhythm(self) -> None:
        """Count each country awake again, from the accounts that there are."""
        hours = np.array(self._hours, np.int64)
        countries: dict[str, int] = {}
        of = np.array([countries.setdefault(one.get("country", ""), len(countries)) for one in self.traits], np.int64)
        awake = np.ones((len(countries), 24))
        for hour in range(24):
            awake[:, hour] += np.bincount(of[hours >> hour & 1 > 0], minlength=len(countries))
        self._rhythm = dict(zip(countries, awake, strict=True))

    def holder_numbers(self) -> NDArray[np.int64]:
        """For each account, the number of the first account of its holder."""
        first: dict[int, int] = {}
        return np.array([first.setdefault(self.holder(number), number) for number in range(len(self))], np.int64)

    def holders(self, accounts: list[int]) -> list[int]:
        """The first account of each holder, in order."""
        seen: set[int] = set()
        first = []
        for number in accounts:
            holder = self.holder(number)
            if holder not in seen:
                seen.add(holder)
                first.append(number)
        return first


_OFFICE_LOOK: Final = 400


def _values(ts: float, known: Mapping[str, Any], shown: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """(type, value, stratum) of the linkage traits that the account shows at its first request."""
    country = known.get("country", "")
    place = hash_small(country)
    found: list[tuple[str, int, int]] = []
    if "mail" in known:
        found.append(("mail", known["mail"], place))
    if known.get("phone") and known["phone"] != country:
        found.append(("phone", hash_small(known["phone"]), place))
    if "snet" in known:
        found.append(("snet", known["snet"], place))
    if "net" in shown:
        found.append(("net", shown["net"], place))
    if "ja4" in shown and "prog" in shown:
        found.append(("ja4", shown["ja4"], shown["prog"]))
    if "created" in known:
        age = ts - known["created"]
        found.append(("hour", int(known["created"] // _HOUR_S), int(age > 3 * _DAY_S) + int(age > 30 * _DAY_S)))
    return found


def hash_small(text: str) -> int:
    """A whole number for a short code such as ``DE``; reversible, so no secret.

    >>> hash_small("DE") == hash_small("DE") != hash_small("ED")
    True
    """
    return int.from_bytes(text.encode()[:7], "big")
