"""Where an edit changes a picture or a clip: what its draws change little on average is drift, and can be left out.

DiffEdit (arXiv 2210.11427) thresholds the difference of the two conditions' noise predictions, averaged over noises.
Finished edits tell the same more sharply, and several are made anyway.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from surrogate_ax.arrays import Array
from surrogate_ax.editing.item_distance import numbers

CHANGED = 0.15  # of a range of 1
CHANNELS = (1, 3, 4)


def changed_region(outputs: Any, source: Any, *, threshold: float = CHANGED) -> Array | None:
    """Where draws change a picture (H, W) or a clip (F, H, W) by more than a threshold on average, as truth values.

    Args:
        outputs: n edits of one item, pictures or clips with values in [0, 1] or 8-bit.
        source: the item, one of its kind.
        threshold: least mean absolute change of a channel.

    Returns:
        The region, None where it would be nothing or everything, or where items are no pictures.
    """
    change = np.abs(numbers(outputs) - numbers([source]))
    if change.ndim < 4 or change.shape[-1] not in CHANNELS:
        return None
    region = np.asarray(change.mean(axis=0).max(axis=-1) > threshold)
    return region if region.any() and not region.all() else None
