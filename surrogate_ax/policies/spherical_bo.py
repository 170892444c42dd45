"""Bayesian optimisation over the latents of a whole search: a policy whose rounds a Gaussian process proposes.

Proposals are combinations of the latents so far, moved along great circles of their sphere to a larger expected
improvement, a batch of different ones, each mixed with fresh noise. The process learns globally from few rows; around
the best of many, recombination gains more. So part of a round are children of the best rows' combination, and late in a
long search all. Where call arguments are searched, every proposal has a condition: chosen by the process together with
its latent, or one of the best rows', each value fresh with probability b², the share of noise in a latent's variance.
Notation as in `gaussian_process` and `condition_kernel`; b the share of fresh noise ε.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.conditions import Searched
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.priors import Prior
from surrogate_ax.latents.seeds import Draw, draw_entropy
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.condition_kernel import ConditionRows, expected, fit_product
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
from surrogate_ax.policies.gaussian_process import STEPS, Posterior, fit, maximize_acquisition, unit
from surrogate_ax.policies.history import History, Policy, Proposal, Round
from surrogate_ax.policies.noisy import score_noise, settled
from surrogate_ax.policies.process import Informed, informed, with_sources
from surrogate_ax.policies.targets import gp_targets

STARTS = 32  # points that are moved, at least
ROWS = 200  # evaluated rows that the process is fitted to, at most
RECOMBINED = 48, 250  # evaluated rows from which half of a round, and all of it, recombines the best rows
WIDE, SPARED = (0.5, 0.9), 4  # range of b, for every fourth proposal, after two rounds without a new best
APART = 0.97  # largest cosine between the proposals of a batch
TURNS = 3  # of choosing conditions and moving latents
NOTHING = ConditionRows({})


def spherical_bo(
    prior: Prior,
    *,
    axes: int,
    size: int = 8,
    sampled: int = 0,
    fresh: tuple[float, float] = (0.2, 0.5),
    anneal_over: int | None = None,
    max_trials: int | None = None,
    conditions: Searched | None = None,
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
        conditions: searched call arguments, of which proposals have values. Trials from elsewhere without such values
            are not learnt from.
        device: where latents are made.

    Raises:
        ArgumentError: a share outside [0, 1], or more sampled trials than the round has.
    """
    if not 0 <= fresh[0] <= fresh[1] <= 1:
        raise ArgumentError(f"fresh: expected a range of shares in [0, 1], got {fresh}.")
    if not 0 <= sampled <= size:
        raise ArgumentError(f"sampled: expected 0 to size = {size} trials of a round, got {sampled}.")
    searched = ConditionRows(conditions or {})

    def policy(history: History, remaining: int, rng: int) -> Round | None:
        found = next_round(history, size, max_trials)
        if found is None:
            return None
        number, before = found[0], settled(searched.placed(found[1]), prior, searched, device)
        if too_few(before):
            return more_draws(prior, axes, number, size, rng, device)
        draws = fresh_draws(number, size, rng)
        random = np.random.default_rng(draw_entropy(rng, f"proposals of round {number}"))
        made = combinations(before, prior, size, random, draws=draws, searched=searched, device=device)
        bank = made.bank
        b = random.uniform(*fresh, size)
        if anneal_over is not None:
            b[:] = fresh[1] - (fresh[1] - fresh[0]) * min(1.0, len(before.terms) / max(anneal_over, 1))
        if stalled(before):
            b[::SPARED] = random.uniform(*WIDE, len(b[::SPARED]))
        points = mix_until_typical(bank, made.rows, bank.rows(((draw, 1.0),) for draw in draws).toarray(), b)
        space = SurrogateSpace(bank, best_axes(made.history, bank, axes, points))
        fresh_values = random.random(made.t.shape) < b[:, None] ** 2
        t = np.where(fresh_values, searched.sample(size, random), made.t)
        exact = zip(bank.terms(points[: size - sampled]), t[: size - sampled], strict=True)
        return Round(space, number, size, [Proposal(terms, searched.decode(each)) for terms, each in exact])

    return policy


class Combinations(NamedTuple):
    """Points to go on from.

    Args:
        history: rows that were learnt from.
        bank: of their seeds, and given draws.
        rows: (count, M) unit coefficient rows over it.
        t: (count, p) their conditions.
    """

    history: History
    bank: Bank
    rows: Array
    t: Array


