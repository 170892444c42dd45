"""Inpainting by latent replacement, as a generator: the latent is the noise from which the hole is filled.

x the item's final latents, m the mask (1 in the hole), z the noise, F_s one step of the generator.

    x_s <- m x_s + (1 - m) noised(x, z, s)        x_{s+1} = F_s(x_s)        at the end  m x_T + (1 - m) x

What is known enters each step at the step's noise level, with the same noise that the hole began from, so that both
parts of a row belong to one trajectory.
Source: latent replacement, Lugmayr et al. 2022 (RePaint, arXiv 2201.09865), section 4.1, without resampling.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from surrogate_ax.editing.edits import check_mask, one_row
from surrogate_ax.editing.rows import check_steps, flat, is_noising, one_step, parts
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.generation.conditions import Condition, check_conditions
from surrogate_ax.generation.protocols import Encodable, Generated, Timed
from surrogate_ax.latents.priors import Latents, Prior, check_latents
from surrogate_ax.latents.seeds import row_sha256, stored_row


class Inpaint:
    """A generator of items that equal a given one outside a hole.

    Args:
        generator: `Steppable`, `Noising` and `Encodable`.
        x: final latents (1, *shape) of the item.
        mask: latents (1, *shape), 1 in the hole, `generator.latent_mask(region)`.
        target: call arguments: what the filled item shows.
        start: the step to start from; later ones keep something of what was in the hole.

    Raises:
        UnsupportedError: a generator that lacks an ability.
        ShapeError: latents of another shape.
        ArgumentError: a mask without an edge, or a start out of range.
    """

    def __init__(
        self, generator: Any, x: Latents | Tensor, mask: Latents | Tensor, *, target: Condition, start: int = 0
    ) -> None:
        self._g: Any = check_steps(generator, "Inpaint", "Masked FlowOpt needs no steps.")
        if not (is_noising(generator) and isinstance(generator, Encodable)):
            raise UnsupportedError(f"generator: Inpaint needs Noising and Encodable, got {type(generator).__name__}.")
        if not 0 <= start < self._g.steps:
            raise ArgumentError(f"start: expected a step from 0 to {self._g.steps - 1}, got {start}.")
        self._x, self._mask = one_row(generator, x, name="x"), check_mask(generator, mask)
        self._target, self._start = dict(target), start

    @property
    def prior(self) -> Prior:
        """The law of the noise."""
        return self._g.prior  # type: ignore[no-any-return]

    @property
    def rate(self) -> float | None:
        """Samples or frames a second of the outputs, None where they do not last."""
        return self._g.rate if isinstance(self._g, Timed) else None

    @property
    def seeds(self) -> dict[str, Tensor]:
        """The item and the mask as rows (D,) by SHA-256: a seed store keeps them."""
        kept = [stored_row(row[0]) for row in (self._x, self._mask)]
        return {row_sha256(row): row for row in kept}

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """The generator's, and what is filled with what."""
        return {**self._g.fingerprint, "edit": json.dumps(self.describe(), sort_keys=True)}

    def describe(self) -> dict[str, Any]:
        """What the edit is made from, JSON-able."""
        item, mask = (row_sha256(stored_row(row[0])) for row in (self._x, self._mask))
        return {"path": "inpaint", "start": self._start, "target": self._target, "item": item, "mask": mask}

    def generate(self, z: Latents, conditions: Sequence[Condition]) -> Generated:
        """Filled items from n noises.

        Args:
            z: named parts (n, *shape).
            conditions: n mappings of call arguments, which override the target's.

        Raises:
            ShapeError: wrong latents, or not n conditions.
        """
        given = check_latents(z, self.prior)
        n, clock = check_conditions(given, conditions), time.perf_counter()
        targets = [{**self._target, **condition} for condition in conditions]
        x = self._x.expand(n, -1)
        made, nfe = replace_latents(self._g, x, given, targets, self._mask, start=self._start)
        outputs = self._g.decode(parts(made.cpu(), self.prior.shapes))
        return Generated(outputs, nfe, time.perf_counter() - clock)


def replace_latents(
    generator: Any, x: Tensor, z: Latents, target: Sequence[Condition], mask: Tensor, *, start: int = 0
) -> tuple[Tensor, Any]:
    """Final latents (n, D) of n items that are filled inside a mask, and their cost (n,).

    Args:
        generator: `Steppable` and `Noising`.
        x: (n, D) final latents.
        z: parts (n, *shape), the noise of each item.
        target: n conditions.
        mask: (1, D) or (n, D), 1 in the hole.
        start: the first step.
    """
    shapes = generator.prior.shapes
    item = parts(x, shapes)
    rows, nfe = flat(generator.noised(item, z, start)), torch.zeros(len(x)).numpy()
    for s in range(start, generator.steps):
        rows, cost = one_step(generator, rows, target, s)
        known = x if s + 1 == generator.steps else flat(generator.noised(item, z, s + 1))
        rows = mask.to(rows) * rows + (1 - mask.to(rows)) * known.to(rows)
        nfe = nfe + cost
    return rows, nfe
