"""The flow of a known denoiser with every ability that edits need, and one whose steps remember."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogate_ax import Gaussian, Generated
from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.conditions import check_conditions
from surrogate_ax.latents.priors import Latents, check_latents


@dataclass(frozen=True)
class State:
    step: int
    x: Tensor
    conditions: tuple[Mapping[str, Any], ...]
    spent: np.ndarray
    before: Tensor | None = None


class Flow:
    """dx/dσ = (x - D(x)) / σ in T Euler steps, D(x) = scale·tanh(x) + shift; items are their latents.

    `sizes` has the rows of every step that was run.
    """

    def __init__(self, steps: int = 6, d: int = 12) -> None:
        self.steps, self.prior = steps, Gaussian((d,))
        self.fingerprint = {"flow": f"{steps}", "prior": self.prior.fingerprint}
        self.sizes: list[int] = []

    def sigma(self, step: int) -> float:
        return 1 - step / self.steps

    def generate(self, z: Latents, conditions: Sequence[Any]) -> Generated:
        return self.finish(self.start(z, conditions))

    def start(self, z: Latents, conditions: Sequence[Any], *, step: int = 0) -> State:
        x = check_latents(z, self.prior)["latents"].float()
        check_conditions({"latents": x}, conditions)
        unknown = {name for condition in conditions for name in condition} - {"scale", "shift"}
        if unknown:
            raise ArgumentError(f"conditions: takes no {sorted(unknown)}.")
        return State(step, x, tuple(conditions), np.zeros(len(x)))

    def advance(self, state: State, to: int) -> State:
        for step in range(state.step, to):
            self.sizes.append(len(state.x))
            scale, shift = (
                torch.tensor([[float(c.get(name, value))] for c in state.conditions])
                for name, value in (("scale", 1.0), ("shift", 0.0))
            )
            clean = scale * torch.tanh(state.x) + shift
            x = clean + (state.x - clean) * (self.sigma(step + 1) / self.sigma(step))
            state = replace(state, step=step + 1, x=self.after(x, state), spent=state.spent + 1, before=state.x)
        return state

    def after(self, x: Tensor, state: State) -> Tensor:
        return x

    def select(self, states: Sequence[State], rows: Sequence[tuple[int, int]]) -> State:
        return replace(
            states[0],
            x=torch.stack([states[s].x[i] for s, i in rows]),
            conditions=tuple(states[s].conditions[i] for s, i in rows),
            spent=np.array([states[s].spent[i] for s, i in rows]),
            before=None,
        )

    def latents(self, state: State) -> Latents:
        return {"latents": state.x.clone()}

    def estimate(self, state: State) -> Tensor:
        return state.x

    def nfe(self, state: State) -> np.ndarray:
        return state.spent.copy()

    def finish(self, state: State) -> Generated:
        done = self.advance(state, self.steps)
        return Generated(done.x.numpy(), done.spent, 1e-3)

    def encode(self, items: Any) -> Latents:
        return {"latents": torch.as_tensor(np.asarray(items), dtype=torch.float32)}

    def decode(self, z: Latents) -> np.ndarray:
        return z["latents"].numpy()

    def latent_mask(self, region: np.ndarray) -> Latents:
        return {"latents": torch.as_tensor(region, dtype=torch.float32)[None]}

    def noised(self, x: Latents, eps: Latents, step: int) -> Latents:
        sigma = self.sigma(step)
        return {"latents": (1 - sigma) * x["latents"] + sigma * eps["latents"]}


class Remembering(Flow):
    """Goes on in the direction of the step before, as a solver of second order does."""

    def after(self, x: Tensor, state: State) -> Tensor:
        return x if state.before is None else x + 0.2 * (state.x - state.before)


class Whole:
    """The same flow as a black box whose items can be encoded."""

    def __init__(self, flow: Flow) -> None:
        self.flow, self.prior, self.fingerprint = flow, flow.prior, flow.fingerprint
        self.encode, self.decode = flow.encode, flow.decode

    def generate(self, z: Latents, conditions: Sequence[Any]) -> Generated:
        return self.flow.generate(z, conditions)


def draw(flow: Any, n: int = 3, rng: int = 0) -> dict[str, Tensor]:
    xi = torch.randn(n, flow.prior.dim, generator=torch.Generator().manual_seed(rng))
    return dict(flow.prior.from_inner(xi))
