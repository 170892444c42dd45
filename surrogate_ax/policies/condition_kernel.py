"""A Gaussian process of latents and searched call arguments: the kernel of latents times one of conditions.

    k(x, c; x', c') = (k(cos) + m) Π_j r_j(c_j, c'_j)

Where r falls, latents are worth something else under another condition; m lets conditions matter for all latents alike.
An ordered condition lies in [0, 1], its r = exp(-(t - t')² / (2 l²)); between two of a choice's values r = ρ. l = ∞ and
ρ = 1 are among the candidates, so a condition that does not matter costs little.
Notation as in `gaussian_process`; p conditions; t (n, p) their values, as numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from surrogate_ax.arrays import Array
from surrogate_ax.generation.conditions import Choice, Range, Searched
from surrogate_ax.policies.gaussian_process import (
    KERNELS,
    Kernel,
    Posterior,
    condition_on,
    evidence,
    fit,
    judged,
    log_improvement,
)
from surrogate_ax.policies.history import History

LENGTHS = (0.5, np.inf, 1.0, 0.25)  # l, the first to begin with
SHARED = (0.7, 1.0, 0.9, 0.4, 0.1)  # ρ
LEVELS = (1.0, 0.0, 8.0)  # m, in variances of the kernel of latents
SWEEPS = 2  # over all of a kernel's parameters, one at a time
LISTED = 17  # values of an ordered condition that are all tried, at most
STEPS = (0.03, 0.1)  # of an ordered condition with more values


@dataclass(frozen=True)
class ConditionRows:
    """Searched conditions as rows of numbers t (p,): ordered ones in [0, 1], choices by the number of their value.

    Args:
        searched: by name.
    """

    searched: Searched

    def __len__(self) -> int:
        return len(self.searched)

    def encode(self, conditions: Sequence[Mapping[str, Any]]) -> Array:
        """t (n, p), NaN where a condition is missing or is none of a choice's values."""
        rows = [[_number(of, condition.get(name)) for name, of in self.searched.items()] for condition in conditions]
        return np.array(rows, dtype=np.float64).reshape(len(rows), len(self))

    def decode(self, t: Array) -> dict[str, Any]:
        """The condition of a row (p,), of values that the hosts' parameters have."""
        return {name: _value(of, float(x)) for (name, of), x in zip(self.searched.items(), t, strict=True)}

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """t (n, p), every value of a condition alike."""
        t = rng.random((n, len(self)))
        for j, (of, scale) in enumerate(zip(self.searched.values(), self._scales, strict=True)):
            if size := _size(of):
                t[:, j] = np.floor(t[:, j] * size) / scale
        return t

    def placed(self, history: History) -> History:
        """The trials that have a value of every condition; those from elsewhere may not."""
        if not len(self):
            return history
        conditions = history.conditions or [{}] * len(history.terms)
        return history.rows(np.flatnonzero(np.isfinite(self.encode(conditions)).all(axis=1)))

    def nearby(self, j: int, t: Array) -> Array:
        """Values (m, k) of condition j to try for rows t (m, p), first each's own: all, or a grid and small steps."""
        of, now = list(self.searched.values())[j], t[:, j : j + 1]
        size = _size(of)
        if isinstance(of, Choice) or 0 < size <= LISTED:
            return np.hstack([now, np.tile(np.arange(size) / self._scales[j], (len(t), 1))])
        steps = np.array([*STEPS, *(-step for step in STEPS)])
        tried = np.hstack([np.tile(np.linspace(0, 1, 9), (len(t), 1)), np.clip(now + steps, 0, 1)])
        return np.hstack([now, np.round(tried * (size - 1)) / (size - 1) if size else tried])

    @cached_property
    def _scales(self) -> list[float]:
        """What the number of a value is divided by."""
        return [1.0 if isinstance(of, Choice) else max(_size(of) - 1, 1) for of in self.searched.values()]


@dataclass(frozen=True)
class ConditionKernel:
    """Π_j r_j.

    Args:
        choices: (p,) which conditions are choices.
        scales: (p,) ρ of these, l of the others.
    """

    choices: tuple[bool, ...]
    scales: tuple[float, ...]

    def __call__(self, t: Array, other: Array) -> Array:
        """Correlations (m, n) of rows t (m, p) and others (n, p)."""
        r = np.ones((len(t), len(other)))
        for j, (choice, scale) in enumerate(zip(self.choices, self.scales, strict=True)):
            apart = t[:, j : j + 1] - other[None, :, j]
            r *= np.where(apart == 0, 1.0, scale) if choice else np.exp(-((apart / scale) ** 2) / 2)
        return r


