"""What a pipeline's calls returned, put together as one batch, and the denoiser evaluations that they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from surrogate_ax.generation.protocols import Outputs


class DenoiserRows:
    """A forward pre-hook that counts the rows which denoisers evaluate: the cost in NFE."""

    def __init__(self) -> None:
        self._rows = 0

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Add the rows of the first input that has a batch dimension."""
        batches = (
            v for v in (*args, *kwargs.values()) if isinstance(v, list) or (isinstance(v, Tensor) and v.ndim > 1)
        )
        self._rows += len(next(batches))

    def take(self) -> int:
        """The rows since the last time that this was asked."""
        rows, self._rows = self._rows, 0
        return rows


def join_groups(groups: Sequence[tuple[Outputs, list[int]]]) -> Outputs:
    """Outputs of groups of items as the outputs of all items in order.

    Args:
        groups: outputs and the numbers of the items that they belong to.

    Returns:
        An array or a tensor where the groups have such, of one shape, else a list.
    """
    if len(groups) == 1:
        return groups[0][0]
    order = np.argsort([i for _, items in groups for i in items])
    blocks: list[Any] = [outputs for outputs, _ in groups]
    alike = len({(type(block), getattr(block, "shape", (0,))[1:]) for block in blocks}) == 1
    if alike and isinstance(blocks[0], np.ndarray):
        return np.concatenate(blocks)[order]
    if alike and isinstance(blocks[0], Tensor):
        return torch.cat(blocks)[torch.from_numpy(order)]
    flat = [output for block in blocks for output in block]
    return [flat[i] for i in order]


def drop_failed(outputs: Outputs, failed: Mapping[int, str]) -> Outputs:
    """The outputs of the items that did not fail, in order.

    Args:
        outputs: of n items.
        failed: reason by item number.
    """
    if not failed:
        return outputs
    keep = [i for i in range(len(outputs)) if i not in failed]
    return outputs[keep] if isinstance(outputs, (np.ndarray, Tensor)) else [outputs[i] for i in keep]
