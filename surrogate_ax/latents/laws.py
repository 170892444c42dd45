"""Laws of single parts, each as two maps over standard normal entries: what `Product` puts together.

Notation: ξ (xi) inner rows (n, d) of one part, z the part itself (n, *shape). A unit-norm combination of independent
ξ is standard normal again, so whatever a law makes of it keeps the law.
Source: surrogate latent spaces (arXiv 2509.23800), section 3.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import scipy  # loads its submodules when they are first used
import torch
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError

_CHECKED = np.array([-3.0, -1.0, 0.0, 1.0, 3.0])  # where a law's two functions must undo each other
_ORTHOGONAL = 1e-3  # largest entry of R Rᵀ - 1 of a rotation


@runtime_checkable
class Law(Protocol):
    """The law of one part."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one item's part."""
        ...

    @property
    def dim(self) -> int:
        """d, how many standard normal entries make one item's part."""
        ...

    @property
    def name(self) -> str:
        """Short text that differs when the law differs; part of the prior's fingerprint."""
        ...

    def from_inner(self, xi: Tensor) -> Tensor:
        """Inner rows (n, d) -> (n, *shape), on the device and in the dtype of `xi`.

        Args:
            xi: float (n, d), standard normal entries.
        """
        ...

    def to_inner(self, z: Tensor, *, rng: int) -> Tensor:
        """(n, *shape) -> inner rows (n, d); `rng` fills what z does not determine.

        Args:
            z: float (n, *shape).
            rng: seed of what z does not determine.
        """
        ...


class Normal:
    """Independent normal entries, z = mean + std ξ.

    Args:
        shape: of one item's part.
        mean: of every entry.
        std: of every entry, positive.

    Raises:
        ArgumentError: an empty shape, a mean that is not finite or a deviation that is not positive.
    """

    def __init__(self, shape: tuple[int, ...], *, mean: float = 0.0, std: float = 1.0) -> None:
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise ArgumentError(f"mean, std: expected a finite mean and a positive deviation, got {mean} and {std}.")
        self.shape = _checked_shape(shape)
        self.dim = math.prod(self.shape)
        self.mean, self.std = float(mean), float(std)
        self.name = f"normal({self.mean!r}, {self.std!r})"

    def from_inner(self, xi: Tensor) -> Tensor:
        """Inner rows (n, d) -> (n, *shape); standard entries are a view, not a copy."""
        z = xi if (self.mean, self.std) == (0.0, 1.0) else xi * self.std + self.mean
        return z.reshape(xi.shape[0], *self.shape)

    def to_inner(self, z: Tensor, *, rng: int) -> Tensor:
        """(n, *shape) -> inner rows (n, d); one to one."""
        return ((z - self.mean) / self.std).flatten(1)


