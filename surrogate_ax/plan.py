"""How to spend a budget: plain draws, the box, rounds and policy.

The numbers were chosen on the development half of `examples/benchmarks/search`, mostly on a fast imitation of the
embedded model; its results.md says what they are worth on both halves. There eight plain draws beat sixteen at N = 50,
and fresh noise that falls from b = .5 to .2 beat constant .3 by little. On the model itself, at N = 100, sixteen draws
and rounds of 4 ranked a little better over eight cells (tuning.md); rounds of 4 plan twice as long and leave batches
half empty.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from surrogate_ax.errors import ArgumentError
from surrogate_ax.policies import Policy, draws, o3, o3_seeds, then
from surrogate_ax.priors import Prior
from surrogate_ax.sphere import sphere

AXES = 8  # K, for budgets that allow it
DRAWS = 8  # plain draws at first: proposals with fresh noise tell as much, and better rows are found sooner
FRESH = (0.2, 0.5)  # range of the share of fresh noise, which falls through it over the budget


@dataclass(frozen=True)
class Plan:
    """What `plan` picks.

    Args:
        kind: "sphere", or "o3" where the host's sampler has call arguments to search as well.
        draws: plain draws at first.
        axes: K of the box, the same for the whole study.
        size: trials a round of "sphere".
        sampled: trials of such a round that the host's sampler proposes between the proposals.
        narrow: told trials over which the share of fresh noise falls: first learn where, then refine.
    """

    kind: Literal["sphere", "o3"]
    draws: int
    axes: int
    size: int
    sampled: int
    narrow: int

    def policy(self, prior: Prior, *, device: torch.device | str = "cpu") -> Policy:
        """Plain draws, then Bayesian optimisation on the sphere of everything told, or the box over the best draws.

        Args:
            prior: the law of the latents.
            device: where latents are made.
        """
        if self.kind == "o3":
            return o3(prior, self.draws, seeds=self.axes, device=device)
        first = draws(prior, self.draws, axes=self.axes, device=device)
        options: dict[str, Any] = {"axes": self.axes, "size": self.size, "sampled": self.sampled, "device": device}
        return then(first, sphere(prior, fresh=FRESH, narrow=self.narrow, **options))

    def describe(self) -> dict[str, Any]:
        """JSON-able: what a study records, so that it goes on as it was begun."""
        return asdict(self)


def plan(budget: int, *, dim: int, axes: int | None = None, searched: bool = False) -> Plan:
    """Draws, seeds and rounds for a budget.

    A round of "sphere" is mostly exact points, and a host shows its sampler one round at a time; call arguments that
    are searched need the sampler, and one long round, so they get O3.

    Args:
        budget: N, evaluations in all.
        dim: D, the dimension of the latents.
        axes: K, when the host's parameters are fixed already.
        searched: whether call arguments are searched as well.

    Raises:
        ArgumentError: a budget below 1, or fewer than two axes.
    """
    if budget < 1:
        raise ArgumentError(f"budget: expected at least one evaluation, got {budget}.")
    if axes is not None and axes < 2:
        raise ArgumentError(f"axes: expected K of at least 2, got {axes}.")
    if searched:
        half = max(2, axes or 2, budget // 2)
        return Plan("o3", half, axes or min(o3_seeds(budget), half, dim), 0, 0, 0)
    first = max(2, axes or 2, min(DRAWS, budget // 3))
    size = max(4, min(8, budget // 6))
    return Plan("sphere", first, axes or max(2, min(AXES, first, dim)), size, 0, budget)
