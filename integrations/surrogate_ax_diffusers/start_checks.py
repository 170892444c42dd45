"""What a search over latents takes for granted of a pipeline, checked once, in short runs, before the first batch.

The same latent gives the same output; a row does not depend on the others of its batch; stopping between steps changes
nothing. Beside them, the probe of the fingerprint is taken here, by the same kind of run.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.errors import UnsupportedError
from surrogate_ax.generation.comparison import difference
from surrogate_ax_diffusers.families import Pipeline
from surrogate_ax_diffusers.pipeline_state import stateful_hooks

# Mean relative differences of outputs that are still the same, in full and in half precision.
_REPEATED = (1e-5, 1e-2)  # between two equal calls
_STEPPED = (1e-3, 1e-2)  # between one call and several of the same size
_REGROUPED = (2e-3, 5e-2)  # between calls of two sizes, whose kernels sum in another order
_ANYWAY = "Pass check_determinism=False to search it anyway."
_logger = logging.getLogger(f"surrogate_ax.{__name__}")


def check_repeats(pipe: Pipeline, a: Array, b: Array, *, half: bool) -> None:
    """Refuse a pipeline that turns the same latent into two outputs.

    Args:
        pipe: the pipeline.
        a: its output.
        b: its output for the same latent, once more.
        half: whether it computes in half precision.

    Raises:
        UnsupportedError: they differ.
    """
    change = difference(a, b)
    if not change <= _REPEATED[half]:
        training = [name for name, c in pipe.components.items() if getattr(c, "training", False)]
        hint = f" Modules in training mode: {training}; call .eval() on them." if training else ""
        raise UnsupportedError(
            f"{type(pipe).__name__}: the same latent gave two outputs that differ by {change:.2g} of their size: "
            f"something in it draws noise.{hint} {_ANYWAY}"
        )


def check_rows(pipe: Pipeline, alone: Array, beside: Array, *, rough: bool) -> None:
    """Refuse a pipeline in which rows of a batch depend on each other; warn where a step cache does that.

    Args:
        pipe: the pipeline.
        alone: output of a latent that was generated alone.
        beside: its output in a batch of two.
        rough: whether it computes in half precision, or on a GPU, where float32 may be rounded to TF32.

    Raises:
        UnsupportedError: they differ, and no cache explains it.
    """
    change = difference(alone, beside)
    if change <= _REGROUPED[rough]:
        return
    what = f"{type(pipe).__name__}: a latent gave another output beside a second one than alone, by {change:.2g} of "
    caches = stateful_hooks(pipe)
    if caches:
        _logger.warning(
            "%sits size, as %s decides for a whole batch. Outputs cannot be made again exactly in a batch of another "
            "size; disable the cache for that.",
            what,
            ", ".join(caches),
        )
        return
    raise UnsupportedError(
        f"{what}its size: rows of a batch depend on each other, so a score would belong to the batch. Make the layers "
        f"that mix rows work row by row (in training mode, batch norms mix them). {_ANYWAY}"
    )


def check_stepping(pipe: Pipeline, whole: Array, stepped: Array, *, half: bool) -> None:
    """Refuse to stop a pipeline between steps where that changes what it makes.

    Args:
        pipe: the pipeline.
        whole: output of a latent in one call.
        stepped: its output with stops between the first steps.
        half: whether it computes in half precision.

    Raises:
        UnsupportedError: they differ.
    """
    change = difference(whole, stepped)
    if not change <= _STEPPED[half]:
        raise UnsupportedError(
            f"{type(pipe).__name__}: a trajectory that was stopped between its steps ended {change:.2g} of its size "
            "away from one that was not: something in the pipeline carries a state from step to step. Search it "
            f"without checkpoints, with total_trials in place of budget. {_ANYWAY}"
        )


def fixed_rows(dim: int, n: int = 1) -> Tensor:
    """Inner latents (n, D) that are the same in every process and on every device.

    Args:
        dim: D.
        n: rows.
    """
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(0))


def device_index(device: torch.device) -> Sequence[int]:
    """The number of a GPU whose random numbers are to be put back, nothing for the CPU."""
    if device.type == "cpu":
        return []
    return [device.index or 0]
