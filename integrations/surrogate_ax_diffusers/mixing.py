"""Pipelines that start from noise mixed with an image: their draw is given, not their latents.

`prepare_latents` encodes the image, draws noise and mixes both. It takes latents only once they are mixed, or not at
all. So it is run as it is, with the noise it draws taken from the latent that is searched; whatever else it draws
(the spread of an encoded image) is zero. Images and strength thus stay ordinary call arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

NORMAL = (torch.randn, torch.randn_like, torch.normal)


class Draws(TorchFunctionMode):
    """Records what is drawn from normal laws."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call through, and keep normal draws."""
        out = func(*args, **(kwargs or {}))
        if func in NORMAL:
            self.seen.append(out)
        return out


class _Given(TorchFunctionMode):
    """Gives one of the normal draws; the others are zero."""

    def __init__(self, number: int, noise: Tensor) -> None:
        super().__init__()
        self._left = number
        self._noise = noise

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call through, and replace normal draws."""
        out = func(*args, **(kwargs or {}))
        if func not in NORMAL:
            return out
        self._left -= 1
        return torch.zeros_like(out) if self._left != -1 else self._noise.reshape(out.shape).to(out)


def inject_noise(prepare: Callable[..., Any], number: int, noise: Tensor) -> Callable[..., Any]:
    """A `prepare_latents` that mixes given noise.

    Args:
        prepare: the pipeline's own.
        number: which of its normal draws is the noise, from 0.
        noise: (n, *shape) in the shape of that draw.
    """

    @wraps(prepare)
    def mixed(*args: Any, **kwargs: Any) -> Any:
        with _Given(number, noise):
            return prepare(*args, **kwargs)

    return mixed
