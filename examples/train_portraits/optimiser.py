"""Training that can be stopped at any time: Muon and Adam, a moving average of the weights, and a file with all of it.

W matrix or convolution kernel, read as (outputs, rest); g its gradient; m momentum:
m <- 0.95 m + 0.05 g; W <- W - rate sqrt(max(1, outputs / rest)) O(0.95 m + 0.05 g), where O moves all singular values
close to 1 by five Newton-Schulz steps. It needs a fraction of Adam's steps here, at a tenth more time for each.
Vectors and embeddings take Adam instead.

Reference: K. Jordan and others, "Muon: an optimizer for hidden layers in neural networks", 2024.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

MOMENTUM, BETAS, ADAM_SHARE = 0.95, (0.9, 0.99), 0.15
Tensors = dict[str, Tensor]


@dataclass(kw_only=True)
class State:
    """What a checkpoint holds, tensors by name; `second` has Adam's squares only. `step` counts the updates made.

    `count` and `rate` are what one update needs of the step, as tensors: a replayed CUDA graph reads them anew.
    """

    weights: dict[str, nn.Parameter]
    average: Tensors
    first: Tensors
    second: Tensors
    count: Tensor
    rate: Tensor
    step: int = 0

    def prepare(self, rate: float) -> None:
        """Get ready for the next update, which is to use that learning rate."""
        self.rate.fill_(rate)
        self.step += 1
        self.count.fill_(self.step)

    def parts(self) -> dict[str, Tensors]:
        weights = {name: p.data for name, p in self.weights.items()}
        return {"model": weights, "average": self.average, "m": self.first, "v": self.second}


def started(module: nn.Module, checkpoint: Path) -> State:
    """The state of `module`'s training: as `checkpoint` has it, at step 0 where there is no such file."""
    weights = dict(module.named_parameters())
    device = next(module.parameters()).device
    state = State(
        weights=weights,
        count=torch.zeros((), device=device),
        rate=torch.zeros((), device=device),
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
    one = torch.eye(len(x), device=x.device)
    square, product = x @ x.T, one
    for _ in range(5):
        q = 3.4445 * one - 4.775 * square + 2.0315 * square @ square
        square, product = q @ square @ q, q @ product
    x = product @ x
    scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
    return scale * (x.T if tall else x).reshape(g.shape)


@torch.no_grad()
def update(state: State, loss: Tensor, *, decay: float) -> None:
    """One step down the gradient of `loss`, clipped to norm 1; the average keeps `decay` of itself, less at first."""
    parameters = list(state.weights.values())
    for p in parameters:
        p.grad = None
    with torch.enable_grad():
        loss.backward()
    nn.utils.clip_grad_norm_(parameters, 1.0)
    for name, p, change in changes(state):
        p.sub_(state.rate * (change if orthogonal(name, p) else ADAM_SHARE * change))
    kept = (state.count / (state.count + 9)).clamp(max=decay)
    for average, p in zip(state.average.values(), parameters, strict=True):
        average.lerp_(p, 1 - kept)


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
            unbiased = (v / (1 - b2**state.count)).sqrt() + 1e-8
            yield name, p, m / (1 - b1**state.count) / unbiased


class Updates:
    """Calls `step`, which makes one update and returns its loss; on a GPU as one CUDA graph, for its kernels are short.

    `step` draws from `rng` only, seeded anew for every call, so that a resumed training goes on as it would have.
    """

    WARM = 3  # calls before the capture, which must find all that libraries allocate at first use

    def __init__(self, step: Callable[[], Tensor], rng: torch.Generator) -> None:
        self._step, self._rng, self._made = step, rng, 0
        self._stream = torch.cuda.Stream() if rng.device.type == "cuda" else None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._loss = torch.zeros(())

    def __call__(self, seed: int) -> Tensor:
        """The loss of one update, which the next call may overwrite."""
        self._rng.manual_seed(seed)
        self._made += 1
        if self._stream is None:
            return self._step()
        if self._made <= self.WARM:
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                loss = self._step()
            torch.cuda.current_stream().wait_stream(self._stream)
            return loss
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            self._graph.register_generator_state(self._rng)
            with torch.cuda.graph(self._graph):
                self._loss = self._step()
        self._graph.replay()
        return self._loss


class Log:
    """The mean loss and the time of a step since the last record, as JSON lines and on the screen."""

    def __init__(self, path: Path) -> None:
        self._path, self._sum, self._steps, self._start = path, torch.zeros(()), 0, time.time()

    def add(self, loss: Tensor) -> None:
        self._sum, self._steps = self._sum.to(loss.device) + loss, self._steps + 1

    def write(self, step: int, **figures: float) -> None:
        record = {"step": step, "loss": self._sum.item() / self._steps, **figures}
        record["seconds_a_step"] = (time.time() - self._start) / self._steps
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(json.dumps(record), flush=True)
        self._sum, self._steps, self._start = torch.zeros(()), 0, time.time()


def set_up() -> None:
    """One thread; on a GPU, float32 products in TF32."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.set_float32_matmul_precision("high")
