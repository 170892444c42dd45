"""Plots for reports as SVG text, so that a page needs no plotting library: one pair of axes, lines and points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from surrogate_ax.arrays import Array

WIDTH, HEIGHT = 720, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 46
TICKS = 5  # about so many along an axis


@dataclass(frozen=True)
class Series:
    """Points of one kind.

    Args:
        label: in the legend.
        x: (n,).
        y: (n,); values that are not finite are left out.
        colour: as CSS writes it.
        line: join them, instead of drawing dots.
        dashed: break the line; hollow dots.
        names: (n,) shown where the pointer rests on a dot.
    """

    label: str
    x: Array
    y: Array
    colour: str
    line: bool = False
    dashed: bool = False
    names: Sequence[str] = ()


def plot(series: Sequence[Series], *, x: str, y: str) -> str:
    """An SVG element with axes, ticks and a legend.

    Args:
        series: drawn in order; those without a finite point are left out.
        x: what the horizontal axis shows.
        y: what the vertical axis shows.

    Returns:
        SVG text, every label escaped; a sentence where nothing is finite.
    """
    shown = [one for one in series if np.isfinite(one.x * one.y).any()]
    if not shown:
        return "<p>There is nothing to draw yet.</p>"
    xs, ys = (np.concatenate([getattr(one, axis)[np.isfinite(one.x * one.y)] for one in shown]) for axis in "xy")
    across, up = _Axis(xs, LEFT, WIDTH - RIGHT), _Axis(ys, HEIGHT - BOTTOM, TOP)
    parts = [f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT + 22}" role="img" aria-label="{escape(f"{y} by {x}")}">']
    parts += [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(tick):.1f}" y2="{up(tick):.1f}"/>'
        f'<text class="tick" x="{LEFT - 8}" y="{up(tick) + 4:.1f}" text-anchor="end">{tick:.4g}</text>'
        for tick in up.ticks
    ]
    parts += [
        f'<text class="tick" x="{across(tick):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{tick:.4g}</text>'
        for tick in across.ticks
    ]
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text class="axis" x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x)}</text>')
    parts.append(
        f'<text class="axis" transform="translate(14 {middle:.0f}) rotate(-90)" text-anchor="middle">{escape(y)}</text>'
    )
    parts += [_line(one, across, up) if one.line else _dots(one, across, up) for one in shown]
    return "\n".join([*parts, _legend(shown), "</svg>"])


class _Axis:
    """From values to pixels, with round ticks."""

    def __init__(self, values: Array, begin: float, end: float) -> None:
        low, high = float(values.min()), float(values.max())
        room = 0.04 * (high - low) or 0.5 * abs(high) or 0.5
        self._low, self._high = low - room, high + room
        self._begin, self._end = begin, end
        step = 10 ** math.floor(math.log10((self._high - self._low) / TICKS))
        step *= next(factor for factor in (1, 2, 5, 10) if (self._high - self._low) / (factor * step) <= TICKS + 1)
        first = math.ceil(self._low / step)
        self.ticks = [i * step for i in range(first, math.floor(self._high / step) + 1)]

    def __call__(self, value: float) -> float:
        return self._begin + (value - self._low) / (self._high - self._low) * (self._end - self._begin)


def _line(one: Series, across: _Axis, up: _Axis) -> str:
    finite = np.isfinite(one.x * one.y)
    points = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in zip(one.x[finite], one.y[finite], strict=True))
    dash = ' stroke-dasharray="6 4"' if one.dashed else ""
    return f'<polyline points="{points}" fill="none" stroke="{escape(one.colour)}" stroke-width="2"{dash}/>'


def _dots(one: Series, across: _Axis, up: _Axis) -> str:
    paint = f'fill="none" stroke="{escape(one.colour)}"' if one.dashed else f'fill="{escape(one.colour)}"'
    drawn = []
    for i in np.flatnonzero(np.isfinite(one.x * one.y)).tolist():
        name = f"<title>{escape(one.names[i])}</title>" if len(one.names) else ""
        drawn.append(f'<circle cx="{across(one.x[i]):.1f}" cy="{up(one.y[i]):.1f}" r="3.5" {paint}>{name}</circle>')
    return "".join(drawn)


def _legend(shown: Sequence[Series]) -> str:
    parts, at = [], float(LEFT)
    for one in shown:
        dash = ' stroke-dasharray="6 4"' if one.dashed and one.line else ""
        colour = escape(one.colour)
        mark = (
            f'<line x1="{at}" x2="{at + 22}" y1="{HEIGHT + 10}" y2="{HEIGHT + 10}" stroke="{colour}" '
            f'stroke-width="2"{dash}/>'
            if one.line
            else f'<circle cx="{at + 11}" cy="{HEIGHT + 10}" r="4" stroke="{colour}" '
            f'fill="{"none" if one.dashed else colour}"/>'
        )
        parts.append(f'{mark}<text class="tick" x="{at + 28}" y="{HEIGHT + 14}">{escape(one.label)}</text>')
        at += 46 + 6.6 * len(one.label)
    return "".join(parts)
