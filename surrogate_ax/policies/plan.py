"""How to spend a budget: plain draws, the box, rounds, policy, and where unpromising trajectories are stopped.

The numbers were chosen on the development half of `examples/benchmarks/search`; its results.md says what they are worth
on both halves. Estimates after three of eight steps rank the rows of a round nearly as final outputs do (correlations
of .5 to .95 by objective), at three eighths of the cost. Rounds of 16 fill batches better and find less by network
evaluations; rounds of 4 plan twice as long. Sixteen draws or eight, and the range of fresh noise, matter little.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch

from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.conditions import Searched
from surrogate_ax.latents.priors import Prior
from surrogate_ax.policies.basic import chain, draws, o3
from surrogate_ax.policies.history import Policy
from surrogate_ax.policies.moving_boxes import moving_boxes
from surrogate_ax.policies.one_by_one import AT_ONCE, by_workers, one_by_one
from surrogate_ax.policies.sources import Source
from surrogate_ax.policies.spherical_bo import spherical_bo
from surrogate_ax.policies.warm import warmed

AXES = 8  # K, for budgets that allow it
DRAWS = 16  # plain draws at first, at most
NOISY_DRAWS = 48  # the same where scores vary
CHECKPOINT, KEPT = 0.375, 0.25  # share of the steps before the checkpoint, and of a round that goes on behind it
Kind = Literal["sphere", "boxes", "o3"]
FEWEST = 4  # steps with which a trajectory can be stopped
RECORDED = {"keep_fraction": "kept", "anneal_over": "narrow"}  # keys of a record that have other names here
FRESH = (0.2, 0.6)  # range of the share of fresh noise, which falls through it over the budget


@dataclass(frozen=True)
class Plan:
    """What `plan` picks.

    Args:
        kind: "sphere"; "boxes" where the host's sampler proposes; "o3" of studies begun by earlier releases, where it
            had call arguments to search as well.
        draws: plain draws at first.
        axes: K of the box, the same for the whole study.
        size: trials a round of "sphere" or "boxes".
        sampled: trials of such a round that the host's sampler proposes between the proposals.
        anneal_over: ended trials over which the share of fresh noise falls: first learn where, then refine. None where
            nobody says how long the search is: the share is drawn evenly from its range.
        checkpoint: step after which estimates are scored and only the best of a round go on; 0 for none.
        keep_fraction: share of a round that goes on.
        steps: T, of a whole trajectory.
    """

    kind: Kind
    draws: int
    axes: int
    size: int
    sampled: int
    anneal_over: int | None
    checkpoint: int = 0
    keep_fraction: float = 1.0
    steps: int = 1

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """The checkpoints, as `optimize` takes them."""
        return (self.checkpoint,) if self.checkpoint else ()

    @property
    def cohort_size(self) -> int:
        """Rows that are compared at a checkpoint: the most that a round has."""
        return max(self.draws, self.size)

    def spend(self, budget: int, *, stops: bool = True) -> tuple[int, tuple[int, ...], float | None]:
        """Trials, checkpoints and `keep_fraction` with which a budget is spent.

        Args:
            budget: N, whole outputs.
            stops: whether rows may be stopped.
        """
        return (self.trials(budget), self.checkpoints, self.keep_fraction) if stops else (budget, (), None)

    def trials(self, budget: int) -> int:
        """How many trials cost as much as N whole outputs, a round after the other.

        Args:
            budget: N, whole outputs.
        """
        if not self.checkpoint:
            return budget
        count, remaining = 0, budget * self.steps
        while True:
            rows = self.size if count else self.draws
            while rows and self._cost(rows) > remaining:
                rows -= 1
            if not rows:
                return count
            count, remaining = count + rows, remaining - self._cost(rows)

    def _cost(self, rows: int) -> int:
        """Steps that a round takes."""
        return rows * self.checkpoint + survivors(rows, self.keep_fraction) * (self.steps - self.checkpoint)

    def policy(
        self,
        prior: Prior,
        *,
        conditions: Searched | None = None,
        sources: Sequence[Source] = (),
        device: torch.device | str = "cpu",
    ) -> Policy:
        """Plain draws, then what the kind says: proposals of a Gaussian process, boxes over them, or over the best.

        Several workers have proposals one by one, without rounds that wait, where no round is compared at a checkpoint.

        Args:
            prior: the law of the latents.
            conditions: searched call arguments, of which proposals have values; in boxes the host's sampler has.
            sources: earlier searches: their best take places of plain draws, and proposals learn from them.
            device: where latents are made.
        """
        return warmed(self._cold(prior, conditions, device), sources)

    def _cold(self, prior: Prior, conditions: Searched | None, device: torch.device | str) -> Policy:
        """The policy of a search that knows of no other."""
        if self.kind == "o3":
            return o3(prior, self.draws, seeds=self.axes, device=device)
        first = draws(prior, self.draws, axes=self.axes, device=device)
        options: dict[str, Any] = {"axes": self.axes, "size": self.size, "anneal_over": self.anneal_over}
        options |= {"fresh": FRESH, "device": device}
        if self.kind == "boxes":
            return chain(first, moving_boxes(prior, **options))
        rounds = chain(first, spherical_bo(prior, sampled=self.sampled, conditions=conditions, **options))
        if self.checkpoint or self.sampled:  # a round is compared at the checkpoint
            return rounds
        return by_workers(rounds, one_by_one(prior, draws=self.draws, conditions=conditions, **options), size=self.size)

    def to_json(self) -> dict[str, Any]:
        """What a study records, so that it goes on as it was begun."""
        return {RECORDED.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Plan:
        """The inverse of `to_json`.

        Args:
            record: what `to_json` gave.
        """
        names = {recorded: name for name, recorded in RECORDED.items()}
        return cls(**{names.get(key, key): value for key, value in record.items()})


def plan(
    budget: int,
    *,
    dim: int,
    axes: int | None = None,
    steps: int | None = None,
    proposes: bool = False,
    endless: bool = False,
    workers: int = 1,
    noisy: bool = False,
) -> Plan:
    """Draws, seeds and rounds for a budget.

    A round of "sphere" is exact points, so that a host's sampler has nothing to propose; one of "boxes" is all its own.
    Call arguments that are searched change nothing here: proposals have values of them.

    Args:
        budget: N, evaluations in all.
        dim: D, the dimension of the latents.
        axes: K, when the host's parameters are fixed already.
        steps: T, for a generator that can stop between steps: the budget then counts whole outputs, and most outputs
            are stopped, so that there are more trials (`Plan.trials`).
        proposes: whether the host's sampler is to propose, behind the draws every point: in boxes that move.
        endless: whether the search may go on for ever: the budget sizes draws and rounds only.
        noisy: whether scores vary: half of the budget is then drawn, up to 48 draws, as these tell the most.
        workers: trials that run at once; more than lose nothing one by one get rounds with places for them all.

    Raises:
        ArgumentError: a budget below 1, or fewer than two axes.
    """
    if budget < 1:
        raise ArgumentError(f"budget: expected at least one evaluation, got {budget}.")
    if axes is not None and axes < 2:
        raise ArgumentError(f"axes: expected K of at least 2, got {axes}.")
    first = max(2, axes or 2, min(NOISY_DRAWS, budget // 2) if noisy else min(DRAWS, budget // 3))
    size = max(4, min(8, budget // 6))
    if workers > AT_ONCE:
        first, size = max(first, min(workers, budget // 3)), max(size, min(workers, budget // 3))
    axes = axes or max(2, min(AXES, first, dim))
    whole = Plan(
        "boxes" if proposes else "sphere", first, axes, size, size if proposes else 0, None if endless else budget
    )
    if steps is None or steps < FEWEST:
        return whole
    stopping = replace(whole, checkpoint=round(CHECKPOINT * steps), keep_fraction=KEPT, steps=steps)
    return replace(stopping, anneal_over=None if endless else stopping.trials(budget))


def survivors(n: int, keep_fraction: float) -> int:
    """How many of n rows go on behind a checkpoint."""
    return max(1, round(keep_fraction * n))
