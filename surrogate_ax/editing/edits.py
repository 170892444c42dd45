"""Edits of an existing item as a generator: what is searched is how the edit is done, and everything that searches can.

x final latents of the item, F_s one step of the generator. With d_0 = 0

    d <- F_s(x_s + d; target) - F_s(x_s; source)            the edited item is x + d_T

x_s is the item at the noise level of step s, on one of two paths:

- "straight": x_s = noised(x, ε_s, s) with a fresh ε_s a step (FlowEdit). The latent is these noises (S, *shape).
- "inverted": x_s are the rows from which the generator makes the item under the source condition. The differences add
  up to swapping the condition and keeping the residual x_0. The latent is the residual, or with a share of noise b the
  noise ε of residuals √(1-b²) r_0 + b ε near the item's own r_0: what a score alone moves.

Both latents follow the prior's law, so an edit has that prior.
Sources: FlowEdit (arXiv 2412.08629); residual-space evolution (arXiv 2606.20084) for the inverted path.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.editing.rows import check_rows, check_steps, flat, one_step, parts
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.generation.conditions import Condition, check_conditions, group
from surrogate_ax.generation.protocols import Encodable, Generated, Noising, Outputs, Timed
from surrogate_ax.latents.priors import Gaussian, Latents, Prior, check_latents
from surrogate_ax.latents.seeds import row_sha256, stored_row

Path = Literal["straight", "inverted"]
START, SOURCE = "start", "source_"  # names of conditions of an edit: where it starts, and those of the source's side
_NEEDS = "A FlowOpt edit needs no steps (surrogate_ax.editing.flowopt)."


class Edit:
    """A generator of edits of one item. Its conditions are the target's call arguments.

    `start` among the conditions is another step to start from, and names with `source_` before them are call arguments
    of the source's side (`source_guidance_scale`); both can be searched.

    Args:
        generator: `Steppable` and `Encodable`, on the straight path `Noising` too.
        x: final latents (1, *shape) of the item, `generator.encode([item])`.
        source: what the item shows, as call arguments.
        target: what it should show.
        path: "straight" or "inverted".
        start: the step to start from; later ones keep more of the item.
        mask: latents (1, *shape), 1 where the item may change: the edited item is x + mask · d_T. Edits that are masked
            step by step fit less well what is around them.
        residual: with `b`, latents (1, *shape) of the item, `invert(generator, x, source).latents`.
        b: on the inverted path, share of noise in (0, 1): the latent is what is mixed into the residual.

    Raises:
        UnsupportedError: a generator that lacks an ability, or a prior that is not Gaussian.
        ShapeError: latents of another shape.
        ArgumentError: a path that does not exist, a start or b out of range, a mask without an edge.
    """

    def __init__(
        self,
        generator: Any,
        x: Latents | Tensor,
        *,
        source: Condition,
        target: Condition,
        path: Path = "straight",
        start: int = 1,
        mask: Latents | Tensor | None = None,
        residual: Latents | Tensor | None = None,
        b: float | None = None,
    ) -> None:
        self._generator: Any = check_steps(generator, "Edit", _NEEDS)
        self._abilities(generator, path)
        self._x = one_row(generator, x, name="x")
        self._source, self._target = dict(source), dict(target)
        self.path: Path = path
        if not 0 <= start < self._generator.steps:
            raise ArgumentError(f"start: expected a step from 0 to {self._generator.steps - 1}, got {start}.")
        self.start = start
        self._mask = None if mask is None else check_mask(generator, mask)
        self._residual = None if residual is None else one_row(generator, residual, name="residual")
        if b is not None and not (path == "inverted" and 0 < b < 1):
            raise ArgumentError(f"b: expected a share of noise in (0, 1), on the inverted path, got {b} on {path!r}.")
        if (b is None) != (residual is None):
            raise ArgumentError(
                "b, residual: expected both or neither: invert(generator, x, source).latents, and how far from it."
            )
        self._b = b
        self._prior = self._noise_prior() if path == "straight" else generator.prior
        self.decoder: Encodable = generator

    @staticmethod
    def _abilities(generator: Any, path: str) -> None:
        if path not in ("straight", "inverted"):
            raise ArgumentError(f"path: expected 'straight' or 'inverted', got {path!r}.")
        wanted: list[type[Any]] = [Encodable, *([Noising] if path == "straight" else [])]
        for protocol in wanted:
            if not isinstance(generator, protocol):
                raise UnsupportedError(
                    f"generator: a {path} edit needs {protocol.__name__}, which {type(generator).__name__} is not. "
                    f"{_NEEDS}"
                )

    def _noise_prior(self) -> Gaussian:
        law = self._generator.prior
        if not isinstance(law, Gaussian):
            raise UnsupportedError(f"generator: a straight edit needs a Gaussian prior, got {type(law).__name__}.")
        count = self._generator.steps - self.start
        return Gaussian({name: (count, *shape) for name, shape in law.shapes.items()}, mean=law.mean, std=law.std)

    @property
    def prior(self) -> Prior:
        """The law of what is searched: the noises of the steps, or the residual."""
        return self._prior

    @property
    def rate(self) -> float | None:
        """Samples or frames a second of the outputs, None where they do not last."""
        return self._generator.rate if isinstance(self._generator, Timed) else None

    @property
    def seeds(self) -> dict[str, Tensor]:
        """The item, and mask and residual where there are such, as rows (D,) by SHA-256: a seed store keeps them."""
        rows = [row for row in (self._x, self._mask, self._residual) if row is not None]
        kept = [stored_row(row[0]) for row in rows]
        return {row_sha256(row): row for row in kept}

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """The generator's, and the edit: its conditions, path and start, the item and the mask by their hashes."""
        return {
            **self._generator.fingerprint,
            "edit": json.dumps(self.describe(), sort_keys=True),
            "prior": self._prior.fingerprint,
        }

    def describe(self) -> dict[str, Any]:
        """What `edit_from_record` makes the edit from, JSON-able."""
        named = {"item": self._x, "mask": self._mask, "residual": self._residual}
        hashes = {k: None if row is None else row_sha256(stored_row(row[0])) for k, row in named.items()}
        share = {} if self._b is None else {"b": self._b}
        settings = {"path": self.path, "start": self.start, "source": self._source, "target": self._target}
        return {**settings, **hashes, **share}

    def generate(self, z: Latents, conditions: Sequence[Condition]) -> Generated:
        """Edits from n latents, both sides of a step in one call.

        Args:
            z: named parts (n, *shape) of the edit's prior.
            conditions: n mappings of the target's call arguments, of `start`, and with `source_` the source's.

        Raises:
            ShapeError: wrong latents, or not n conditions.
            ArgumentError: a start before the edit's own, or call arguments that the generator does not take.
        """
        clock = time.perf_counter()
        d, nfe = self.differences(z, conditions)
        return Generated(self.outputs(d), nfe, time.perf_counter() - clock)

    def differences(self, z: Latents, conditions: Sequence[Condition]) -> tuple[Tensor, Array]:
        """d_T (n, D) of n latents, before the mask, and their cost (n,); arguments as of `generate`."""
        given = check_latents(z, self._prior)
        n = check_conditions(given, conditions)
        d, nfe = torch.zeros(n, self._x.shape[1]), np.zeros(n)
        for shared, items in group([{START: c.get(START, self.start)} for c in conditions]):
            start = int(shared[START])
            if not self.start <= start < self._generator.steps:
                raise ArgumentError(
                    f"start: expected {self.start}, of this edit, to {self._generator.steps - 1}, got {start}."
                )
            rows = {name: part[items] for name, part in given.items()}
            sides = [self._sides(conditions[i]) for i in items]
            made, cost = self._run(rows, [s for s, _ in sides], [t for _, t in sides], start)
            d[items], nfe[items] = made.cpu() - self._x, cost
        return d, nfe

    def outputs(self, d: Tensor) -> Outputs:
        """The edited items of differences (n, D), which count inside the mask only.

        Args:
            d: float (n, D), as `differences` gives them.
        """
        inside = d if self._mask is None else d * self._mask
        return self.decoder.decode(parts(self._x + inside, self._generator.prior.shapes))

    def within(self, mask: Latents | Tensor) -> Edit:
        """The same edit inside a mask of latents (1, *shape) only.

        Args:
            mask: named parts (1, *shape), 1 where the edit may change the item.
        """
        inside = copy.copy(self)
        inside._mask = check_mask(self._generator, mask)
        return inside

    def _sides(self, condition: Condition) -> tuple[Condition, Condition]:
        """The call arguments of the source and of the target."""
        source = {name.removeprefix(SOURCE): v for name, v in condition.items() if name.startswith(SOURCE)}
        target = {name: v for name, v in condition.items() if not name.startswith(SOURCE) and name != START}
        return {**self._source, **source}, {**self._target, **target}

    def _run(self, z: Latents, sources: list[Condition], targets: list[Condition], start: int) -> tuple[Tensor, Array]:
        n = len(sources)
        if self.path == "inverted":
            rows = flat(z)
            if self._b is not None and self._residual is not None:
                rows = np.sqrt(1 - self._b**2) * self._residual.to(rows) + self._b * rows
            return swap_condition(self._generator, rows, sources, targets, start=start)
        noises = [
            {name: part[:, s - self.start] for name, part in z.items()} for s in range(start, self._generator.steps)
        ]
        x = self._x.expand(n, -1)
        return straight_edit(self._generator, x, noises, sources, targets, start=start)


