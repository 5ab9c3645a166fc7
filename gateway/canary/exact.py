"""The exact test: how likely a random key would agree with a text as well as the true one does.

Null: the text was written without knowledge of the key. Then, given the text, the forms that the key chooses in
the text's distinct contexts are independent and uniform over each slot's forms; that is the key's own
randomness and needs no assumption about the text, its author or their habits. Alternative: the text leans
towards the key's forms. One trial is one distinct context; repeating a row adds no trial.

Each trial has integer scores, one a form (``evidence.py`` says how they come from the text alone). The
statistic T is the sum of the scores of the forms that the key chose. ``tail`` gives P(T >= t) exactly:
the distribution of T is a convolution, computed by a Fourier transform of the exponentially tilted
distribution, so that tails of 1e-300 keep about ten digits (H. E. Daniels 1954 for the tilt; unlike a
saddlepoint approximation the transform is not an approximation).

>>> round(tail([((1, 0), 10)], 10) * 2**10, 6)
1.0
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Group: TypeAlias = tuple[tuple[int, ...], int]
"""Scores (one an equally likely form, padded with the zeros that they have) and how many trials share them."""

_SPREADS = 24.0
"""Half width of the window in standard deviations; what lies outside has mass below exp(-288)."""
_MIN_GRID = 256
_STEPS = 200
_DEEP = 1e-9
"""Above this the untilted distribution is accurate to four digits; below it the tail is computed by itself."""


class Null:
    """The distribution of T for one set of trials; every cluster's key has the same."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self._groups = [
            (np.asarray(scores, dtype=np.float64), count) for scores, count in groups if len(set(scores)) > 1
        ]
        self._fixed = sum(scores[0] * count for scores, count in groups if len(set(scores)) <= 1)
        self.trials = sum(count for _, count in self._groups)
        self.mean = self._fixed + sum(float(scores.mean()) * count for scores, count in self._groups)
        self.top = self._fixed + sum(int(scores.max()) * count for scores, count in self._groups)
        self._plain: tuple[int, NDArray[np.float64]] | None = None

    def tail(self, t: int) -> float:
        """P(T >= ``t``) under the null; 1.0 where there are no trials.

        Worked example: ten fair coins, all of them heads, is ``2**-10``.
        """
        if t > self.top:
            return 0.0
        if not self._groups or (t <= self.mean - 1e-9 and self.trials == 0):
            return 1.0
        if self._plain is None:
            start, pmf = self._window(0.0, round(self.mean))
            self._plain = start, np.clip(np.cumsum(pmf[::-1])[::-1], 0.0, 1.0)
        start, upper = self._plain
        if t <= start:
            return 1.0
        plain = float(upper[t - start]) if t - start < len(upper) else 0.0
        return plain if plain > _DEEP else self._deep(t)

    def _deep(self, t: int) -> float:
        """The tail by tilting until ``t`` is the middle of the distribution."""
        if t == self.top:
            return math.exp(
                sum(count * math.log(float((scores == scores.max()).mean())) for scores, count in self._groups)
            )
        tilt = self._tilt_for(t)
        start, pmf = self._window(tilt, t)
        above = np.clip(pmf[t - start :], 0.0, None)
        total = float(np.sum(above * np.exp(-tilt * np.arange(len(above)))))
        return math.exp(min(0.0, self._log_mgf(tilt) - tilt * t + math.log(total))) if total > 0 else 0.0

    def _log_mgf(self, tilt: float) -> float:
        total = tilt * self._fixed
        for scores, count in self._groups:
            peak = tilt * scores.max()
            total += count * (peak + math.log(float(np.exp(tilt * scores - peak).mean())))
        return total

    def _moments(self, tilt: float) -> tuple[float, float]:
        """Mean and variance of T under the tilt."""
        mean, variance = float(self._fixed), 0.0
        for scores, count in self._groups:
            weights = np.exp(tilt * (scores - scores.max()))
            weights /= weights.sum()
            centre = float(weights @ scores)
            mean += count * centre
            variance += count * float(weights @ (scores - centre) ** 2)
        return mean, variance

    def _tilt_for(self, t: int) -> float:
        """The tilt whose mean is ``t``: by bisection, the mean grows with the tilt."""
        low, high = 0.0, 1.0
        while self._moments(high)[0] < t and high < 64:  # noqa: PLR2004 - exp(-64) is below every double's precision
            high *= 2
        for _ in range(60):
            middle = (low + high) / 2
            if self._moments(middle)[0] < t:
                low = middle
            else:
                high = middle
        return (low + high) / 2

    def _window(self, tilt: float, centre: int) -> tuple[int, NDArray[np.float64]]:
        """The tilted probabilities of T around ``centre``: the first value's T, and one probability a value."""
        _, variance = self._moments(tilt)
        size = _MIN_GRID
        while size < 2 * _SPREADS * math.sqrt(variance) + 64:
            size *= 2
        frequencies = 2j * np.pi * np.arange(size // 2 + 1) / size
        log_phi = np.zeros(size // 2 + 1, dtype=np.complex128)
        for scores, count in self._groups:
            values, repeats = np.unique(scores, return_counts=True)
            weights = repeats * np.exp(tilt * (values - values.max()))
            weights = weights / weights.sum()
            phi = np.zeros(size // 2 + 1, dtype=np.complex128)
            for value, weight in zip(values, weights, strict=True):
                phi += weight * np.exp(-frequencies * value)
            log_phi += count * np.log(np.where(phi == 0, 1e-300, phi))
        start = centre - size // 2
        log_phi += frequencies * (start - self._fixed)
        pmf = np.fft.irfft(np.exp(log_phi), size)
        return start, pmf


def tail(groups: Sequence[Group], t: int) -> float:
    """P(T >= ``t``): see ``Null.tail``."""
    return Null(groups).tail(t)
