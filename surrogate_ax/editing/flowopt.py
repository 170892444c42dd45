"""FlowOpt: inversion and edits of a sampler as a black box, from whole outputs only.

f(z) final latents that a generator makes of z, y those of the item. The Jacobian of f is taken as the identity:

    z <- z - η (f(z) - y)

Iterates are the steps of a `Steppable` generator, so that each can be looked at and scored, and stopped by a pruner or
by hand. Under the source's condition the iterates invert the item; under a target's they edit it, and early ones are
the edits: later ones return to the item. With a mask only the known part pulls. Acceleration (`anderson`), backtracking
of an item's η and keeping its best iterate are switched off one by one; with all off this is the paper's rule.

The map is non-expansive for 0 < η < inf 2⟨dz, df⟩/|df|² over pairs; `largest_step` measures it over pairs that span the
way, since pairs of neighbours promise far too much.
Source: FlowOpt, arXiv 2510.22010.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.editing.anderson import Memory, accelerate
from surrogate_ax.editing.edits import check_mask
from surrogate_ax.editing.flowopt_state import FlowOptState, joined
from surrogate_ax.editing.rows import flat, one_step, parts, rms
from surrogate_ax.errors import ArgumentError, ShapeError, UnsupportedError, check_counts
from surrogate_ax.generation.conditions import Condition, check_conditions
from surrogate_ax.generation.protocols import Encodable, Generated, Generator, Outputs, Steppable
from surrogate_ax.latents.priors import Latents, Prior, check_latents
from surrogate_ax.latents.seeds import row_sha256, stored_row

MARGIN = 0.5  # of the largest step that pairs allow
DIVERGED = 4.0  # times the first error


class FlowOpt:
    """A generator whose latent is where the iterates begin, and whose steps are iterates.

    Args:
        generator: makes whole outputs; `Steppable` or `Encodable`, or its outputs have the shape of its latents.
        y: final latents (1, *shape) of the item, or one a row (n, *shape).
        target: call arguments under which it is run; conditions override them.
        iterates: N.
        eta: η, below what `largest_step` finds.
        depth: m of the acceleration, 0 for none.
        backtrack: halve an item's η and return to its best iterate where the error grew.
        keep_best: end with the iterate of the least error, as an inversion does; an edit ends with the last.
        mask: latents (1, *shape), 1 where items may change: only the rest pulls.
        start: the step at which z enters, of a steppable generator.

    Raises:
        ShapeError: y of another shape.
        ArgumentError: numbers out of range.
        UnsupportedError: a generator whose final latents cannot be had.
    """

    def __init__(
        self,
        generator: Generator,
        y: Latents | Tensor,
        *,
        target: Condition | None = None,
        iterates: int = 8,
        eta: float = 0.1,
        depth: int = 0,
        backtrack: bool = False,
        keep_best: bool = False,
        mask: Latents | Tensor | None = None,
        start: int = 0,
    ) -> None:
        check_counts(iterates=iterates)
        if not eta > 0 or depth < 0:
            raise ArgumentError(f"eta, depth: expected η > 0 and depth >= 0, got {eta} and {depth}.")
        if start and not isinstance(generator, Steppable):
            raise UnsupportedError("start: only a generator that can stop between steps is entered later.")
        self._generator, self._start = generator, start
        self._y = flat(check_latents(y, generator.prior, name="y"))
        self._target = dict(target or {})
        self._iterates, self._eta, self._depth = iterates, eta, depth
        self._backtrack, self._keep_best = backtrack, keep_best
        self._mask = None if mask is None else check_mask(generator, mask)

    @property
    def prior(self) -> Prior:
        """The law of where the iterates begin."""
        return self._generator.prior

    @property
    def steps(self) -> int:
        """N, the iterates."""
        return self._iterates

    @property
    def seeds(self) -> dict[str, Tensor]:
        """The item and the mask as rows (D,) by SHA-256: a seed store keeps them."""
        rows = [self._y.flatten(), *([] if self._mask is None else [self._mask[0]])]
        return {row_sha256(row): row for row in map(stored_row, rows)}

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """The generator's, and what is iterated."""
        rows = {"y": self._y.flatten(), "mask": None if self._mask is None else self._mask[0]}
        hashes = {k: None if row is None else row_sha256(stored_row(row)) for k, row in rows.items()}
        settings = {
            "iterates": self._iterates,
            "eta": self._eta,
            "depth": self._depth,
            "backtrack": self._backtrack,
            "keep best": self._keep_best,
            "start": self._start,
            "target": self._target,
        }
        return {**self._generator.fingerprint, "flowopt": json.dumps({**settings, **hashes}, sort_keys=True)}

    def generate(self, z: Latents, conditions: Sequence[Condition]) -> Generated:
        """The outputs after N iterates from z; arguments as of any generator."""
        return self.finish(self.start(z, conditions))

    def start(self, z: Latents, conditions: Sequence[Condition], *, step: int = 0) -> FlowOptState:
        """Items before their first iterate; `step` counts as that many done."""
        given = check_latents(z, self.prior)
        n, rows = check_conditions(given, conditions), flat(given)
        if len(self._y) not in (1, n):
            raise ShapeError(f"z: expected n = {len(self._y)}, one an item of y, got {n}.")
        if not 0 <= step < self._iterates:
            raise ArgumentError(f"step: expected 0 to {self._iterates - 1}, got {step}.")
        endless = torch.full((n,), torch.inf, dtype=torch.float64, device=rows.device)
        return FlowOptState(
            step,
            rows,
            tuple({**self._target, **c} for c in conditions),
            np.zeros(n),
            torch.full((n,), self._eta, device=rows.device),
            Memory.empty(rows),
            None,
            rows,
            torch.zeros_like(rows),
            endless,
            endless,
        )

    def advance(self, state: FlowOptState, to: int) -> FlowOptState:
        """The same items at a later iterate."""
        if not state.step <= to <= self._iterates:
            raise ArgumentError(f"to: expected {state.step} to {self._iterates}, a step not behind, got {to}.")
        while state.step < to:
            state = self._iterate(state)
        return state

    def _iterate(self, state: FlowOptState) -> FlowOptState:
        made, cost = final_latents(self._generator, state.z, state.conditions, start=self._start)
        residual = self._residual(made, len(state.z))
        error = torch.nan_to_num(rms(residual).double(), nan=torch.inf)
        better = error < state.best_error
        best, best_made = (
            torch.where(better[:, None], new, old) for new, old in ((state.z, state.best), (made, state.best_made))
        )
        first = error if state.made is None else state.first_error
        eta = state.eta
        if self._backtrack:
            eta = torch.where(better, eta, eta / 2)
        z, memory = accelerate(state.memory, state.z, residual, depth=self._depth, damping=eta[:, None])
        if self._backtrack:  # from the best, by a smaller step of its own
            again = best + eta[:, None] * self._residual(best_made, len(best))
            z = torch.where(better[:, None], z, again)
        finite = torch.isfinite(z).all(dim=1, keepdim=True)
        return replace(
            state,
            step=state.step + 1,
            z=torch.where(finite, z, best),
            nfe=state.nfe + cost,
            eta=eta,
            memory=memory,
            made=made,
            best=best,
            best_made=best_made,
            best_error=torch.minimum(error, state.best_error),
            first_error=first,
        )

    def _residual(self, made: Tensor, n: int) -> Tensor:
        pull = self._y.to(made).expand(n, -1) - made if len(self._y) == 1 else self._y.to(made) - made
        return pull if self._mask is None else pull * (1 - self._mask.to(made))

    def select(self, states: Sequence[FlowOptState], rows: Sequence[tuple[int, int]]) -> FlowOptState:
        """Chosen (state, row) pairs of states at one iterate, as one state."""
        if len(self._y) > 1:
            raise UnsupportedError("y: rows with an item each cannot be chosen among; use one FlowOpt an item.")
        bad = [(s, r) for s, r in rows if not (0 <= s < len(states) and 0 <= r < len(states[s].z))]
        if bad:
            raise ArgumentError(f"rows: {bad[0]} does not exist; states have {[len(s.z) for s in states]} rows.")
        used = [states[s].pick([r]) for s, r in rows]
        if len({state.step for state in used}) > 1:
            raise ArgumentError(f"states: expected rows at one step, got {sorted({s.step for s in used})}.")
        return joined(used)

    def latents(self, state: FlowOptState) -> Latents:
        """The iterates (n, *shape)."""
        return parts(state.z.clone(), self.prior.shapes)

    def estimate(self, state: FlowOptState) -> Outputs:
        """The outputs of the last evaluated iterates."""
        if state.made is None:
            raise ArgumentError(f"state: no step was run from step {state.step} yet, so there is no estimate. Advance.")
        return self._decoded(self._chosen(state))

    def nfe(self, state: FlowOptState) -> Array:
        """NFE (n,) spent so far."""
        return state.nfe.copy()

    def finish(self, state: FlowOptState) -> Generated:
        """The outputs after N iterates, those of the least error with `keep_best`.

        Warns of items whose error grew: η is too large for them. Their best iterate is returned.
        """
        clock = time.perf_counter()
        end = self.advance(state, self._iterates)
        return Generated(self._decoded(self._chosen(end)), end.nfe, time.perf_counter() - clock)

    def _chosen(self, state: FlowOptState) -> Tensor:
        """f of the iterates that count."""
        made = state.best_made if state.made is None else state.made
        error = torch.nan_to_num(rms(self._residual(made, len(made))).double(), nan=torch.inf)
        lost = error > DIVERGED * state.first_error
        if lost.any():
            warnings.warn(
                f"eta: the error of {int(lost.sum())} of {len(lost)} items grew to more than {DIVERGED:.0f} times the "
                f"first, so η = {self._eta} is too large for them; their best iterate is returned. Use what "
                "`largest_step` finds, or backtrack=True.",
                stacklevel=3,
            )
        take_best = torch.ones_like(lost) if self._keep_best else lost
        return torch.where(take_best[:, None], state.best_made, made)

    def _decoded(self, made: Tensor) -> Outputs:
        named = parts(made, self.prior.shapes)
        if isinstance(self._generator, Encodable):
            return self._generator.decode(named)
        return next(iter(named.values()))