def straight_edit(
    generator: Any,
    x: Tensor,
    noises: Sequence[Latents],
    source: Sequence[Condition],
    target: Sequence[Condition],
    *,
    start: int,
) -> tuple[Tensor, Array]:
    """Edited final latents (n, D) of n items on the straight path, and their cost (n,).

    Args:
        generator: `Steppable` and `Noising`.
        x: (n, D) final latents.
        noises: of each step from `start` on, parts (n, *shape) drawn from the prior.
        source: n conditions.
        target: n conditions.
        start: the first step.

    Reference: arXiv 2412.08629, algorithm 1, with one noise a step.
    """
    d, nfe = torch.zeros_like(x), np.zeros(len(x))
    for moved, cost in straight_differences(generator, x, noises, source, target, start=start):
        d, nfe = moved, nfe + cost
    return x.to(d) + d, nfe


def straight_differences(
    generator: Any,
    x: Tensor,
    noises: Sequence[Latents],
    source: Sequence[Condition],
    target: Sequence[Condition],
    *,
    start: int,
) -> Iterator[tuple[Tensor, Array]]:
    """d (n, D) after each step of a straight edit, and the step's cost (n,); arguments as of `straight_edit`."""
    n, shapes = len(x), generator.prior.shapes
    d, both = torch.zeros_like(x), [*target, *source]
    for s, eps in zip(range(start, generator.steps), noises, strict=True):
        x_s = flat(generator.noised(parts(x, shapes), eps, s))
        made, cost = one_step(generator, torch.cat([x_s + d.to(x_s), x_s]), both, s)
        d = made[:n] - made[n:]
        yield d, cost[:n] + cost[n:]


