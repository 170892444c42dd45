"""Boxes for a host's own sampler: every round a new one, over what a Gaussian process proposes, noise mixed in inside.

The axes are combinations of the latents so far from which the process expects improvement, as they are, and late in a
long search combinations of the best rows. The sampler proposes every point between them, and each point is mixed with
noise of its own. The noise is what lets a search leave the span of what it has seen: without it a box finds little more
than its axes. The axes and the size of a round decide how good the box is; which sampler proposes in it matters little.
Notation: K the axes; b the share of fresh noise ε.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.priors import Prior
from surrogate_ax.latents.seeds import draw_entropy
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.evolution import more_draws, next_round, too_few
from surrogate_ax.policies.history import History, Policy, Round
from surrogate_ax.policies.noisy import settled
from surrogate_ax.policies.spherical_bo import NOTHING, combinations

# How many of the best rows are combined into one axis each, so that axes differ: about as many as recombination takes.
PARENTS = (6, 3, 12, 1, 9, 2, 18, 4)


def moving_boxes(
    prior: Prior,
    *,
    axes: int = 8,
    size: int = 8,
    fresh: tuple[float, float] = (0.2, 0.6),
    anneal_over: int | None = None,
    max_trials: int | None = None,
    device: torch.device | str = "cpu",
) -> Policy:
    """A new box every round, in which the host's sampler proposes every point; it begins anew with each.

    Plain draws come first: `chain(draws(prior, 16, axes=8), moving_boxes(prior, axes=8))`.

    Args:
        prior: the law of the latents.
        axes: K of the box.
        size: trials a round. Larger rounds learn less often, smaller ones leave a sampler nothing to learn from.
        fresh: range of b, the share of fresh noise: a point is √(1-b²) x + b ε, with more noise where it would look
            unlike a draw (`Round.point`).
        anneal_over: ended trials over which b falls from the end of its range to the beginning; if left out, each
            round's b is drawn evenly from the range.
        max_trials: ended trials after which the policy ends.
        device: where latents are made.

    Raises:
        ArgumentError: fewer than two axes, no trials in a round, or a share outside (0, 1).
    """
    if axes < 2:
        raise ArgumentError(f"axes: expected K of at least 2, got {axes}.")
    if size < 1:
        raise ArgumentError(f"size: expected at least one trial a round, got {size}.")
    if not 0 < fresh[0] <= fresh[1] < 1:
        raise ArgumentError(f"fresh: expected a range of shares in (0, 1), got {fresh}.")

    def policy(history: History, remaining: int, rng: int) -> Round | None:
        found = next_round(history, size, max_trials)
        if found is None:
            return None
        number, before = found[0], settled(found[1], prior, NOTHING, device)
        if too_few(before):
            return more_draws(prior, axes, number, size, rng, device)
        random = np.random.default_rng(draw_entropy(rng, f"proposals of round {number}"))
        parents = (*PARENTS, *range(24, 24 + 6 * axes, 6))
        _, bank, frame, _ = combinations(before, prior, axes, random, parents=parents, device=device)
        b = random.uniform(*fresh)
        if anneal_over is not None:
            b = fresh[1] - (fresh[1] - fresh[0]) * min(1.0, len(before.terms) / max(anneal_over, 1))
        return Round(dataclasses.replace(SurrogateSpace(bank, frame), fresh=b), number, size)

    return policy
