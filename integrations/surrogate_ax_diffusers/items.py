"""Given items as the tensors that a VAE encodes: pictures, clips and sound of exactly the size that a pipeline makes.

Pictures are PIL images, arrays (n, H, W, C) or tensors (n, C, H, W); clips are lists of PIL images, arrays
(n, F, H, W, C) or tensors (n, F, C, H, W); sound is an array or a tensor (n, C, S). Pictures are uint8, or floats in
[0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from surrogate_ax.errors import ArgumentError, ShapeError

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_KINDS = {2: "sound (n, channels, samples)", 3: "pictures (n, H, W, C)", 4: "clips (n, F, H, W, C)"}


def item_rows(items: Any, shape: Sequence[int]) -> Tensor:
    """Items as float32 rows (n, *shape): pictures in [0, 1], channels first.

    Args:
        items: n items of one kind, as above.
        shape: of one item: (C, H, W), for clips (C, F, H, W), for sound (C, S); shorter sound is filled with silence.

    Raises:
        ShapeError: items of another size, or not n items.
        ArgumentError: pictures of another mode or dtype, values outside [0, 1], or not finite.
    """
    shape = tuple(shape)
    rows = _sound(items, shape) if len(shape) == 2 else _pictures(items, shape)
    if not torch.isfinite(rows).all():
        raise ArgumentError("items: expected finite values, got NaN or infinity.")
    return rows


def _sound(items: Any, shape: tuple[int, ...]) -> Tensor:
    rows = torch.as_tensor(items if isinstance(items, Tensor) else np.asarray(items)).float()
    if rows.ndim != 3 or not len(rows) or rows.shape[1] != shape[0] or rows.shape[2] > shape[1]:
        raise ShapeError(f"items: expected {_KINDS[2]} = (n, {shape[0]}, at most {shape[1]}), got {tuple(rows.shape)}.")
    return torch.nn.functional.pad(rows, (0, shape[1] - rows.shape[2]))


def _pictures(items: Any, shape: tuple[int, ...]) -> Tensor:
    """Pictures and clips."""
    if isinstance(items, Tensor):
        rows = items.transpose(1, 2) if items.ndim == 5 else items
    else:
        given = items if isinstance(items, np.ndarray) else _stacked(items, _MODES.get(shape[0], "RGB"))
        rows = torch.from_numpy(np.array(np.moveaxis(given, -1, 1)) if given.ndim >= 4 else given)
    if tuple(rows.shape[1:]) != shape or not len(rows):
        last = (*shape[1:], shape[0])
        got = (rows.shape[0], *rows.shape[2:], rows.shape[1]) if rows.ndim == len(shape) + 1 else tuple(rows.shape)
        raise ShapeError(
            f"items: expected {_KINDS[len(shape)]} = (n, {', '.join(map(str, last))}), got {tuple(got)}. Resize or "
            "crop them; nothing is resized on its own."
        )
    if rows.dtype == torch.uint8:
        return rows.float() / 255
    if not rows.dtype.is_floating_point or not bool(((rows >= 0) & (rows <= 1)).all() | torch.isnan(rows).any()):
        raise ArgumentError(f"items: expected uint8, or floats in [0, 1], got {rows.dtype} outside of that.")
    return rows.float()


def _stacked(items: Any, mode: str) -> np.ndarray:
    """A list of PIL images, of clips of them, or of arrays."""
    if isinstance(items, Image):
        raise ArgumentError("items: expected a list of pictures, got a single one. Give [picture].")
    listed = [
        [_array(frame, mode) for frame in item] if isinstance(item, list) else _array(item, mode) for item in items
    ]
    shapes = sorted({np.shape(item) for item in listed})
    if len(shapes) != 1:
        raise ShapeError(f"items: expected at least one, all of one size, got the sizes {shapes}.")
    return np.stack([np.asarray(item) for item in listed])


def _array(picture: Any, mode: str) -> np.ndarray:
    if isinstance(picture, Image) and picture.mode != mode:
        raise ArgumentError(f"items: expected pictures of mode {mode!r}, got {picture.mode!r}. Use .convert({mode!r}).")
    array = np.asarray(picture)
    return array[..., None] if mode == "L" and array.ndim == 2 else array
