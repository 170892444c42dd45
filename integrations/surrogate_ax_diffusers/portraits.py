"""The embedded model with an encoder: 64x64 portraits from text, a stock `StableDiffusionPipeline` of 6.4 M parameters.

x image in [-1, 1] (n, 3, 64, 64); z latent (n, 4, 16, 16), whose channels have mean 0 and deviation 1 over renderings.
Encoded and decoded, a portrait looks the same: 42 decibels. Made by `examples/train_portraits`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from surrogate_ax_diffusers.embedded import load_embedded, unit_pixels
from surrogate_ax_diffusers.factory import pipeline_generator
from surrogate_ax_diffusers.families import Pipeline
from surrogate_ax_diffusers.pipeline import PipelineGenerator

SIZE = 64


def load_portraits(dtype: torch.dtype = torch.float32) -> Pipeline:
    """The embedded portrait model.

    Args:
        dtype: of the weights, which are stored as float16.

    Returns:
        A `StableDiffusionPipeline` in evaluation mode, without a progress bar.
    """
    return load_embedded("portraits", dtype)


def portrait_generator(prompt: str = "", *, steps: int = 8, guidance: float = 1.0, **options: Any) -> PipelineGenerator:
    """The embedded portrait model as a generator of float images (n, 64, 64, 3) in [0, 1].

    Args:
        prompt: comma-separated phrases, as "smiling, glasses, long hair, red shirt, blue background".
        steps: denoising steps.
        guidance: classifier-free guidance scale; above 1 it doubles the cost, and this model does not need it.
        **options: further arguments of `pipeline_generator` or of the pipeline's call.

    Raises:
        ArgumentError: as `pipeline_generator`, and for prompts with words that the model does not know, or too many.
    """
    settings = {"prompt": prompt, "num_inference_steps": steps, "guidance_scale": guidance, "output_type": "np"}
    return pipeline_generator(load_portraits(), **{**settings, **options})


def encode_portraits(images: Sequence[Image.Image] | np.ndarray) -> Tensor:
    """Latents that the embedded model's VAE decodes to nearly the given images: the means of its encoder.

    Args:
        images: n images of 64x64 pixels: PIL images, uint8 (n, 64, 64, 3), or floats in [0, 1] of that shape.

    Returns:
        z, float32 (n, 4, 16, 16).

    Raises:
        ShapeError: images of another size or number of channels.
        ArgumentError: values outside [0, 1], or not finite.
    """
    x = torch.from_numpy(2 * unit_pixels(images, SIZE) - 1).permute(0, 3, 1, 2).float().contiguous()
    with torch.no_grad():
        z: Tensor = load_portraits().vae.encode(x).latent_dist.mean
    return z
