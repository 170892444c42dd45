"""What outputs look or sound like, in a few numbers: equal for two outputs that nobody would tell apart.

A picture is described by the colours of a 4 x 4 raster, the spread of its colours wherever they are, the strength of
its edges in the same raster, and how fine its detail is (log power by spatial frequency). A clip is the mean of its
first, middle and last frame, and how much it moves; sound is log power by frequency, its mean and spread over time; a
structure the distances between its residues. Any other array is described by the quantiles of its entries and of their
differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.media.previews import kind_of, pillow, to_frames, to_image
from surrogate_ax.media.structures import Structure

Features = Callable[[Sequence[Any]], Any]  # n outputs -> (n, F) numbers

SIDE, RASTER, BANDS = 32, 4, 16  # pixels and cells along a side; bands of frequency
QUANTILES = np.linspace(0.05, 0.95, 10)


def looks(outputs: Sequence[Any], *, rate: float | None = None) -> Array:
    """Features (n, F) of n outputs of one kind.

    Args:
        outputs: pictures, clips, sounds, structures or other arrays, as `save_preview` takes them.
        rate: samples or frames a second, None where outputs do not last.

    Raises:
        UnsupportedError: no array, and none of the kinds.
        ArgumentError: outputs of several kinds.
    """
    rows = [_look(output, rate) for output in outputs]
    pictures = [i for i, row in enumerate(rows) if row.ndim == 3]
    if pictures:
        for i, features in zip(pictures, _pictures(np.stack([rows[i] for i in pictures])), strict=True):
            rows[i] = features
    if len({len(row) for row in rows}) > 1:
        raise ArgumentError("outputs: expected outputs of one kind, got several. Pass features= of your own.")
    return np.array(rows, dtype=np.float64).reshape(len(rows), -1)


def _look(output: Any, rate: float | None) -> Array:
    """Features (F,) of an output; of a picture its small copy (SIDE, SIDE, 3), as many are looked at together."""
    try:
        kind = kind_of(output, rate=rate)
        if kind == "structure":
            return _structure(output)
        if kind == "audio":
            return _sound(np.atleast_2d(_array(output)))
        if kind == "video":
            frames = to_frames(output)
            shown = [pillow().fromarray(frame) for frame in frames[[0, len(frames) // 2, -1]]]
            moved = np.abs(np.diff(frames.astype(np.float64) / 255, axis=0)).mean() if len(frames) > 1 else 0.0
            return np.append(_pictures(np.stack([_small(frame) for frame in shown])).mean(axis=0), moved)
        return _small(to_image(output))
    except UnsupportedError:
        return _entries(_array(output))


def _small(picture: Any) -> Array:
    """Pixels (SIDE, SIDE, 3) in [0, 1] of a picture of Pillow's."""
    return np.asarray(picture.resize((SIDE, SIDE), pillow().Resampling.BOX), dtype=np.float64) / 255


def _pictures(pixels: Array) -> Array:
    """Features (n, F) of n pictures (n, SIDE, SIDE, 3) in [0, 1]."""
    light = pixels.mean(axis=3)
    colour = np.stack([light, pixels[..., 0] - pixels[..., 1], pixels[..., 2] - light], axis=3)
    down, across = np.gradient(light, axis=(1, 2))
    edges = np.hypot(down, across)
    power = np.abs(np.fft.rfft2(light - light.mean(axis=(1, 2), keepdims=True))) ** 2
    radius = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]) * SIDE
    rings = [(radius >= low) & (radius < 2 * low) for low in (1, 2, 4, 8)]
    bands = np.stack([np.log10(1e-3 + power[:, ring].mean(axis=1)) for ring in rings], axis=1)
    spread = np.moveaxis(np.quantile(colour.reshape(len(pixels), -1, 3), QUANTILES, axis=1), 0, 1)
    parts = [part.reshape(len(pixels), -1) for part in (_raster(colour), spread, 2 * _raster(edges), 0.1 * bands)]
    return np.concatenate([part / np.sqrt(part.shape[1]) for part in parts], axis=1)


def _raster(planes: Array) -> Array:
    """Means (n, RASTER, RASTER, C) of cells of planes (n, SIDE, SIDE, C), or without C."""
    cell = SIDE // RASTER
    means: Array = planes.reshape(len(planes), RASTER, cell, RASTER, cell, -1).mean(axis=(2, 4))
    return means


def _sound(samples: Array) -> Array:
    """Mean and spread of log power (2 * BANDS,) of sound (C, S) or (S, C), in octave-like bands."""
    wave = (samples if samples.shape[0] <= samples.shape[1] else samples.T).astype(np.float64).mean(axis=0)
    window = min(1024, max(2 * BANDS, len(wave)))
    wave = np.pad(wave, (0, -len(wave) % window))
    power = np.abs(np.fft.rfft(wave.reshape(-1, window) * np.hanning(window), axis=1)) ** 2
    edges = np.unique(np.geomspace(1, power.shape[1], BANDS + 1).astype(int))
    bands = np.log10(1e-3 + np.add.reduceat(power, edges[:-1], axis=1))
    return np.asarray(np.concatenate([bands.mean(axis=0), bands.std(axis=0)]) / np.sqrt(2 * bands.shape[1]))


def _structure(structure: Structure) -> Array:
    """Quantiles of the distances between residues, near and far along the chain, in the structure's own size."""
    ca = np.asarray(structure, dtype=np.float64)[structure.mask[:, structure.alpha], structure.alpha]
    distance = np.linalg.norm(ca[:, None] - ca[None], axis=2)
    apart = np.abs(np.subtract.outer(np.arange(len(ca)), np.arange(len(ca))))
    groups = [distance[(apart >= low) & (apart < high)] for low, high in ((2, 5), (5, 12), (12, len(ca) + 13))]
    found = [np.quantile(group if group.size else np.zeros(1), QUANTILES) for group in groups]
    return np.concatenate([*found, [len(ca) ** 0.5]])


def _entries(array: Array) -> Array:
    """Quantiles of the entries of an array, and of the differences between neighbours along its last axis."""
    if array.dtype.kind not in "biuf" or not array.size:
        raise UnsupportedError(f"output: expected an array of numbers, got {array.dtype}. Pass features= of your own.")
    values = np.nan_to_num(array.astype(np.float64))
    steps = np.diff(np.atleast_1d(values), axis=-1)
    return np.concatenate([np.quantile(values, QUANTILES), np.quantile(steps if steps.size else [0.0], QUANTILES)])


def _array(output: Any) -> Array:
    if isinstance(output, torch.Tensor):
        return np.asarray(output.detach().cpu().float().numpy())
    return np.asarray(output, dtype=None if hasattr(output, "__array__") else object)
