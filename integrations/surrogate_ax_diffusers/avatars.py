"""The embedded model: 16x16 avatars from text, a stock `StableDiffusionPipeline` of 2.7 M parameters.

x image in [-1, 1] (n, 3, 16, 16); z latent of the same shape. Its VAE is the exact pixel map x = 3 tanh(z / 3), so an
image has the latent z = 3 atanh(x / 3). Made by `examples/train_avatars`.
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

SIZE = 16


def load_avatars(dtype: torch.dtype = torch.float32) -> Pipeline:
    """The embedded avatar model.

    Args:
        dtype: of the weights, which are stored as float16.

    Returns:
        A `StableDiffusionPipeline` in evaluation mode, without a progress bar.
    """
    return load_embedded("avatars", dtype)


def avatar_generator(prompt: str = "", *, steps: int = 12, guidance: float = 1.5, **options: Any) -> PipelineGenerator:
    """The embedded avatar model as a generator of float images (n, 16, 16, 3) in [0, 1].

    Args:
        prompt: comma-separated phrases, as "red hat, dark glasses, blue background".
        steps: denoising steps.
        guidance: classifier-free guidance scale; 1 switches it off and halves the cost.
        **options: further arguments of `pipeline_generator` or of the pipeline's call.

    Raises:
        ArgumentError: as `pipeline_generator`, and for prompts with words that the model does not know, or too many.
    """
    settings = {"prompt": prompt, "num_inference_steps": steps, "guidance_scale": guidance, "output_type": "np"}
    encodes = not options.get("step_noise") and options.get("output_type") != "latent"
    encoder = {"encoder": encode_avatars} if encodes else {}  # the VAE's own is left at zero
    return pipeline_generator(load_avatars(), **{**encoder, **settings, **options})


def encode_avatars(images: Sequence[Image.Image] | np.ndarray) -> Tensor:
    """Latents that the embedded model's VAE decodes to given images, exact to float32 rounding.

    Args:
        images: n images of 16x16 pixels: PIL images, uint8 (n, 16, 16, 3), or floats in [0, 1] of that shape.

    Returns:
        z = 3 atanh(x / 3), float32 (n, 3, 16, 16).

    Raises:
        ShapeError: images of another size or number of channels.
        ArgumentError: values outside [0, 1], or not finite.
    """
    x = torch.from_numpy(2 * unit_pixels(images, SIZE) - 1).permute(0, 3, 1, 2)
    return (3 * torch.atanh(x / 3)).float().contiguous()
