"""Outputs and conditions as JSON and plain arrays, for another process or a file; nothing of it is code.

Arrays, tensors, PIL images, `Structure`s, texts, numbers, and lists and mappings of these are packed, all else refused.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from surrogate_ax.arrays import Array
from surrogate_ax.errors import UnsupportedError
from surrogate_ax.media.structures import Structure


def pack(value: Any, arrays: list[Array]) -> Any:
    """JSON that stands for a value; its arrays are appended. `process_worker.unpack` is the inverse.

    Args:
        value: an output, several, or their conditions.
        arrays: to which its arrays are appended.

    Raises:
        UnsupportedError: it cannot travel.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [pack(entry, arrays) for entry in value]
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {"kind": "mapping", "entries": {name: pack(entry, arrays) for name, entry in value.items()}}
    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu()
        half = tensor.dtype == torch.bfloat16  # which NumPy lacks
        return {"kind": "tensor", "array": _add(tensor.view(torch.int16) if half else tensor, arrays), "bfloat16": half}
    if isinstance(value, np.ndarray):
        return {"kind": "array", "array": _add(value, arrays)}
    if isinstance(value, Structure):
        parts = [_add(part, arrays) for part in (value.coordinates, value.mask, value.chains)]
        names = {"atoms": value.atoms, "residues": value.residues, "elements": value.elements}
        return {"kind": "structure", "arrays": parts, **names}
    if _is_image(value) and value.mode != "P":
        pixels = _add(np.frombuffer(value.tobytes(), dtype=np.uint8), arrays)
        return {"kind": "image", "array": pixels, "mode": value.mode, "size": value.size}
    raise UnsupportedError(
        f"score: {type(value).__name__} cannot be sent to another process. Expected arrays, tensors, PIL images "
        "without a palette, Structures, texts, numbers, or lists and mappings of these."
    )


def _add(value: Any, arrays: list[Array]) -> int:
    """The number of an array or tensor, added to the others."""
    try:
        array = np.asarray(value)
    except TypeError as error:  # a dtype that NumPy lacks
        raise UnsupportedError(f"score: {error}, so it cannot be sent to another process. Make it float32.") from error
    if array.dtype.kind not in "biufcSUmM":
        raise UnsupportedError(
            f"score: an array of {array.dtype} cannot be sent to another process. Make it one of numbers."
        )
    arrays.append(array)
    return len(arrays) - 1


def _is_image(value: Any) -> bool:
    pillow = sys.modules.get("PIL.Image")  # nothing is an image of a library that was not imported
    return pillow is not None and isinstance(value, pillow.Image)
