"""The best few that differ: greedy choice under a limit on the cosine of latents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.priors import Prior
from surrogate_ax.latents.seeds import Terms
from surrogate_ax.policies.history import History


def choose(history: History, prior: Prior, *, k: int, max_cosine: float = 0.9) -> list[int]:
    """Rows of the best k successful trials whose latents differ pairwise.

    Args:
        history: ended trials.
        prior: the law of the latents.
        k: how many, at most.
        max_cosine: limit on the cosine of any two chosen latents, in (0, 1].

    Returns:
        Row numbers, best first; fewer than k when no more differ enough.

    Raises:
        ArgumentError: k below 1, a limit outside (0, 1], or no successful trial.
    """
    if k < 1 or not 0 < max_cosine <= 1:
        raise ArgumentError(f"portfolio: expected k >= 1 and max_cosine in (0, 1], got k={k}, max_cosine={max_cosine}.")
    losses = history.objective.losses(history.values) if len(history.terms) else np.zeros((0, 1))
    finite: Array = np.asarray(np.isfinite(losses).all(axis=1))
    if not finite.any():
        raise ArgumentError("portfolio: no trial of the study has succeeded; there is nothing to choose from.")
    chosen: list[int] = []
    for row in history.order:
        if len(chosen) == k or not finite[row]:
            break
        if all(
            cosine <= max_cosine
            for cosine in _cosines(history, prior, [history.terms[i] for i in chosen], history.terms[row])
        ):
            chosen.append(int(row))
    return chosen


def _cosines(history: History, prior: Prior, chosen: Sequence[Terms], row: Terms) -> Array:
    """Cosine of one latent with each of some others; only the seeds of these few rows are looked at."""
    if not chosen:
        return np.zeros(0)
    few = History(history.objective, [*chosen, row], {}, np.zeros(len(chosen) + 1), (), history.tensors)
    bank = few.bank(prior)
    gram = bank.gram(bank.rows(few.terms))
    norm = np.sqrt(np.diag(gram))
    return np.asarray(gram[-1, :-1] / (norm[:-1] * norm[-1]))
