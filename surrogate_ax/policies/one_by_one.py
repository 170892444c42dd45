"""Proposals for a free worker, from all that is told and all that is pending: nobody waits for a round to end.

As `spherical_bo` proposes the points of a round, of which this gives one place after the other: what is pending counts
as evaluated, with the values that the process expects of it. Up to eight pending trials that loses nothing against
rounds of eight; beyond, large rounds lose less (`examples/benchmarks/asynchronous.py`). A worker's points are mixed
with draws of its own, so that workers that know the same propose differently. Rounds are only counted: every `size`
trials another one.
"""

from __future__ import annotations

import numpy as np
import torch

from surrogate_ax.generation.conditions import Searched
from surrogate_ax.latents.priors import Prior
from surrogate_ax.latents.seeds import Draw, draw_entropy
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.basic import claimed
from surrogate_ax.policies.condition_kernel import ConditionRows
from surrogate_ax.policies.evolution import best_axes, more_draws, stalled, too_few
from surrogate_ax.policies.fresh_noise import mix_until_typical
from surrogate_ax.policies.history import History, Policy, Proposal, Round
from surrogate_ax.policies.noisy import settled
from surrogate_ax.policies.spherical_bo import SPARED, WIDE, combinations, recombined

AT_ONCE = 8  # pending trials up to which proposing one by one loses nothing


def one_by_one(
    prior: Prior,
    *,
    draws: int,
    axes: int,
    size: int = 8,
    fresh: tuple[float, float] = (0.2, 0.5),
    anneal_over: int | None = None,
    conditions: Searched | None = None,
    device: torch.device | str = "cpu",
) -> Policy:
    """Proposals for one worker of several, whose rounds are its own; behind so many plain draws.

    Args:
        prior: the law of the latents.
        draws: plain draws at first, which all workers share.
        axes: K of the box, which the best rows span.
        size: trials a round.
        fresh: range of b, the share of fresh noise.
        anneal_over: as for `spherical_bo`.
        conditions: searched call arguments, of which proposals have values.
        device: where latents are made.
    """
    searched = ConditionRows(conditions or {})

    def policy(history: History, remaining: int, rng: int) -> Round | None:
        if claimed(history, 0) < draws:
            return more_draws(prior, axes, 0, draws, rng, device)
        number = _counted(history, size)
        told = settled(searched.placed(history), prior, searched, device)
        if too_few(told) or len(told.terms) < axes:  # which the box has to be spanned by
            return more_draws(prior, axes, number, size, rng, device)
        sharing, place = history.sharing, claimed(history, number)
        count = max(1, min(sharing.batch, AT_ONCE // sharing.workers, remaining))
        asked = f"{sharing.name}, {len(history.terms)} told, {len(history.running)} running"
        entropy = draw_entropy(rng, f"fresh noise of {asked}")
        own = [Draw(entropy, i) for i in range(count)]
        random = np.random.default_rng(draw_entropy(rng, f"proposals of {asked}"))
        places = np.arange(place, place + count) % size
        learnt = int(np.count_nonzero(places >= size * recombined(len(told.terms)) // 2))
        pending = [point for point in history.pending if np.isfinite(searched.encode([point.condition])).all()]
        made = combinations(
            told, prior, count, random, draws=own, pending=pending, learnt=learnt, searched=searched, device=device
        )
        bank, b = made.bank, random.uniform(*fresh, count)
        if anneal_over is not None:
            b[:] = fresh[1] - (fresh[1] - fresh[0]) * min(1.0, len(told.terms) / max(anneal_over, 1))
        if stalled(told):
            b = np.where(places % SPARED == 0, random.uniform(*WIDE, count), b)
        points = mix_until_typical(bank, made.rows, bank.rows(((draw, 1.0),) for draw in own).toarray(), b)
        space = SurrogateSpace(bank, best_axes(made.history, bank, axes, points))
        fresh_values = random.random(made.t.shape) < b[:, None] ** 2
        t = np.where(fresh_values, searched.sample(count, random), made.t)
        exact = zip(bank.terms(points), t, strict=True)
        proposals = [Proposal(terms, searched.decode(each)) for terms, each in exact]
        return Round(space, number, size, proposals, shared=False)

    return policy


def _counted(history: History, size: int) -> int:
    """The round of the next trial."""
    last = max(history.last, history.begin, 1)
    return last if claimed(history, last) < size else last + 1


def by_workers(rounds: Policy, alone: Policy, *, size: int) -> Policy:
    """Rounds for one worker, and for more workers than lose nothing one by one where rounds have places for them all.

    Args:
        rounds: what all workers share.
        alone: what each worker has by itself.
        size: trials of a shared round.
    """

    def policy(history: History, remaining: int, rng: int) -> Round | None:
        workers = history.sharing.workers
        shares = workers == 1 or AT_ONCE < workers <= size
        return (rounds if shares else alone)(history, remaining, rng)

    return policy
