"""Whether inner rows behave like independent draws from the prior, and their repair."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.errors import SeedError, ShapeError


def check_seeds(xi: Tensor) -> None:
    """Refuse inner rows that do not behave like independent draws from N(0, I).

    Args:
        xi: inner seeds (K, D).

    Raises:
        SeedError: fewer than two seeds, more seeds than dimensions, values that are not finite, a copy, a norm with
            | |ξ|²/D - 1 | > 5 √(2/D), or a pair with |cos| > 5/√D.
        ShapeError: xi is not two-dimensional.
    """
    d = _check_rows(xi)
    x = xi.double()
    norm2 = x.square().mean(dim=1).cpu().numpy()
    cosine = (torch.nn.functional.normalize(x, dim=1) @ torch.nn.functional.normalize(x, dim=1).T).cpu().numpy()
    np.fill_diagonal(cosine, 0)
    i, j = np.unravel_index(np.argmax(np.abs(cosine)), cosine.shape)
    advice = "Pass repair=True to orthogonalise and rescale them, or choose other seeds."
    radial, angular = 5 * np.sqrt(2 / d), 5 / np.sqrt(d)
    if cosine[i, j] > 1 - 1e-9:
        raise SeedError(f"seeds: {i} and {j} are copies of each other; a box needs distinct seeds.")
    worst = int(np.argmax(np.abs(norm2 - 1)))
    if abs(norm2[worst] - 1) > radial:
        raise SeedError(
            f"seeds: expected |ξ|²/D within 1 ± {radial:.3f} as for prior draws (D = {d}), "
            f"got {norm2[worst]:.3f} for seed {worst}. {advice}"
        )
    if abs(cosine[i, j]) > angular:
        raise SeedError(
            f"seeds: expected |cos| of a pair at most {angular:.3f} as for prior draws (D = {d}), "
            f"got {cosine[i, j]:.3f} for seeds {i} and {j}. {advice}"
        )


def repair_seeds(xi: Tensor) -> Tensor:
    """Löwdin orthogonalisation and radial rescaling: the nearest rows with ξ_k·ξ_l / D = δ_kl.

    Args:
        xi: inner seeds (K, D), linearly independent.

    Returns:
        Repaired rows (K, D), float32.

    Raises:
        SeedError: fewer than two rows, more than dimensions, values that are not finite, or rows that are linearly
            dependent.
        ShapeError: xi is not two-dimensional.
    """
    _check_rows(xi)
    x = xi.double()
    values, vectors = torch.linalg.eigh(x @ x.T / x.shape[1])
    if values[0] <= 1e-6 * values[-1]:
        raise SeedError("seeds: linearly dependent, so they cannot be orthogonalised; drop copies and combinations.")
    repaired: Tensor = vectors @ torch.diag(values.rsqrt()) @ vectors.T @ x
    return repaired.float()


def _check_rows(xi: Tensor) -> int:
    """D of inner rows that could be seeds by their shape, dtype and values."""
    if xi.ndim != 2:
        raise ShapeError(f"seeds: expected inner rows (K, D), got {tuple(xi.shape)}.")
    k, d = xi.shape
    if not xi.dtype.is_floating_point:
        raise SeedError(f"seeds: expected a floating dtype, got {xi.dtype}.")
    if k < 2:
        raise SeedError(f"seeds: expected at least K = 2 to span a box, got {k}.")
    if k > d:
        raise SeedError(f"seeds: expected at most D = {d} seeds for latents of D entries, got K = {k}.")
    finite = torch.isfinite(xi).all(dim=1)
    if not finite.all():
        raise SeedError(
            f"seeds: expected finite values, got NaN or infinity in seed {int(torch.argmin(finite.int()))}."
        )
    return d
