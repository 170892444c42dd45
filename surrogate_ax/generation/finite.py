"""Which outputs hold NaN or infinity, and copies that a score may write into."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.generation.protocols import Outputs

NOT_FINITE = "the output holds NaN or infinity"


def not_finite(outputs: Outputs) -> list[int]:
    """Numbers of the outputs that hold NaN or infinity.

    Arrays, tensors, numbers, and lists and tuples of them are looked into; what else an output may be is not.

    Args:
        outputs: n outputs.
    """
    if not len(outputs):
        return []
    if isinstance(outputs, Tensor) and outputs.ndim:
        if not (outputs.is_floating_point() or outputs.is_complex()):
            return []
        good = torch.isfinite(outputs.detach()).reshape(len(outputs), -1).all(dim=1)
        return torch.nonzero(~good)[:, 0].tolist()
    if isinstance(outputs, np.ndarray) and outputs.ndim and outputs.dtype != object:
        if outputs.dtype.kind not in "fc":
            return []
        return np.flatnonzero(~np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)).tolist()
    return [i for i, output in enumerate(outputs) if not _finite(output)]


def copied(outputs: Any) -> Any:
    """Outputs that can be written into while the originals stay as they are.

    Arrays, tensors, images, dataclasses, and lists, tuples and mappings of them are copied; others are handed on.

    Args:
        outputs: n outputs, or a part of one.
    """
    if isinstance(outputs, Tensor):
        return outputs.clone()
    if isinstance(outputs, np.ndarray) and outputs.dtype != object:
        return outputs.copy()
    if type(outputs) in (list, tuple):
        return type(outputs)(copied(output) for output in outputs)
    if type(outputs) is dict:
        return {name: copied(output) for name, output in outputs.items()}
    if dataclasses.is_dataclass(outputs) and not isinstance(outputs, type):
        return copy.deepcopy(outputs)
    if hasattr(outputs, "__array_interface__") and callable(getattr(outputs, "copy", None)):  # a PIL image
        return outputs.copy()
    return outputs


def _finite(output: Any) -> bool:
    if isinstance(output, Tensor):
        return bool(torch.isfinite(output.detach()).all())
    if isinstance(output, np.ndarray | np.generic):
        return np.asarray(output).dtype.kind not in "fc" or bool(np.isfinite(output).all())
    if isinstance(output, float):
        return math.isfinite(output)
    return all(_finite(part) for part in output) if type(output) in (list, tuple) else True