@dataclass(frozen=True)
class Product:
    """A process of latents and conditions, given a history.

    Args:
        posterior: of latents.
        kernel: of conditions.
        rows: what t means.
        t: (n, p) conditions of the evaluated rows.
        factor: (n,) by which correlations with the evaluated rows are multiplied, as those with earlier searches.
    """

    posterior: Posterior
    kernel: ConditionKernel
    rows: ConditionRows
    t: Array
    factor: Array | float = 1.0

    def correlations(self, t: Array) -> Array:
        """r (m, n) of rows t (m, p) with the evaluated."""
        return self.kernel(t, self.t) * self.factor

    def improve(self, c: Array, t: Array, best: float) -> Array:
        """t (m, p) of the largest expected improvement over `best` at c (m, n), changed one condition at a time."""
        k, t = self.posterior.kernel(c @ self.posterior.gram), t.copy()
        for j in range(t.shape[1]):
            tried = self.rows.nearby(j, t)
            m, count = tried.shape
            each = np.repeat(t, count, axis=0)
            each[:, j] = tried.ravel()
            mean, sd = self.posterior.moments(np.repeat(k, count, axis=0) * self.correlations(each))
            value = log_improvement(mean, sd, best)[0].reshape(m, count)
            t[:, j] = tried[np.arange(m), value.argmax(axis=1)]
        return t


def fit_product(gram: Array, y: Array, t: Array, rows: ConditionRows) -> Product:
    """The process of largest marginal likelihood, one parameter after the other over its candidates.

    Args:
        gram: (n, n) cosines of the evaluated rows.
        y: (n,) scores, larger is better.
        t: (n, p) their conditions.
        rows: what t means.
    """
    some = judged(y)
    cosine, some_t, centred = gram[np.ix_(some, some)], t[some], y[some] - float(y.mean())
    choices = tuple(isinstance(of, Choice) for of in rows.searched.values())

    def judge(kernel: Kernel, level: float, *scales: float) -> tuple[float, float]:
        r = ConditionKernel(choices, scales)(some_t, some_t)
        return evidence(raised(kernel, level)(cosine) * r, kernel.variance, centred)

    candidates: list[Sequence[Any]] = [KERNELS, LEVELS, *(SHARED if choice else LENGTHS for choice in choices)]
    chosen = tuple(values[0] for values in candidates)
    best, noise = judge(*chosen)
    for i in [*range(len(candidates))] * SWEEPS:
        for value in (each for each in candidates[i] if each != chosen[i]):
            tried = (*chosen[:i], value, *chosen[i + 1 :])
            found, quiet = judge(*tried)
            if found > best:
                best, noise, chosen = found, quiet, tried
    kernel, level, *scales = chosen
    beside = ConditionKernel(choices, tuple(scales))
    return Product(condition_on(raised(kernel, level), noise, gram, y, beside(t, t)), beside, rows, t)


def expected(gram: Array, scores: Array, t: Array, searched: ConditionRows) -> Array:
    """Scores (p,) that the process expects of the last rows, of which none are known.

    Args:
        gram: (n + p, n + p) cosines.
        scores: (n,) of the first rows.
        t: (n + p, q) conditions of all rows.
        searched: what t means.
    """
    n = len(scores)
    if len(searched):
        product = fit_product(gram[:n, :n], scores, t[:n], searched)
        posterior, r = product.posterior, product.correlations(t[n:])
    else:
        posterior, r = fit(gram[:n, :n], scores), np.ones((len(gram) - n, n))
    return posterior.moments(posterior.kernel(gram[n:, :n]) * r)[0]


def raised(kernel: Kernel, level: float) -> Kernel:
    """A kernel with a level, given in its variances."""
    return dataclasses.replace(kernel, level=level * kernel.variance)


def _size(of: Range | Choice) -> int:
    """How many values a condition has, 0 for a continuum."""
    if isinstance(of, Choice):
        return len(of.values)
    step = of.step or (1 if of.integer else None)
    if step is None or of.log:
        return 0
    low, high, each = (Fraction(str(number)) for number in (of.low, of.high, step))
    return int((high - low) / each) + 1


def _number(of: Range | Choice, value: Any) -> float:
    if isinstance(of, Choice):
        return float(of.values.index(value)) if value in of.values else np.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or (of.log and value <= 0):
        return np.nan
    low, high, at = np.log([of.low, of.high, value]) if of.log else (of.low, of.high, value)
    return float((at - low) / (high - low))


def _value(of: Range | Choice, t: float) -> Any:
    if isinstance(of, Choice):
        return of.values[round(t)]
    if size := _size(of):  # as written: 0.3 is three times 0.1
        low, high = Fraction(str(of.low)), Fraction(str(of.high))
        exact = low + (high - low) / (size - 1) * round(t * (size - 1))
        return int(exact) if of.integer else float(exact)
    at = of.low * (of.high / of.low) ** t if of.log else of.low + t * (of.high - of.low)
    value = min(max(at, of.low), of.high)
    return round(value) if of.integer else float(value)
