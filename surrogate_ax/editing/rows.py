"""Named parts of latents as flat rows, what every iteration here works on, and the noise levels of a generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError, ShapeError, UnsupportedError
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import Noising, Steppable
from surrogate_ax.latents.priors import Latents, check_latents

FLOW = 1e-2  # how far signal and noise may be from adding up to 1 in a flow


def flat(z: Latents) -> Tensor:
    """Parts (n, *shape) as rows (n, D), in float32."""
    return torch.cat([part.flatten(1).float() for part in z.values()], dim=1)


def parts(rows: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Rows (n, D) as parts (n, *shape)."""
    sizes = [int(np.prod(shape)) for shape in shapes.values()]
    pieces = torch.split(rows, sizes, dim=1)
    return {name: x.reshape(len(rows), *shape) for (name, shape), x in zip(shapes.items(), pieces, strict=True)}


def rms(rows: Tensor) -> Tensor:
    """Root mean square (n,) of rows (n, D)."""
    return rows.square().mean(dim=1).sqrt()


def check_rows(generator: Any, x: Any, conditions: Sequence[Condition] | Condition, *, name: str) -> list[Condition]:
    """The n conditions of n final latents; one for all may be given.

    Raises:
        ShapeError: latents of another shape, or another number of conditions.
        ArgumentError: values that are not finite.
    """
    given = check_latents(x, generator.prior, name=name)
    n = len(next(iter(given.values())))
    listed = [conditions] * n if isinstance(conditions, Mapping) else list(conditions)
    if len(listed) != n:
        raise ShapeError(f"condition: expected one, or n = {n}, one an item, got {len(listed)}.")
    if not all(bool(torch.isfinite(part).all()) for part in given.values()):
        raise ArgumentError(f"{name}: expected finite latents, got NaN or infinity.")
    return listed


def check_steps(generator: Any, what: str, instead: str) -> Any:
    """The generator, if it can stop between steps.

    Raises:
        UnsupportedError: it cannot; says what to use.
    """
    if isinstance(generator, Steppable):
        return generator
    raise UnsupportedError(
        f"{what}: expected a generator that can stop between steps (Steppable), got {type(generator).__name__}. "
        f"{instead}"
    )


@dataclass(frozen=True)
class Levels:
    """x_s = a_s x + b_s ε at each step s = 0..T.

    Args:
        a: (T + 1,) share of the item.
        b: (T + 1,) share of the noise.
    """

    a: Array
    b: Array

    @property
    def flow(self) -> bool:
        """Whether shares add up to 1 everywhere, as in flow matching."""
        return bool(np.abs(self.a + self.b - 1).max() < FLOW)


def is_noising(generator: Any) -> bool:
    """Whether a generator steps and knows the noise of a step."""
    return isinstance(generator, Noising) and isinstance(generator, Steppable)


def noise_levels(generator: Any) -> Levels | None:
    """The levels of a generator that is `Noising`, None of another."""
    if not is_noising(generator):
        return None
    one = {name: torch.ones(1, *shape) for name, shape in generator.prior.shapes.items()}
    none = {name: torch.zeros_like(part) for name, part in one.items()}
    steps = range(generator.steps + 1)
    a = [float(flat(generator.noised(one, none, s)).mean()) for s in steps]
    b = [float(flat(generator.noised(none, one, s)).mean()) for s in steps]
    return Levels(np.array(a), np.array(b))


def one_step(
    generator: Any, q: Tensor, conditions: Sequence[Condition], step: int, to: int | None = None
) -> tuple[Tensor, Array]:
    """Rows (n, D) that enter at a step, at the next one or `to`, and their cost (n,)."""
    state = generator.start(parts(q, generator.prior.shapes), conditions, step=step)
    after = generator.advance(state, step + 1 if to is None else to)
    return flat(generator.latents(after)).to(q.device), generator.nfe(after)
