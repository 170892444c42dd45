"""Whether what a search found could have been drawn: latents against the prior, images against plain draws.

A latent x (D,) is described by |x|²/D, the Kolmogorov-Smirnov distance of its entries to N(0, 1), its largest channel
mean and its largest correlation of neighbours. Each is standardised on the pool of plain draws; one joint band holds
99.9% of the pool. An image is judged by its distance to the nearest of a second pool's 20,000 draws: inside when it is
not farther than 99% of the first pool's draws are.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import cache
from typing import Any

import numpy as np
import pool
from lockstep import Part
from scipy.special import ndtr
from scipy.stats import kstest

Array = np.ndarray
INSIDE, NEAR = 0.999, 0.99
SAMPLE = 2_000  # plain draws whose own nearest neighbours make the band


def statistics(x: Array) -> Array:
    """Four numbers (n, 4) of latents (n, 768)."""
    x = np.asarray(x, dtype=np.float64)
    d = x.shape[1]
    level = ndtr(np.sort(x, axis=1))
    steps = np.arange(d + 1) / d
    distance = np.maximum(np.abs(level - steps[:-1]), np.abs(level - steps[1:])).max(axis=1)
    planes = x.reshape(-1, 3, 16, 16)
    norm2 = (x**2).mean(axis=1)
    right = (planes[..., 1:] * planes[..., :-1]).mean(axis=(1, 2, 3)) / norm2
    down = (planes[..., 1:, :] * planes[..., :-1, :]).mean(axis=(1, 2, 3)) / norm2
    mean = np.abs(planes.mean(axis=(2, 3))).max(axis=1)
    return np.stack([norm2, distance, mean, np.maximum(np.abs(right), np.abs(down))], axis=1)


@cache
def _band() -> tuple[Array, Array, float]:
    made = np.concatenate(
        [statistics(pool.latents("pool a", 0, range(k, k + pool.CHUNK))) for k in range(0, pool.SIZE, pool.CHUNK)]
    )
    mean, sd = made.mean(axis=0), made.std(axis=0)
    return mean, sd, float(np.quantile(np.abs((made - mean) / sd).max(axis=1), INSIDE))


def outside(x: Array) -> Array:
    """Which latents (n,) lie outside the joint band."""
    mean, sd, limit = _band()
    return np.asarray(np.abs((statistics(x) - mean) / sd).max(axis=1) > limit)


def nearest(images: Array) -> Array:
    """Root mean square distance (n,) of images to the nearest image of the second pool."""
    reference, squares = _reference()
    x = np.asarray(images, dtype=np.float32).reshape(len(images), -1)
    found = [squares - 2 * (reference @ row) + row @ row for row in x]
    return np.sqrt(np.maximum([row.min() for row in found], 0) / x.shape[1])


@cache
def _reference() -> tuple[Array, Array]:
    rows = pool.read("b")
    rows = rows.reshape(len(rows), -1)
    return rows, (rows**2).sum(axis=1)


@cache
def _farthest() -> float:
    return float(np.quantile(nearest(pool.read("a")[:SAMPLE]), NEAR))


def far(images: Array) -> Array:
    """Which images (n,) are farther from all plain draws than 99% of plain draws are."""
    return np.asarray(nearest(images) > _farthest())


def indifferent(policy_cells: Iterable[Generator[Any, Any, None]], rng: int) -> Array:
    """Kolmogorov-Smirnov p-values of every latent that searches propose when scores say nothing about latents.

    Args:
        policy_cells: searches; all they are sent is noise.
        rng: seed of the noise.
    """
    noise, rows = np.random.default_rng(rng), []
    for cell in policy_cells:
        asked = next(cell)
        try:
            while True:
                if isinstance(asked, Part):
                    if asked.start == 0:
                        rows.append(asked.rows)
                    asked = cell.send((asked.rows, {"noise": noise.standard_normal(len(asked.rows))}))
                else:
                    rows.append(asked)
                    asked = cell.send({"noise": noise.standard_normal(len(asked))})
        except StopIteration:
            pass
    return np.array([kstest(row, "norm").pvalue for row in np.concatenate(rows)])
