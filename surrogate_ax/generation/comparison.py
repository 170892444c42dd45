"""Two outputs compared as numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.generation.protocols import Outputs


def difference(a: Array, b: Array) -> float:
    """The mean difference of two outputs in units of their size; infinite where shapes or holes differ."""
    if a.shape != b.shape:
        return float("inf")
    if np.array_equal(a, b, equal_nan=True):
        return 0.0
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)) or not finite.any():
        return float("inf")
    return float(np.abs(a - b)[finite].mean() / max(np.abs(a)[finite].mean(), 1e-12))


def numbers_of(outputs: Outputs, i: int = 0) -> Array:
    """An output as float64 numbers, 8-bit images in [0, 1]; objects of other kinds by their arrays.

    Args:
        outputs: of a generator.
        i: which of them.

    Raises:
        ValueError, TypeError: it has no numbers.
    """
    output: Any = outputs[i]
    if isinstance(output, Tensor):
        return output.detach().cpu().double().numpy()
    array = np.asarray([np.asarray(frame) for frame in output] if isinstance(output, list) else output)
    return array / 255.0 if array.dtype == np.uint8 else array.astype(np.float64)
