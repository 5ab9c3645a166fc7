"""Plots over time as SVG text: stacked bars, and a line. No library, no script, colours by CSS class.

Each plot has its own scale from 0; ``thin`` brings a long series to as many bins as can be told apart.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTH, HEIGHT = 860, 170
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 8, 8, 24
_BINS = 280
"""As many as are at least three units wide."""
_TICKS = 6
_HOUR_S = 3_600


def thin(
    starts: Sequence[int], values: Sequence[int], merge: Callable[[Sequence[int]], int]
) -> tuple[int, int, list[int]]:
    """(first second, seconds a bin, values): hours merged into at most ``_BINS`` bins without gaps."""
    if not starts:
        return 0, _HOUR_S, []
    first, last = min(starts), max(starts)
    size = _HOUR_S * max(1, math.ceil(((last - first) // _HOUR_S + 1) / _BINS))
    bins: list[list[int]] = [[] for _ in range((last - first) // size + 1)]
    for start, value in zip(starts, values, strict=True):
        bins[(start - first) // size].append(value)
    return first, size, [merge(found) if found else 0 for found in bins]


def stacked(first: int, size: int, series: Sequence[tuple[str, Sequence[int]]], label: str) -> str:
    """Bars of each bin's values on top of each other; ``series`` are (CSS class, values), the lowest first."""
    count = len(series[0][1])
    top = nice_top(max((sum(values[index] for _, values in series) for index in range(count)), default=0))
    wide = (WIDTH - _LEFT - _RIGHT) / max(count, 1)
    gap = 1.0 if wide > 3 else 0.0  # noqa: PLR2004 - narrower bars need every part of a unit
    parts = []
    for index in range(count):
        below = 0
        for name, values in series:
            value = values[index]
            if value:
                high = _y(below, top) - _y(below + value, top)
                parts.append(
                    f'<rect class="{name}" x="{_LEFT + index * wide:.1f}" y="{_y(below + value, top):.1f}" '
                    f'width="{max(wide - gap, 0.8):.1f}" height="{max(high, 0.6):.1f}"/>'
                )
                below += value
    return _frame("".join(parts), first, size * count, top, label)


def line(first: int, size: int, values: Sequence[int], name: str, label: str) -> str:
    """A line through the middle of each bin, filled down to 0."""
    top = nice_top(max(values, default=0))
    wide = (WIDTH - _LEFT - _RIGHT) / max(len(values), 1)
    points = [(_LEFT + (index + 0.5) * wide, _y(value, top)) for index, value in enumerate(values)]
    if not points:
        return _frame("", first, size, top, label)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    base = _y(0, top)
    area = f"{points[0][0]:.1f},{base:.1f} {path} {points[-1][0]:.1f},{base:.1f}"
    drawn = f'<polygon class="{name} area" points="{area}"/><polyline class="{name} stroke" points="{path}"/>'
    return _frame(drawn, first, size * len(values), top, label)


def nice_top(value: float) -> float:
    """The end of a scale that holds ``value``: 1, 2 or 5 times a power of ten; 1 for nothing.

    >>> nice_top(0), nice_top(7), nice_top(130)
    (1.0, 10.0, 200.0)
    """
    if value <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= value)


def _y(value: float, top: float) -> float:
    return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - value / top)


def _frame(drawn: str, first: int, span_s: int, top: float, label: str) -> str:
    lines = "".join(
        f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{_y(value, top):.1f}" y2="{_y(value, top):.1f}"/>'
        f'<text class="tick" x="{_LEFT - 6}" y="{_y(value, top) + 4:.1f}" text-anchor="end">{short(value)}</text>'
        for value in (0.0, top / 2, top)
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f"{lines}{drawn}{_times(first, span_s)}</svg>"
    )


def _times(first: int, span_s: int) -> str:
    """Labels under the plot: times of day for short spans, dates for long ones; all UTC."""
    form = "%d %b" if span_s > 4 * 86_400 else "%d %b %H:%M"
    steps = (_HOUR_S, 3 * _HOUR_S, 6 * _HOUR_S, 12 * _HOUR_S, 86_400, 2 * 86_400, 7 * 86_400, 30 * 86_400, 90 * 86_400)
    step = next((step for step in steps if span_s / step <= _TICKS), 365 * 86_400)
    wide = WIDTH - _LEFT - _RIGHT
    parts = []
    at = -(-first // step) * step
    while at <= first + span_s:
        x = _LEFT + wide * (at - first) / max(span_s, 1)
        if x <= WIDTH - 40:
            text = datetime.fromtimestamp(at, UTC).strftime(form)
            anchor = "start" if x < _LEFT + 30 else "middle"
            parts.append(f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{text}</text>')
        at += step
    return "".join(parts)


def short(value: float) -> str:
    """A count in few signs.

    >>> short(0), short(0.5), short(1500), short(2_000_000)
    ('0', '0.5', '1.5k', '2M')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"
