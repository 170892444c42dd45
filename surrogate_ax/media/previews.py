"""Outputs as small files to look at: PNG or WebP, MP4, WAV and PDB, by kind.

An image is a PIL image, or an array or tensor (H, W), (H, W, C) or (C, H, W) with C in 1, 3, 4; uint8, or floats.
Floats in [0, 1] or [-1, 1] are shown by that range; others go from black at the least value, or 0, to white at the
greatest. A clip is a list of images, or an array (T, H, W, C), (T, C, H, W) or (C, T, H, W). Sound is an array (S,) or
(C, S) of at most two channels, and needs a rate. A structure is a `Structure`.
Small pictures are enlarged by whole pixels, so that sixteen pixels are worth looking at; large ones are made smaller.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from surrogate_ax.errors import MissingExtraError, UnsupportedError
from surrogate_ax.media.clips import LONGEST_S, write_mp4, write_wav
from surrogate_ax.media.structure_files import fits_pdb, to_mmcif, to_pdb
from surrogate_ax.media.structures import Structure

if TYPE_CHECKING:
    from PIL.Image import Image

_logger = logging.getLogger(__name__)
Kind = Literal["image", "video", "audio", "structure"]
LEAST = 128  # pixels on the longer side
LARGE, MOST = 256, 1024  # pixels: beyond the first an image is a WebP, never larger than the second
CLIP = 512  # pixels on the longer side of a clip, at most
CHANNELS = (1, 3, 4)
OVERSHOOT = 0.05  # of a range, by which decoders pass its ends
FRAMES = 8.0  # a second, for clips whose generator names no rate


def pillow() -> Any:
    """Pillow's module `Image`.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("Pictures need Pillow: pip install 'surrogate-ax[optuna]' or pillow.") from error
    return Image


def to_image(output: Any, *, limits: tuple[float, float] | None = None) -> Image:
    """An output as a PIL image.

    Args:
        output: a PIL image, array or tensor, as above.
        limits: values of floats that are black and white; found in the output if left out.

    Raises:
        UnsupportedError: it is not an image.
        MissingExtraError: Pillow is not installed.
    """
    image_module = pillow()
    if isinstance(output, image_module.Image):
        return output.convert("RGB")  # type: ignore[no-any-return]
    given = _array(output)
    pixels = given
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and pixels.shape[2] not in (1, 3, 4):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.dtype.kind == "f":
        found = value_limits([pixels]) if limits is None else limits
        if limits is None and found not in ((0.0, 1.0), (-1.0, 1.0)):
            _say_scaled()
        pixels = _bytes(pixels, found)
    plane = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if pixels.dtype != np.uint8 or not plane or not pixels.size:
        raise UnsupportedError(
            f"output: expected an image (PIL, or an array (H, W, C) of floats in [0, 1] or uint8), got "
            f"{type(output).__name__} of shape {given.shape} and dtype {given.dtype}. Turn previews off otherwise."
        )
    return image_module.fromarray(pixels).convert("RGB")  # type: ignore[no-any-return]


def value_limits(arrays: Sequence[np.ndarray]) -> tuple[float, float]:
    """The values of floats that are shown black and white, for pictures that are shown together.

    Args:
        arrays: pictures; NaN and infinity in them are passed over.
    """
    finite = [x[np.isfinite(x)] for x in arrays if x.dtype.kind == "f"]
    low = min((float(x.min()) for x in finite if x.size), default=0.0)
    high = max((float(x.max()) for x in finite if x.size), default=1.0)
    for least in (0.0, -1.0):
        if low >= least - OVERSHOOT and high <= 1 + OVERSHOOT:
            return least, 1.0
    return min(low, 0.0), max(high, 0.0)


@cache
def _say_scaled() -> None:
    """Said once a process: the picture is not what a viewer of values from 0 to 1 would show."""
    _logger.warning(
        "output: floats outside [0, 1] and [-1, 1] are shown from black at a picture's least value, or 0, to white at "
        "its greatest. Scale them in the generator to compare pictures by eye."
    )


