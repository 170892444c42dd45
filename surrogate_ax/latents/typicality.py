"""Whether inner latents look like draws from N(0, I): norm, mean, marginals, channel means and whiteness.

Notation: ξ (n, D) inner latents, N(0, I) under the prior.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # loads its submodules when they are first used
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ShapeError
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.priors import Prior, RecordedPrior

LEVEL = 0.001  # a latent is outside when draws would look as odd less often than this


QUANTILES = (np.arange(39) + 0.5) / 39


_AT_ONCE = 1 << 23  # entries of latents looked at together


@dataclass(frozen=True)
class Support:
    """How n inner latents stand against N(0, I).

    Args:
        norm: (n,) |ξ|²/D, near 1 for draws.
        quantiles: (n, 39) of the D entries at `QUANTILES`; the normal ones for draws.
        channels: (n, C) means over each channel of each part in standard errors.
        neighbours: (n, A) sums of products of neighbouring entries along each spatial axis in standard errors:
            whiteness.
        p: (n,) by statistic ("norm", "mean", "marginals", "channels", "whiteness"): how often a draw is as odd.
    """

    norm: Array
    quantiles: Array
    channels: Array
    neighbours: Array
    p: Mapping[str, Array]

    @property
    def joint(self) -> Array:
        """(n,) how often a draw has its oddest statistic as odd (Šidák over the statistics)."""
        least = np.min(list(self.p.values()), axis=0)
        return np.asarray(-np.expm1(len(self.p) * np.log1p(-np.minimum(least, 1 - 1e-16))))

    def outside(self, level: float = LEVEL) -> Array:
        """(n,) whether a latent is odder than all but `level` of the draws."""
        return self.joint < level


def support(xi: Tensor, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Support:
    """Norm, marginals, channel means and whiteness of inner latents.

    Args:
        xi: (n, D) inner latents.
        shapes: of the parts that a row is made of, channels first; one part (D,) if left out.

    Raises:
        ShapeError: the shapes do not make D entries.
    """
    x = xi.double().cpu().numpy()
    shapes = shapes or {"inner": x.shape[1:]}
    if x.ndim != 2 or sum(math.prod(shape) for shape in shapes.values()) != x.shape[1]:
        raise ShapeError(f"xi: expected (n, D) with D the entries of {dict(shapes)}, got {x.shape}.")
    n, d = x.shape
    channels, neighbours, start = [np.zeros((n, 0))], [np.zeros((n, 0))], 0
    for shape in shapes.values():
        part = x[:, start : start + math.prod(shape)].reshape(n, *shape)
        start += math.prod(shape)
        if len(shape) > 1:
            size = math.prod(shape[1:])
            channels.append(part.reshape(n, shape[0], size).sum(axis=2) / math.sqrt(size))
        axes = range(2 if len(shape) > 1 else 1, len(shape) + 1)
        neighbours += [_neighbours(part, axis) for axis in axes if shape[axis - 1] > 1]
    ordered = np.sort(x, axis=1)
    norm = (x**2).mean(axis=1)
    means, white = np.concatenate(channels, axis=1), np.concatenate(neighbours, axis=1)
    p = {
        "norm": np.minimum(1, 2 * np.minimum(scipy.special.chdtr(d, d * norm), scipy.special.chdtrc(d, d * norm))),
        "mean": 2 * scipy.special.ndtr(-np.abs(x.sum(axis=1)) / math.sqrt(d)),
        "marginals": _kolmogorov(ordered),
        **({"channels": _largest(means)} if means.shape[1] else {}),
        **({"whiteness": _largest(white)} if white.shape[1] else {}),
    }
    return Support(norm, _quantiles(ordered, QUANTILES), means, white, p)


def bank_support(bank: Bank, rows: Any) -> Support:
    """`support` of the latents of coefficient rows (n, M), a chunk at a time."""
    rows, shapes = scipy.sparse.csr_array(rows), inner_shapes(bank.prior)
    parts = [support(bank.inner(rows[some]), shapes) for some in chunks(rows.shape[0], bank.prior.dim)]
    return Support(
        norm=np.concatenate([part.norm for part in parts]),
        quantiles=np.concatenate([part.quantiles for part in parts]),
        channels=np.concatenate([part.channels for part in parts]),
        neighbours=np.concatenate([part.neighbours for part in parts]),
        p={name: np.concatenate([part.p[name] for part in parts]) for name in parts[0].p},
    )


def chunks(n: int, dim: int) -> list[slice]:
    """Slices of n latents of `dim` entries that may be looked at together; one at least."""
    at_once = max(1, _AT_ONCE // dim)
    return [slice(k, k + at_once) for k in range(0, max(n, 1), at_once)]


def inner_shapes(prior: Prior) -> dict[str, tuple[int, ...]]:
    """Shapes of the parts on the inner side: the prior's own where its maps keep them, else one part of D entries."""
    kept = sum(math.prod(shape) for shape in prior.shapes.values()) == prior.dim
    return dict(prior.shapes) if kept else {"inner": (prior.dim,)}


def recorded_prior(prior: Prior) -> RecordedPrior:
    """What a study records of a prior, so that a process without the model can propose."""
    return RecordedPrior(inner_shapes(prior), prior.dim, prior.fingerprint)


def _neighbours(part: Array, axis: int) -> Array:
    """Σ ξ_i ξ_{i+1} along an axis over √pairs, (n, 1): mean 0 and variance 1 for draws."""
    before = (slice(None),) * axis
    products = part[(*before, slice(1, None))] * part[(*before, slice(-1))]
    return np.asarray(products.reshape(len(part), -1).sum(axis=1, keepdims=True) / math.sqrt(products[0].size))


def _quantiles(ordered: Array, levels: Array) -> Array:
    """(n, m) quantiles of sorted rows (n, D), linear between neighbours."""
    at = np.asarray(levels) * (ordered.shape[1] - 1)
    low = np.floor(at).astype(int)
    first, second = ordered[:, low], ordered[:, np.minimum(low + 1, ordered.shape[1] - 1)]
    return np.asarray(first + (at - low) * (second - first))


def _kolmogorov(ordered: Array) -> Array:
    """p values of the Kolmogorov-Smirnov test of rows (n, D), sorted, against N(0, 1).

    Reference: Stephens, J. R. Statist. Soc. B 32 (1970), the correction for finite D.
    """
    d = ordered.shape[1]
    above = scipy.special.ndtr(ordered)
    above -= np.arange(d) / d  # over the step below; the step above is 1/d higher
    distance = np.maximum(above.max(axis=1), 1 / d - above.min(axis=1))
    return np.asarray(scipy.special.kolmogorov((math.sqrt(d) + 0.12 + 0.11 / math.sqrt(d)) * distance))


def _largest(z: Array) -> Array:
    """p values (n,) of the largest of m standard normal numbers (n, m), by size."""
    p = 2 * scipy.special.ndtr(-np.abs(z).max(axis=1))
    return np.asarray(-np.expm1(z.shape[1] * np.log1p(-np.minimum(p, 1 - 1e-16))))
