"""The embedded model: 16x16 avatars from text, a stock `StableDiffusionPipeline` of 2.7 M parameters.

x image in [-1, 1] (n, 3, 16, 16); z latent of the same shape. Its VAE is the exact pixel map x = 3 tanh(z / 3), so an
image has the latent z = 3 atanh(x / 3). Made by `examples/train_avatars`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor

from surrogate_ax.errors import ArgumentError, ShapeError
from surrogate_ax_diffusers.factory import pipeline_generator
from surrogate_ax_diffusers.families import Pipeline
from surrogate_ax_diffusers.loading import load_pipeline
from surrogate_ax_diffusers.pipeline import PipelineGenerator

SIZE = 16


def load_avatars(dtype: torch.dtype = torch.float32) -> Pipeline:
    """The embedded avatar model.

    Args:
        dtype: of the weights, which are stored as float16.

    Returns:
        A `StableDiffusionPipeline` in evaluation mode, without a progress bar.
    """
    with _quiet():
        pipe = load_pipeline(Path(str(files(__package__) / "avatars")), dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def avatar_generator(prompt: str = "", *, steps: int = 12, guidance: float = 1.5, **options: Any) -> PipelineGenerator:
    """The embedded avatar model as a generator of float images (n, 16, 16, 3) in [0, 1].

    Args:
        prompt: comma-separated phrases, as "red hat, dark glasses, blue background".
        steps: denoising steps.
        guidance: classifier-free guidance scale; 1 switches it off and halves the cost.
        **options: further arguments of `pipeline_generator` or of the pipeline's call.
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
    rows = images if isinstance(images, np.ndarray) else [_pixels(image) for image in images]
    shapes = sorted({row.shape for row in rows})
    if shapes != [(SIZE, SIZE, 3)]:
        raise ShapeError(f"images: expected n images (height, width, channels) = ({SIZE}, {SIZE}, 3), got {shapes}.")
    pixels = np.asarray(rows)
    unit = pixels / 255.0 if pixels.dtype == np.uint8 else pixels.astype(np.float64)
    if not (np.issubdtype(pixels.dtype, np.floating) or pixels.dtype == np.uint8) or not _in_unit(unit):
        raise ArgumentError(f"images: expected uint8, or finite floats in [0, 1], got {pixels.dtype} outside of that.")
    x = torch.from_numpy(2 * unit - 1).permute(0, 3, 1, 2)
    return (3 * torch.atanh(x / 3)).float().contiguous()


def _pixels(image: Any) -> np.ndarray:
    return np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)


def _in_unit(values: np.ndarray) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())  # False for NaN


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no log lines from the libraries: about optional packages, and a VAE of another class."""
    libraries = (transformers.logging, diffusers.utils.logging)
    before = [(library.get_verbosity(), library.is_progress_bar_enabled()) for library in libraries]
    for library in libraries:
        library.set_verbosity_error()
        library.disable_progress_bar()
    try:
        yield
    finally:
        for library, (verbosity, bars) in zip(libraries, before, strict=True):
            library.set_verbosity(verbosity)
            if bars:
                library.enable_progress_bar()
