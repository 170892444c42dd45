"""Policies that follow a person's choices: rounds by what was liked, and rounds around one item.

What a person likes is learned from `History.preferences` as a utility of every latent (`preference`). A search by taste
is then the search by any score: the utility takes the place of the optimised metric's values.
Notation: x a latent's unit coefficient row, ε a draw of its own, b its share: √(1-b²) x + b ε.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from surrogate_ax.arrays import Array
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.priors import Prior
from surrogate_ax.latents.seeds import Terms
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.policies.evolution import finite, fresh_draws, next_round
from surrogate_ax.policies.fresh_noise import mix_until_typical
from surrogate_ax.policies.history import History, Policy, Round, as_proposals
from surrogate_ax.policies.preference import utilities
from surrogate_ax.policies.spherical_bo import spherical_bo

AXES = 2  # K: rounds are exact points, so a small box does, which rounds of any size can span
FRESH = (0.2, 0.6)  # range of b, as in the planned search
NEAR, FAR = 0.2, 0.7  # b of the first and the last variation of an item


def taste(prior: Prior, *, axes: int = AXES, size: int = 8, device: torch.device | str = "cpu") -> Policy:
    """Rounds of what a person is expected to like; plain draws until something was liked.

    Args:
        prior: the law of the latents.
        axes: K, which fixes the study's parameters.
        size: items a round.
        device: where latents are made.
    """
    inner = liked_rounds(prior, axes=axes, size=size, device=device)

    def policy(history: History, remaining: int, rng: int) -> Round | None:
        return inner(by_liking(history, prior, device=device), remaining, rng)

    return policy


def liked_rounds(prior: Prior, *, axes: int = AXES, size: int = 8, device: torch.device | str = "cpu") -> Policy:
    """What `taste` does of a history whose values are likings already; arguments as there."""
    return spherical_bo(prior, axes=axes, size=size, fresh=FRESH, device=device)


def by_liking(history: History, prior: Prior, *, device: torch.device | str = "cpu") -> History:
    """The history with what a person likes as the values of the optimised metric.

    Args:
        history: ended trials and preferences between them; NaN where nothing was liked yet, and for failed trials.
        prior: the law of the latents.
        device: where latents are made.
    """
    name = history.objective.optimised[0].name
    return dataclasses.replace(history, values={**history.values, name: likings(history, prior, device=device)})


def likings(history: History, prior: Prior, *, device: torch.device | str = "cpu") -> Array:
    """The utility (n,) of every row; arguments as for `by_liking`."""
    found = np.full(len(history.terms), np.nan)
    rows = np.flatnonzero(finite(history))
    known = history.rows(rows)
    if known.preferences:
        bank = known.bank(prior, device)
        found[rows] = utilities(bank.gram(bank.rows(known.terms)), known.preferences)
    return found


def variations(
    terms: Terms,
    prior: Prior,
    *,
    axes: int = AXES,
    size: int = 8,
    itself: bool = False,
    device: torch.device | str = "cpu",
) -> Policy:
    """One round around an item: nearly the same first, then wilder.

    Args:
        terms: the item's coefficient row.
        prior: the law of the latents.
        axes: K, which fixes the study's parameters.
        size: items of the round.
        itself: whether the item is the first of them.
        device: where latents are made.
    """

    def policy(history: History, remaining: int, rng: int) -> Round | None:
        found = next_round(history, size, None)
        if found is None:
            return None
        number, count = found[0], size - itself
        draws = fresh_draws(number, max(count, axes), rng)
        bank = Bank(prior, (), tensors=history.tensors, device=device).extend([*(seed for seed, _ in terms), *draws])
        x, noise = bank.rows([terms]).toarray(), bank.rows(((draw, 1.0),) for draw in draws).toarray()
        b = np.linspace(NEAR, FAR, count)
        points = x[:0]
        if count:
            points = mix_until_typical(bank, np.repeat(bank.normalise(x).toarray(), count, axis=0), noise[:count], b)
        rows = np.vstack([x, points]) if itself else points
        frame = np.vstack([points, noise])[:axes]
        return Round(SurrogateSpace(bank, frame), number, size, as_proposals(bank, rows))

    return policy
