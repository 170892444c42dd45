"""Where points of any round's box lie in latent space, as features whose inner products are cosines of latents.

Rows in play: the axes of every round's frame and the trials that no box holds. With C their coefficients over base
seeds and G the seeds' Gram matrix, Γ = C G Cᵀ. Features: A = Γ_{·F} Γ_FF^{-1/2}, the coordinates along the axes F of
the present frame (Löwdin's orthogonal axes, nearest to F), then a square root of what is left, Γ - A Aᵀ. A point w of
a box has the features w Φ_frame / |w Φ_frame|, so |φ - φ'|² = 2 - 2 cos(z, z').
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.seeds import Seed, Stored, Terms
from surrogate_ax_botorch.charts import weights

SAME = 1e-9  # coordinates this near are those of one trial
SMALL = 1e-10  # eigenvalues of Γ below this are rounding
Gram = Callable[[Sequence[Seed]], Array]


@dataclass(frozen=True)
class Box:
    """One round's box.

    Args:
        frame: terms of its K axes.
        chart: name of its chart.
        fresh: share of a new draw in every point; a point not asked yet is placed as if the draw were zero.
    """

    frame: Sequence[Terms]
    chart: str = "knothe-rosenblatt"
    fresh: float = 0.0


@dataclass(frozen=True)
class Placed:
    """One trial whose latent its coordinates do not give.

    Args:
        round: as the model sees it; it may be one without a box.
        u: (K-1,).
        terms: its coefficient row.
    """

    round: int
    u: Sequence[float]
    terms: Terms


class Geometry:
    """The features of points of several rounds' boxes.

    Args:
        boxes: by round.
        placed: trials that the boxes do not hold, or hold with a fresh draw.
        present: round whose axes come first.
        gram: Gram matrix (M, M) of base seeds; the identity if left out.

    Raises:
        ArgumentError: no box for `present`, or boxes of several K.
    """

    def __init__(
        self,
        boxes: Mapping[int, Box],
        placed: Sequence[Placed] = (),
        *,
        present: int = 0,
        gram: Gram | None = None,
    ) -> None:
        sizes = {len(box.frame) for box in boxes.values()}
        if present not in boxes or len(sizes) != 1:
            raise ArgumentError(f"boxes: expected boxes of one K with round {present} among them, got K in {sizes}.")
        self.axes = sizes.pop()
        self.present = present
        self._boxes = dict(boxes)
        order = [present, *sorted(boxes.keys() - {present})]
        rows = [row for number in order for row in boxes[number].frame]
        features = torch.from_numpy(_features([*rows, *(trial.terms for trial in placed)], self.axes, gram))
        self._frames = {number: features[i * self.axes : (i + 1) * self.axes] for i, number in enumerate(order)}
        eye = torch.eye(self.axes, dtype=torch.float64)
        self._orthonormal = {number for number, f in self._frames.items() if (f @ f.T - eye).abs().max() < SAME}
        self._known: dict[int, tuple[Tensor, Tensor]] = {}
        for number in {trial.round for trial in placed}:
            mine = [i for i, trial in enumerate(placed) if trial.round == number]
            u = torch.tensor([list(placed[i].u) for i in mine], dtype=torch.float64)
            self._known[number] = (u, features[[len(rows) + i for i in mine]])

    @property
    def size(self) -> int:
        """Number of features: K along the present axes, then the rest."""
        return int(self._frames[self.present].shape[1])

    def features(self, u: Tensor, rounds: Tensor | None = None) -> Tensor:
        """Features (..., size) of points; zeros for one without a box that no trial has, which nothing is known of.

        Args:
            u: (..., K-1).
            rounds: (...) their rounds; the present one if left out.
        """
        if rounds is None:
            return self._of_round(u, self.present)
        numbers = rounds.detach().round().long()
        present = sorted(set(numbers.flatten().tolist()))
        if len(present) == 1:
            return self._of_round(u, present[0])
        found = torch.zeros((*u.shape[:-1], self.size), dtype=torch.float64, device=u.device)
        for number in present:
            at = numbers == number
            found = found.index_put((at,), self._of_round(u[at], number))
        return found

    def _of_round(self, u: Tensor, number: int) -> Tensor:
        known = self._known.get(number)
        nowhere = torch.zeros((*u.shape[:-1], self.size), dtype=torch.float64, device=u.device)
        inside = self._inside(u, number) if number in self._boxes else nowhere
        if known is None:
            return inside
        place, match = _match(u, known[0])
        return torch.where(match[..., None], known[1][place], inside)

    def _inside(self, u: Tensor, number: int) -> Tensor:
        box = self._boxes[number]
        row = weights(u, box.chart) @ self._frames[number].to(u.device)
        if number not in self._orthonormal:
            row = row / row.norm(dim=-1, keepdim=True)
        return row * float(np.sqrt(1 - box.fresh**2)) if box.fresh else row


def _match(u: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """For each point the nearest known one's number, and whether it is the same."""
    distance = (u.detach().double()[..., None, :] - known.to(u.device)).abs().amax(dim=-1)
    least, place = distance.min(dim=-1)
    return place, least <= SAME


def _features(rows: Sequence[Terms], axes: int, gram: Gram | None) -> Array:
    """Φ (n, p) with Φ Φᵀ = C G Cᵀ of unit rows, the first `axes` rows' directions first."""
    seeds = list(dict.fromkeys(seed for row in rows for seed, _ in row))
    column = {seed: m for m, seed in enumerate(seeds)}
    c = np.zeros((len(rows), len(seeds)))
    for i, row in enumerate(rows):
        for seed, coefficient in row:
            c[i, column[seed]] = coefficient
    g = np.eye(len(seeds)) if gram is None or not any(isinstance(s, Stored) for s in seeds) else gram(seeds)
    cosines = c @ g @ c.T
    norm = np.sqrt(np.maximum(np.diag(cosines), SMALL))
    cosines = cosines / norm[:, None] / norm
    values, vectors = np.linalg.eigh(cosines[:axes, :axes])
    root = vectors * np.where(values > SMALL, 1 / np.sqrt(np.maximum(values, SMALL)), 0) @ vectors.T
    along = cosines[:, :axes] @ root
    values, vectors = np.linalg.eigh(cosines - along @ along.T)
    kept = values > np.sqrt(SMALL)
    return np.ascontiguousarray(np.hstack([along, vectors[:, kept] * np.sqrt(values[kept])]))
