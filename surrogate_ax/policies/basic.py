"""Policies without a model: one box, plain draws, the box over the best draws (O3), and one policy after another.

N is the budget in evaluations, d the number of seeds, K the axes of a box.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.charts import Chart
from surrogate_ax.latents.priors import Prior
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.history import History, Policy, Round, as_proposals

O3_SEEDS = {20: 5, 50: 7, 100: 5, 200: 10, 500: 30, 1000: 50}  # arXiv 2608.12192: budget N -> seeds d


def fixed(space: SurrogateSpace, *, seeds_first: bool = True, number: int = 0) -> Policy:
    """One box for the whole budget.

    Args:
        space: the box.
        seeds_first: evaluate the axes themselves first; corners of the box are out of reach as K grows.
        number: of its round.

    Reference: arXiv 2509.23800.
    """
    seeds = as_proposals(space.bank, space.frame) if seeds_first else ()

    def policy(history: History, remaining: int, rng: int) -> Round | None:
        return Round(space, number, history.ended(number) + history.running.count(number) + remaining, seeds)

    return policy


def draws(prior: Prior, n: int, *, axes: int, device: torch.device | str = "cpu") -> Policy:
    """n plain draws from the prior: best-of-n, as trials like any other.

    Args:
        prior: the law of the latents.
        n: how many.
        axes: K, which fixes the study's parameters; the draws do not depend on it.
        device: where latents are made.
    """
    if n < 1:
        raise ArgumentError(f"n: expected at least one draw, got {n}.")
    if not 2 <= axes <= prior.dim:
        raise ArgumentError(f"axes: expected K from 2 to D = {prior.dim}, got {axes}.")

    def policy(history: History, remaining: int, rng: int) -> Round | None:
        if history.ended(0) >= n:
            return None
        space = SurrogateSpace.sample(prior, seeds=axes, rng=rng, device=device)
        return Round(dataclasses.replace(space, fresh=1.0), 0, n)

    return policy


def o3(prior: Prior, n: int, *, seeds: int, chart: Chart | None = None, device: torch.device | str = "cpu") -> Policy:
    """Plain draws first, then the box over the best of them.

    Args:
        prior: the law of the latents.
        n: how many plain draws, half the budget in the paper.
        seeds: d, how many of the best become axes.
        chart: of the box; Knothe-Rosenblatt if left out.
        device: where latents are made.

    Raises:
        ArgumentError: seeds outside 2 to min(n, D).

    Reference: arXiv 2608.12192 (half the budget N in draws; d from `o3_seeds`).
    """
    if not 2 <= seeds <= min(n, prior.dim):
        raise ArgumentError(f"seeds: expected 2 to min(n, D) = {min(n, prior.dim)}, got {seeds}.")
    sampled = draws(prior, n, axes=seeds, device=device)

    def policy(history: History, remaining: int, rng: int) -> Round | None:
        round = sampled(history, remaining, rng)
        if round is not None:
            return round
        best = history.first(0, n)
        terms = [best.terms[i] for i in best.order[:seeds]]
        bank = Bank(prior, (), tensors=history.tensors, device=device).extend([s for row in terms for s, _ in row])
        frame = bank.rows(terms).toarray()
        space = SurrogateSpace(bank, frame) if chart is None else SurrogateSpace(bank, frame, chart)
        return Round(space, 1, history.ended(1) + history.running.count(1) + remaining)

    return policy


def claimed(history: History, number: int) -> int:
    """How many trials of a round have ended or are running."""
    return history.ended(number) + history.running.count(number)


def chain(first: Policy, second: Policy) -> Policy:
    """One policy until it has nothing more to propose, then another, which sees the whole history.

    Args:
        first: must end by returning None, as `draws` does and the moving policies do with `max_trials`.
        second: numbers its rounds after the last, as the moving policies do.
    """

    def policy(history: History, remaining: int, rng: int) -> Round | None:
        round = first(history, remaining, rng)
        if round is not None:
            return round
        last = history.last
        if (
            last >= history.begin and first(history.before(last), remaining, rng) is not None
        ):  # the last round was the first's
            history = dataclasses.replace(history, begin=last + 1)
        return second(history, remaining, rng)

    return policy


def o3_seeds(budget: int) -> int:
    """d for a budget of N evaluations: the paper's table, log-linear between its entries, at least 2.

    Args:
        budget: N, evaluations in all.

    Reference: arXiv 2608.12192, table of (N, d).
    """
    known = np.array(sorted(O3_SEEDS))
    d = np.interp(np.log(max(budget, 1)), np.log(known), [O3_SEEDS[n] for n in known])
    return int(max(2, min(round(float(d)), budget // 4)))
