"""The grounds of a suspicion: what each family of evidence says about a group of accounts.

*protocol*      signatures and conversations of others; where those formed no group, the means: addresses, mail domains, one
                TLS fingerprint behind programs that do not share one, averaged, because one service may explain them all
*provenance*    how they signed up: hours, foreign telephones; and the means, where protocol is something else
*coordination*  requests that do not follow the sun of the accounts' countries
*content*       a template that is new and gathers unrelated holders faster than benign ones do
*intent*        what the requests want besides their answers, ranked among all templates

The families are multiplied: each is an e-value given the others where accounts act independently. Sign-ups
and clients do not know the texts; how fast a benign template spreads is bounded whatever it says, so content
is an e-value given the words that intent ranks.
A family that formed the group says nothing about it: groups come from texts, so content only ranks the
template among the population's other templates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from gateway.analysis import evidence

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gateway.analysis.cohort import Cohort
    from gateway.analysis.config import AnalysisConfig

PROVENANCE: Final = ("mail", "phone", "snet", "net", "hour")
_SERVICE: Final = ("mail", "snet", "net", "ja4")
"""What one service explains together: a privacy gateway or a company's VPN gives its customers exits, a TLS client and often mail."""
_ONE_PLACE: Final = frozenset({*_SERVICE, "hour"})
"""Traits whose values one place, service, course or event may explain."""
_CHANCE: Final = 0.1
_ONE_FACTOR: Final = 3.0
"""The commonest value of a trait, however many show it, multiplies what the others say by no more."""
_LOG10: Final = float(np.log(10.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """E-values by family (already hedged and capped), the combined e-value and words for people."""

    families: Mapping[str, float]
    combined: float
    details: Mapping[str, float]
    """log10 of the e-value of each trait."""
    tied: float = 1.0
    """Share of the holders that a rare value ties to another of the group; 1 where that formed the group."""
    is_text: bool = False
    """Whether a text formed the group: then strangers may be in it."""

    def suffice(self, config: AnalysisConfig) -> bool:
        """Whether enough families speak, together loudly enough, and of the whole group.

        Anybody may send a text. Linkage evidence says that *some* of its senders are one operator; it stands for all
        of them where the text itself is new and gathers people as no benign one does (content), or where at least
        ``tied_share`` of the senders are tied to each other. Else thirty accounts that send a popular prompt
        would condemn everybody who does. And one thing in common never suffices beside a new text: a course explains the
        hour of its people's sign-ups, a service, a company or a small country their means. Both must speak.
        """
        families = self.families
        if self.is_text:
            linked = min(families["provenance"], families["protocol"]) >= config.family_e
            own = families.get("content", 0.0) >= config.family_e or self.tied >= config.tied_share
            if not (linked and own):
                return False
        speaking = sum(value >= config.family_e for value in families.values())
        return speaking >= config.families and self.combined >= 1.0 / config.alpha

    def evidence(self) -> tuple[dict[str, float | str], ...]:
        """One mapping a family, with the numbers behind it, for people and reports."""
        return tuple({"family": name, "e_value": round(value, 3)} for name, value in self.families.items())

    def words(self) -> tuple[str, ...]:
        """One line a family that says something, the strongest first."""
        said = sorted(((value, name) for name, value in self.families.items() if value > 1.0), reverse=True)
        return tuple(f"{name}: e-value {value:.3g}" for value, name in said)


def repeats(cohort: Cohort, kind: str, members: Sequence[int], inside: NDArray[np.bool_], share: float) -> float:
    """Natural log e-value of a linkage trait over the group's holders in the order of their first match."""
    column = cohort.columns[kind]
    group = np.array(members, np.int64)
    group = group[column.value[group] >= 0]
    if kind == "ja4":
        group = _once_per_program(column.pair[group], group)
    if group.size <= 1:
        return 0.0
    base = column.base(group, ~inside)
    found = evidence.repeat_log_e(column.value[group], base, share)
    if kind not in _ONE_PLACE or found <= 0.0:
        return found
    rest = _without_largest(column.value[group])
    return min(found, evidence.repeat_log_e(column.value[group][rest], base[rest], share) + float(np.log(_ONE_FACTOR)))


def _without_largest(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Everybody, but only the first of those who show the commonest value: one office, course or event may
    explain one value, whoever shows it; an operator's means are several.
    """
    codes, counts = np.unique(values, return_counts=True)
    largest = np.flatnonzero(values == codes[np.argmax(counts)])
    rest = np.ones(values.size, bool)
    rest[largest[1:]] = False
    return rest


def tied_share(cohort: Cohort, members: Sequence[int], inside: NDArray[np.bool_]) -> float:
    """Share of the holders that show a linkage value of another one, where by chance a tenth as many would.

    A TLS fingerprint ties where several programs of the group show it. 0 for nobody.
    """
    group = np.array(members, np.int64)
    tied = np.zeros(group.size, bool)
    for kind in (*PROVENANCE, "ja4"):
        column = cohort.columns[kind]
        shown = np.flatnonzero(column.value[group] >= 0)
        if shown.size <= 1:
            continue
        base = column.base(group[shown], ~inside)
        _, place, counts = np.unique(column.value[group[shown]], return_inverse=True, return_counts=True)
        others = counts[place] - 1
        rare = (others >= 1) & (base * (shown.size - 1) < _CHANCE * others)
        if kind == "ja4":
            rare &= _programs_of(place, column.stratum[group[shown]]) > 1
        tied[shown[rare]] = True
    return float(tied.mean()) if group.size else 0.0


def _programs_of(value: NDArray[np.int64], program: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each holder, how many programs show its value in the group."""
    pairs = np.unique(np.column_stack([value, program]), axis=0)
    return np.asarray(np.bincount(pairs[:, 0])[value])


def _once_per_program(pairs: NDArray[np.int64], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first account of each (fingerprint, program): a program's own fingerprint proves nothing."""
    _, first = np.unique(pairs, return_index=True)
    return group[np.sort(first)]


def weigh(
    cohort: Cohort, members: Sequence[int], inside: NDArray[np.bool_], config: AnalysisConfig, **given: float
) -> Grounds:
    """Grounds for a group. ``members`` are numbers of accounts, one a holder, in the order in which they
    first matched; ``inside`` flags every account of the group, so that it is not its own cohort. ``given``
    are e-values computed elsewhere: content, intent, coordination, and replay (a part of protocol).
    """
    logs = {kind: repeats(cohort, kind, members, inside, config.benign_share) for kind in (*PROVENANCE, "ja4")}
    found = combine(logs, given, config)
    if "content" not in given:
        return found
    return replace(found, tied=tied_share(cohort, members, inside), is_text=True)


def combine(logs: Mapping[str, float], given: Mapping[str, float], config: AnalysisConfig) -> Grounds:
    """Families and their product from the natural log e-values of the linkage traits (``logs``: telephone, hour, and any
    of those that a service explains) and the e-values of the other families (``given``). Families that the
    configuration silences count 1.
    """
    cap = config.family_cap
    hedged = {kind: evidence.hedge(value, cap) for kind, value in logs.items()}
    replay = given.get("replay")
    service = evidence.average([hedged[kind] for kind in _SERVICE if kind in hedged])
    signed = evidence.product([hedged["phone"], hedged["hour"]])
    families = {
        "protocol": service if replay is None else min(cap, replay),
        "provenance": min(cap, signed if replay is None else signed * service),
        **{name: min(cap, value) for name, value in given.items() if name != "replay"},
    }
    families = {name: 1.0 if name in config.silenced else value for name, value in families.items()}
    return Grounds(
        families=families,
        combined=evidence.product(list(families.values())),
        details={kind: value / _LOG10 for kind, value in logs.items()},
    )
