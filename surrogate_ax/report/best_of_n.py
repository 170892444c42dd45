"""What plain draws would have brought: the best of N of them on average; and which trials nothing beats."""

from __future__ import annotations

import numpy as np
import scipy  # loads its submodules when they are first used

from surrogate_ax.arrays import Array

ENOUGH = 5  # plain draws that say what more of them would bring


def expected_best(scores: Array, n: Array) -> Array:
    """Mean of the largest of n scores (k,) of plain draws, n beyond their number too.

    Up to their number they are drawn without replacement. Beyond it the scores are taken for normal, and the curve is
    joined to what the draws have shown.

    Args:
        scores: (m,), at least two.
        n: counts (k,), ascending.
    """
    scores, m = np.sort(scores), len(scores)
    known = _largest(scores, n[n <= m])
    beyond = n[n > m]
    if not len(beyond):
        return known
    deviation = scores.std(ddof=1)
    joined = scores[-1] - deviation * _normal_best(np.array([m]))[0]
    return np.concatenate([known, joined + deviation * _normal_best(beyond)])


def pareto(losses: Array) -> Array:
    """Numbers of rows that no other row beats or equals everywhere and beats somewhere.

    Args:
        losses: (n, m), smaller is better.
    """
    order = np.lexsort(losses.T[::-1])
    front = np.zeros((0, losses.shape[1]))
    kept = []
    for i in order:  # what beats a row comes before it in this order
        row = losses[i]
        if not ((front <= row).all(axis=1) & (front < row).any(axis=1)).any():
            front = np.vstack([front, row])
            kept.append(i)
    return np.sort(np.array(kept, dtype=np.int64))


def _largest(scores: Array, n: Array) -> Array:
    """Mean of the largest of n of m ascending scores over all subsets, n up to m."""
    m, order = len(scores), np.arange(1, len(scores) + 1)
    log_choose = scipy.special.gammaln
    found = []
    for count in n:
        place = order[order >= count]  # the j-th smallest is the largest of C(j-1, n-1) of C(m, n) subsets
        ways = log_choose(place) - log_choose(place - count + 1) - log_choose(count)
        total = log_choose(m + 1) - log_choose(count + 1) - log_choose(m - count + 1)
        found.append(float(np.exp(ways - total) @ scores[place - 1]))
    return np.array(found)


def _normal_best(n: Array) -> Array:
    """Mean of the largest of n standard normal numbers, to a few per cent."""
    return np.asarray(scipy.special.ndtri((n - 0.375) / (n + 0.25)))  # Blom's approximation
