"""How far an image's colours are from a palette, as a score.

A palette is P colours with shares of the area. With the palette laid out as as many pixels as the image has, the
distance is the mean over pixels of |rgb - rgb'| under the assignment of one to the other that makes it least (the
earth mover's distance), rgb in [0, 1]^3. Where a colour stands in the image does not matter. The time grows with the
cube of the pixels, so of larger images an even grid of at most `SIDE` by `SIDE` pixels is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError
from surrogate_ax.scoring.objective import Metric, Objective

METRIC, SIDE = "palette distance", 22
Palette = Mapping[str, float]  # "#rrggbb" to its share; shares are relative


def palette_objective(palette: Palette) -> Objective:
    """Minimise the distance of images to a palette.

    Args:
        palette: colours "#rrggbb" and their shares of the area.

    Returns:
        An objective for images: float arrays (height, width, 3) in [0, 1].

    Raises:
        ArgumentError: a colour that is not "#rrggbb", or shares that are not positive.
    """
    colours = rgb(palette)
    if not all(share > 0 for share in palette.values()):
        raise ArgumentError(f"palette: expected positive shares, got {dict(palette)}.")

    def score(outputs: Any, _: Sequence[Mapping[str, Any]]) -> list[float]:
        return [_distance(np.asarray(image, dtype=np.float64), colours, list(palette.values())) for image in outputs]

    return Objective(Metric(METRIC, "minimize"), score=score)


def rgb(palette: Palette) -> Array:
    """The colours of a palette as numbers in [0, 1], (P, 3).

    Raises:
        ArgumentError: no colour, or one that is not "#rrggbb".
    """
    try:
        rows = [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in palette if _is_hex(colour)]
    except ValueError:
        rows = []
    if not rows or len(rows) != len(palette):
        raise ArgumentError(f'palette: expected colours such as "#ff8800", got {list(palette)}.')
    return np.array(rows) / 255


def _is_hex(colour: str) -> bool:
    return len(colour) == 7 and colour[0] == "#"


def _distance(image: Array, colours: Array, shares: Sequence[float]) -> float:
    rows, columns = (np.linspace(0, n - 1, min(n, SIDE)).round().astype(int) for n in image.shape[:2])
    pixels = image[np.ix_(rows, columns)].reshape(-1, image.shape[-1])
    target = np.repeat(colours, _counts(shares, len(pixels)), axis=0)
    cost = cdist(pixels, target)
    return float(cost[linear_sum_assignment(cost)].mean())


def _counts(shares: Sequence[float], n: int) -> Array:
    """n pixels split by shares, summing to n exactly."""
    ends = np.round(n * np.cumsum(shares) / np.sum(shares)).astype(int)
    return np.diff(ends, prepend=0)
