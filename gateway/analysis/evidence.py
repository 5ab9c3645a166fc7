"""Evidence that a group of accounts has one operator, as e-values.

An e-value is the pay-off of a fair bet against the null hypothesis: its expectation under the null is at
most 1, so it exceeds 1/alpha with a chance of at most alpha; an e-process keeps this at every moment
(Ville's inequality; Ramdas, Grünwald, Vovk, Shafer 2023), however often one looks.

*Null*: the accounts of the group act independently of each other, but for a share of at most
``benign_share`` of them (households, colleagues, a friend's advice); the others draw their value (a mail
provider, a TLS fingerprint, an hour of sign-up) from what their cohort shows outside the group.
*Alternative*: a larger share repeats a value that the group showed before.
*One trial*: one account holder (accounts that openly belong together count once).

Combination: product over families where each is an e-value given the others, average otherwise
(Vovk, Wang 2021). All functions here are pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SHARES: Final = (0.05, 0.1, 0.2, 0.4)
"""Shares of accounts that repeat a value of the group, mixed in the alternative: linkage signals of the
published campaigns showed on a part of the accounts only."""
_FLOOR: Final = 0.05
"""An arrival is never held for less likely than this: somebody is always awake."""
NULL_STEPS: Final = 4
"""Points of the grid over [0, benign_share] on which the null is maximised (the likelihood is concave)."""


def earlier_equal(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each position, how many earlier positions hold the same value.

    >>> earlier_equal(np.array([7, 8, 7, 7])).tolist()
    [0, 0, 1, 2]
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.r_[True, ordered[1:] != ordered[:-1]]
    place = np.arange(values.size)
    counts = np.empty(values.size, np.int64)
    counts[order] = place - np.maximum.accumulate(np.where(starts, place, 0))
    return counts


def repeat_log_e(values: NDArray[np.int64], base: NDArray[np.float64], benign_share: float) -> float:
    """Natural log of the e-value that ``values`` (in order) repeat more than benign groups' do.

    ``base[i]`` is the probability, 0 < p <= 1, that an account like the i-th shows ``values[i]`` in the
    cohort outside the group. With share r, the i-th value is drawn from the group's earlier values (each
    equally likely), else from its base; the first is drawn from its base. The likelihood of a mixture of
    ``SHARES`` is divided by the largest likelihood under the null (universal inference, Wasserman, Ramdas,
    Balakrishnan 2020): valid for the composite null at any stopping time. Fewer than two values give 0.
    """
    if values.size <= 1:
        return 0.0
    earlier = earlier_equal(values)[1:] / np.arange(1, values.size)
    ratio = earlier / base[1:] - 1.0

    def gain(shares: Sequence[float]) -> NDArray[np.float64]:
        return np.asarray(np.log1p(np.outer(shares, ratio)).sum(axis=1))

    larger = [share for share in SHARES if share > benign_share]
    alternative = np.logaddexp.reduce(gain(larger)) - np.log(len(larger))
    return float(alternative - gain(np.linspace(0.0, benign_share, NULL_STEPS).tolist()).max())


def rate_log_e(hits: int, trials: int, null_rate: float) -> float:
    """Natural log of the e-value that a rate exceeds ``null_rate``, 0 < null_rate < 1.

    A uniform mixture of all larger rates against the null's most likely rate (<= null_rate); one trial is one
    account holder. Exact at any stopping time. 0 trials give 0.

    >>> rate_log_e(0, 0, 0.1)
    0.0
    """
    if trials == 0:
        return 0.0
    a, b = hits + 1.0, trials - hits + 1.0
    log_mixture = special.betaln(a, b) + np.log(max(special.betaincc(a, b, null_rate), 1e-300)) - np.log1p(-null_rate)
    rate = min(null_rate, hits / trials)
    log_null = special.xlogy(hits, rate) + special.xlog1py(trials - hits, -rate)
    return float(log_mixture - log_null)


def steady_log_e(expected: NDArray[np.float64], benign_share: float) -> float:
    """Natural log of the e-value that arrivals are spread evenly over time instead of following the sun.

    ``expected[i]`` is the density of the i-th arrival under its cohort's daily rhythm, relative to an even
    spread over the same period (1: as likely). Null: at most ``benign_share`` of the holders arrive evenly
    (programs at night), the others by the rhythm; alternative: a larger share arrives evenly. One trial is one
    holder's first arrival.
    """
    if expected.size == 0:
        return 0.0
    ratio = 1.0 / np.maximum(expected, _FLOOR) - 1.0

    def gain(shares: Sequence[float]) -> NDArray[np.float64]:
        return np.asarray(np.log1p(np.outer(shares, ratio)).sum(axis=1))

    larger = (0.5 + 0.5 * benign_share, 1.0)
    alternative = np.logaddexp.reduce(gain(larger)) - np.log(len(larger))
    return float(alternative - gain(np.linspace(0.0, benign_share, NULL_STEPS).tolist()).max())


def hedge(log_e: float, cap: float) -> float:
    """The e-value after holding half of the stake back and capping: from 0.5 up to ``cap``.

    Half in cash keeps a family that found nothing from wiping out the others; both steps keep validity.
    """
    return float(min(cap, 0.5 + 0.5 * np.exp(min(log_e, 700.0))))


def half(e_value: float) -> float:
    """An e-value after half of the stake was kept in cash: it can lose half at most.

    >>> half(0.0), half(9.0)
    (0.5, 5.0)
    """
    return 0.5 + 0.5 * e_value


def average(e_values: Sequence[float]) -> float:
    """The mean: an e-value under any dependence; 1 for none.

    >>> average([4.0, 0.5])
    2.25
    """
    return sum(e_values) / len(e_values) if e_values else 1.0


def product(e_values: Sequence[float]) -> float:
    """The product: an e-value where each is one given the others (independent families).

    >>> product([4.0, 0.5])
    2.0
    """
    result = 1.0
    for value in e_values:
        result *= value
    return result
