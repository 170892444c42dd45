"""Whether latents look like draws, a box is even, and a generator repeats itself.

Notation: ξ inner latents (n, D), N(0, I) under the prior; u points of the box, w (n, K) their weights.
Everything returns numbers; pictures of them are the command line's (`surrogate-ax inspect`). Which seeds carry the
score is in `seed_utility`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # loads its submodules when they are first used
import torch
from torch import Tensor

from surrogate_ax.bank import Bank
from surrogate_ax.errors import ArgumentError, ShapeError, UnsupportedError
from surrogate_ax.generator import Condition, Generator, Outputs
from surrogate_ax.priors import Latents, Prior
from surrogate_ax.space import SurrogateSpace

Array = np.ndarray
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
    return Support(norm, np.quantile(ordered, QUANTILES, axis=1).T, means, white, p)


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


@dataclass(frozen=True)
class Stationarity:
    """Pairs of points of a box: whether nearness means the same everywhere.

    Args:
        step: (n,) their distance in u.
        weights: (n,) cosine of their weights, seen as independent seeds: w·w' with orthogonal axes.
        latents: (n,) cosine of their latents, measured.
        condition: (n,) of the map from u to the latent's direction at the first point of each pair: how much faster the
            latent turns along one direction of the box than along another.
    """

    step: Array
    weights: Array
    latents: Array
    condition: Array

    @property
    def deviation(self) -> float:
        """Root mean square of the cosines' difference; about 1/√D for independent seeds."""
        return float(np.sqrt(np.mean((self.latents - self.weights) ** 2)))


def stationarity(space: SurrogateSpace, *, rng: int, pairs: int = 300) -> Stationarity:
    """Compare distances in the box, of weights and of latents at random points.

    Args:
        space: the box; fresh draws are left out of it.
        rng: seed of the points.
        pairs: n.

    Reference: arXiv 2509.23800 (stationarity of surrogate spaces).
    """
    random = np.random.default_rng(rng)
    u = random.uniform(size=(pairs, space.axes - 1))
    direction = random.standard_normal(u.shape)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    far = np.abs(u + direction * random.uniform(0, 1, (pairs, 1)))
    far = np.clip(1 - np.abs(1 - far), 0, 1)  # reflected at the faces
    w = space.chart.weights(u), space.chart.weights(far)
    x, y = (space.bank.inner(weights @ space.frame).double().cpu() for weights in w)
    latents = torch.nn.functional.cosine_similarity(x, y, dim=1).numpy()
    return Stationarity(np.linalg.norm(far - u, axis=1), (w[0] * w[1]).sum(axis=1), latents, _condition(space, u))


@dataclass(frozen=True)
class Determinism:
    """Largest differences of outputs that should be equal, over the outputs' own standard deviation.

    Args:
        repeat: the same batch twice.
        alone: items one by one against the batch: kernels differ in the last bits between sizes.
        order: the batch turned round.
    """

    repeat: float
    alone: float
    order: float


def determinism(generator: Generator, z: Latents, conditions: Sequence[Condition] | None = None) -> Determinism:
    """Generate the same few latents again, alone and in another order.

    Args:
        generator: the generator; its outputs must be numbers or pictures.
        z: named parts (n, *shape), n at least 2.
        conditions: n mappings; none if left out.

    Raises:
        ArgumentError: fewer than two latents.
        UnsupportedError: outputs that are not numbers, or an item that failed.
    """
    n = len(next(iter(z.values())))
    if n < 2:
        raise ArgumentError(f"z: expected at least two latents to compare, got n = {n}.")
    conditions = [{}] * n if conditions is None else list(conditions)

    def outputs(rows: Sequence[int]) -> list[Array]:
        picked = {name: part[list(rows)] for name, part in z.items()}
        generated = generator.generate(picked, [conditions[i] for i in rows])
        if generated.failed:
            raise UnsupportedError(f"generator: an item failed, so nothing can be compared: {generated.failed}.")
        return numbers(generated.outputs)

    first, items = outputs(range(n)), list(range(n))
    scale = float(np.std(np.concatenate([output.ravel() for output in first]))) or 1.0
    turned = outputs(items[::-1])[::-1]
    alone = [outputs([i])[0] for i in items]
    return Determinism(*(_largest_difference(first, other) / scale for other in (outputs(items), alone, turned)))


def numbers(outputs: Outputs) -> list[Array]:
    """Each output as float64 numbers.

    Raises:
        UnsupportedError: an output that is neither a number, an array, a tensor nor a picture.
    """
    found = []
    for output in outputs:
        given = output.detach().cpu().double().numpy() if isinstance(output, Tensor) else output
        try:
            found.append(np.asarray(given, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise UnsupportedError(f"outputs: expected numbers or pictures, got {type(output).__name__}.") from error
    return found


def _neighbours(part: Array, axis: int) -> Array:
    """Σ ξ_i ξ_{i+1} along an axis over √pairs, (n, 1): mean 0 and variance 1 for draws."""
    length = part.shape[axis]
    products = np.take(part, range(1, length), axis) * np.take(part, range(length - 1), axis)
    flat = products.reshape(len(part), -1)
    return np.asarray(flat.sum(axis=1, keepdims=True) / math.sqrt(flat.shape[1]))


def _kolmogorov(ordered: Array) -> Array:
    """p values of the Kolmogorov-Smirnov test of rows (n, D), sorted, against N(0, 1).

    Reference: Stephens, J. R. Statist. Soc. B 32 (1970), the correction for finite D.
    """
    d = ordered.shape[1]
    cdf = scipy.special.ndtr(ordered)
    steps = np.arange(d + 1) / d
    distance = np.maximum((steps[1:] - cdf).max(axis=1), (cdf - steps[:-1]).max(axis=1))
    return np.asarray(scipy.special.kolmogorov((math.sqrt(d) + 0.12 + 0.11 / math.sqrt(d)) * distance))


def _largest(z: Array) -> Array:
    """p values (n,) of the largest of m standard normal numbers (n, m), by size."""
    p = 2 * scipy.special.ndtr(-np.abs(z).max(axis=1))
    return np.asarray(-np.expm1(z.shape[1] * np.log1p(-np.minimum(p, 1 - 1e-16))))


def _condition(space: SurrogateSpace, u: Array, step: float = 1e-4) -> Array:
    """Condition numbers (n,) of the derivative of the unit latent in u, by central differences."""
    middle = np.clip(u, 2 * step, 1 - 2 * step)
    shifts = [step * axis for axis in np.eye(u.shape[1])]
    change = np.stack([space.chart.weights(middle + s) - space.chart.weights(middle - s) for s in shifts], axis=1)
    metric = space.bank.gram(space.frame)  # (K, K): cosines of the axes
    values = np.linalg.eigvalsh(change @ metric @ change.transpose(0, 2, 1))
    return np.asarray(np.sqrt(values[:, -1] / np.maximum(values[:, 0], 1e-300)))


def _largest_difference(a: Sequence[Array], b: Sequence[Array]) -> float:
    shapes = [(x.shape, y.shape) for x, y in zip(a, b, strict=True) if x.shape != y.shape]
    return math.inf if shapes else float(max(np.abs(x - y).max() for x, y in zip(a, b, strict=True)))
