"""The core's charts as torch functions, with gradients that stay bounded at the faces of the box.

θ_k in [0, π/2] is the angle that coordinate u_k sets: w_k = cos θ_k Π_{j<k} sin θ_j, w_K = Π sin θ_j. In the
Knothe-Rosenblatt chart θ_k has density f_n(θ) = 2 sin^{n-1}θ / B(1/2, n/2), n = K - k, so dθ/du = 1 / f_n(θ), which
grows without end towards u = 0. Below u = FACE the slope at FACE is used, so that an optimiser can leave a face.
Quantiles are slow and a model needs millions: θ is a smooth function of u^(1/n), which cubic Hermite pieces between
exact values give to 1e-8.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor

from surrogate_ax.errors import UnsupportedError
from surrogate_ax.latents.charts import Angular, Cap, KnotheRosenblatt, chart_named

FACE = 1e-3
EDGE = 1e-6  # a gradient on a face is that of a point so far inside
PIECES = 512


class _KnotheRosenblatt(torch.autograd.Function):
    """w (..., K) of u (..., K-1), in one step: a graph of a dozen small ones would be most of a model's time."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, share: float) -> Tensor:
        """w, float64, with u_1 scaled by the share of the orthant that a cap takes."""
        factor = torch.ones(u.shape[-1], dtype=torch.float64, device=u.device)
        factor[0] = share
        w, _, _ = _weights(u.detach().clamp(0, 1), factor)
        ctx.save_for_backward(*_weights(u.detach().clamp(EDGE, 1 - EDGE), factor), factor)
        return w

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """dL/dθ_k = -g_k w_k tan θ_k + cot θ_k Σ_{m>k} g_m w_m, times dθ/du."""
        w, sine, cosine, factor = ctx.saved_tensors
        n, whole, _, _ = (part.to(w.device) for part in _tables(sine.shape[-1]))
        face = torch.sin(_angle(FACE * factor))
        part = gradients[0] * w
        later = part.sum(dim=-1, keepdim=True) - part.cumsum(dim=-1)
        by_angle = later[..., :-1] * cosine / sine - part[..., :-1] * sine / cosine
        return by_angle * factor * whole / (2 * torch.maximum(sine, face) ** (n - 1)), None


def _weights(u: Tensor, factor: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """w (..., K), and sin θ, cos θ (..., K-1)."""
    theta = _angle(u * factor)
    sine, cosine = torch.sin(theta), torch.cos(theta)
    w = torch.empty((*u.shape[:-1], u.shape[-1] + 1), dtype=torch.float64, device=u.device)
    w[..., 0], w[..., 1:] = 1, torch.cumprod(sine, dim=-1)  # Π_{j<k} sin θ_j
    w[..., :-1] *= cosine
    return w, sine, cosine


def _angle(u: Tensor) -> Tensor:
    """θ by cubic Hermite pieces in s = u^(1/n)."""
    n, _, theta, slope = (part.to(u.device) for part in _tables(u.shape[-1]))
    s = u ** (1 / n) * PIECES
    i = s.floor().long().clamp(0, PIECES - 1)
    t, k = s - i, torch.arange(len(n), device=u.device)
    low, high, rise, fall = theta[k, i], theta[k, i + 1], slope[k, i], slope[k, i + 1]
    square = t * t
    cube = square * t
    return low + (high - low) * (3 * square - 2 * cube) + rise * (cube - 2 * square + t) + fall * (cube - square)


@lru_cache(maxsize=64)
def _tables(columns: int) -> tuple[Tensor, ...]:
    """n, B(1/2, n/2) (K-1,); θ and dθ/ds per piece at PIECES + 1 values of s (K-1, PIECES + 1)."""
    n = np.arange(columns, 0, -1)[:, None].astype(np.float64)
    s = np.linspace(0, 1, PIECES + 1)[None]
    u, betaincinv = s**n, scipy.special.betaincinv
    square = betaincinv(n / 2, 0.5, u)  # sin² θ; its own tail gives cos² θ where that is the small one
    theta = np.arctan2(np.sqrt(square), np.sqrt(np.where(u < 0.5, 1 - square, betaincinv(0.5, n / 2, 1 - u))))
    whole = scipy.special.beta(0.5, n / 2)
    ratio = np.divide(s, np.sin(theta), out=np.zeros(theta.shape), where=theta > 0)
    ratio[:, :1] = (2 / (n * whole)) ** (1 / n)  # sin θ ~ θ, u ~ 2 θ^n / (n B): the limit of s / sin θ at 0
    slope = n * ratio ** (n - 1) * whole / 2 / PIECES
    parts = (n[:, 0], whole[:, 0], theta, slope)
    return tuple(torch.from_numpy(np.ascontiguousarray(part)) for part in parts)


def weights(u: Tensor, chart: str = "knothe-rosenblatt") -> Tensor:
    """Weights of points of the box, with gradients.

    Args:
        u: (..., K-1) in [0, 1].
        chart: name of a chart of `surrogate_ax.latents.charts`.

    Returns:
        w (..., K) float64, non-negative and of unit norm.

    Raises:
        ArgumentError: an unknown chart.
        UnsupportedError: a chart without a torch function.

    Reference: arXiv 2509.23800, appendix (Knothe-Rosenblatt chart).
    """
    u, found = u.double(), chart_named(chart)
    if isinstance(found, Angular):
        return _from_angles(u.clamp(0, 1) * (np.pi / 2))
    share = 1.0
    if isinstance(found, Cap):  # the share of the orthant within the cap
        share = float(scipy.special.betainc(u.shape[-1] / 2, 0.5, np.sin(found.theta_max) ** 2))
    elif not isinstance(found, KnotheRosenblatt):
        raise UnsupportedError(f"chart: the model on coefficients has no gradient for {chart!r}. Use a model on u.")
    w: Tensor = _KnotheRosenblatt.apply(u, share)  # type: ignore[no-untyped-call]
    return w


def _from_angles(theta: Tensor) -> Tensor:
    left = torch.cumprod(torch.sin(theta), dim=-1)
    one = torch.ones_like(left[..., :1])
    return torch.cat([torch.cos(theta), one], dim=-1) * torch.cat([one, left], dim=-1)
