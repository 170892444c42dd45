"""The process of a search whose rows differ in more than their latents: earlier searches, conditions, and noise.

Each earlier search is a task, as the present one is. The covariance of two rows is the kernel of their latents and
conditions times the correlation of their tasks: ρ_s between source s and the present search, ρ_s ρ_t between two
sources, 1 within a task. Every ρ is chosen by marginal likelihood together with the kernel; 0 is among the candidates,
so a source that has nothing to say costs little. Each task has a mean of its own.

Notation as in `gaussian_process` and `condition_kernel`; tasks (n,) number of each row's task, 0 the present search; S
sources, ρ (S,); ν variance of the noise of a score, where it is known.

Source: Bonilla et al. 2007, Multi-task Gaussian process prediction (intrinsic coregionalisation), with one factor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy  # loads its submodules when they are first used

from surrogate_ax.arrays import Array
from surrogate_ax.generation.conditions import Choice
from surrogate_ax.policies.condition_kernel import (
    LENGTHS,
    LEVELS,
    SHARED,
    SWEEPS,
    ConditionKernel,
    ConditionRows,
    Product,
    raised,
)
from surrogate_ax.policies.gaussian_process import KERNELS, NOISES, Kernel, Posterior, judged
from surrogate_ax.policies.sources import Source

WIDE = (0.001, 0.03, 0.15, 0.4, 1.0, 2.5, 6.0, 15.0)  # τ² where scores vary
CORRELATIONS = (0.7, 0.0, 0.3, 0.5, 0.85, 0.95)  # ρ, the first to begin with


@dataclass(frozen=True)
class Rows:
    """What a process is fitted to: n rows.

    Args:
        gram: (n, n) cosines.
        y: (n,) scores, larger is better, those of each task by its own ranking.
        tasks: (n,) number of each row's task.
        t: (n, p) conditions.
        searched: what t means.
        noise: ν where it is known, "unknown" where scores vary nobody knows how much, None where they hardly do.
    """

    gram: Array
    y: Array
    tasks: Array
    t: Array
    searched: ConditionRows
    noise: float | Literal["unknown"] | None = None

    def some(self, numbers: Array) -> Rows:
        """Some of the rows."""
        return dataclasses.replace(
            self,
            gram=self.gram[np.ix_(numbers, numbers)],
            y=self.y[numbers],
            tasks=self.tasks[numbers],
            t=self.t[numbers],
        )

    @property
    def means(self) -> Array:
        """(n, tasks) 1 where a row is of a task."""
        return np.asarray(self.tasks[:, None] == np.unique(self.tasks)[None], dtype=np.float64)


def with_sources(gram: Array, scores: Array, t: Array, sources: Sequence[Source], searched: ConditionRows) -> Rows:
    """The rows of the present search, and behind them those of earlier ones.

    A condition that not all trials of a source have a value of is as if from elsewhere: a value of its own of a
    choice, the middle of an ordered one.

    Args:
        gram: (n, n) cosines of all rows.
        scores: (m,) of the present search, larger is better.
        t: (m, p) its conditions.
        sources: earlier searches.
        searched: what t means.
    """
    elsewhere = np.where(choices(searched), -1.0, 0.5)
    rows, tasks = [t], [np.zeros(len(scores), dtype=np.int64)]
    for number, source in enumerate(sources, start=1):
        known = searched.encode(source.conditions or [{}] * len(source.terms))
        rows.append(np.where(np.isfinite(known).all(axis=0), known, elsewhere))
        tasks.append(np.full(len(known), number))
    y = np.concatenate([scores, *(source.scores for source in sources)])
    return Rows(gram, y, np.concatenate(tasks), np.vstack(rows), searched)


@dataclass(frozen=True)
class Hyper:
    """What is chosen by marginal likelihood.

    Args:
        kernel: of latents.
        level: m, in variances of the kernel.
        scales: (p,) of the conditions.
        rho: (S,).
    """

    kernel: Kernel
    level: float
    scales: tuple[float, ...]
    rho: tuple[float, ...]

    def to_present(self, tasks: Array) -> Array:
        """(n,) correlation of each row's task with the present search."""
        return np.asarray(np.array([1.0, *self.rho])[tasks])

    def between(self, rows: Rows) -> Array:
        """(n, n) correlations of what rows differ in beside their latents."""
        same, factor = rows.tasks[:, None] == rows.tasks[None], self.to_present(rows.tasks)
        r = np.where(same, 1.0, factor[:, None] * factor[None])
        return np.asarray(r * self.beside(rows.searched)(rows.t, rows.t)) if len(rows.searched) else r

    def beside(self, searched: ConditionRows) -> ConditionKernel:
        """The kernel of conditions."""
        return ConditionKernel(choices(searched), self.scales)

    @property
    def raised(self) -> Kernel:
        """The kernel of latents with its level."""
        return raised(self.kernel, self.level)


def choices(searched: ConditionRows) -> tuple[bool, ...]:
    """(p,) which conditions are choices."""
    return tuple(isinstance(of, Choice) for of in searched.searched.values())


