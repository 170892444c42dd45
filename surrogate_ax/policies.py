"""The next turn from what was told: policies are pure functions, so resume and several workers compute the same turn.

A turn is a surrogate space with a round number and a size; the round closes when that many of its trials have ended.
A policy looks at closed rounds only. N is the budget in evaluations, d the number of seeds, K the axes of a box; K is
constant through a study, because the hosts' parameters are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import scipy  # loads its submodules when they are first used
import torch

from surrogate_ax.bank import Bank, Terms
from surrogate_ax.charts import Chart
from surrogate_ax.errors import ArgumentError
from surrogate_ax.objective import Objective
from surrogate_ax.priors import Prior
from surrogate_ax.space import SurrogateSpace

Array = np.ndarray
FITTED = 6  # finished trials that a line of estimates takes
O3_SEEDS = {20: 5, 50: 7, 100: 5, 200: 10, 500: 30, 1000: 50}  # arXiv 2608.12192: budget N -> seeds d


@dataclass(frozen=True)
class Told:
    """What a host knows: ended trials in the order of ending, n rows; values of failed and stopped ones are NaN.

    Args:
        objective: ranks the rows.
        terms: coefficient rows of the trials.
        values: (n,) of every metric.
        round: (n,) round of each trial.
        running: rounds of the trials that are being evaluated, here or elsewhere.
        tensors: inner rows (D,) of stored seeds, by SHA-256.
        estimates: (n,) of every metric at the checkpoint where a trial was stopped, NaN for the others; empty where
            none was stopped. They are no results: a policy may learn from them (`predicted`), and no finished trial is
            ranked against them.
        begin: rounds below this one belong to an earlier policy and are closed.
        passed: (n,) estimate of the only optimised metric at each checkpoint, by its step, finished trials included;
            NaN where a trial did not come by.
    """

    objective: Objective
    terms: Sequence[Terms]
    values: Mapping[str, Array]
    round: Array
    running: Sequence[int] = ()
    tensors: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    estimates: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    begin: int = 0
    passed: Mapping[int, Array] = dataclasses.field(default_factory=dict)

    def ended(self, round: int) -> int:
        """How many trials of a round have ended."""
        return int(np.count_nonzero(self.round == round))

    def open(self, turn: Turn) -> int:
        """How many trials a turn still wants: its size less what has ended and what is running."""
        return turn.size - self.ended(turn.round) - sum(r == turn.round for r in self.running)

    def first(self, round: int, size: int) -> Told:
        """The first `size` trials of a round to end: the same for every worker that sees the round closed."""
        return self.rows(np.flatnonzero(self.round == round)[:size])

    @property
    def last(self) -> int:
        """The highest round told or running, -1 when there is none."""
        return int(max([self.round.max(initial=-1), *self.running]))

    def before(self, round: int) -> Told:
        """What was told in earlier rounds."""
        return self.rows(np.flatnonzero(self.round < round))

    @cached_property
    def order(self) -> Array:
        """Row numbers, best first; behind them those that were stopped, by their estimates, and the failed ones."""
        order = self.objective.rank(self.values)
        if not self.estimates:
            return order
        stopped = np.isfinite(self.objective.losses(self.estimates)).all(axis=1)
        failed = ~stopped & ~np.isfinite(self.objective.losses(self.values)).all(axis=1)
        estimated = self.objective.rank(self.estimates)
        return np.concatenate([order[~(stopped | failed)[order]], estimated[stopped[estimated]], order[failed[order]]])

    def bank(self, prior: Prior, device: torch.device | str = "cpu") -> Bank:
        """A bank of every seed that the rows name, in order of first appearance."""
        named = dict.fromkeys(map(itemgetter(0), chain.from_iterable(self.terms)))
        return Bank(prior, (), tensors=self.tensors, device=device).extend(list(named))

    def rows(self, numbers: Array) -> Told:
        """Some of the rows."""
        values, estimates = ({k: column[numbers] for k, column in of.items()} for of in (self.values, self.estimates))
        return dataclasses.replace(
            self,
            terms=[self.terms[i] for i in numbers],
            values=values,
            round=self.round[numbers],
            running=(),
            estimates=estimates,
            passed={step: column[numbers] for step, column in self.passed.items()},
        )

    def predicted(self) -> dict[str, Array]:
        """Values (n,) of every metric, and for stopped trials what these would have come to.

        An estimate is blurred, which some scores reward: the optimised metric is read off the line through the finished
        trials' own estimates at the same step, where `FITTED` of them have passed it. Other metrics are as estimated.
        """
        if not self.estimates:
            return dict(self.values)
        values = {k: np.where(np.isnan(v), self.estimates[k], v) for k, v in self.values.items()}
        name, at = self.objective.optimised[0].name, np.zeros(len(self.terms))
        for step in self.passed:
            at = np.where(np.isnan(self.passed[step]), at, np.maximum(at, step))  # the last checkpoint of each trial
        for step, x in self.passed.items():
            known = np.flatnonzero(np.isfinite(x) & np.isfinite(self.values[name]))
            stopped = np.isfinite(self.estimates[name]) & (at == step)
            if len(known) >= FITTED and np.ptp(x[known]) > 0:
                slope, level = np.polyfit(x[known], self.values[name][known], 1)
                values[name] = np.where(stopped, level + max(slope, 0.0) * x, values[name])
        return values


@dataclass(frozen=True)
class Turn:
    """Where to search next.

    Args:
        space: the box.
        round: its number; a host shows its sampler the trials of this round only.
        size: the round closes when this many trials of it have ended.
        first: exact coefficient rows (k, M) to run before the host proposes, hidden from its sampler.
    """

    space: SurrogateSpace
    round: int
    size: int
    first: Any = None

    @property
    def exact(self) -> list[Terms]:
        """The terms of `first`."""
        return [] if self.first is None else self.space.bank.terms(self.first)


Policy = Callable[[Told, int, int], Turn | None]  # (told, evaluations left, rng); None: nothing more to propose


def fixed(space: SurrogateSpace, *, seeds_first: bool = True, round: int = 0) -> Policy:
    """One box for the whole budget.

    Args:
        space: the box.
        seeds_first: evaluate the axes themselves first; corners of the box are out of reach as K grows.
        round: number of its round.

    Reference: arXiv 2509.23800.
    """
    first = scipy.sparse.csr_array(space.frame) if seeds_first else None

    def policy(told: Told, left: int, rng: int) -> Turn | None:
        return Turn(space, round, told.ended(round) + sum(r == round for r in told.running) + left, first)

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

    def policy(told: Told, left: int, rng: int) -> Turn | None:
        if told.ended(0) >= n:
            return None
        space = SurrogateSpace.sample(prior, seeds=axes, rng=rng, device=device)
        return Turn(dataclasses.replace(space, fresh=1.0), 0, n)

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

    def policy(told: Told, left: int, rng: int) -> Turn | None:
        turn = sampled(told, left, rng)
        if turn is not None:
            return turn
        best = told.first(0, n)
        terms = [best.terms[i] for i in best.order[:seeds]]
        bank = Bank(prior, (), tensors=told.tensors, device=device).extend([s for row in terms for s, _ in row])
        frame = bank.rows(terms).toarray()
        space = SurrogateSpace(bank, frame) if chart is None else SurrogateSpace(bank, frame, chart)
        return Turn(space, 1, told.ended(1) + sum(r == 1 for r in told.running) + left)

    return policy


def then(first: Policy, second: Policy) -> Policy:
    """One policy until it has nothing more to propose, then another, which sees everything told.

    Args:
        first: must end by returning None, as `draws` does and the moving policies do with `until`.
        second: numbers its rounds after those told, as the moving policies do.
    """

    def policy(told: Told, left: int, rng: int) -> Turn | None:
        turn = first(told, left, rng)
        if turn is not None:
            return turn
        last = told.last
        if last >= told.begin and first(told.before(last), left, rng) is not None:  # the last round was the first's
            told = dataclasses.replace(told, begin=last + 1)
        return second(told, left, rng)

    return policy


def o3_seeds(budget: int) -> int:
    """d for a budget of N evaluations: the paper's table, log-linear between its entries, at least 2.

    Reference: arXiv 2608.12192, table of (N, d).
    """
    known = np.array(sorted(O3_SEEDS))
    d = np.interp(np.log(max(budget, 1)), np.log(known), [O3_SEEDS[n] for n in known])
    return int(max(2, min(round(float(d)), budget // 4)))
