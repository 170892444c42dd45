"""The generator and the score of `hills.yaml`: both are plain functions."""

from __future__ import annotations

import torch

from surrogate_ax import FunctionGenerator


def make(size: int = 96) -> FunctionGenerator:
    """Noise (n, 6, 6) to height maps (n, size, size) in [0, 1]; `call:` of the file gives the arguments."""

    def hills(z: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(z[:, None], size=(size, size), mode="bicubic")[:, 0].sigmoid()

    return FunctionGenerator(hills, (6, 6), revision=f"{size}x{size}")


def steepness(maps, conditions):
    """Mean slope from a pixel to the next, in height a pixel, and mean height."""
    slopes = maps.diff(dim=1)[:, :, :-1] ** 2 + maps.diff(dim=2)[:, :-1, :] ** 2
    return {"steepness": slopes.sqrt().mean(dim=(1, 2)), "height": maps.mean(dim=(1, 2))}
