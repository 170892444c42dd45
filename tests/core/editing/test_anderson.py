"""Acceleration: right on linear problems, row by row, and plain where it should be."""

from __future__ import annotations

import torch

from surrogate_ax.editing.anderson import Memory, accelerate


def iterate(a: torch.Tensor, b: torch.Tensor, rounds: int, depth: int, damping: float = 1.0) -> torch.Tensor:
    """q with q = a q + b by row, a (n, D, D)."""
    q = torch.zeros_like(b)
    memory = Memory.empty(q)
    for _ in range(rounds):
        r = torch.einsum("nij,nj->ni", a, q) + b - q
        q, memory = accelerate(memory, q, r, depth=depth, damping=damping)
    return q


def problems(n: int = 4, d: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    a = 0.9 * torch.linalg.qr(torch.randn(n, d, d, generator=rng, dtype=torch.float64)).Q
    b = torch.randn(n, d, generator=rng, dtype=torch.float64)
    return a, b, torch.linalg.solve(torch.eye(d, dtype=torch.float64) - a, b)


def test_a_linear_problem_of_d_unknowns_is_solved_in_d_and_a_few_iterates() -> None:
    a, b, solution = problems()
    assert (iterate(a, b, 6, depth=5) - solution).abs().max() < 1e-6
    assert (iterate(a, b, 6, depth=0) - solution).abs().max() > 0.1


def test_rows_are_those_that_they_would_be_alone() -> None:
    a, b, _ = problems()
    together = iterate(a, b, 4, depth=3, damping=0.8)
    alone = torch.cat([iterate(a[[i]], b[[i]], 4, depth=3, damping=0.8) for i in range(len(b))])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-9)


def test_without_depth_it_is_the_damped_iteration() -> None:
    q, r = torch.ones(2, 3), torch.full((2, 3), 2.0)
    damping = torch.tensor([[0.5], [0.25]])
    following, memory = accelerate(Memory.empty(q), q, r, depth=0, damping=damping)
    assert following.tolist() == [[2.0] * 3, [1.5] * 3]
    assert memory.q.shape == (1, 2, 3)


def test_the_memory_is_bounded_and_rows_can_be_picked() -> None:
    a, b, _ = problems()
    q = torch.zeros_like(b)
    memory = Memory.empty(q)
    for _ in range(9):
        q, memory = accelerate(memory, q, torch.einsum("nij,nj->ni", a, q) + b - q, depth=3)
    assert memory.q.shape == (4, 4, 3)
    picked = memory.pick(torch.tensor([2, 0]))
    assert torch.equal(picked.r, memory.r[:, [2, 0]])


def test_equal_iterates_do_not_break_it() -> None:
    q, r = torch.ones(1, 3), torch.zeros(1, 3)
    memory = Memory.empty(q)
    for _ in range(4):
        q, memory = accelerate(memory, q, r, depth=5)
    assert torch.equal(q, torch.ones(1, 3))