def _bytes(pixels: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Floats as uint8, NaN black."""
    low, high = limits
    x = np.nan_to_num(pixels.astype(np.float64), nan=low, posinf=high, neginf=low)
    return np.round(np.clip((x - low) / (high - low), 0, 1) * 255).astype(np.uint8)


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


def kind_of(output: Any, *, rate: float | None = None) -> Kind:
    """What an output is, by its type and shape.

    Args:
        output: one output, as above.
        rate: samples or frames a second, None where outputs do not last.

    Raises:
        UnsupportedError: none of the kinds.
    """
    if isinstance(output, Structure):
        return "structure"
    if isinstance(output, (list, tuple)) and output and all(_is_picture(frame) for frame in output):
        return "video"
    shape = () if _is_picture(output) and not hasattr(output, "shape") else tuple(getattr(output, "shape", ()))
    if len(shape) == 4:
        return "video"
    if len(shape) == 1 or (len(shape) == 2 and rate is not None and min(shape) <= 2):
        if rate is None:
            raise UnsupportedError(
                f"output: expected an image, a clip, sound or a Structure, got {type(output).__name__} of shape "
                f"{shape}. Sound needs a generator that names its rate: FunctionGenerator(rate=...). Turn previews off "
                "otherwise."
            )
        return "audio"
    return "image"


def save_preview(
    output: Any,
    path: Path | str,
    *,
    rate: float | None = None,
    full: bool = False,
    note: tuple[str, str] | None = None,
) -> Path:
    """Write an output as a small file of its kind; the same output gives the same bytes.

    Args:
        output: an image, a clip, sound or a structure.
        path: where to; the suffix becomes that of the kind.
        rate: samples or frames a second.
        full: at its own size and length, images as PNG.
        note: a keyword and a text that a PNG carries.

    Returns:
        The file: .png (.webp for images of more than 256 pixels), .mp4, .wav, or .pdb
            (.cif for structures too large for it).

    Raises:
        UnsupportedError: none of the kinds.
        MissingExtraError: what writes this kind is not installed.
    """
    path, kind, longest = Path(path), kind_of(output, rate=rate), math.inf if full else LONGEST_S
    if kind == "structure":
        fits = fits_pdb(output)
        path = path.with_suffix(".pdb" if fits else ".cif")
        path.write_bytes((to_pdb(output) if fits else to_mmcif(output)).encode("ascii"))
    elif kind == "audio" and rate is not None:
        path, samples = path.with_suffix(".wav"), _array(output)
        channels = np.atleast_2d(samples if samples.shape[0] <= 2 or samples.ndim == 1 else samples.T)
        write_wav(channels, path, rate=rate, longest=longest)
    elif kind == "video":
        path = path.with_suffix(".mp4")
        frames = to_frames(output, most=None if full else CLIP)
        write_mp4(frames, path, rate=FRAMES if rate is None else rate, longest=longest)
    else:
        image = enlarge(to_image(output))
        large = max(image.size) > LARGE and not full
        path = path.with_suffix(".webp" if large else ".png")
        if large:
            image.thumbnail((MOST, MOST))
            image.save(path, format="WEBP", quality=85, method=2)
        else:
            image.save(path, format="PNG", compress_level=1, pnginfo=None if note is None else png_text(*note))
    return path


def png_text(keyword: str, text: str) -> Any:
    """A text chunk, as Pillow's `save(pnginfo=...)` takes it."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt(keyword, text, zip=True)
    return info


def to_frames(output: Any, *, most: int | None = CLIP) -> np.ndarray:
    """A clip as frames (T, H, W, 3), uint8.

    Args:
        output: a clip, as above.
        most: pixels on the longer side; None leaves frames as large as they are.

    Raises:
        UnsupportedError: not a clip, or frames of different sizes.
    """
    if isinstance(output, (list, tuple)):
        frames: Any = output
    else:
        frames = _array(output)
        if frames.shape[-1] not in CHANNELS and frames.shape[0] in CHANNELS and frames.shape[1] not in CHANNELS:
            frames = frames.swapaxes(0, 1)  # (C, T, H, W), as denoisers have it
    arrays = [_array(frame) for frame in frames if hasattr(frame, "shape")]
    limits = value_limits(arrays)  # of the whole clip, so that it does not flicker
    pictures = [enlarge(to_image(frame, limits=limits)) for frame in frames]
    if len({picture.size for picture in pictures}) != 1:
        raise UnsupportedError(
            f"output: expected a clip of frames of one size, got {sorted({p.size for p in pictures})}."
        )
    for picture in pictures:
        picture.thumbnail(picture.size if most is None else (most, most))
    return np.stack([np.asarray(picture) for picture in pictures])


def _is_picture(output: Any) -> bool:
    """Whether something is a PIL image, or an array that could be one frame."""
    shape = getattr(output, "shape", None)
    return (shape is None and hasattr(output, "convert")) or (shape is not None and len(shape) in (2, 3))
