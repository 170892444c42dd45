"""Maps between the box [0,1]^(K-1) and the positive orthant of the unit sphere in R^K.

Notation: u (n, K-1) surrogate coordinates; w (n, K) weights, w >= 0 and |w| = 1; v_k the share of what is left that
axis k takes, v_k = w_k² / Σ_{j>=k} w_j². I_x(a, b) is the regularised incomplete beta function.
Charts are one to one inside the box, and exact on its faces, where optimisers often propose: axis k is the corner
u = (1, .., 1, 0, *), one for each k, whatever stands behind the 0.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import scipy

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError, ShapeError


class Chart(Protocol):
    """A map from the box to the orthant and back; values, not state."""

    @property
    def name(self) -> str:
        """What a space records, and `chart_named` reads."""
        ...

    def weights(self, u: Array) -> Array:
        """u (n, K-1) in [0,1] -> w (n, K), non-negative, of unit norm.

        Args:
            u: float64 (n, K-1) in [0, 1].
        """
        ...

    def coordinates(self, w: Array) -> Array:
        """w (n, K), non-negative and not zero -> u (n, K-1) in [0, 1].

        Args:
            w: float64 (n, K).
        """
        ...


@dataclass(frozen=True)
class KnotheRosenblatt:
    """Uniform u gives w uniform on the orthant: each share v_k is a quantile of its conditional law.

    v_k = I⁻¹_{1-u_k}(1/2, (K-k)/2), w_k² = v_k Π_{j<k} (1 - v_j).

    Reference: arXiv 2509.23800, appendix (Knothe-Rosenblatt chart).
    """

    name: ClassVar[str] = "knothe-rosenblatt"

    def weights(self, u: Array) -> Array:
        """u (n, K-1) -> w (n, K); see `Chart`."""
        u = check_box(u)
        b = _half_degrees(u.shape[1])
        betaincinv = scipy.special.betaincinv  # scipy loads its submodules when they are first used
        taken = betaincinv(0.5, b, 1 - u)  # v_k
        left = betaincinv(b, 0.5, u)  # 1 - v_k, without cancellation
        return _from_roots(np.sqrt(taken), np.sqrt(left))

    def coordinates(self, w: Array) -> Array:
        """w (n, K) -> u (n, K-1); see `Chart`."""
        taken, left = (root**2 for root in _roots(check_weights(w)))
        b = _half_degrees(taken.shape[1])
        # The smaller of the two shares is the accurate one, so each side uses its own tail.
        u = np.where(taken < 0.5, scipy.special.betaincc(0.5, b, taken), scipy.special.betainc(b, 0.5, left))
        return np.asarray(np.clip(u, 0, 1))


@dataclass(frozen=True)
class Angular:
    """Spherical angles θ = πu/2. Kept for comparison: it crowds towards the first axes as K grows.

    w_k = cos θ_k Π_{j<k} sin θ_j, w_K = Π sin θ_j.
    """

    name: ClassVar[str] = "angular"

    def weights(self, u: Array) -> Array:
        """u (n, K-1) -> w (n, K); see `Chart`."""
        u = check_box(u)
        theta = u * (np.pi / 2)
        return _from_roots(np.cos(theta) * (u < 1), np.sin(theta))  # cos π/2 is not quite 0

    def coordinates(self, w: Array) -> Array:
        """w (n, K) -> u (n, K-1); see `Chart`."""
        taken, left = _roots(check_weights(w))
        return np.asarray(np.arctan2(left, taken) / (np.pi / 2))


@dataclass(frozen=True)
class Cap:
    """The part of the orthant within an angle of the first axis: steps of bounded size around an incumbent.

    Uniform u gives w uniform on the cap: the Knothe-Rosenblatt chart with its first coordinate scaled, u_1 -> u_1 U,
    where U is the share of the orthant within `theta_max`.

    Args:
        theta_max: the angle, in (0, π/2].

    Raises:
        ArgumentError: an angle outside.
    """

    theta_max: float

    def __post_init__(self) -> None:
        if not 0 < self.theta_max <= np.pi / 2:
            raise ArgumentError(f"theta_max: expected an angle in (0, π/2], got {self.theta_max}.")

    @property
    def name(self) -> str:
        """Its kind and angle."""
        return f"cap {self.theta_max!r}"

    def weights(self, u: Array) -> Array:
        """u (n, K-1) -> w (n, K); see `Chart`."""
        u = check_box(u)
        taken, left = self._first(u)
        rest = KnotheRosenblatt().weights(u[:, 1:]) if u.shape[1] > 1 else np.ones((len(u), 1))
        return np.asarray(np.hstack([taken[:, None], left[:, None] * rest]))

    def _first(self, u: Array) -> tuple[Array, Array]:
        """cos θ and sin θ; the share within an angle is a small number of its own, so that small caps have digits."""
        b = u.shape[1] / 2
        share = scipy.special.betainc(b, 0.5, np.sin(self.theta_max) ** 2)
        left = scipy.special.betaincinv(b, 0.5, u[:, 0] * share)  # sin² θ
        return np.sqrt(1 - left), np.sqrt(left)

    def coordinates(self, w: Array) -> Array:
        """w (n, K) -> u (n, K-1), those outside the cap moved to its rim; see `Chart`."""
        w = check_weights(w)
        b = (w.shape[1] - 1) / 2
        left = np.minimum((w[:, 1:] ** 2).sum(axis=1), np.sin(self.theta_max) ** 2)
        whole = scipy.special.betainc(b, 0.5, np.sin(self.theta_max) ** 2)
        first = scipy.special.betainc(b, 0.5, left) / whole
        rest = np.where(w[:, 1:].any(axis=1, keepdims=True), w[:, 1:], 1.0)
        others = KnotheRosenblatt().coordinates(rest) if w.shape[1] > 2 else np.zeros((len(w), 0))
        return np.asarray(np.clip(np.hstack([first[:, None], others]), 0, 1))


# The charts without arguments, by the name that a space records.
CHARTS: dict[str, Chart] = {chart.name: chart for chart in (KnotheRosenblatt(), Angular())}


def chart_named(name: str) -> Chart:
    """The chart that a space recorded.

    Raises:
        ArgumentError: an unknown name.
    """
    kind, _, angle = name.partition(" ")
    if kind == "cap":
        with contextlib.suppress(ValueError):
            return Cap(float(angle))
    if name not in CHARTS:
        raise ArgumentError(f"chart: expected one of {sorted(CHARTS)} or 'cap ANGLE', got {name!r}.")
    return CHARTS[name]


def check_box(u: Array) -> Array:
    """u as float64 (n, K-1).

    Raises:
        ShapeError: u is not two-dimensional or has no column.
        ArgumentError: a coordinate is not finite or lies outside [0, 1].
    """
    u = np.asarray(u, dtype=np.float64)
    if u.ndim != 2 or u.shape[1] < 1:
        raise ShapeError(f"u: expected shape (n, K-1) with K at least 2, got {u.shape}.")
    outside = ~((u >= 0) & (u <= 1))
    if outside.any():
        i, k = np.argwhere(outside)[0]
        raise ArgumentError(
            f"u: expected coordinates in [0, 1], got u[{i}, {k}] = {u[i, k]}. Keep the search space [0, 1]."
        )
    return np.asarray(u)


def check_weights(w: Array) -> Array:
    """w as float64 (n, K) of unit norm.

    Raises:
        ShapeError: w is not two-dimensional or has fewer than two columns.
        ArgumentError: an entry is negative or not finite, or a row is zero.
    """
    w = np.asarray(w, dtype=np.float64)
    if w.ndim != 2 or w.shape[1] < 2:
        raise ShapeError(f"w: expected shape (n, K) with K at least 2, got {w.shape}.")
    if not (np.isfinite(w).all() and (w >= 0).all() and w.any(axis=1).all()):
        raise ArgumentError("w: expected finite non-negative rows that are not zero; clip and normalise them first.")
    w = w / w.max(axis=1, keepdims=True)  # squares of very small and very large weights leave the floats
    return np.asarray(w / np.linalg.norm(w, axis=1, keepdims=True))


def _half_degrees(columns: int) -> Array:
    return np.arange(columns, 0, -1) / 2  # (K - k) / 2 for k = 1..K-1


def _from_roots(taken: Array, left: Array) -> Array:
    """Weights from √v_k and √(1 - v_k); products of roots, since their squares underflow for K in the tens."""
    remaining = np.cumprod(np.hstack([np.ones((len(left), 1)), left]), axis=1)
    w = remaining * np.hstack([taken, np.ones((len(taken), 1))])
    return np.asarray(w / np.linalg.norm(w, axis=1, keepdims=True))


def _roots(w: Array) -> tuple[Array, Array]:
    """√v_k and √(1 - v_k); equal where nothing is left, since any u gives the same point there."""
    tail = np.hypot.accumulate(w[:, ::-1], axis=1)[:, ::-1]
    whole, rest = tail[:, :-1], tail[:, 1:]
    empty = whole == 0
    whole = np.where(empty, 1.0, whole)
    return np.where(empty, np.sqrt(0.5), w[:, :-1] / whole), np.where(empty, np.sqrt(0.5), rest / whole)


def corner(axis: int, axes: int) -> Array:
    """u (K-1,) of an axis: 1 before it, 0 at it, and 0.5 behind, where any value is the same point.

    Args:
        axis: k, from 0 to K - 1.
        axes: K.
    """
    u = np.full(axes - 1, 0.5)
    u[:axis], u[axis : axis + 1] = 1.0, 0.0
    return u
