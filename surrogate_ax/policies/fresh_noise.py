"""Fresh noise in a latent that was chosen: as much as the policy wants, and more where it would look unlike a draw.

Notation: x a unit combination of seeds, ε a draw of its own, b its share: √(1-b²) x + b ε.
"""

from __future__ import annotations

import numpy as np
import torch

from surrogate_ax.arrays import Array
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.typicality import chunks, inner_shapes, support

ODD, HALVINGS = 0.004, 5  # a child as odd as fewer draws than this takes more noise; bisections of how much


def mix_until_typical(bank: Bank, combined: Array, fresh: Array, b: Array) -> Array:
    """√(1-b²) x + b ε, with more noise where a latent would look unlike a draw from the prior.

    Selection bends the law of latents a little at every round: an objective that likes smooth images makes smooth
    latents. A child that stands out gets as much noise as it takes not to, which a bisection finds.

    Args:
        bank: the seeds.
        combined: (m, M) unit coefficient rows x.
        fresh: (m, M) rows of the draws ε.
        b: (m,) shares of noise to begin with.
    """
    share = np.array(b, dtype=float)
    for some in chunks(len(b), bank.prior.dim):
        share[some] = _least_noise(bank, combined[some], fresh[some], share[some])
    return np.asarray(np.sqrt(1 - share[:, None] ** 2) * combined + share[:, None] * fresh)


def _least_noise(bank: Bank, combined: Array, fresh: Array, b: Array) -> Array:
    """(m,) b, or the least share above it with which a latent does not stand out."""
    m, shapes = len(b), inner_shapes(bank.prior)
    both = np.vstack([combined, fresh])
    # Made once, since a mixture of both is linear; without radii, which the norm of a draw would not have.
    latents, cosine = bank.directions(both), bank.gram(both)[:m, m:].diagonal()

    def is_atypical(rows: Array, share: Array) -> Array:
        kept = np.sqrt(1 - share**2)
        norm = np.sqrt(1 + 2 * kept * share * cosine[rows])  # of the mixture, where stored seeds are not orthogonal
        x, noise = (torch.from_numpy(part / norm).to(latents)[:, None] for part in (kept, share))
        return support(x * latents[rows] + noise * latents[m + rows], shapes).joint < ODD

    rows = np.arange(m)
    rows = rows[is_atypical(rows, b)]
    low, high = b.copy(), b.copy()
    high[rows] = 1.0
    for _ in range(HALVINGS if len(rows) else 0):
        middle = (low[rows] + high[rows]) / 2
        out = is_atypical(rows, middle)
        low[rows], high[rows] = np.where(out, middle, low[rows]), np.where(out, high[rows], middle)
    return high