def final_latents(
    generator: Generator, z: Tensor, conditions: Sequence[Condition], *, start: int = 0
) -> tuple[Tensor, Array]:
    """f(z): final latents (n, D) of latents (n, D), and their cost (n,).

    Raises:
        UnsupportedError: the generator neither steps nor encodes, and its outputs have another shape than its latents.
    """
    if isinstance(generator, Steppable):
        return one_step(generator, z, conditions, start, generator.steps)
    made = generator.generate(parts(z, generator.prior.shapes), conditions)
    if isinstance(generator, Encodable):
        return flat(generator.encode(made.outputs)).to(z), made.nfe
    outputs = made.outputs if isinstance(made.outputs, torch.Tensor) else torch.as_tensor(np.asarray(made.outputs))
    shapes = list(generator.prior.shapes.values())
    if len(shapes) != 1 or tuple(outputs.shape) != (len(z), *shapes[0]):
        raise UnsupportedError(
            f"generator: FlowOpt compares final latents, but {type(generator).__name__} neither steps nor encodes, and "
            f"its outputs {tuple(outputs.shape)} are not shaped as its latents. Give it `encode` and `decode`."
        )
    return outputs.flatten(1).to(z), made.nfe


def largest_step(
    generator: Generator,
    z: Latents,
    conditions: Sequence[Condition],
    *,
    rng: int,
    margin: float = MARGIN,
    start: int = 0,
) -> float:
    """A step size below the bound of every pair seen, with a margin: margin · min 2⟨dz, df⟩/|df|².

    Args:
        generator: as of `FlowOpt`.
        z: parts (n, *shape), n at least 2, such as inversions or draws: what the iterates begin from.
        conditions: n mappings.
        rng: seed of the draws between which pairs are spanned.
        margin: share of the least bound; the infimum over all pairs may be below that of those seen.
        start: as of `FlowOpt`.

    Raises:
        ArgumentError: a margin outside (0, 1], or fewer than two rows.

    Reference: arXiv 2510.22010, the condition under which the map is non-expansive.
    """
    rows = flat(check_latents(z, generator.prior))
    if not 0 < margin <= 1 or len(rows) < 2:
        raise ArgumentError(f"margin, z: expected 0 < margin <= 1 and two rows or more, got {margin} and {len(rows)}.")
    noise = np.random.default_rng(rng).standard_normal(rows.shape, dtype=np.float32)
    far = torch.from_numpy(noise).to(rows) * rms(rows)[:, None]
    made, _ = final_latents(generator, torch.cat([rows, far, (rows + far) / 2**0.5]), [*conditions] * 3, start=start)
    n, bounds = len(rows), []
    all_z = torch.cat([rows, far, (rows + far) / 2**0.5])
    for a, b in ((0, n), (0, 2 * n), (n, 2 * n)):
        dz, df = all_z[a : a + n] - all_z[b : b + n], made[a : a + n] - made[b : b + n]
        bounds.append(2 * (dz * df).sum(dim=1) / df.square().sum(dim=1).clamp(min=1e-12))
    least = float(torch.cat(bounds).min())
    if least <= 0:
        raise UnsupportedError(
            "generator: some pairs of latents move against their outputs, so no step size is safe. Use backtrack=True "
            "with a small eta, or an edit by steps."
        )
    return margin * least