def fit_rows(rows: Rows) -> tuple[Product, Hyper]:
    """The process of largest marginal likelihood, one parameter after the other over its candidates.

    Args:
        rows: what is known.

    Returns:
        The process as the present search sees it, and what was chosen.
    """
    sources = int(rows.tasks.max(initial=0))
    of_task = [np.flatnonzero(rows.tasks == task) for task in range(sources + 1)]
    few = rows.some(np.concatenate([numbers[judged(rows.y[numbers])] for numbers in of_task]))
    conditions = choices(rows.searched)
    candidates: list[Sequence[Any]] = [KERNELS, LEVELS if conditions else (0.0,)]
    candidates += [SHARED if choice else LENGTHS for choice in conditions] + [CORRELATIONS] * sources

    def judge(chosen: tuple[Any, ...]) -> tuple[float, float]:
        hyper = _hyper(chosen, len(conditions))
        covariance = hyper.raised(few.gram) * hyper.between(few)
        return _evidence(covariance, hyper.kernel.variance, few)

    chosen = tuple(values[0] for values in candidates)
    best, noise = judge(chosen)
    for i in [*range(len(candidates))] * SWEEPS:
        for value in (each for each in candidates[i] if each != chosen[i]):
            tried = (*chosen[:i], value, *chosen[i + 1 :])
            found, quiet = judge(tried)
            if found > best:
                best, noise, chosen = found, quiet, tried
    hyper = _hyper(chosen, len(conditions))
    posterior = _condition_on(hyper, noise, rows)
    factor = hyper.to_present(rows.tasks)
    return Product(posterior, hyper.beside(rows.searched), rows.searched, rows.t, factor), hyper


def _hyper(chosen: tuple[Any, ...], conditions: int) -> Hyper:
    return Hyper(chosen[0], chosen[1], chosen[2 : 2 + conditions], chosen[2 + conditions :])


def _evidence(covariance: Array, variance: float, rows: Rows) -> tuple[float, float]:
    """The largest log marginal likelihood over τ², up to a constant, and that τ², the tasks' means at their best.

    The scale of the process is at its best for each τ²; where ν is known, it is what τ² makes of it.
    """
    y, means, found = rows.y, rows.means, list[float]()
    shares = _shares(rows.noise)
    for noise in shares:
        lower = np.linalg.cholesky(covariance + noise * variance * np.eye(len(y)))
        solved = scipy.linalg.solve_triangular(lower, np.column_stack([y, means]), lower=True, check_finite=False)
        white, columns = solved[:, 0], solved[:, 1:]
        left = white - columns @ np.linalg.lstsq(columns, white, rcond=None)[0]
        scale = _scale(float(left @ left) / len(y), noise * variance, rows.noise)
        misfit = float(left @ left) / scale / 2 + len(y) / 2 * np.log(scale)
        found.append(float(-misfit - np.log(np.diag(lower)).sum()))
    best = int(np.argmax(found))
    return found[best], shares[best]


def _shares(noise: float | str | None) -> tuple[float, ...]:
    """Candidates of τ²."""
    return NOISES if noise is None else WIDE


def _scale(best: float, noise: float, known: float | str | None) -> float:
    """The scale of the process: the best, or what makes its noise the known one."""
    return known / noise if isinstance(known, float) else max(best, 1e-12)


def _condition_on(hyper: Hyper, noise: float, rows: Rows) -> Posterior:
    """The process given all rows; its centre is the mean of the present search."""
    kernel, means = hyper.raised, rows.means
    covariance = kernel(rows.gram) * hyper.between(rows) + noise * hyper.kernel.variance * np.eye(len(rows.y))
    factor = scipy.linalg.cholesky(covariance, lower=True)
    weighted = scipy.linalg.cho_solve((factor, True), means)
    centre = np.linalg.solve(means.T @ weighted, weighted.T @ rows.y)
    left = rows.y - means @ centre
    alpha = scipy.linalg.cho_solve((factor, True), left)
    scale = _scale(float(left @ alpha) / len(rows.y), noise * hyper.kernel.variance, rows.noise)
    return Posterior(kernel, rows.gram, factor, alpha, float(centre[0]), scale)


@dataclass(frozen=True)
class Informed:
    """A process, and what proposals of it begin with.

    Args:
        product: the process.
        best: the score to improve on.
        standing: (n,) of all rows, in the present search.
        own: how many rows are of the present search; they stand first.
    """

    product: Product
    best: float
    standing: Array
    own: int


def informed(rows: Rows, unknown: int = 0) -> Informed:
    """The process given all rows.

    Args:
        rows: those of the present search first; scores of some of its last ones are not known.
        unknown: how many; the process takes them for evaluated, with the values that it expects.
    """
    own = int(np.count_nonzero(rows.tasks == 0))
    if unknown:
        known = np.delete(np.arange(len(rows.y)), np.arange(own - unknown, own))
        product, _ = fit_rows(rows.some(known))
        at = rows.gram[own - unknown : own][:, known]
        r = product.correlations(rows.t[own - unknown : own])
        y = rows.y.copy()
        y[own - unknown : own] = product.posterior.moments(product.posterior.kernel(at) * r)[0]
        rows = dataclasses.replace(rows, y=y)
    product, _ = fit_rows(rows)
    standing, first = rows.y.copy(), own if rows.noise is None else 0  # rows of which the process knows better
    if first < len(standing):
        mean, _ = product.posterior.at(np.eye(len(rows.y))[first:], product.correlations(rows.t[first:]))
        standing[first:] = mean
    return Informed(product, float(standing[:own].max()), standing, own)
