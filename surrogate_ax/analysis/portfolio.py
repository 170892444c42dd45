"""The best few that differ: greedy choice under limits on how alike latents are, and how alike what is seen.

Distances of what is seen are counted in units of the study itself: 1 is the median distance of two plain draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import combinations

import numpy as np

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.priors import Prior
from surrogate_ax.latents.seeds import Draw, Terms
from surrogate_ax.policies.history import History

Seen = Callable[[Sequence[int]], Array]  # rows of a history -> features (n, F) of their outputs

MIN_DISTANCE = 0.5  # at which no two of twelve avatars look alike
FLOOR = 0.75  # share of the trials with a result from which is chosen, the best
YARDSTICK = 8  # outputs whose median distance is the unit
CHUNK = 16  # outputs looked at together


def choose(
    history: History,
    prior: Prior | None,
    *,
    k: int,
    max_cosine: float = 0.9,
    seen: Seen | None = None,
    min_distance: float = MIN_DISTANCE,
    floor: float = FLOOR,
    most: int | None = None,
) -> list[int]:
    """Rows of the best k successful trials that differ pairwise: their latents, and their outputs where these are seen.

    Args:
        history: ended trials.
        prior: the law of the latents; None compares outputs only.
        k: how many, at most.
        max_cosine: limit on the cosine of any two chosen latents, in (0, 1].
        seen: gives features of outputs; without it only latents are compared.
        min_distance: limit on the distance of any two chosen outputs' features, 1 being that of two plain draws.
        floor: share of the trials, the best, from which is chosen where outputs are seen, in (0, 1].
        most: outputs that are looked at, at most.

    Returns:
        Row numbers, best first; fewer than k when no more differ enough.

    Raises:
        ArgumentError: k below 1, a limit out of range, or no successful trial.
    """
    if k < 1 or not 0 < max_cosine <= 1:
        raise ArgumentError(f"portfolio: expected k >= 1 and max_cosine in (0, 1], got k={k}, max_cosine={max_cosine}.")
    if not (0 <= min_distance < math.inf and 0 < floor <= 1):
        raise ArgumentError(
            f"portfolio: expected min_distance >= 0 and floor in (0, 1], got min_distance={min_distance}, "
            f"floor={floor}."
        )
    losses = history.objective.losses(history.values) if len(history.terms) else np.zeros((0, 1))
    finite: Array = np.asarray(np.isfinite(losses).all(axis=1))
    if not finite.any():
        raise ArgumentError("portfolio: no trial of the study has succeeded; there is nothing to choose from.")
    ranked = [int(row) for row in history.order if finite[row]]
    sight = None
    if seen is not None and min_distance > 0:
        sight = _Sight(seen, _yardstick(history, ranked), min_distance)
        ranked = ranked[: max(k, math.ceil(floor * len(ranked)))][:most]
    chosen: list[int] = []
    for i, row in enumerate(ranked):
        if len(chosen) == k:
            break
        if prior is not None and (_cosines(history, prior, chosen, row) > max_cosine).any():
            continue
        if sight is None or sight.differs(row, chosen, ranked[i : i + CHUNK]):
            chosen.append(row)
    return chosen


class _Sight:
    """Features of outputs, looked at once each, and when two of them differ enough."""

    def __init__(self, seen: Seen, yardstick: Sequence[int], min_distance: float) -> None:
        self._seen, self._yardstick, self._min_distance = seen, yardstick, min_distance
        self._features: dict[int, Array] = {}

    @cached_property
    def _limit(self) -> float:
        """The least distance of two chosen outputs, as their features have it."""
        self._look([row for row in self._yardstick if row not in self._features])
        pairs = [self._distance(*pair) for pair in combinations(self._yardstick, 2)]
        return self._min_distance * float(np.median(pairs)) if pairs else 0.0

    def differs(self, row: int, chosen: Sequence[int], ahead: Sequence[int]) -> bool:
        """Whether an output is far enough from all chosen ones; those ahead are looked at along with it."""
        if not chosen:
            return True  # the best needs no look
        wanted = [other for other in (*chosen, *ahead) if other not in self._features]
        if row in wanted or len(chosen) == 1:
            self._look(wanted)
        return all(self._distance(row, other) > 0 for other in chosen) and all(
            self._distance(row, other) >= self._limit for other in chosen
        )

    def _look(self, rows: Sequence[int]) -> None:
        if not rows:
            return
        features = np.asarray(self._seen(rows), dtype=np.float64)
        if features.ndim != 2 or len(features) != len(rows) or not np.isfinite(features).all():
            raise ArgumentError(
                f"features: expected finite numbers (n, F) of n = {len(rows)} outputs, got shape {features.shape}."
            )
        self._features |= dict(zip(rows, features, strict=True))

    def _distance(self, one: int, other: int) -> float:
        return float(np.linalg.norm(self._features[one] - self._features[other]))


def _yardstick(history: History, ranked: Sequence[int]) -> list[int]:
    """Rows whose outputs show how far two of them are apart: plain draws, or trials from all of the ranking."""
    plain = [row for row in sorted(ranked) if _is_plain(history.terms[row])][:YARDSTICK]
    if len(plain) > 2:
        return plain
    spread = np.unique(np.linspace(0, len(ranked) - 1, YARDSTICK).astype(int))
    return [ranked[i] for i in spread]


def _is_plain(terms: Terms) -> bool:
    return len(terms) == 1 and isinstance(terms[0][0], Draw)


def _cosines(history: History, prior: Prior, chosen: Sequence[int], row: int) -> Array:
    """Cosine of one latent with each of some others; only the seeds of these few rows are looked at."""
    if not chosen:
        return np.zeros(0)
    terms = [history.terms[i] for i in (*chosen, row)]
    few = History(history.objective, terms, {}, np.zeros(len(terms)), (), history.tensors)
    bank = few.bank(prior)
    gram = bank.gram(bank.rows(few.terms))
    norm = np.sqrt(np.diag(gram))
    return np.asarray(gram[-1, :-1] / (norm[:-1] * norm[-1]))
