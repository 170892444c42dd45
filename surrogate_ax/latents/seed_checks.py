"""Whether inner rows can be the seeds of a box, and the repair of rows that are too much alike.

Directions should be as far apart as those of independent draws from N(0, I). Radii need not be a draw's: an item's
exact inversion has |ξ|²/D about 1.4, and keeps it (see `bank`). Only a radius that no latent has is refused.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.errors import SeedError, ShapeError

RADII = (0.25, 4.0)  # |ξ|²/D of what can be a latent; exact inversions were measured between 1.02 and 1.45


def check_seeds(xi: Tensor) -> None:
    """Refuse inner rows that cannot be latents, or whose directions are not like those of independent draws.

    Args:
        xi: inner seeds (K, D).

    Raises:
        SeedError: fewer than two seeds, more seeds than dimensions, values that are not finite, a copy, |ξ|²/D outside
            `RADII` (in few dimensions outside 1 ± 5 √(2/D), where that is wider), or a pair with |cos| > 5/√D.
        ShapeError: xi is not two-dimensional.
    """
    d = _check_rows(xi)
    x = xi.double()
    norm2 = x.square().mean(dim=1).cpu().numpy()
    unit = torch.nn.functional.normalize(x, dim=1)
    cosine = (unit @ unit.T).cpu().numpy()
    np.fill_diagonal(cosine, 0)
    i, j = np.unravel_index(np.argmax(np.abs(cosine)), cosine.shape)
    radial, angular = 5 * np.sqrt(2 / d), 5 / np.sqrt(d)
    low, high = min(RADII[0], 1 - radial), max(RADII[1], 1 + radial)
    if cosine[i, j] > 1 - 1e-9:
        raise SeedError(f"seeds: {i} and {j} are copies of each other; a box needs distinct seeds.")
    off = (norm2 < low) | (norm2 > high)
    if off.any():
        worst = int(np.argmax(off))
        raise SeedError(
            f"seeds: expected |ξ|²/D from {max(low, 0):.3g} to {high:.3g} (near 1 for a prior draw, about 1.4 for an "
            f"inverted item), got {norm2[worst]:.3g} for seed {worst}. Mostly a scale was forgotten: the VAE's "
            "scaling_factor, or the scheduler's init_noise_sigma (the noise level that it starts from). Give latents "
            "as the generator takes them."
        )
    if abs(cosine[i, j]) > angular:
        raise SeedError(
            f"seeds: expected |cos| of a pair at most {angular:.3f} as for prior draws (D = {d}), "
            f"got {cosine[i, j]:.3f} for seeds {i} and {j}. Pass repair=True to turn them apart, or choose other seeds."
        )


def repair_seeds(xi: Tensor) -> Tensor:
    """Löwdin orthogonalisation of the directions; each row keeps its radius, so nothing is rescaled.

    Args:
        xi: inner seeds (K, D), linearly independent.

    Returns:
        Repaired rows (K, D), float32: of all orthogonal rows with these norms, those whose directions are nearest.

    Raises:
        SeedError: fewer than two rows, more than dimensions, values that are not finite, or rows that are linearly
            dependent.
        ShapeError: xi is not two-dimensional.
    """
    _check_rows(xi)
    norms = xi.double().norm(dim=1, keepdim=True)
    x = torch.nn.functional.normalize(xi.double(), dim=1)
    values, vectors = torch.linalg.eigh(x @ x.T)
    if values[0] <= 1e-6 * values[-1]:
        raise SeedError("seeds: linearly dependent, so they cannot be orthogonalised; drop copies and combinations.")
    repaired: Tensor = norms * (vectors @ torch.diag(values.rsqrt()) @ vectors.T @ x)
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
