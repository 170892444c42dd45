"""Scores of `avatars.yaml`: a function of n outputs and their conditions that returns n numbers for each metric."""

from __future__ import annotations

import numpy as np


def colours(images, conditions):
    """How much redder than blue images are, and how much their pixels differ; images are (n, 16, 16, 3) in [0, 1]."""
    pixels = np.asarray(images)
    warmth = pixels[..., 0].mean(axis=(1, 2)) - pixels[..., 2].mean(axis=(1, 2))
    return {"warmth": warmth, "contrast": pixels.std(axis=(1, 2, 3))}
