"""Anderson's acceleration of fixed-point iterations, row by row: n problems of D unknowns side by side.

q (n, D) iterates, r(q) (n, D) residuals, zero at the solution; the plain iteration is q + β r. Of the last m
differences ΔQ, ΔR of each row

    γ = argmin |r - ΔR γ|²        q' = q + β r - (ΔQ + β ΔR) γ

Rows do not know of each other, so a row's iterates are those that it would have alone.
Source: Walker and Ni 2011, Anderson acceleration for fixed-point iterations, SIAM J. Numer. Anal. 49.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 1e-10  # of the largest squared difference: what keeps γ finite where differences are alike


@dataclass(frozen=True)
class Memory:
    """The last iterates and residuals, oldest first.

    Args:
        q: (h, n, D).
        r: (h, n, D).
    """

    q: Tensor
    r: Tensor

    @classmethod
    def empty(cls, rows: Tensor) -> Memory:
        """Nothing remembered of rows (n, D).

        Args:
            rows: (n, D), of which only shape, dtype and device count.
        """
        none = rows.new_zeros((0, *rows.shape))
        return cls(none, none)

    def pick(self, rows: Tensor) -> Memory:
        """What is remembered of some rows.

        Args:
            rows: numbers of the rows that are kept.
        """
        return Memory(self.q[:, rows], self.r[:, rows])


def accelerate(
    memory: Memory, q: Tensor, r: Tensor, *, depth: int, damping: float | Tensor = 1.0
) -> tuple[Tensor, Memory]:
    """The next iterate.

    Args:
        memory: of earlier iterates.
        q: (n, D) the present ones.
        r: (n, D) their residuals.
        depth: m, differences that are used; 0 for the plain iteration.
        damping: β in (0, 1], or one a row (n, 1).

    Returns:
        q' (n, D), and the memory with the present iterates in it.
    """
    qs, rs = torch.cat([memory.q, q[None]])[-depth - 1 :], torch.cat([memory.r, r[None]])[-depth - 1 :]
    kept = Memory(qs, rs)
    plain = q + damping * r
    if depth == 0 or len(qs) < 2:
        return plain, kept
    dq, dr = qs[1:] - qs[:-1], rs[1:] - rs[:-1]
    gram = torch.einsum("hnd,knd->nhk", dr, dr).double()
    right = torch.einsum("hnd,nd->nh", dr, r).double()
    largest = gram.diagonal(dim1=1, dim2=2).amax(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
    ridge = RIDGE * largest[:, None, None] * torch.eye(len(dr), dtype=torch.float64, device=q.device)
    gamma = torch.linalg.solve(gram + ridge, right).to(q)
    step = torch.einsum("hnd,nh->nd", dq, gamma) + damping * torch.einsum("hnd,nh->nd", dr, gamma)
    return torch.where(torch.isfinite(step).all(dim=1, keepdim=True), plain - step, plain), kept
