"""What a Gaussian process is fitted to: scores of the rows of a search, larger is better."""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy  # loads its submodules when they are first used

from surrogate_ax.arrays import Array
from surrogate_ax.policies.evolution import finite
from surrogate_ax.policies.history import History


def gp_targets(history: History) -> Array:
    """What the process is fitted to (n,): normal scores of the ranking, for one free metric halved with its values.

    Ranks serve constraints, several metrics and failures alike: failed rows stand last, so that their neighbourhood is
    left. The values, standardised and cut at 3, tell how much better the best are.
    """
    objective = history.objective
    order = dataclasses.replace(history, expected={}).order  # as measured: the process knows of the noise
    scores = np.empty(len(order))
    scores[order] = normal_scores(len(order))
    known = finite(history)
    gain = -objective.losses(history.values)[:, 0]
    spread = float(np.std(gain[known]))
    if len(objective.optimised) > 1 or objective.bounded or not spread > 0:
        return scores
    scores[known] = (scores[known] + np.clip((gain[known] - gain[known].mean()) / spread, -3, 3)) / 2
    return scores


def normal_scores(n: int) -> Array:
    """Scores of n rows, best first: quantiles of the standard normal, so that any ranking can be fitted."""
    return np.asarray(-scipy.special.ndtri((np.arange(n) + 0.5) / n))
