"""Training that can be stopped at any time: Muon and Adam, a moving average of the weights, and a file with all of it.

W matrix or convolution kernel, read as (outputs, rest); g its gradient; m momentum:
m <- 0.95 m + 0.05 g; W <- W - rate sqrt(max(1, outputs / rest)) O(0.95 m + 0.05 g), where O moves all singular values
close to 1 by five Newton-Schulz steps. It needs a fraction of Adam's steps here, at a tenth more time for each.
Vectors and embeddings take Adam instead.

Reference: K. Jordan and others, "Muon: an optimizer for hidden layers in neural networks", 2024.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

MOMENTUM, BETAS, ADAM_SHARE = 0.95, (0.9, 0.99), 0.15
Tensors = dict[str, Tensor]


@dataclass(kw_only=True)
class State:
    """What a checkpoint holds, tensors by name; `second` has Adam's squares only. `step` counts the updates made."""

    weights: dict[str, nn.Parameter]
    average: Tensors
    first: Tensors
    second: Tensors
    step: int = field(default=0)

    def parts(self) -> dict[str, Tensors]:
        weights = {name: p.data for name, p in self.weights.items()}
        return {"model": weights, "average": self.average, "m": self.first, "v": self.second}


def started(module: nn.Module, checkpoint: Path) -> State:
    """The state of `module`'s training: as `checkpoint` has it, at step 0 where there is no such file."""
    weights = dict(module.named_parameters())
    state = State(
        weights=weights,
        average={name: p.detach().clone() for name, p in weights.items()},
        first={name: torch.zeros_like(p) for name, p in weights.items()},
        second={name: torch.zeros_like(p) for name, p in weights.items() if not orthogonal(name, p)},
    )
    if checkpoint.exists():
        flat = load_file(checkpoint)
        for part, tensors in state.parts().items():
            for name, tensor in tensors.items():
                tensor.copy_(flat[f"{part}/{name}"])
        state.step = int(flat["step"])
    return state


def saved(state: State, checkpoint: Path) -> None:
    """Write `state` to a file, replacing an older one at once."""
    flat = {f"{part}/{n}": t.contiguous() for part, tensors in state.parts().items() for n, t in tensors.items()}
    save_file({**flat, "step": torch.tensor(state.step)}, checkpoint.with_suffix(".new"))
    os.replace(checkpoint.with_suffix(".new"), checkpoint)


def averaged(checkpoint: Path) -> Tensors:
    """The averaged weights of a checkpoint, by name."""
    prefix = "average/"
    return {n.removeprefix(prefix): t for n, t in load_file(checkpoint).items() if n.startswith(prefix)}


def rate(step: int, steps: int, *, peak: float, warm_up: int) -> float:
    """A warm-up to `peak`, and a straight line to zero over the last two thirds of the steps."""
    return peak * min(1.0, (step + 1) / warm_up, 1.5 * (steps - step) / steps)


def orthogonal(name: str, p: Tensor) -> bool:
    """Whether Muon moves this parameter, and not Adam."""
    return p.ndim >= 2 and "embedding.weight" not in name


@torch.no_grad()
def orthogonalised(g: Tensor) -> Tensor:
    """`g`, read as a matrix, with its singular values moved close to 1; shape (outputs, ...) kept."""
    matrix = g.reshape(len(g), -1)
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    # Every step multiplies x by a polynomial q of x x', so that the small square matrices are all that is iterated.
    square, product = x @ x.T, torch.eye(len(x))
    for _ in range(5):
        q = 3.4445 * torch.eye(len(x)) - 4.775 * square + 2.0315 * square @ square
        square, product = q @ square @ q, q @ product
    x = product @ x
    scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
    return scale * (x.T if tall else x).reshape(g.shape)


@torch.no_grad()
def update(state: State, loss: Tensor, *, rate: float, decay: float) -> None:
    """One step down the gradient of `loss`, clipped to norm 1; the average keeps `decay` of itself, less at first."""
    parameters = state.weights.values()
    for p in parameters:
        p.grad = None
    with torch.enable_grad():
        loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    for name, p, change in changes(state):
        p.sub_(rate * (change if orthogonal(name, p) else ADAM_SHARE * change))
    kept = min(decay, (state.step + 1) / (state.step + 10))
    torch._foreach_lerp_(list(state.average.values()), [p.data for p in parameters], 1 - kept)
    state.step += 1


def changes(state: State) -> Iterator[tuple[str, nn.Parameter, Tensor]]:
    """Each parameter that has a gradient, and its direction after the moments have taken the gradient in."""
    for name, p in state.weights.items():
        if p.grad is None:
            continue
        m = state.first[name]
        if orthogonal(name, p):
            m.lerp_(p.grad, 1 - MOMENTUM)
            yield name, p, orthogonalised(p.grad.lerp(m, MOMENTUM))
        else:
            v, (b1, b2) = state.second[name], BETAS
            m.lerp_(p.grad, 1 - b1)
            v.lerp_(p.grad.square(), 1 - b2)
            unbiased = (v / (1 - b2 ** (state.step + 1))).sqrt() + 1e-8
            yield name, p, m / (1 - b1 ** (state.step + 1)) / unbiased
