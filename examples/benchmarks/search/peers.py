"""Other ways to spend the same budget, each written plainly: generators that yield latents and are sent values.

All begin with the same plain draws in a repeat where they begin with draws at all, rank rows by the objective's own
order (so constraints and two objectives work for every one), and keep |z|² at D, the norm of a draw.
x latents float32 (n, D), D = 768; ε ~ N(0, I); N evaluations in all; settings were chosen on the development half.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

import cmaes
import numpy as np
from lockstep import Asking
from objectives import Task
from pool import starts

from surrogate_ax.latents.charts import KnotheRosenblatt

Array = np.ndarray
D = 768
Rows = tuple[Array, dict[str, Array]]


def on_sphere(x: Array) -> Array:
    """Rows scaled to norm √D."""
    return np.asarray(x * (np.sqrt(D) / np.linalg.norm(x, axis=-1, keepdims=True)))


def ask(x: Array, history: Rows | None = None) -> Generator[Array, Mapping[str, Array], Rows]:
    """Have rows evaluated, and put them behind what was told."""
    values = yield x
    if history is None:
        return x, dict(values)
    return np.vstack([history[0], x]), {
        name: np.concatenate([history[1][name], column]) for name, column in values.items()
    }


def fixed_cmaes(task: Task, repeat: int, n: int, *, seeds: int = 8, sigma: float = 0.4, size: int = 5) -> Asking:
    """The surrogate space of fixed random seeds with CMA-ES on u in [0,1]^(K-1) (arXiv 2509.23800)."""
    axes = starts(repeat)[:seeds]
    history = yield from ask(axes)
    bounds = np.tile([0.0, 1.0], (seeds - 1, 1))
    es = cmaes.CMA(np.full(seeds - 1, 0.5), sigma, bounds=bounds, population_size=size, seed=repeat)
    while len(history[0]) < n:
        u = np.array([es.ask() for _ in range(size)])[: n - len(history[0])]
        history = yield from ask(KnotheRosenblatt().weights(np.clip(u, 0, 1)) @ axes, history)
        if len(u) == size:
            es.tell(list(zip(u, _places(task, history)[-size:], strict=True)))


def sep_cmaes(task: Task, repeat: int, n: int, *, sigma: float = 0.5, size: int = 10) -> Asking:
    """CMA-ES with a diagonal covariance on the latent itself; what is evaluated is brought back to norm √D."""
    es = cmaes.SepCMA(np.zeros(D), sigma, population_size=size, seed=repeat)
    history: Rows | None = None
    while history is None or len(history[0]) < n:
        raw = np.array([es.ask() for _ in range(size)])
        done = 0 if history is None else len(history[0])
        history = yield from ask(on_sphere(raw)[: n - done], history)
        if done + size <= n:
            es.tell(list(zip(raw, _places(task, history)[-size:], strict=True)))


def recombination(
    task: Task, repeat: int, n: int, *, start: int = 24, parents: int = 6, size: int = 8, b: float = 0.6
) -> Asking:
    """The best latents so far, combined with log-rank weights, and children √(1-b²) centre + b ε; b follows success."""
    rng = np.random.default_rng(repeat)
    history = yield from ask(starts(repeat)[:start])
    weights = np.log(parents + 0.5) - np.log(np.arange(1, parents + 1))
    while len(history[0]) < n:
        order = task.objective.rank(history[1])
        centre = on_sphere(weights @ history[0][order[:parents]])
        count, best = min(size, n - len(history[0])), order[0]
        history = yield from ask(np.sqrt(1 - b**2) * centre + b * rng.standard_normal((count, D)), history)
        order = task.objective.rank(history[1])
        better = np.flatnonzero(order == best)[0] / count  # children that passed the best before them
        b = float(np.clip(b * np.exp(0.8 * (better - 0.2)), 0.1, 0.9))


def zero_order(task: Task, repeat: int, n: int, *, start: int = 1, size: int = 8, b: float = 0.6) -> Asking:
    """Zero-order search of Ma et al. 2025 (arXiv 2501.09732): the best of a pivot's neighbours is the next pivot."""
    rng = np.random.default_rng(repeat)
    history = yield from ask(starts(repeat)[:start])
    pivot = int(task.objective.rank(history[1])[0])
    while len(history[0]) < n:
        done = len(history[0])
        noise = rng.standard_normal((min(size, n - done), D))
        history = yield from ask(np.sqrt(1 - b**2) * history[0][pivot] + b * noise, history)
        pivot = int(task.objective.rank(history[1])[0])


def hill_climbing(task: Task, repeat: int, n: int, *, start: int = 16, size: int = 4, b: float = 0.5) -> Asking:
    """From the best draw, steps with a width that follows the one-fifth rule."""
    rng = np.random.default_rng(repeat)
    history = yield from ask(starts(repeat)[:start])
    while len(history[0]) < n:
        best = int(task.objective.rank(history[1])[0])
        noise = rng.standard_normal((min(size, n - len(history[0])), D))
        history = yield from ask(np.sqrt(1 - b**2) * history[0][best] + b * noise, history)
        won = int(task.objective.rank(history[1])[0]) != best
        b = float(np.clip(b * (1.2 if won else 1.2**-0.25), 0.05, 0.95))


def evosearch(
    task: Task, repeat: int, n: int, *, start: int = 24, size: int = 8, elites: int = 3, b: float = 0.5
) -> Asking:
    """Evolution in the manner of EvoSearch (arXiv 2505.17618): elites stay, parents win tournaments, noise mutates."""
    rng = np.random.default_rng(repeat)
    history = yield from ask(starts(repeat)[:start])
    population = np.arange(start)
    while len(history[0]) < n:
        done = len(history[0])
        standing = np.argsort(task.objective.rank(history[1]))
        population = population[np.argsort(standing[population])]
        rivals = population[rng.integers(0, len(population), (min(size, n - done), 3))]
        parents = rivals[np.arange(len(rivals)), standing[rivals].argmin(axis=1)]
        noise = rng.standard_normal((len(parents), D))
        history = yield from ask(np.sqrt(1 - b**2) * history[0][parents] + b * noise, history)
        population = np.concatenate([population[:elites], np.arange(done, len(history[0]))])


def _places(task: Task, history: Rows) -> Array:
    """Standing of every row, 0 for the best: a loss."""
    return np.argsort(task.objective.rank(history[1])).astype(np.float64)


PEERS: dict[str, Any] = {
    "fixed seeds + CMA-ES": fixed_cmaes,
    "recombination ES": recombination,
    "zero-order": zero_order,
    "hill climbing": hill_climbing,
    "sep-CMA-ES": sep_cmaes,
    "EvoSearch": evosearch,
}
