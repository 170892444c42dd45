"""Which seeds carry the score, which to replace, and how many seeds a latent is made of.

Notation: c (n, M) coefficient rows over M seeds; β (M,) their slopes; y (n,) normal scores of the trials' ranks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # loads its submodules when they are first used

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.priors import Prior
from surrogate_ax.latents.seeds import Seed
from surrogate_ax.policies.history import History


@dataclass(frozen=True)
class SeedUtility:
    """What the seeds of a study do for its ranking.

    The normal scores of the trials' ranks are explained by a line in the coefficients, g(ξ) = a + Σ c_m β_m, which is
    exact for a score linear in ξ. β has the prior N(0, τ²); τ and the noise are those of greatest evidence.

    Args:
        seeds: M seeds that at least two trials share.
        slope: (M,) posterior mean of β: standard deviations of the ranking for a whole unit of the seed.
        error: (M,) posterior standard deviation.
        best: (M,) share c² of each seed in the best trial.
        mean: (M,) share averaged over the trials.
        r2: share of the ranking's variance that is explained, each trial left out in turn; below 0 means nothing is.
        trials: how many trials it was learnt from.
    """

    seeds: Sequence[Seed]
    slope: Array
    error: Array
    best: Array
    mean: Array
    r2: float
    trials: int

    @property
    def contrast(self) -> Array:
        """(M,) how many standard errors a seed stands above the mean of the seeds."""
        return np.asarray((self.slope - self.slope.mean()) / np.maximum(self.error, 1e-12))

    @property
    def carrying(self) -> list[int]:
        """Seeds that carry the score, best first: more than two errors above the mean. None when r2 <= 0."""
        return [int(m) for m in np.argsort(-self.slope) if self.r2 > 0 and self.contrast[m] > 2]

    @property
    def replaceable(self) -> list[int]:
        """Seeds to replace, worst first: more than two errors below the mean. None when r2 <= 0."""
        return [int(m) for m in np.argsort(self.slope) if self.r2 > 0 and self.contrast[m] < -2]


def seed_utility(history: History, prior: Prior) -> SeedUtility:
    """Which seeds carry the score, and which to replace.

    Args:
        history: ended trials; those without values are left out, as are seeds that only one trial has.
        prior: the law of the latents.

    Raises:
        ArgumentError: fewer than four trials share seeds.
    """
    bank = history.bank(prior)
    finite = (
        np.isfinite(history.objective.losses(history.values)).all(axis=1) if len(history.terms) else np.zeros(0, bool)
    )
    everything = scipy.sparse.csc_array(bank.rows(history.terms))[finite]
    shared = np.flatnonzero(np.diff(scipy.sparse.csc_array(everything).indptr) >= 2)
    c = everything[:, shared].toarray()
    rows = np.flatnonzero(c.any(axis=1))
    if len(rows) < 4 or not len(shared):
        raise ArgumentError(f"history: expected at least four successful trials that share seeds, got {len(rows)}.")
    place = np.empty(len(history.terms))
    place[history.order] = np.arange(len(history.terms))
    standing = np.argsort(np.argsort(place[finite][rows]))
    y = -scipy.stats.norm.ppf((standing + 0.5) / len(rows))
    x = c[rows]
    slope, error, r2 = _line(x, y)
    shares = x**2
    return SeedUtility([bank.seeds[m] for m in shared], slope, error, shares[np.argmax(y)], shares.mean(0), r2, len(y))


def effective_seeds(rows: Any) -> Array:
    """How many seeds a latent is made of: 1 / Σ s² of the shares s = c²/Σc², (n,).

    Args:
        rows: coefficient rows (n, M), sparse or dense, or weights (n, K).
    """
    squares = scipy.sparse.csr_array(rows, dtype=np.float64).power(2)
    return np.asarray(squares.sum(axis=1) ** 2 / squares.power(2).sum(axis=1))


def _line(x: Array, y: Array) -> tuple[Array, Array, float]:
    """Slopes (M,) of a Bayesian line y = a + xβ + noise, their errors, and R² with each row left out."""
    centred = x - x.mean(axis=0)
    y = (y - y.mean()) / y.std()
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values, turned = np.maximum(values, 0), vectors.T @ y
    best: tuple[float, float, float] = (-math.inf, 1.0, 1.0)
    for ratio in np.geomspace(1e-3, 1e3, 31):  # τ²/σ²; σ² follows in closed form
        spread = 1 + ratio * values
        noise = float(np.mean(turned**2 / spread))
        evidence = -0.5 * (len(y) * math.log(noise) + float(np.log(spread).sum()))
        best = max(best, (evidence, float(ratio), noise))
    _, ratio, noise = best
    precision = np.eye(x.shape[1]) / ratio + centred.T @ centred
    covariance = np.linalg.inv(precision)
    slope = covariance @ centred.T @ y
    leverage = np.einsum("nm,ml,nl->n", centred, covariance, centred) + 1 / len(y)
    left_out = (y - centred @ slope) / (1 - np.minimum(leverage, 1 - 1e-9))
    mean_left_out = y * len(y) / (len(y) - 1)  # what the mean of the others misses
    r2 = 1 - float((left_out**2).sum() / (mean_left_out**2).sum())
    return slope, np.sqrt(noise * np.diag(covariance)), r2
