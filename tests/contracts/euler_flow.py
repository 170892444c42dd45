"""A flow of a known denoiser in Euler steps: the smallest generator that can stop between steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogate_ax import Gaussian, Generated
from surrogate_ax.latents.priors import Latents

Condition = Mapping[str, Any]


@dataclass(frozen=True)
class State:
    """Rows at one step: x and x̂ (n, D)."""

    step: int
    x: Tensor
    clean: Tensor
    conditions: tuple[Condition, ...]
    spent: np.ndarray


class EulerFlow:
    """dx/dσ = (x - D(x, σ)) / σ from σ = 1 to 0 in equal steps, D(x, σ) = scale·tanh(x) + shift σ.

    Args:
        steps: T.
        d: entries of a latent.
        watch: called with ("step" or "estimate", rows at work, their conditions) before each piece of work.
    """

    check_rows = False  # tests count its calls

    def __init__(self, steps: int = 8, d: int = 16, watch: Callable[[str, Tensor, Any], None] | None = None) -> None:
        self.steps = steps
        self.prior = Gaussian((d,))
        self.fingerprint = {"flow": f"euler {steps}", "prior": self.prior.fingerprint}
        self.sizes: list[int] = []  # rows of every step
        self._watch = watch or (lambda kind, x, conditions: None)

    def generate(self, z: Latents, conditions: Sequence[Condition]) -> Generated:
        return self.finish(self.start(z, conditions))

    def start(self, z: Latents, conditions: Sequence[Condition], *, step: int = 0) -> State:
        x = z["latents"]
        return State(step, x, x, tuple(conditions), np.zeros(len(x)))

    def advance(self, state: State, to: int) -> State:
        x, clean = state.x, state.clean
        for step in range(state.step, to):
            self._watch("step", x, state.conditions)
            self.sizes.append(len(x))
            sigma, after = 1 - step / self.steps, 1 - (step + 1) / self.steps
            scale = torch.tensor([float(condition.get("scale", 1.0)) for condition in state.conditions])
            clean = scale[:, None] * torch.tanh(x) + 0.3 * sigma
            x = clean + (x - clean) * (after / sigma)
        return State(to, x, clean, state.conditions, state.spent + (to - state.step))

    def select(self, states: Sequence[State], rows: Sequence[tuple[int, int]]) -> State:
        assert len({state.step for state in states}) == 1
        return State(
            states[0].step,
            torch.stack([states[s].x[i] for s, i in rows]),
            torch.stack([states[s].clean[i] for s, i in rows]),
            tuple(states[s].conditions[i] for s, i in rows),
            np.array([states[s].spent[i] for s, i in rows]),
        )

    def latents(self, state: State) -> Latents:
        return {"latents": state.x.clone()}

    def estimate(self, state: State) -> Tensor:
        self._watch("estimate", state.x, state.conditions)
        return state.clean

    def nfe(self, state: State) -> np.ndarray:
        return state.spent.copy()

    def finish(self, state: State) -> Generated:
        done = self.advance(state, self.steps)
        return Generated(done.x, done.spent, 0.0)
