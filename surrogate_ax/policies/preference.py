"""What a person likes, learned from choices: a latent utility on the sphere of latents.

Nobody can say how much they like a picture, everybody can say which of a few they like better. The utility f is a
Gaussian process of the latents' cosines, f ~ N(0, s K), and who is shown some items picks one of them with probability

    P(w | S) = exp f_w / Σ_j∈S exp f_j

which is Bradley and Terry's model where there are two. Its posterior is approximated by Laplace's method: the f of
largest probability, found by Newton's steps, and the curvature there. Only cosines are needed, so no latent is made.

Notation: n rows; G (n, n) their cosines; K = k(G); s the scale: how sure the person is of what is liked; q choices, S
(q, n) which rows each was among; P (q, n) the probability of each row at each choice; W (n, n) the negative Hessian of
the log likelihood.
Reference: W. Chu and Z. Ghahramani, Preference learning with Gaussian processes, ICML 2005; C. E. Rasmussen and
C. K. I. Williams, Gaussian Processes for Machine Learning, 2006, sections 3.4 and 3.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, softmax

from surrogate_ax.arrays import Array
from surrogate_ax.policies.gaussian_process import Kernel

KERNELS = (Kernel(0.5, 0.8), Kernel(0.0, 0.5), Kernel(0.0, 0.8), Kernel(0.0, 1.2), Kernel(1.0, 0.8))
SCALES = (4.0, 1.0, 16.0, 64.0)  # s, the first to begin with
JUDGED, LEARNT = 24, 150  # latest choices by which k and s are judged, and those that f is learned from, at most
STEPS, SETTLED = 30, 1e-6  # Newton's, at most; the gain of a step after which there are no more
HALVINGS = 12  # of a step that gains nothing


@dataclass(frozen=True)
class Preference:
    """One item that was liked better than others.

    Args:
        winner: number of its row.
        losers: numbers of the others' rows.
    """

    winner: int
    losers: tuple[int, ...]

    @property
    def rows(self) -> tuple[int, ...]:
        """All of them, the winner first."""
        return (self.winner, *self.losers)


def among(preferences: Sequence[Preference], rows: Array) -> list[Preference]:
    """The preferences between some rows, by their places among these.

    Args:
        preferences: by numbers of rows.
        rows: numbers of those that are kept.
    """
    if not preferences:
        return []
    place = {int(row): i for i, row in enumerate(rows)}
    kept = (
        Preference(place[each.winner], tuple(place[row] for row in each.losers if row in place))
        for each in preferences
        if each.winner in place
    )
    return [each for each in kept if each.losers]


def utilities(gram: Array, preferences: Sequence[Preference]) -> Array:
    """f (n,) of every row: larger is liked better, 0 what nothing is known of.

    Args:
        gram: (n, n) cosines of the rows.
        preferences: between them.
    """
    preferences = preferences[-LEARNT:]
    if not preferences:
        return np.zeros(len(gram))
    kernel, scale = _most_likely(gram, preferences[-JUDGED:])
    rows, choices = _numbered(preferences)
    covariance = _covariance(kernel, scale, gram)
    weights, _ = _laplace(covariance[np.ix_(rows, rows)], choices)
    return np.asarray(covariance[:, rows] @ weights)


def _most_likely(gram: Array, preferences: Sequence[Preference]) -> tuple[Kernel, float]:
    """The kernel of largest evidence at the first scale, and the scale of largest evidence with it."""
    rows, choices = _numbered(preferences)
    cosine = gram[np.ix_(rows, rows)]

    def evidence(kernel: Kernel, scale: float) -> float:
        return _laplace(_covariance(kernel, scale, cosine), choices)[1]

    kernel = max(KERNELS, key=lambda each: evidence(each, SCALES[0]))
    return kernel, max(SCALES, key=lambda each: evidence(kernel, each))


class _Choices(NamedTuple):
    """q choices among m rows: S (q, m), and the winners' numbers (q,)."""

    among: Array
    winners: Array


def _numbered(preferences: Sequence[Preference]) -> tuple[Array, _Choices]:
    """Numbers (m,) of the rows that were chosen among, and the choices by places in these."""
    rows = np.unique(np.concatenate([each.rows for each in preferences])).astype(int)
    among = np.zeros((len(preferences), len(rows)), dtype=bool)
    for chosen, each in zip(among, preferences, strict=True):
        chosen[np.searchsorted(rows, each.rows)] = True
    return rows, _Choices(among, np.searchsorted(rows, [each.winner for each in preferences]))


def _covariance(kernel: Kernel, scale: float, cosine: Array) -> Array:
    return np.asarray(scale / kernel.variance * kernel(cosine))


def _laplace(covariance: Array, choices: _Choices) -> tuple[Array, float]:
    """K⁻¹ f (m,) at the most probable f, and the log evidence.

    Args:
        covariance: (m, m) K of f.
        choices: among the m rows.
    """
    m = len(covariance)
    weights, f = np.zeros(m), np.zeros(m)
    value = _log_likelihood(f, choices)
    for _ in range(STEPS):
        gradient, curvature = _derivatives(f, choices)
        aim = np.linalg.solve(np.eye(m) + curvature @ covariance, curvature @ f + gradient)
        step, before = 1.0, value
        for _ in range(HALVINGS):
            tried = weights + step * (aim - weights)
            moved = covariance @ tried
            value = _log_likelihood(moved, choices) - float(tried @ moved) / 2
            if value >= before:
                weights, f = tried, moved
                break
            step /= 2
        if value - before < SETTLED:
            break
    value = _log_likelihood(f, choices) - float(weights @ f) / 2
    _, curvature = _derivatives(f, choices)
    return weights, float(value - np.linalg.slogdet(np.eye(m) + curvature @ covariance)[1] / 2)


def _log_likelihood(f: Array, choices: _Choices) -> float:
    return float((f[choices.winners] - logsumexp(_felt(f, choices), axis=1)).sum())


def _derivatives(f: Array, choices: _Choices) -> tuple[Array, Array]:
    """Gradient (m,) and negative Hessian W = diag(Σ P) - Pᵀ P of the log likelihood."""
    p = softmax(_felt(f, choices), axis=1)
    expected = p.sum(axis=0)
    wins = np.bincount(choices.winners, minlength=len(f))
    return wins - expected, np.diag(expected) - p.T @ p


def _felt(f: Array, choices: _Choices) -> Array:
    """f (q, m) of the rows of each choice, -inf of the others."""
    return np.where(choices.among, f, -np.inf)
