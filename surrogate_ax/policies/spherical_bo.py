"""Bayesian optimisation over the latents of a whole search: a policy whose rounds a Gaussian process proposes.

Proposals are combinations of the latents so far, moved along great circles of their sphere to a larger expected
improvement, a batch of different ones, each mixed with fresh noise. The process learns globally from few rows; around
the best of many, recombination gains more. So part of a round are children of the best rows' combination, and late in a
long search all.
Notation as in `gaussian_process`; b the share of fresh noise ε.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy  # loads its submodules when they are first used
import torch

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.priors import Prior
from surrogate_ax.latents.seeds import Draw, draw_entropy
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.evolution import (
    PARENTS,
    best_axes,
    finite,
    fresh_draws,
    log_ranks,
    more_draws,
    next_round,
    stalled,
    too_few,
)
from surrogate_ax.policies.fresh_noise import mix_until_typical
from surrogate_ax.policies.gaussian_process import Posterior, fit, maximize_acquisition, unit
from surrogate_ax.policies.history import History, Policy, Round, as_proposals

STARTS = 32  # points that are moved, at least
ROWS = 200  # evaluated rows that the process is fitted to, at most
RECOMBINED = 48, 250  # evaluated rows from which half of a round, and all of it, recombines the best rows
WIDE, SPARED = (0.5, 0.9), 4  # range of b, for every fourth proposal, after two rounds without a new best
APART = 0.97  # largest cosine between the proposals of a batch


def spherical_bo(
    prior: Prior,
    *,
    axes: int,
    size: int = 8,
    sampled: int = 0,
    fresh: tuple[float, float] = (0.2, 0.5),
    anneal_over: int | None = None,
    max_trials: int | None = None,
    device: torch.device | str = "cpu",
) -> Policy:
    """Bayesian optimisation over the latents of a whole search: rounds of proposals, each mixed with fresh noise.

    After two rounds without a new best every fourth proposal of the next one takes wider noise.

    Args:
        prior: the law of the latents.
        axes: K of the box, which the proposals span.
        size: trials a round.
        sampled: how many of them the host's sampler proposes inside the box; the others are exact proposals.
        fresh: range of b, the share of fresh noise: a proposal is √(1-b²) x + b ε.
        anneal_over: ended trials over which b falls from the end of its range to the beginning, since what is known
            grows and so does what noise costs; if left out, b is drawn evenly from the range.
        max_trials: ended trials after which the policy ends.
        device: where latents are made.

    Raises:
        ArgumentError: a share outside [0, 1], or more sampled trials than the round has.
    """
    if not 0 <= fresh[0] <= fresh[1] <= 1:
        raise ArgumentError(f"fresh: expected a range of shares in [0, 1], got {fresh}.")
    if not 0 <= sampled <= size:
        raise ArgumentError(f"sampled: expected 0 to size = {size} trials of a round, got {sampled}.")

    def policy(history: History, remaining: int, rng: int) -> Round | None:
        found = next_round(history, size, max_trials)
        if found is None:
            return None
        number, before = found
        if too_few(before):
            return more_draws(prior, axes, number, size, rng, device)
        draws = fresh_draws(number, size, rng)
        random = np.random.default_rng(draw_entropy(rng, f"proposals of round {number}"))
        used, bank, combined = combinations(before, prior, size, random, draws=draws, device=device)
        b = random.uniform(*fresh, size)
        if anneal_over is not None:
            b[:] = fresh[1] - (fresh[1] - fresh[0]) * min(1.0, len(before.terms) / max(anneal_over, 1))
        if stalled(before):
            b[::SPARED] = random.uniform(*WIDE, len(b[::SPARED]))
        points = mix_until_typical(bank, combined, bank.rows(((draw, 1.0),) for draw in draws).toarray(), b)
        space = SurrogateSpace(bank, best_axes(used, bank, axes, points))
        return Round(space, number, size, as_proposals(bank, points[: size - sampled]))

    return policy


def combinations(
    history: History,
    prior: Prior,
    count: int,
    rng: np.random.Generator,
    *,
    draws: Sequence[Draw] = (),
    parents: Sequence[int] = (PARENTS,),
    device: torch.device | str = "cpu",
) -> tuple[History, Bank, Array]:
    """Unit combinations of evaluated rows to go on from: the process's proposals, and late the best rows' own.

    Args:
        history: closed rounds.
        prior: the law of the latents.
        count: how many combinations.
        rng: draws where the moves begin.
        draws: seeds that the bank holds as well.
        parents: how many of the best rows make a combination of their own, taken in turn.
        device: where latents are made.

    Returns:
        The rows that were learnt from; a bank of their seeds and the draws; coefficient rows (count, M) over it.
    """
    used, scores = _known(history)
    bank = used.bank(prior, device).extend(draws)
    known = bank.rows(used.terms)
    gram = bank.gram(known)
    learnt = count - count * sum(len(history.terms) >= enough for enough in RECOMBINED) // 2
    parts = [proposals(gram, scores, learnt, rng)] if learnt else []
    own = [_centre(used, gram, parents[i % len(parents)]) for i in range(count - learnt)]
    c = np.vstack([*parts, *own])
    return used, bank, bank.normalise(c @ known.toarray()).toarray()


def proposals(gram: Array, scores: Array, count: int, rng: np.random.Generator) -> Array:
    """Unit combinations of evaluated rows of large expected improvement.

    Args:
        gram: (n, n) cosines of the evaluated rows.
        scores: (n,) larger is better.
        count: how many proposals.
        rng: draws where the moves begin.

    Returns:
        c (count, n), best first, their cosines below 0.97 where so many different ones were found.
    """
    posterior, best = fit(gram, scores), float(scores.max())
    c, value = maximize_acquisition(posterior, _beginnings(posterior, scores, max(STARTS, 3 * count), rng), best)
    return np.asarray(c[select_diverse(c, value, gram, count)])


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


def _centre(history: History, gram: Array, parents: int) -> Array:
    """The unit combination (1, n) of the best rows."""
    best = history.order[: min(parents, np.count_nonzero(finite(history)))]
    c = np.zeros((1, len(gram)))
    c[0, best] = log_ranks(len(best))
    return unit(c, gram)


def _known(history: History) -> tuple[History, Array]:
    """Rows that the process is fitted to, in order, and their scores: the best and the latest where there are many."""
    # What a stopped trial would have come to is worth more than nothing.
    history = dataclasses.replace(history, values=history.extrapolated(), estimates={})
    order, scores = history.order, gp_targets(history)
    rows = np.unique(np.concatenate([order[: ROWS // 2], np.sort(order)[-(ROWS // 2) :]]))
    return history.rows(rows), scores[rows]


def gp_targets(history: History) -> Array:
    """What the process is fitted to (n,): normal scores of the ranking, for one free metric halved with its values.

    Ranks serve constraints, several metrics and failures alike: failed rows stand last, so that their neighbourhood is
    left. The values, standardised and cut at 3, tell how much better the best are.
    """
    order, objective = history.order, history.objective
    scores = np.empty(len(order))
    scores[order] = normal_scores(len(order))
    known = finite(history)
    gain = -objective.losses(history.values)[:, 0]
    spread = float(np.std(gain[known]))
    if len(objective.optimised) > 1 or objective.bounded or not spread > 0:
        return scores
    scores[known] = (scores[known] + np.clip((gain[known] - gain[known].mean()) / spread, -3, 3)) / 2
    return scores


def select_diverse(c: Array, value: Array, gram: Array, count: int, limit: float = APART) -> Array:
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
