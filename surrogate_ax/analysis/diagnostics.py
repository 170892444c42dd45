"""Whether latents look like draws, a box is even, and a generator repeats itself.

Notation: ξ inner latents (n, D), N(0, I) under the prior; u points of the box, w (n, K) their weights.
Everything returns numbers; pictures of them are the command line's (`surrogate-ax inspect`). Which seeds carry the
score is in `seed_utility`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import Generator, Outputs
from surrogate_ax.latents.priors import Latents
from surrogate_ax.latents.space import SurrogateSpace


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


def stationarity(space: SurrogateSpace, *, rng: int = 0, pairs: int = 300) -> Stationarity:
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