class Elementwise:
    """Independent entries of any continuous law, z = F⁻¹(Φ(ξ)).

    Computed in float64 on the CPU, from whichever tail is nearer: in float32, Φ is 1 from 5.4 deviations on.

    Args:
        shape: of one item's part.
        law: a frozen law of `scipy.stats`, or the pair of functions (cdf, ppf) over float64 arrays.
        name: what to call a pair of functions in fingerprints; a frozen law has a name.

    Raises:
        ArgumentError: neither of the two, a pair without a name, or functions that do not undo each other.

    Reference: arXiv 2509.23800, section 3.
    """

    def __init__(self, shape: tuple[int, ...], law: Any, *, name: str = "") -> None:
        self.shape = _checked_shape(shape)
        self.dim = math.prod(self.shape)
        if isinstance(law, tuple) and len(law) == 2 and all(callable(f) for f in law):
            self._lower: tuple[Callable[[Array], Array], ...] = law
            self._upper: tuple[Callable[[Array], Array], ...] | None = None
        elif all(callable(getattr(law, f, None)) for f in ("cdf", "ppf", "sf", "isf")):
            self._lower, self._upper = (law.cdf, law.ppf), (law.sf, law.isf)
        else:
            raise ArgumentError(
                f"law: expected a frozen law of scipy.stats, or a pair (cdf, ppf), got {type(law).__name__}."
            )
        if not name and hasattr(law, "dist"):
            name = f"{law.dist.name}{tuple(law.args)}{dict(sorted(law.kwds.items()))}"
        if not name:
            raise ArgumentError("name: give a pair of functions a name, which a study's fingerprint can hold.")
        self.name = f"elementwise({name})"
        back = self._back(self._forth(_CHECKED))
        if not np.allclose(back, _CHECKED, atol=1e-6):
            raise ArgumentError(
                f"law: expected a continuous law whose ppf undoes its cdf, but ξ = {_CHECKED.tolist()} came back as "
                f"{np.round(back, 6).tolist()}."
            )

    def from_inner(self, xi: Tensor) -> Tensor:
        """Inner rows (n, d) -> (n, *shape)."""
        z = self._forth(xi.detach().to("cpu", torch.float64).numpy())
        return torch.from_numpy(z).to(xi.device, xi.dtype).reshape(xi.shape[0], *self.shape)

    def to_inner(self, z: Tensor, *, rng: int) -> Tensor:
        """(n, *shape) -> inner rows (n, d).

        What z's dtype rounded to an end of the support counts as the next number inside.

        Raises:
            ArgumentError: an entry outside the law's support.
        """
        flat = z.detach().flatten(1).cpu()
        xi = self._back(flat.double().numpy())
        if not np.isfinite(xi).all():
            centre = torch.full_like(flat, float(self._forth(np.zeros(1))[0]))
            inside = self._back(torch.nextafter(flat, centre).double().numpy())
            if not np.isfinite(inside).all():
                worst = float(flat[torch.from_numpy(~np.isfinite(inside))][0])
                raise ArgumentError(f"z: expected entries inside the support of {self.name}, got {worst}.")
            xi = np.where(np.isfinite(xi), xi, inside)
        return torch.from_numpy(xi).to(z.device, z.dtype)

    def _forth(self, xi: Array) -> Array:
        _, ppf = self._lower
        below = np.asarray(ppf(scipy.special.ndtr(xi)), dtype=np.float64)
        if self._upper is None:
            return below
        return np.asarray(np.where(xi > 0, self._upper[1](scipy.special.ndtr(-xi)), below))

    def _back(self, z: Array) -> Array:
        p = np.asarray(self._lower[0](z), dtype=np.float64)
        below = scipy.special.ndtri(p)
        if self._upper is None:
            return np.asarray(below)
        return np.asarray(np.where(p > 0.5, -scipy.special.ndtri(self._upper[0](z)), below))


class Rotations:
    """Independent uniform (Haar) rotations, one a residue: q = ξ/|ξ| with ξ in R⁴.

    A rotation leaves the radius and the sign of its ξ open. Going back draws both, once for each item and `rng`: a sign
    fixed to one hemisphere would bend every combination towards the identity.

    Args:
        count: rotations of one item; its part is (count, 3, 3), matrices that act on columns.

    Raises:
        ArgumentError: a count below 1.

    Reference: arXiv 2509.23800, section 3 (manifolds); Shoemake 1992 (uniform rotations from normalised quaternions).
    """

    def __init__(self, count: int) -> None:
        self.shape = _checked_shape((count, 3, 3))
        self.dim = 4 * count
        self.name = "rotations"

    def from_inner(self, xi: Tensor) -> Tensor:
        """Inner rows (n, 4 count) -> matrices (n, count, 3, 3)."""
        q = torch.nn.functional.normalize(xi.reshape(xi.shape[0], self.shape[0], 4).double(), dim=-1)
        return _matrices(q).to(xi.dtype)

    def to_inner(self, z: Tensor, *, rng: int) -> Tensor:
        """Matrices (n, count, 3, 3) -> inner rows (n, 4 count).

        Raises:
            ArgumentError: a matrix that is not a rotation.
        """
        r = z.double()
        eye = torch.eye(3, dtype=r.dtype, device=r.device)
        off = float((r @ r.mT - eye).abs().max()) if r.numel() else 0.0
        if not off <= _ORTHOGONAL or (r.numel() and bool((torch.linalg.det(r) < 0).any())):
            raise ArgumentError(
                f"z: expected rotation matrices (orthogonal, determinant 1), got one with R Rᵀ off by {off:.3g} or a "
                "reflection. Orthogonalise them first."
            )
        q = _quaternions(r)
        fill = _fills(z, 5 * self.shape[0], rng).reshape(z.shape[0], self.shape[0], 5).to(q)
        radius = fill[..., :4].norm(dim=-1, keepdim=True)  # that of four normal entries
        sign = torch.where(fill[..., 4:] < 0, -1.0, 1.0)
        xi: Tensor = (q * radius * sign).flatten(1).to(z.dtype)
        return xi


