"""What policies see, and what they answer: the history of a search, and the round to run next.

A round is a surrogate space with a number, a size and proposals; it closes when that many of its trials have ended. A
policy looks at closed rounds only, so resume and several workers compute the same round. K, the axes of a box, is
constant through a study, because the hosts' parameters are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import itemgetter
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.charts import corner
from surrogate_ax.latents.priors import Prior
from surrogate_ax.latents.seeds import Draw, Terms
from surrogate_ax.latents.space import SurrogateSpace, coordinate_names
from surrogate_ax.markup import one_line
from surrogate_ax.policies.fresh_noise import mix_until_typical
from surrogate_ax.policies.preference import Preference, among
from surrogate_ax.policies.sources import Source
from surrogate_ax.scoring.objective import Objective

FITTED = 6  # finished trials that a line of estimates takes
SAME = 1e-9  # a row this near to an axis is that axis


@dataclass(frozen=True)
class Sharing:
    """How the work on a study is shared, as one worker sees it.

    Args:
        workers: how many there are, this one included.
        name: what tells this worker from the others.
        batch: trials that it runs at once, at most.
    """

    workers: int = 1
    name: str = ""
    batch: int = 1


@dataclass(frozen=True)
class History:
    """What a search has found: ended trials in the order of ending, n rows; values of failed and stopped ones are NaN.

    Args:
        objective: ranks the rows.
        terms: coefficient rows of the trials.
        values: (n,) of every metric.
        round: (n,) round of each trial.
        running: rounds of the trials that are being evaluated, here or elsewhere.
        tensors: inner rows (D,) of stored seeds, by SHA-256.
        estimates: (n,) of every metric at the checkpoint where a trial was stopped, NaN for the others; empty where
            none was stopped. They are no results: a policy may learn from them (`extrapolated`), and no finished trial
            is ranked against them.
        begin: rounds below this one belong to an earlier policy and are closed.
        checkpoint_estimates: (n,) estimate of the only optimised metric at each checkpoint, by its step, finished
            trials included; NaN where a trial did not come by.
        conditions: n mappings of searched call arguments; empty where nothing is searched.
        preferences: which rows a person likes better than others, where a person is asked.
        pending: points that are being evaluated, here or elsewhere, as far as they are known.
        sharing: with whom the study is shared.
        sources: earlier searches, from which this one may learn.
        expected: (n,) of every metric, where scores vary: what is expected of the rows, by which they are ordered.
    """

    objective: Objective
    terms: Sequence[Terms]
    values: Mapping[str, Array]
    round: Array
    running: Sequence[int] = ()
    tensors: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    estimates: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    begin: int = 0
    checkpoint_estimates: Mapping[int, Array] = dataclasses.field(default_factory=dict)
    conditions: Sequence[Mapping[str, Any]] = ()
    preferences: Sequence[Preference] = ()
    pending: Sequence[Proposal] = ()
    sharing: Sharing = Sharing()
    sources: Sequence[Source] = ()
    expected: Mapping[str, Array] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        rounds, names = len(np.unique(self.round)), [metric.name for metric in self.objective.metrics]
        return one_line("History", f"{len(self.terms)} trials", f"{rounds} rounds", *names)

    def ended(self, number: int) -> int:
        """How many trials of a round have ended.

        Args:
            number: of the round.
        """
        return int(np.count_nonzero(self.round == number))

    def open(self, round: Round) -> int:
        """How many trials a round still wants: its size less what has ended and what is running.

        Args:
            round: with its number and size.
        """
        if not round.shared:
            return len(round.proposals)
        return round.size - self.ended(round.number) - self.running.count(round.number)

    def first(self, number: int, size: int) -> History:
        """The first `size` trials of a round to end: the same for every worker that sees the round closed.

        Args:
            number: of the round.
            size: how many.
        """
        return self.rows(np.flatnonzero(self.round == number)[:size])

    @property
    def last(self) -> int:
        """The highest round with a trial that has ended or is running, -1 when there is none."""
        return int(max([self.round.max(initial=-1), *self.running]))

    def before(self, number: int) -> History:
        """The trials of earlier rounds.

        Args:
            number: of the round that they are earlier than.
        """
        return self.rows(np.flatnonzero(self.round < number))

    @cached_property
    def order(self) -> Array:
        """Row numbers, best first; behind them those that were stopped, by their estimates, and the failed ones."""
        order = self.objective.rank(self.expected or self.values)
        if not self.estimates:
            return order
        stopped = np.isfinite(self.objective.losses(self.estimates)).all(axis=1)
        failed = ~stopped & ~np.isfinite(self.objective.losses(self.values)).all(axis=1)
        estimated = self.objective.rank(self.estimates)
        return np.concatenate([order[~(stopped | failed)[order]], estimated[stopped[estimated]], order[failed[order]]])

    def bank(self, prior: Prior, device: torch.device | str = "cpu") -> Bank:
        """A bank of every seed that the rows name, in order of first appearance.

        Args:
            prior: the law of the latents.
            device: where latents are made.
        """
        named = dict.fromkeys(map(itemgetter(0), chain.from_iterable(self.terms)))
        return Bank(prior, (), tensors=self.tensors, device=device).extend(list(named))

    def rows(self, numbers: Array) -> History:
        """Some of the rows.

        Args:
            numbers: which rows, from 0.
        """
        values, estimates, expected = (
            {k: column[numbers] for k, column in of.items()} for of in (self.values, self.estimates, self.expected)
        )
        return dataclasses.replace(
            self,
            terms=[self.terms[i] for i in numbers],
            values=values,
            round=self.round[numbers],
            running=(),
            pending=(),
            estimates=estimates,
            expected=expected,
            checkpoint_estimates={step: column[numbers] for step, column in self.checkpoint_estimates.items()},
            conditions=[self.conditions[i] for i in numbers] if self.conditions else (),
            preferences=among(self.preferences, numbers),
        )

    def extrapolated(self) -> dict[str, Array]:
        """Values (n,) of every metric, and for stopped trials what these would have come to.

        An estimate is blurred, which some scores reward: the optimised metric is read off the line through the finished
        trials' own estimates at the same step, where `FITTED` of them have passed it. Other metrics are as estimated.
        """
        if not self.estimates:
            return dict(self.values)
        values = {k: np.where(np.isnan(v), self.estimates[k], v) for k, v in self.values.items()}
        name, at = self.objective.optimised[0].name, np.zeros(len(self.terms))
        for step, x in self.checkpoint_estimates.items():
            at = np.where(np.isnan(x), at, np.maximum(at, step))  # the last checkpoint of each trial
        for step, x in self.checkpoint_estimates.items():
            known = np.flatnonzero(np.isfinite(x) & np.isfinite(self.values[name]))
            stopped = np.isfinite(self.estimates[name]) & (at == step)
            if len(known) >= FITTED and np.ptp(x[known]) > 0:
                slope, level = np.polyfit(x[known], self.values[name][known], 1)
                values[name] = np.where(stopped, level + max(slope, 0.0) * x, values[name])
        return values


class Proposal(NamedTuple):
    """A point to evaluate exactly as it is.

    Args:
        terms: its coefficient row over base seeds, of unit norm.
        condition: values of searched call arguments; those left out are the host's to choose.
    """

    terms: Terms
    condition: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Round:
    """Where to search next.

    Args:
        space: the box.
        number: a host shows its sampler the trials of the round of this number only.
        size: the round closes when this many trials of it have ended.
        proposals: points to evaluate before the host proposes in the box, hidden from its sampler.
        shared: whether all workers have the same round; else its proposals are for the worker that asked for it, and
            trials of other workers may be of a round of the same number.

    Every point of a round is a point of one of its boxes, so that a host can name it by its own parameters: a
    proposal is a corner, of the box itself where it is one of its axes, else of a box over proposals.
    """

    space: SurrogateSpace
    number: int
    size: int
    proposals: Sequence[Proposal] = ()
    shared: bool = True

    @property
    def terms(self) -> list[Terms]:
        """The proposals' coefficient rows."""
        return [proposal.terms for proposal in self.proposals]

    @cached_property
    def boxes(self) -> tuple[SurrogateSpace, ...]:
        """The box, and behind it boxes whose axes are the proposals that are no axis of an earlier one, K in each."""
        others = [i for i, axis in enumerate(self._axes) if axis is None]
        return (
            self.space,
            *(self._box_of(others[k : k + self.space.axes]) for k in range(0, len(others), self.space.axes)),
        )

    def place(self, i: int) -> tuple[int, Array]:
        """Where a proposal lies: the number of its box, and u (K-1,), a corner of that box.

        Args:
            i: the number of the proposal, from 0.
        """
        axis = self._axes[i]
        if axis is not None:
            return 0, corner(axis, self.space.axes)
        before = sum(other is None for other in self._axes[:i])
        return 1 + before // self.space.axes, corner(before % self.space.axes, self.space.axes)

    def point(self, params: Mapping[str, Any], draw: Draw, box: int = 0) -> Terms:
        """The coefficient row of a point.

        Args:
            params: a host's parameters, u0 to u{K-2} among them.
            draw: of this point alone, mixed in where the space wants fresh noise: as much, or as much more as makes the
                latent look like a draw from the prior.
            box: number of the box that the point lies in.

        Raises:
            ArgumentError: a coordinate outside the box, or no such box.
        """
        if not 0 <= box < len(self.boxes):
            raise ArgumentError(f"box: round {self.number} has the boxes 0 to {len(self.boxes) - 1}, got {box}.")
        space = self.boxes[box]
        u = np.array([[params[name] for name in coordinate_names(space.axes)]], dtype=np.float64)
        if space.fresh in (0, 1):
            return space.terms(u, draws=[draw] if space.fresh else [])[0]
        bank = space.bank.extend([draw])
        rows = bank.rows([*dataclasses.replace(space, fresh=0.0).terms(u), ((draw, 1.0),)]).toarray()
        return bank.terms(mix_until_typical(bank, rows[:1], rows[1:], np.array([space.fresh])))[0]

    @cached_property
    def _axes(self) -> list[int | None]:
        """Of each proposal the axis of the box that it is, None where it is none."""
        bank = self.space.bank.extend([seed for row in self.terms for seed, _ in row])
        rows, frame = bank.rows(self.terms).toarray(), np.zeros((self.space.axes, len(bank.seeds)))
        frame[:, : self.space.frame.shape[1]] = self.space.frame
        if self.space.fresh > 0 or not len(rows):
            return [None] * len(rows)
        corners = np.array([corner(axis, len(frame)) for axis in range(len(frame))])
        reached = np.abs(self.space.chart.weights(corners) - np.eye(len(frame)))  # a cap has one of them only
        same = (np.abs(rows[:, None] - frame[None]).max(axis=2) < SAME) & (reached.max(axis=1) < SAME)
        return [int(np.argmax(row)) if row.any() else None for row in same]

    def _box_of(self, numbers: Sequence[int]) -> SurrogateSpace:
        """The box over some proposals, and axes of the round's box where these are fewer than K."""
        terms = [self.proposals[i].terms for i in numbers]
        bank = self.space.bank.extend([seed for row in terms for seed, _ in row])
        frame = np.zeros((self.space.axes, len(bank.seeds)))
        frame[: len(terms)] = bank.rows(terms).toarray()
        frame[len(terms) :, : self.space.frame.shape[1]] = self.space.frame[: self.space.axes - len(terms)]
        return SurrogateSpace(bank, frame)


Policy = Callable[[History, int, int], Round | None]
"""`(history, evaluations remaining, rng) -> Round`, or None where it has nothing more to propose."""


def as_proposals(bank: Bank, rows: Any) -> tuple[Proposal, ...]:
    """Coefficient rows (k, M) over a bank as proposals.

    Args:
        bank: whose seeds the rows combine.
        rows: float64 (k, M).
    """
    return tuple(map(Proposal, bank.terms(rows)))
