"""Outputs as small files to look at: PNG now, by kind.

An image is a PIL image, or an array or tensor (H, W), (H, W, C) or (C, H, W) with C in 1, 3, 4; floats in [0, 1], or
uint8. Small images are enlarged by whole pixels, so that sixteen pixels are worth looking at.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from surrogate_ax.errors import MissingExtraError, UnsupportedError

if TYPE_CHECKING:
    from PIL.Image import Image

LEAST = 128  # pixels on the longer side


def to_image(output: Any) -> Image:
    """An output as a PIL image.

    Args:
        output: a PIL image, array or tensor, as above.

    Raises:
        UnsupportedError: it is not an image.
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("Pictures need Pillow: pip install 'surrogate-ax[optuna]' or pillow.") from error
    if isinstance(output, Image.Image):
        return output.convert("RGB")
    given = _array(output)
    pixels = given
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and pixels.shape[2] not in (1, 3, 4):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype.kind == "f":
        pixels = np.round(np.clip(np.nan_to_num(pixels), 0, 1) * 255).astype(np.uint8)
    plane = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if pixels.dtype != np.uint8 or not plane or not pixels.size:
        raise UnsupportedError(
            f"output: expected an image (PIL, or an array (H, W, C) of floats in [0, 1] or uint8), got "
            f"{type(output).__name__} of shape {given.shape} and dtype {given.dtype}. Turn previews off otherwise."
        )
    return Image.fromarray(pixels).convert("RGB")


def _array(output: Any) -> np.ndarray:
    """An output as an array; what is neither array nor tensor is a single object, which no image is."""
    if isinstance(output, torch.Tensor):
        tensor = output.detach().cpu()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()  # NumPy has no bfloat16
    return np.asarray(output, dtype=None if hasattr(output, "__array__") else object)


def enlarge(image: Image, least: int = LEAST) -> Image:
    """The image with its longer side at least `least` pixels, enlarged by a whole factor without smoothing."""
    factor = -(-least // max(image.size))
    return image if factor <= 1 else image.resize((image.width * factor, image.height * factor), resample=0)


def save_preview(output: Any, path: Path | str) -> None:
    """Write an output as a PNG.

    Args:
        output: an image, as for `to_image`.
        path: where to.
    """
    enlarge(to_image(output)).save(path, format="PNG", compress_level=1)
