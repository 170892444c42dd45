"""How far an edited item is from its source, as numbers of the items themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from surrogate_ax.arrays import Array


def numbers(outputs: Any) -> Array:
    """Items as float64 rows (n, ...), 8-bit pictures in [0, 1].

    Args:
        outputs: n pictures, clips or sounds, as a generator makes them.
    """
    rows = []
    for output in outputs:
        item: Any = [np.asarray(frame) for frame in output] if isinstance(output, list) else output
        array = item.detach().cpu().float().numpy() if isinstance(item, torch.Tensor) else np.asarray(item)
        rows.append(array / 255.0 if array.dtype == np.uint8 else array.astype(np.float64))
    return np.stack(rows)


def rms_distance(a: Array, b: Array) -> Array:
    """Root mean square difference (n,) of items, of one for all or of pairs."""
    difference = a - b
    return np.asarray(np.sqrt(np.square(difference).reshape(len(difference), -1).mean(axis=1)))