def combinations(
    history: History,
    prior: Prior,
    count: int,
    rng: np.random.Generator,
    *,
    draws: Sequence[Draw] = (),
    pending: Sequence[Proposal] = (),
    learnt: int | None = None,
    searched: ConditionRows = NOTHING,
    parents: Sequence[int] = (PARENTS,),
    device: torch.device | str = "cpu",
) -> Combinations:
    """Unit combinations of evaluated rows to go on from: the process's proposals, and late the best rows' own.

    Args:
        history: closed rounds.
        prior: the law of the latents.
        count: how many combinations.
        rng: draws where the moves begin.
        draws: seeds that the bank holds as well.
        pending: points that are being evaluated: the process takes them for evaluated, with the values that it expects.
        learnt: how many combinations are the process's; by how much is known if left out.
        searched: conditions, which all trials have.
        parents: how many of the best rows make a combination of their own, taken in turn.
        device: where latents are made.
    """
    used, scores = _known(history)
    further = [*(point.terms for point in pending), *(row for source in history.sources for row in source.terms)]
    bank = used.bank(prior, device).extend([seed for row in further for seed, _ in row]).extend(draws)
    known = bank.rows([*used.terms, *further])
    gram = bank.gram(known)
    if learnt is None:
        learnt = count - count * recombined(len(history.terms)) // 2
    conditions = [*(used.conditions or [{}] * len(used.terms)), *(point.condition for point in pending)]
    t = searched.encode(conditions) if len(searched) else np.zeros((len(conditions), 0))
    c, chosen = np.zeros((0, len(gram))), t[:0]
    if learnt and (history.sources or history.expected):
        told = with_sources(gram, np.append(scores, np.zeros(len(pending))), t, history.sources, searched)
        told = dataclasses.replace(told, noise=score_noise(used))
        c, chosen = moved_proposals(informed(told, len(pending)), learnt, rng)
    elif learnt:
        scores = np.append(scores, expected(gram, scores, t, searched)) if pending else scores
        if len(searched):
            c, chosen = conditioned_proposals(gram, scores, t, learnt, rng, searched)
        else:
            c = proposals(gram, scores, learnt, rng)
    c = np.vstack([c, *(_centre(used, gram, parents[i % len(parents)]) for i in range(count - learnt))])
    t = np.vstack([chosen, t[_parents(used, count - learnt, rng)]]) if len(searched) else np.zeros((count, 0))
    return Combinations(used, bank, bank.normalise(c @ known.toarray()).toarray(), t)


def recombined(known: int) -> int:
    """How many halves of a round recombine the best rows, of so many that are known."""
    return sum(known >= enough for enough in RECOMBINED)


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


def conditioned_proposals(
    gram: Array, scores: Array, t: Array, count: int, rng: np.random.Generator, searched: ConditionRows
) -> tuple[Array, Array]:
    """Unit combinations of evaluated rows, and conditions, of large expected improvement.

    Args:
        gram: (n, n) cosines of the evaluated rows.
        scores: (n,) larger is better.
        t: (n, p) their conditions.
        count: how many proposals.
        rng: draws where the moves begin.
        searched: what t means.

    Returns:
        c (count, n) and t (count, p), best first, different ones as for `proposals`.
    """
    product = fit_product(gram, scores, t, searched)
    return moved_proposals(Informed(product, float(scores.max()), scores, len(scores)), count, rng)


def moved_proposals(told: Informed, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """What a process proposes; conditions are chosen for given latents, then latents moved for them, and so on.

    Args:
        told: the process, with what is known.
        count: how many proposals.
        rng: draws where the moves begin.

    Returns:
        As `conditioned_proposals`.
    """
    product, gram, t = told.product, told.product.posterior.gram, told.product.t
    weights = product.posterior.alpha * product.factor
    c = _beginnings(product.posterior, told.standing, max(STARTS, 3 * count), rng, weights)
    at, value = t[np.abs(c[:, : told.own]).argmax(axis=1)], np.zeros(len(c))  # that of the row which weighs most
    for _ in range(TURNS):
        at = product.improve(c, at, told.best)
        r = product.correlations(at)
        c, value = maximize_acquisition(product.posterior, c, told.best, steps=STEPS // TURNS, r=r)
    chosen = select_diverse(c, value, gram, count, r=product.kernel(at, at))
    return c[chosen], at[chosen]


def _beginnings(
    posterior: Posterior, scores: Array, count: int, rng: np.random.Generator, weights: Array | None = None
) -> Array:
    """Where moves begin: the best rows, all rows weighted by the process, and sparse positive combinations."""
    weights = posterior.alpha if weights is None else weights
    n, order = len(scores), np.argsort(-scores, kind="stable")
    c = 1e-3 * rng.standard_normal((count, n)) / np.sqrt(n)  # so that no two begin alike
    for i in range(count):
        if i < min(8, n):
            c[i, order[i]] += 1
        elif i < 12:
            c[i] += np.maximum(weights, 0)
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


def _parents(history: History, count: int, rng: np.random.Generator) -> Array:
    """Numbers (count,) of rows among the best, by their weight in the combination of them."""
    best = history.order[: min(PARENTS, np.count_nonzero(finite(history)))]
    weights = log_ranks(len(best))
    return rng.choice(best, count, p=weights / weights.sum())


def _known(history: History) -> tuple[History, Array]:
    """Rows that the process is fitted to, in order, and their scores: the best and the latest where there are many."""
    # What a stopped trial would have come to is worth more than nothing.
    history = dataclasses.replace(history, values=history.extrapolated(), estimates={})
    if history.expected:
        history = dataclasses.replace(
            history, expected={k: np.where(np.isfinite(v), v, history.values[k]) for k, v in history.expected.items()}
        )
    order, scores = history.order, gp_targets(history)
    rows = np.unique(np.concatenate([order[: ROWS // 2], np.sort(order)[-(ROWS // 2) :]]))
    return history.rows(rows), scores[rows]


def select_diverse(
    c: Array, value: Array, gram: Array, count: int, limit: float = APART, *, r: Array | float = 1.0
) -> Array:
    """Numbers of the best `count` points whose cosines stay below `limit`; the rest by value if there are too few.

    Cosines are multiplied by r (m, m), correlations of what points differ in beside their latents.
    """
    cosine, chosen = (c @ gram @ c.T) * r, list[int]()
    order = [int(i) for i in np.argsort(-value, kind="stable")]
    for i in order:
        if len(chosen) < count and all(cosine[i, j] < limit for j in chosen):
            chosen.append(i)
    return np.array((chosen + [i for i in order if i not in chosen])[:count])
