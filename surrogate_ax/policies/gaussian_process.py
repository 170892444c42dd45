"""A Gaussian process on the sphere of latents, which sees their cosines only.

Latents in high dimension lie on a sphere, and a kernel of their cosine needs their Gram matrix only. A point is a unit
combination x = Σ c_i x_i of the latents of ended trials; its cosines with all of them are G c, and the gradient of
anything that depends on those cosines is again such a combination. So no latent is ever made here. What else trials
differ in (`condition_kernel`) comes in as correlations, by which covariances are multiplied.

Notation: n evaluated rows; G (n, n) their cosines; y (n,) scores, larger is better; c (m, n) coefficients of m points,
with c G cᵀ = 1; k(cos) = a · 8 cos + (1 - a) exp((cos - 1) / l²) the kernel, l the length scale, τ² the noise; r (m, n)
or (n, n) correlations of what points differ in beside their latents, 1 where that is nothing; L (n, n) the Cholesky
factor of K, the covariance of the scores.
Sources: C. E. Rasmussen and C. K. I. Williams, Gaussian Processes for Machine Learning, 2006, algorithm 2.1; log
expected improvement: S. Ament et al., Unexpected improvements to expected improvement, NeurIPS 2023 (2310.20708).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import scipy  # loads its submodules when they are first used

from surrogate_ax.arrays import Array

SLOPE = 8.0  # weight of the linear part of the kernel
SHARES = (0.0, 0.5, 1.0)  # a
LENGTHS = (0.35, 0.5, 0.8, 1.2, 1.6)  # l
NOISES = (0.001, 0.03, 0.15)  # τ²
JUDGED = 96  # rows by which kernels are judged, at most
STEPS = 24  # great-circle moves of a proposal
STEP = 0.3  # angle of the first move
FAR = -300.0  # z below which 1 + z Φ(z) / φ(z) is read off a series, as its terms cancel
SURE, MOST = 26.5, 35.0  # z from which a point stays where it is, and above which a move does not bring it


@dataclass(frozen=True)
class Kernel:
    """k(cos) = a · 8 cos + (1 - a) exp((cos - 1) / l²) + m.

    Args:
        share: a, of the linear part.
        length: l.
        level: m, variance that all latents have in common.
    """

    share: float
    length: float
    level: float = 0.0

    @property
    def variance(self) -> float:
        """k(1) - m."""
        return self.share * SLOPE + 1 - self.share

    @property
    def peak(self) -> float:
        """k(1)."""
        return self.variance + self.level

    def __call__(self, cosine: Array) -> Array:
        """Covariances of points at given cosines."""
        smooth = (1 - self.share) * np.exp((cosine - 1) / self.length**2)
        return np.asarray(self.share * SLOPE * cosine + smooth + self.level)

    def slope(self, cosine: Array) -> Array:
        """dk / dcos."""
        smooth = (1 - self.share) / self.length**2 * np.exp((cosine - 1) / self.length**2)
        return np.asarray(self.share * SLOPE + smooth)


KERNELS = [Kernel(a, length) for a, length in product(SHARES, LENGTHS) if a < 1 or length == LENGTHS[0]]


@dataclass(frozen=True)
class Posterior:
    """A Gaussian process given a history.

    Args:
        kernel: of its cosines.
        gram: (n, n) cosines of the evaluated rows.
        factor: (n, n) lower L with L Lᵀ = K, over `scale`.
        alpha: (n,) K⁻¹ times the centred scores.
        centre: mean of the scores.
        scale: variance of the process.
    """

    kernel: Kernel
    gram: Array
    factor: Array
    alpha: Array
    centre: float
    scale: float

    def at(self, c: Array, r: Array | float = 1.0) -> tuple[Array, Array]:
        """Mean (m,) and standard deviation (m,) at c (m, n), whose rows have correlations r with the evaluated."""
        return self.moments(self.kernel(c @ self.gram) * r)

    def moments(self, k: Array) -> tuple[Array, Array]:
        """Mean (m,) and standard deviation (m,) of points with covariances k (m, n)."""
        return self._moments(k, self._whitened(k))

    def improvement(self, c: Array, best: Array | float, r: Array | float = 1.0) -> tuple[Array, Array]:
        """Log expected improvement over `best` (m,) at c (m, n), and its gradient by the unit latent.

        The gradient at x = Σ c_i x_i is g = Σ g_i x_i, given as rows g_i (m, n); its part along x means nothing, as
        cosines are those of unit latents. `r` as for `at`.
        """
        cosine = c @ self.gram
        k, slope = self.kernel(cosine) * r, self.kernel.slope(cosine) * r
        half = self._whitened(k)
        mean, sd = self._moments(k, half)
        value, up, wide = log_improvement(mean, sd, best)
        weighted = scipy.linalg.blas.dtrsm(1.0, self.factor, half, lower=1, trans_a=1).T  # k K⁻¹
        return value, slope * (up[:, None] * self.alpha - (wide * self.scale / sd)[:, None] * weighted)

    def _whitened(self, k: Array) -> Array:
        """L⁻¹ kᵀ (n, m)."""
        return np.asarray(scipy.linalg.blas.dtrsm(1.0, self.factor, k.T, lower=1))  # without checks, at half the time

    def _moments(self, k: Array, half: Array) -> tuple[Array, Array]:
        variance = self.scale * (self.kernel.peak - np.einsum("nm,nm->m", half, half))
        return self.centre + k @ self.alpha, np.sqrt(np.maximum(variance, 1e-12 * self.scale))


def fit(gram: Array, y: Array) -> Posterior:
    """The process of largest marginal likelihood over a grid of a, l and τ².

    Args:
        gram: (n, n) cosines of the evaluated rows.
        y: (n,) scores, larger is better.
    """
    some = judged(y)
    best, chosen = -np.inf, (KERNELS[0], NOISES[0])
    for kernel in KERNELS:
        found, noise = evidence(kernel(gram[np.ix_(some, some)]), kernel.variance, y[some] - float(y.mean()))
        if found > best:
            best, chosen = found, (kernel, noise)
    return condition_on(*chosen, gram, y)


def judged(y: Array) -> Array:
    """Numbers of the rows by which kernels are judged: the best and the last."""
    best, last = np.argsort(-y, kind="stable")[: JUDGED // 2], np.arange(len(y))[-(JUDGED // 2) :]
    return np.unique(np.concatenate([best, last]))


def evidence(covariance: Array, variance: float, y: Array) -> tuple[float, float]:
    """The largest log marginal likelihood over τ², up to a constant, and that τ².

    Args:
        covariance: (n, n) of noiseless scores, up to a factor.
        variance: what τ² is a share of.
        y: (n,) centred scores.
    """
    values, vectors = np.linalg.eigh(covariance)  # one decomposition for every noise
    turned, found = vectors.T @ y, list[float]()
    for noise in NOISES:
        spread = np.maximum(values, 0) + noise * variance
        scale = max(float(turned**2 @ (1 / spread)) / len(y), 1e-12)
        found.append(float(-len(y) / 2 * np.log(scale) - np.log(spread).sum() / 2))
    best = int(np.argmax(found))
    return found[best], NOISES[best]


def condition_on(kernel: Kernel, noise: float, gram: Array, y: Array, r: Array | float = 1.0) -> Posterior:
    """The process of a kernel given scores.

    Args:
        kernel: of cosines.
        noise: τ².
        gram: (n, n) cosines of the evaluated rows.
        y: (n,) scores.
        r: (n, n) correlations of what the rows differ in beside their latents.
    """
    centre = float(y.mean())
    factor = scipy.linalg.cholesky(kernel(gram) * r + noise * kernel.variance * np.eye(len(y)), lower=True)
    alpha = scipy.linalg.cho_solve((factor, True), y - centre)
    scale = max(float((y - centre) @ alpha) / len(y), 1e-12)
    return Posterior(kernel, gram, factor, alpha, centre, scale)


def unit(c: Array, gram: Array) -> Array:
    """Rows of c (m, n) with c G cᵀ = 1."""
    return np.asarray(c / np.sqrt(np.maximum(np.einsum("mn,mn->m", c @ gram, c), 1e-12))[:, None])


def maximize_acquisition(
    posterior: Posterior, c: Array, best: Array | float, *, steps: int = STEPS, r: Array | float = 1.0
) -> tuple[Array, Array]:
    """Points moved along great circles to a larger expected improvement.

    Args:
        posterior: the process.
        c: (m, n) unit coefficient rows to begin with.
        best: the score to improve on, one for all points or (m,).
        steps: moves; one that does not improve a point halves that point's angle instead.
        r: (m, n) correlations of what points and rows differ in beside their latents, which stay as they are.

    Returns:
        c (m, n) and the log expected improvement there (m,).
    """
    gram = posterior.gram
    angle = np.full(len(c), STEP)
    value, gradient = posterior.improvement(c, best, r)
    for _ in range(steps):
        tangent = gradient - np.einsum("mn,mn->m", gradient @ gram, c)[:, None] * c
        moved = unit(np.cos(angle)[:, None] * c + np.sin(angle)[:, None] * unit(tangent, gram), gram)
        new, slope = posterior.improvement(moved, best, r)
        up = new > value
        c, gradient = np.where(up[:, None], moved, c), np.where(up[:, None], slope, gradient)
        value, angle = np.where(up, new, value), np.where(up, angle * 1.2, angle / 2)
    return c, value


def log_improvement(mean: Array, sd: Array, best: Array | float) -> tuple[Array, Array, Array]:
    """Log expected improvement (m,), and its derivatives by the mean and by the standard deviation.

    EI = σ φ(z) (1 + z Φ(z) / φ(z)) at z = (mean - best) / σ, whose parts keep their digits far below the best. Moves
    end where a process is sure of a gain, as it would follow itself to where nothing is known: there is no slope above
    z = 26.5, and above 35 the value falls.

    Reference: arXiv 2310.20708, section 4.1.
    """
    z = (mean - best) / sd
    ratio = np.sqrt(np.pi / 2) * scipy.special.erfcx(-np.minimum(z, MOST) / np.sqrt(2))  # Φ(z) / φ(z)
    square = 1 / np.minimum(z, FAR) ** 2
    rest = np.where(z > FAR, 1 + z * ratio, square * (1 - 3 * square))
    value = np.log(sd) - z**2 / 2 - np.log(2 * np.pi) / 2 + np.log(rest)
    slope = np.where(z < SURE, 1 / (sd * rest), 0.0)
    return value, slope * ratio, slope
