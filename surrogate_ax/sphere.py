"""A Gaussian process over everything told, on the sphere of latents, and the points that it proposes.

Latents in high dimension lie on a sphere, and a kernel of their cosine needs their Gram matrix only. A proposal is a
unit combination x = Σ c_i x_i of told latents; its cosines with all of them are G c, and the gradient of anything that
depends on those cosines is again a combination of told latents. So no latent is ever made here.

Notation: n told rows; G (n, n) their cosines; y (n,) scores, larger is better; c (m, n) coefficients of m points, with
c G cᵀ = 1; k(cos) = a · 8 cos + (1 - a) exp((cos - 1) / l²) the kernel, l the length scale, τ² the noise.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import product

import numpy as np
import scipy  # loads its submodules when they are first used
import torch

from surrogate_ax.bank import draw_entropy
from surrogate_ax.errors import ArgumentError
from surrogate_ax.evolve import best_axes, finite, fresh_draws, more_draws, next_round, stalled, too_few
from surrogate_ax.policies import Policy, Told, Turn
from surrogate_ax.priors import Prior
from surrogate_ax.space import SurrogateSpace

Array = np.ndarray
SLOPE = 8.0  # weight of the linear part of the kernel
SHARES = (0.0, 0.5, 1.0)  # a
LENGTHS = (0.35, 0.5, 0.8, 1.2, 1.6)  # l
NOISES = (0.001, 0.03, 0.15)  # τ²
STEPS = 24  # great-circle moves of a proposal
STEP = 0.3  # angle of the first move
STARTS = 32  # points that are moved, at least
ROWS = 200  # told rows that the process is fitted to, at most
JUDGED = 96  # rows by which kernels are judged, at most
WIDE, SPARED = (0.5, 0.9), 4  # range of b, for every fourth proposal, after two rounds without a new best
APART = 0.97  # largest cosine between the proposals of a batch


def sphere(
    prior: Prior,
    *,
    axes: int,
    size: int = 8,
    sampled: int = 0,
    fresh: tuple[float, float] = (0.4, 0.7),
    until: int | None = None,
    device: torch.device | str = "cpu",
) -> Policy:
    """Bayesian optimisation on the sphere of everything told: rounds of proposals, each mixed with fresh noise.

    After two rounds without a new best every fourth proposal of the next one takes wider noise.

    Args:
        prior: the law of the latents.
        axes: K of the box, which the proposals span.
        size: trials a round.
        sampled: how many of them the host's sampler proposes inside the box; the others are exact proposals.
        fresh: range of b, the share of fresh noise: a proposal is √(1-b²) x + b ε.
        until: told trials after which the policy ends.
        device: where latents are made.

    Raises:
        ArgumentError: a share outside [0, 1], or more sampled trials than the round has.
    """
    if not 0 <= fresh[0] <= fresh[1] <= 1:
        raise ArgumentError(f"fresh: expected a range of shares in [0, 1], got {fresh}.")
    if not 0 <= sampled <= size:
        raise ArgumentError(f"sampled: expected 0 to size = {size} trials of a round, got {sampled}.")

    def policy(told: Told, left: int, rng: int) -> Turn | None:
        found = next_round(told, size, until)
        if found is None:
            return None
        number, before = found
        if too_few(before):
            return more_draws(prior, axes, number, size, rng, device)
        draws = fresh_draws(number, size, rng)
        random = np.random.default_rng(draw_entropy(rng, f"proposals of round {number}"))
        used, scores = _known(before)
        bank = used.bank(prior, device).extend(draws)
        known = bank.rows(used.terms)
        c = proposals(bank.gram(known), scores, size, random)
        b = random.uniform(*fresh, size)
        if stalled(before):
            b[::SPARED] = random.uniform(*WIDE, len(b[::SPARED]))
        b = b[:, None]
        combined = bank.normalise(c @ known.toarray()).toarray()
        points = np.sqrt(1 - b**2) * combined + b * bank.rows(((draw, 1.0),) for draw in draws).toarray()
        space = SurrogateSpace(bank, best_axes(used, bank, axes, points))
        return Turn(space, number, size, points[: size - sampled])

    return policy


def proposals(gram: Array, scores: Array, count: int, rng: np.random.Generator) -> Array:
    """Unit combinations of told rows of large expected improvement.

    Args:
        gram: (n, n) cosines of the told rows.
        scores: (n,) larger is better.
        count: how many proposals.
        rng: draws where the moves begin.

    Returns:
        c (count, n), best first, their cosines below 0.97 where so many different ones were found.
    """
    posterior, best = fit(gram, scores), float(scores.max())
    c, value = ascend(posterior, _beginnings(posterior, scores, max(STARTS, 3 * count), rng), best)
    return np.asarray(c[apart(c, value, gram, count)])


def _beginnings(posterior: Posterior, scores: Array, count: int, rng: np.random.Generator) -> Array:
    """Where moves begin: the best rows, all rows weighted by the process, and sparse positive combinations."""
    n, order = len(scores), np.argsort(-scores, kind="stable")
    c = 1e-3 * rng.standard_normal((count, n)) / np.sqrt(n)  # so that no two begin alike
    for i in range(count):
        if i < min(8, n):
            c[i, order[i]] += 1
        elif i < 12:
            c[i] += np.maximum(posterior.alpha, 0)
        else:
            picked = order[np.minimum(rng.exponential(n / 5, rng.integers(2, 7)).astype(int), n - 1)]
            c[i, picked] += rng.uniform(0.1, 1.1, len(picked))
    return unit(c, posterior.gram)


def _known(told: Told) -> tuple[Told, Array]:
    """Rows that the process is fitted to, in order, and their scores: the best and the latest where there are many."""
    # What a stopped trial would have come to is worth more than nothing.
    told = dataclasses.replace(told, values=told.predicted(), estimates={})
    order, scores = told.order, scored(told)
    rows = np.unique(np.concatenate([order[: ROWS // 2], np.sort(order)[-(ROWS // 2) :]]))
    return told.rows(rows), scores[rows]


def scored(told: Told) -> Array:
    """What the process is fitted to (n,): normal scores of the ranking, for one free metric halved with its values.

    Ranks serve constraints, several metrics and failures alike: failed rows stand last, so that their neighbourhood is
    left. The values, standardised and cut at 3, tell how much better the best are.
    """
    order, objective = told.order, told.objective
    scores = np.empty(len(order))
    scores[order] = normal_scores(len(order))
    known = finite(told)
    gain = -objective.losses(told.values)[:, 0]
    spread = float(np.std(gain[known]))
    if len(objective.optimised) > 1 or objective.bounded or not spread > 0:
        return scores
    scores[known] = (scores[known] + np.clip((gain[known] - gain[known].mean()) / spread, -3, 3)) / 2
    return scores


@dataclass(frozen=True)
class Kernel:
    """k(cos) = a · 8 cos + (1 - a) exp((cos - 1) / l²).

    Args:
        share: a, of the linear part.
        length: l.
    """

    share: float
    length: float

    @property
    def peak(self) -> float:
        """k(1)."""
        return self.share * SLOPE + 1 - self.share

    def __call__(self, cosine: Array) -> Array:
        """Covariances of points at given cosines."""
        smooth = (1 - self.share) * np.exp((cosine - 1) / self.length**2)
        return np.asarray(self.share * SLOPE * cosine + smooth)

    def slope(self, cosine: Array) -> Array:
        """dk / dcos."""
        smooth = (1 - self.share) / self.length**2 * np.exp((cosine - 1) / self.length**2)
        return np.asarray(self.share * SLOPE + smooth)


@dataclass(frozen=True)
class Posterior:
    """A Gaussian process given what was told.

    Args:
        kernel: of its cosines.
        gram: (n, n) cosines of the told rows.
        inverse: (n, n) of the covariance of the scores, over `scale`.
        alpha: (n,) inverse times the centred scores.
        centre: mean of the scores.
        scale: variance of the process.
    """

    kernel: Kernel
    gram: Array
    inverse: Array
    alpha: Array
    centre: float
    scale: float

    def at(self, c: Array) -> tuple[Array, Array]:
        """Mean (m,) and standard deviation (m,) at c (m, n)."""
        k = self.kernel(c @ self.gram)
        return self._moments(k, k @ self.inverse)

    def _moments(self, k: Array, weighted: Array) -> tuple[Array, Array]:
        variance = self.scale * (self.kernel.peak - np.einsum("mn,mn->m", k, weighted))
        return self.centre + k @ self.alpha, np.sqrt(np.maximum(variance, 1e-12 * self.scale))

    def improvement(self, c: Array, best: Array | float) -> tuple[Array, Array]:
        """Log expected improvement over `best` (m,) at c (m, n), and its gradient as coefficient rows (m, n)."""
        cosine = c @ self.gram
        k, slope = self.kernel(cosine), self.kernel.slope(cosine)
        weighted = k @ self.inverse
        mean, sd = self._moments(k, weighted)
        z = (mean - best) / sd
        ratio = _mills(z)  # Φ(z) / φ(z), which keeps its digits far below the best
        value = np.log(sd) - z**2 / 2 + np.log(np.maximum(1 + z * ratio, 1e-300))
        gradient = slope * (ratio[:, None] * self.alpha - (self.scale / sd)[:, None] * weighted)
        return value, gradient


def fit(gram: Array, y: Array) -> Posterior:
    """The process of largest marginal likelihood over a grid of a, l and τ².

    Args:
        gram: (n, n) cosines of the told rows.
        y: (n,) scores, larger is better.
    """
    centre = float(y.mean())
    some = np.unique(
        np.concatenate([np.argsort(-y, kind="stable")[: JUDGED // 2], np.arange(len(y))[-(JUDGED // 2) :]])
    )
    kernels = [Kernel(a, length) for a, length in product(SHARES, LENGTHS) if a < 1 or length == LENGTHS[0]]
    best, chosen = -np.inf, (kernels[0], NOISES[0])
    for kernel in kernels:
        values, vectors = np.linalg.eigh(kernel(gram[np.ix_(some, some)]))  # one decomposition for every noise
        turned = vectors.T @ (y[some] - centre)
        for noise in NOISES:
            spread = np.maximum(values, 0) + noise * kernel.peak
            scale = max(float(turned**2 @ (1 / spread)) / len(some), 1e-12)
            evidence = -len(some) / 2 * np.log(scale) - np.log(spread).sum() / 2
            if evidence > best:
                best, chosen = evidence, (kernel, noise)
    kernel, noise = chosen
    inverse = np.linalg.inv(kernel(gram) + noise * kernel.peak * np.eye(len(y)))
    alpha = inverse @ (y - centre)
    scale = max(float((y - centre) @ alpha) / len(y), 1e-12)
    return Posterior(kernel, gram, inverse, alpha, centre, scale)


def unit(c: Array, gram: Array) -> Array:
    """Rows of c (m, n) with c G cᵀ = 1."""
    return np.asarray(c / np.sqrt(np.maximum(np.einsum("mn,mn->m", c @ gram, c), 1e-12))[:, None])


def ascend(posterior: Posterior, c: Array, best: Array | float, *, steps: int = STEPS) -> tuple[Array, Array]:
    """Points moved along great circles to a larger expected improvement.

    Args:
        posterior: the process.
        c: (m, n) unit coefficient rows to begin with.
        best: the score to improve on, one for all points or (m,).
        steps: moves; one that does not improve a point halves that point's angle instead.

    Returns:
        c (m, n) and the log expected improvement there (m,).
    """
    gram = posterior.gram
    angle = np.full(len(c), STEP)
    value, gradient = posterior.improvement(c, best)
    for _ in range(steps):
        tangent = gradient - np.einsum("mn,mn->m", gradient @ gram, c)[:, None] * c
        moved = unit(np.cos(angle)[:, None] * c + np.sin(angle)[:, None] * unit(tangent, gram), gram)
        new, slope = posterior.improvement(moved, best)
        up = new > value
        c, gradient = np.where(up[:, None], moved, c), np.where(up[:, None], slope, gradient)
        value, angle = np.where(up, new, value), np.where(up, angle * 1.2, angle / 2)
    return c, value


def apart(c: Array, value: Array, gram: Array, count: int, limit: float = APART) -> Array:
    """Numbers of the best `count` points whose cosines stay below `limit`; the rest by value if there are too few."""
    cosine, chosen = c @ gram @ c.T, list[int]()
    order = [int(i) for i in np.argsort(-value, kind="stable")]
    for i in order:
        if len(chosen) < count and all(cosine[i, j] < limit for j in chosen):
            chosen.append(i)
    return np.array((chosen + [i for i in order if i not in chosen])[:count])


def normal_scores(n: int) -> Array:
    """Scores of n rows, best first: quantiles of the standard normal, so that any ranking can be fitted."""
    return np.asarray(-scipy.special.ndtri((np.arange(n) + 0.5) / n))


def _mills(z: Array) -> Array:
    """Φ(z) / φ(z)."""
    return np.asarray(np.sqrt(np.pi / 2) * scipy.special.erfcx(-np.clip(z, -1e6, 35) / np.sqrt(2)))
