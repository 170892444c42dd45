"""A kernel on latents: points of boxes are compared by where they lie, other parameters by their values.

k(x, x') = Matérn-5/2(d) exp(-Σ_c [x_c ≠ x'_c] / (m ℓ_c)),
d² = Σ_k s² (φ_k - φ'_k)² / (ℓ r_k)² + Σ_j (x_j - x'_j)² / ℓ_j²:
φ are the features of `Geometry`, x_j ordered parameters on [0, 1], x_c the m categorical ones. s = √K / 2 makes a
feature vary about as much as a uniform u does, so that BoTorch's prior fits ℓ and ℓ_j.

Axes of a box are draws of one law, and no draw is special before scores are known: one lengthscale ℓ serves all
directions, and the ratios r_k (K for the present axes, one for the rest) are held near 1 by their prior. With a
lengthscale of its own for every axis the model takes chance for structure until it has told points by the hundred.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel
from gpytorch.priors import LogNormalPrior
from torch import Tensor

from surrogate_ax_botorch.geometry import Geometry

LEAST = 0.025  # lengthscales stay above, as BoTorch's do
RATIO = 0.25  # sd of log r_k under its prior


class CoefficientKernel(Kernel):  # type: ignore[misc]
    """Matérn-5/2 on the latents that rows of parameters stand for.

    Args:
        geometry: places points.
        box: columns of u0 to u{K-2}.
        round: column of the round; None when all rows are of the present round.
        ordered: (low, high) by column of the other ordered parameters.
        categorical: columns of the categorical parameters.
        batch_shape: of independent kernels.
    """

    has_lengthscale = False

    def __init__(
        self,
        geometry: Geometry,
        *,
        box: Sequence[int],
        round: int | None = None,
        ordered: Mapping[int, tuple[float, float]] | None = None,
        categorical: Sequence[int] = (),
        batch_shape: torch.Size | None = None,
    ) -> None:
        shape = torch.Size() if batch_shape is None else batch_shape
        super().__init__(batch_shape=shape)
        self.geometry = geometry
        self._box, self._round = list(box), round
        self._ordered = dict(ordered or {})
        self._categorical = list(categorical)
        self._seen: list[tuple[Tensor, Tensor]] = []
        loc, scale = math.sqrt(2) + math.log(geometry.axes + len(self._ordered)) / 2, math.sqrt(3)  # BoTorch's prior
        self._add("lengthscale", 1, shape, loc, scale)
        self._add("ratio", geometry.axes + 1, shape, 0.0, RATIO)
        if self._ordered:
            self._add("ordered_lengthscale", len(self._ordered), shape, loc, scale)
        if self._categorical:
            self._add("categorical_lengthscale", len(self._categorical), shape, 0.0, 1.0)

    def _add(self, name: str, size: int, shape: torch.Size, loc: float, scale: float) -> None:
        """A positive parameter with a log-normal prior, begun at its mode."""
        prior = LogNormalPrior(loc=loc, scale=scale)
        begin = max(float(prior.mode), 2 * LEAST)
        self.register_parameter(
            f"raw_{name}", torch.nn.Parameter(torch.full((*shape, 1, size), math.log(begin - LEAST)).double())
        )
        self.register_constraint(
            f"raw_{name}", GreaterThan(LEAST, transform=torch.exp, inv_transform=torch.log, initial_value=begin)
        )
        self.register_prior(
            f"{name}_prior",
            prior,
            lambda module: getattr(module, name),
            lambda module, value: module.initialize(**{f"raw_{name}": torch.log(value - LEAST)}),
        )

    def _value(self, name: str) -> Tensor:
        value: Tensor = getattr(self, f"raw_{name}_constraint").transform(getattr(self, f"raw_{name}"))
        return value

    @property
    def lengthscale(self) -> Tensor:
        """(..., 1, 1): of every direction of latents, before the ratios."""
        return self._value("lengthscale")

    @property
    def ratio(self) -> Tensor:
        """(..., 1, K + 1): of the present axes and of all other directions."""
        return self._value("ratio")

    @property
    def ordered_lengthscale(self) -> Tensor:
        """(..., 1, ordered)."""
        return self._value("ordered_lengthscale")

    @property
    def categorical_lengthscale(self) -> Tensor:
        """(..., 1, categorical)."""
        return self._value("categorical_lengthscale")

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """k(x1, x2) (..., n1, n2), or its diagonal."""
        f1 = self._scaled(x1)
        f2 = f1 if x2 is x1 else self._scaled(x2)
        if diag:
            square = (f1 - f2).square().sum(dim=-1)
        else:
            centre = f1.mean(dim=-2, keepdim=True).mean(dim=tuple(range(f1.ndim - 2)), keepdim=True)
            f1, f2 = f1 - centre, f2 - centre
            square = (
                f1.square().sum(-1, keepdim=True) + f2.square().sum(-1).unsqueeze(-2) - 2 * f1 @ f2.transpose(-1, -2)
            )
        distance = math.sqrt(5) * square.clamp_min(1e-15).sqrt()
        value = (1 + distance + distance.square() / 3) * torch.exp(-distance)
        return value * torch.exp(-self._mismatch(x1, x2, diag)) if self._categorical else value

    def _scaled(self, x: Tensor) -> Tensor:
        """Features and ordered parameters, each divided by its lengthscale (..., n, p)."""
        rows, k = self._rows(x), self.geometry.axes
        ratio, rest = self.ratio, rows.shape[-1] - k - len(self._ordered)
        scale = self.lengthscale * torch.cat([ratio[..., :k], ratio[..., k:].expand(*ratio.shape[:-1], rest)], dim=-1)
        return rows / (torch.cat([scale, self.ordered_lengthscale], dim=-1) if self._ordered else scale)

    def _rows(self, x: Tensor) -> Tensor:
        """What lengthscales divide (..., n, p).

        Training inputs come back in every step of a fit and with every new point, so their rows are kept. No gradient
        reaches a set of points equal to them.
        """
        for seen, rows in self._seen:
            if x.shape[-2:] == seen.shape and bool((x.detach() == seen).all()):
                return rows.expand(*x.shape[:-1], rows.shape[-1])
        rounds = None if self._round is None else x[..., self._round]
        features = self.geometry.features(x[..., self._box], rounds) * (math.sqrt(self.geometry.axes) / 2)
        ordered = [(x[..., j : j + 1].double() - low) / (high - low) for j, (low, high) in self._ordered.items()]
        rows = torch.cat([features, *ordered], dim=-1)
        if self.training and x.ndim == 2:
            self._seen = [(x.detach().clone(), rows.detach())]
        return rows

    def _mismatch(self, x1: Tensor, x2: Tensor, diag: bool) -> Tensor:
        a, b = x1[..., self._categorical], x2[..., self._categorical]
        differ = (((a - b) if diag else (a.unsqueeze(-2) - b.unsqueeze(-3))).abs() > 1e-9).double()
        scale = self.categorical_lengthscale if diag else self.categorical_lengthscale.unsqueeze(-2)
        return (differ / scale).mean(dim=-1)
