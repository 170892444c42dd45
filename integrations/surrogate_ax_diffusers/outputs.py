"""What a pipeline's calls gave, as one batch: outputs in the order of the items, and the denoiser rows they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from surrogate_ax.generation.protocols import Outputs


class RowsSeen:
    """A forward pre-hook that counts the rows a denoiser evaluates."""

    def __init__(self) -> None:
        self._rows = 0

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Add the rows of the first input with a batch dimension."""
        batches = (
            v for v in (*args, *kwargs.values()) if isinstance(v, list) or (isinstance(v, Tensor) and v.ndim > 1)
        )
        self._rows += len(next(batches))

    def take(self) -> int:
        """The rows since the last call."""
        rows, self._rows = self._rows, 0
        return rows


def in_order(parts: Sequence[tuple[Outputs, list[int]]], n: int) -> Outputs:
    """Outputs of groups as the outputs of n items in order; arrays and tensors stay such where shapes agree."""
    if len(parts) == 1:
        return parts[0][0]
    order = np.argsort([i for _, items in parts for i in items])
    blocks: list[Any] = [outputs for outputs, _ in parts]
    alike = len({(type(block), getattr(block, "shape", (0,))[1:]) for block in blocks}) == 1
    if alike and isinstance(blocks[0], np.ndarray):
        return np.concatenate(blocks)[order]
    if alike and isinstance(blocks[0], Tensor):
        return torch.cat(blocks)[torch.from_numpy(order)]
    flat = [output for block in blocks for output in block]
    return [flat[i] for i in order]


def without(outputs: Outputs, failed: Mapping[int, str]) -> Outputs:
    """Outputs without those of failed items."""
    if not failed:
        return outputs
    keep = [i for i in range(len(outputs)) if i not in failed]
    return outputs[keep] if isinstance(outputs, (np.ndarray, Tensor)) else [outputs[i] for i in keep]
