"""What the embedded models share: loading without a sound, a closed vocabulary, and the images given to an encoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError, ShapeError
from surrogate_ax_diffusers.families import Pipeline
from surrogate_ax_diffusers.loading import load_pipeline

_CLOSED = "closed_vocabulary"  # marks a pipeline that knows the words it was trained on and no others
_TEXTS = ("prompt", "negative_prompt")


def load_embedded(name: str, dtype: torch.dtype) -> Pipeline:
    """An embedded model, in evaluation mode and without a progress bar.

    Args:
        name: its folder beside this module.
        dtype: of the weights, which are stored as float16.

    Returns:
        A `StableDiffusionPipeline` whose prompts `check_prompts` checks.
    """
    with quiet():
        pipe = load_pipeline(Path(str(files(__package__) / name)), dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    setattr(pipe, _CLOSED, True)
    return pipe


def check_prompts(pipe: Pipeline, calls: Iterable[Mapping[str, Any]]) -> None:
    """Refuse prompts that an embedded model would not understand; other pipelines' pass.

    Args:
        pipe: any pipeline.
        calls: call arguments, of which the texts are read.

    Raises:
        ArgumentError: words that the model was not trained on, with those that it knows, or too many words.
    """
    if not getattr(pipe, _CLOSED, False):
        return
    tokenizer = pipe.tokenizer
    vocabulary, most = tokenizer.get_vocab(), tokenizer.model_max_length - 2  # both ends are tokens too
    texts = ((name, call.get(name)) for call in calls for name in _TEXTS)
    for name, text in dict.fromkeys((name, text) for name, text in texts if isinstance(text, str)):
        words = tokenizer.backend_tokenizer.normalizer.normalize_str(text).split()
        unknown = [word for word in words if word not in vocabulary]
        if unknown:
            known = ", ".join(sorted(word for word in vocabulary if word.isalpha()))
            raise ArgumentError(f"{name}: the embedded model does not know {unknown}. Its words are: {known}.")
        if len(words) > most:
            raise ArgumentError(
                f"{name}: the embedded model reads at most {most} words, got {len(words)}. Leave out the last "
                f"{len(words) - most}, from {words[most]!r} on, or phrases that say the same."
            )


def unit_pixels(images: Sequence[Image.Image] | Array, size: int) -> Array:
    """Images as numbers in [0, 1].

    Args:
        images: n images of size x size pixels: PIL images, uint8 (n, size, size, 3), or floats in [0, 1].
        size: height and width.

    Returns:
        float64 (n, size, size, 3).

    Raises:
        ShapeError: images of another size or number of channels.
        ArgumentError: values outside [0, 1], or not finite.
    """
    rows = images if isinstance(images, np.ndarray) else [_pixels(image) for image in images]
    shapes = sorted({row.shape for row in rows})
    if shapes != [(size, size, 3)]:
        raise ShapeError(f"images: expected n images (height, width, channels) = ({size}, {size}, 3), got {shapes}.")
    pixels = np.asarray(rows)
    unit = pixels / 255.0 if pixels.dtype == np.uint8 else pixels.astype(np.float64)
    if not (np.issubdtype(pixels.dtype, np.floating) or pixels.dtype == np.uint8) or not _in_unit(unit):
        raise ArgumentError(f"images: expected uint8, or finite floats in [0, 1], got {pixels.dtype} outside of that.")
    return unit


def _pixels(image: Any) -> Array:
    return np.asarray(image.convert("RGB") if isinstance(image, Image.Image) else image)


def _in_unit(values: Array) -> bool:
    return bool(((values >= 0) & (values <= 1)).all())  # False for NaN


@contextmanager
def quiet() -> Iterator[None]:
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