class ZeroCentre:
    """Normal points whose centre of mass is zero, z = std Q ξ with Q an isometry onto the centred points.

    Q is the reflection that takes the first axis to (1, ..., 1)/√N, without that axis: the points are centred exactly,
    and N - 1 inner points determine them.

    Args:
        points: N, at least 2.
        axes: coordinates of a point.
        std: deviation of an entry before centring, positive.

    Raises:
        ArgumentError: fewer than 2 points, no axis, or a deviation that is not positive.
    """

    def __init__(self, points: int, axes: int = 3, *, std: float = 1.0) -> None:
        if points < 2 or not (math.isfinite(std) and std > 0):
            raise ArgumentError(f"points, std: expected at least 2 and a positive deviation, got {points} and {std}.")
        self.shape = _checked_shape((points, axes))
        self.dim = (points - 1) * axes
        self.std = float(std)
        self.name = f"zero-centre({self.std!r})"

    def from_inner(self, xi: Tensor) -> Tensor:
        """Inner rows (n, (N - 1) axes) -> points (n, N, axes) with centre 0."""
        inner = xi.reshape(xi.shape[0], self.shape[0] - 1, self.shape[1])
        return self._reflect(torch.nn.functional.pad(inner, (0, 0, 1, 0))) * self.std

    def to_inner(self, z: Tensor, *, rng: int) -> Tensor:
        """Points (n, N, axes) -> inner rows; one to one.

        Raises:
            ArgumentError: points whose centre is not 0.
        """
        off = float(z.mean(dim=1).abs().max()) if z.numel() else 0.0
        if not off <= 1e-3 * self.std:
            raise ArgumentError(f"z: expected points with centre of mass 0, got {off:.3g}. Subtract their mean.")
        return (self._reflect(z) / self.std)[:, 1:].flatten(1)

    def _reflect(self, x: Tensor) -> Tensor:
        """The reflection 1 - 2 v vᵀ/|v|², v = e_1 - (1, ..., 1)/√N, over points."""
        root = self.shape[0] ** 0.5
        along = (x[:, :1] - x.sum(dim=1, keepdim=True) / root) / (1 - 1 / root)  # 2 v·x/|v|²
        reflected: Tensor = x + along / root
        reflected[:, :1] -= along
        return reflected


def _matrices(q: Tensor) -> Tensor:
    """Rotation matrices (..., 3, 3) of unit quaternions (..., 4), real part first."""
    w, v = q[..., :1, None], q[..., 1:]
    zero = torch.zeros_like(v[..., 0])
    rows = [torch.stack(row, -1) for row in ((zero, -v[..., 2], v[..., 1]), (v[..., 2], zero, -v[..., 0]))]
    cross = torch.stack([*rows, torch.stack((-v[..., 1], v[..., 0], zero), -1)], -2)
    return torch.eye(3, dtype=q.dtype, device=q.device) + 2 * (w * cross + cross @ cross)


def _quaternions(r: Tensor) -> Tensor:
    """Unit quaternions (..., 4) of rotation matrices, of either sign: the best conditioned column of 4 q qᵀ."""
    m = [[r[..., i, j] for j in range(3)] for i in range(3)]
    a, b, c = m[0][0], m[1][1], m[2][2]
    x, y, z = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz, yz = m[0][1] + m[1][0], m[0][2] + m[2][0], m[1][2] + m[2][1]
    outer = torch.stack(
        [
            torch.stack([1 + a + b + c, x, y, z], -1),
            torch.stack([x, 1 + a - b - c, xy, xz], -1),
            torch.stack([y, xy, 1 - a + b - c, yz], -1),
            torch.stack([z, xz, yz, 1 - a - b + c], -1),
        ],
        -2,
    )
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)
    column = torch.take_along_dim(outer, best[..., None, None], dim=-2)[..., 0, :]
    return torch.nn.functional.normalize(column, dim=-1)


def _fills(z: Tensor, count: int, rng: int) -> Tensor:
    """Normal rows (n, count), a function of `rng` and each item's own values, whatever else is in the batch."""
    rows = []
    for row in z.detach().to("cpu", torch.float32).contiguous().numpy():
        digest = hashlib.sha256(row.tobytes()).digest()
        words = [int.from_bytes(digest[i : i + 4], "big") for i in range(0, 16, 4)]
        rows.append(np.random.default_rng([int(rng) % 2**64, *words]).standard_normal(count))
    return torch.from_numpy(np.reshape(rows, (z.shape[0], count)))


def _checked_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if not shape or min(shape) < 1:
        raise ArgumentError(f"shape: expected at least one positive size, got {tuple(shape)}.")
    return tuple(int(size) for size in shape)


def describe(parts: Mapping[str, Law]) -> list[list[Any]]:
    """Name, shape and law of each part, for a fingerprint."""
    return [[name, list(law.shape), law.name] for name, law in parts.items()]