def swap_condition(
    generator: Any,
    residual: Tensor,
    source: Sequence[Condition],
    target: Sequence[Condition],
    *,
    start: int = 0,
) -> tuple[Tensor, Array]:
    """Final latents (n, D) of residuals under the source up to `start`, under the target from there; their cost (n,).

    Args:
        generator: `Steppable`.
        residual: (n, D), latents of the prior.
        source: n conditions.
        target: n conditions.
        start: the step at which the condition changes.
    """
    if start == 0:
        return one_step(generator, residual, target, 0, generator.steps)
    x, before = one_step(generator, residual, source, 0, start)
    made, cost = one_step(generator, x, target, start, generator.steps)
    return made, before + cost


def one_row(generator: Any, z: Latents | Tensor, *, name: str) -> Tensor:
    """Latents of one item as a row (1, D) on the CPU.

    Raises:
        ShapeError: another shape, or not one item.
    """
    check_rows(generator, z, [{}], name=name)
    return flat(check_latents(z, generator.prior, name=name)).cpu()


def check_mask(generator: Any, mask: Latents | Tensor) -> Tensor:
    """A mask of one latent as a row (1, D).

    Raises:
        ArgumentError: values outside [0, 1], or all alike.
    """
    row = one_row(generator, mask, name="mask")
    if float(row.min()) < 0 or float(row.max()) > 1:
        raise ArgumentError(f"mask: expected values in [0, 1], got {float(row.min()):.3g} to {float(row.max()):.3g}.")
    if float(row.max()) == 0 or float(row.min()) == 1:
        raise ArgumentError(f"mask: it selects {'nothing' if float(row.max()) == 0 else 'everything'}.")
    return row
