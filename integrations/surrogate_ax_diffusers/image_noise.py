"""Pipelines that mix their noise with an image (img2img, inpainting): how the noise that is searched gets into them.

Such a pipeline encodes the image, draws noise and mixes both, all inside its `prepare_latents`. It takes `latents` only
once they are mixed, or not at all. So `prepare_latents` runs as it is, but the noise that it draws is replaced by the
latent that is searched, and all else that it draws (the spread of an encoded image) by zeros. Images and strength thus
stay ordinary call arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

NORMAL_DRAWS = (torch.randn, torch.randn_like, torch.normal)


class RecordedNormals(TorchFunctionMode):
    """Keeps what is drawn from normal laws inside its block, in order, as `draws`."""

    def __init__(self) -> None:
        super().__init__()
        self.draws: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function, and keep what it returned if it was a normal draw."""
        out = func(*args, **(kwargs or {}))
        if func in NORMAL_DRAWS:
            self.draws.append(out)
        return out


class _ReplacedNormals(TorchFunctionMode):
    """Replaces one of the normal draws inside its block by given noise, and the others by zeros."""

    def __init__(self, number: int, noise: Tensor) -> None:
        super().__init__()
        self._draws = 0
        self._number = number
        self._noise = noise

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function, and replace what it returned if it was a normal draw."""
        out = func(*args, **(kwargs or {}))
        if func not in NORMAL_DRAWS:
            return out
        number, self._draws = self._draws, self._draws + 1
        return self._noise.reshape(out.shape).to(out) if number == self._number else torch.zeros_like(out)


def inject_noise(prepare_latents: Callable[..., Any], number: int, noise: Tensor) -> Callable[..., Any]:
    """A `prepare_latents` that mixes given noise with the image, where the pipeline's own would draw noise.

    Args:
        prepare_latents: the pipeline's own method.
        number: which of its normal draws is the noise, from 0.
        noise: (n, *shape), as many entries as that draw.
    """

    @wraps(prepare_latents)
    def with_noise(*args: Any, **kwargs: Any) -> Any:
        with _ReplacedNormals(number, noise):
            return prepare_latents(*args, **kwargs)

    return with_noise
