"""Inversion: the noise from which a generator makes a given item, step by step backwards.

x_T final latents, x_s the rows at step s, F_s one step of the generator. Each x_s solves the implicit equation

    F_s(x_s) = x_{s+1}            q <- q + (x_{s+1} - F_s(q)) / g_s

which needs no velocity: only `start`, `advance` and `latents`. g_s, what a step multiplies its input with, is 1 in flow
matching and is measured by one more call a step elsewhere. The iteration contracts by about (σ_s - σ_{s+1})/σ_s: slowly
at the clean step, which therefore gets what the others leave. Iterates are accelerated (`anderson`), the best one is
kept, and every item stops by its own tolerance.
Sources: FlowOpt (arXiv 2510.22010) on Uni-Inv; AIDI (arXiv 2309.04907) accelerates fixed points of DDIM in this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.editing.anderson import Memory, accelerate
from surrogate_ax.editing.rows import (
    Levels,
    check_rows,
    check_steps,
    flat,
    noise_levels,
    one_step,
    parts,
    rms,
)
from surrogate_ax.errors import ArgumentError, UnsupportedError, check_counts
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import Steppable
from surrogate_ax.latents.priors import Latents, check_latents

Method = Literal["anderson", "fixed-point", "uni-inv", "euler"]
DEPTH = 5  # m of the acceleration
RESERVE = 4  # evaluations that a budget keeps for each step that is still to come
PATIENCE = 30  # iterates without gaining GAINED after which a step is left, as where half precision ends
GAINED = 0.98
NUDGE = 1e-2  # size of the change by which a step's gain is measured, relative to the row
FORGETS = 1e-3  # difference between a row that stopped and one that entered anew, above which a step has a memory


@dataclass(frozen=True)
class Inversion:
    """What was found for n items.

    Args:
        latents: n latents of the prior's shape that the generator turns into the items.
        path: x_s at the steps from `start` to T, the last being the items themselves.
        error: (n,) RMS difference of the final latents made again from `latents`, to the given ones.
        nfe: (n,) spent; the T steps of making them again, which `error` takes, are not counted.
        converged: (n,) whether every step reached the tolerance.
        start: the step of `latents`.
    """

    latents: Latents
    path: tuple[Latents, ...]
    error: Array
    nfe: Array
    converged: Array
    start: int = 0


def invert(
    generator: Any,
    x: Latents | Tensor,
    condition: Condition | Sequence[Condition],
    *,
    method: Method = "anderson",
    tolerance: float = 1e-6,
    budget: float | None = None,
    iterations: int = 200,
    start: int = 0,
    depth: int = DEPTH,
    damping: float = 1.0,
) -> Inversion:
    """The latents from which a generator makes given final latents, all items in one batch a call.

    Args:
        generator: `Steppable`, of a solver that remembers nothing from step to step.
        x: n final latents, such as `generator.encode(items)`.
        condition: under which they are made, one for all or n.
        method: "anderson"; for comparison "fixed-point" without acceleration, "uni-inv" (each step once, from the
            velocity of the step before) and "euler" (each step once, from where it ends).
        tolerance: RMS residual of a step, relative to its rows, at which an item goes on.
        budget: NFE an item may take, None for as many as it needs.
        iterations: of one step, at most; a number for "fixed-point" and "anderson".
        start: the step at which to end, 0 for the prior.
        depth: m of the acceleration.
        damping: β of the acceleration, in (0, 1].

    Raises:
        UnsupportedError: a generator without steps, or whose steps cannot be undone.
        ShapeError: latents of another shape, or not n conditions.
        ArgumentError: numbers out of range, or latents that are not finite.

    Reference: arXiv 2309.04907 (AIDI), 2510.22010 (FlowOpt, Uni-Inv as its start).
    """
    g = check_steps(generator, "invert", "Use FlowOpt (surrogate_ax.editing.flowopt), which needs no steps.")
    conditions = check_rows(g, x, condition, name="x")
    _check_numbers(method, tolerance, budget, damping, start, g.steps)
    check_counts(iterations=iterations)
    check_invertible(g, conditions[0])
    rows = flat(check_latents(x, generator.prior))
    once = method in ("euler", "uni-inv")
    search = _Search(
        g,
        conditions,
        noise_levels(g),
        depth if method == "anderson" else 0,
        damping,
        tolerance,
        np.inf if budget is None else budget,
        1 if once else iterations,
        extrapolate=method != "euler",
        keep_best=not once,
    )
    nfe, converged = np.zeros(len(rows)), np.ones(len(rows), dtype=bool)
    path = [rows]
    for s in range(g.steps - 1, start - 1, -1):
        twice = method == "uni-inv" and s == g.steps - 1  # in place of the velocity behind the last step
        q, reached, spent = search.undo(path, s, nfe, start, times=2 if twice else None)
        nfe, converged = nfe + spent, converged & reached
        path.append(q)
    made, _ = one_step(g, path[-1], conditions, start, g.steps)
    shapes = generator.prior.shapes
    named = tuple(parts(row, shapes) for row in reversed(path))
    return Inversion(named[0], named, rms(made - rows).cpu().double().numpy(), nfe, converged, start)


@dataclass(frozen=True)
class _Search:
    """How steps are undone."""

    generator: Steppable[Any]
    conditions: list[Condition]
    levels: Levels | None
    depth: int
    damping: float
    tolerance: float
    budget: float
    iterations: int
    extrapolate: bool
    keep_best: bool

    def undo(
        self, path: list[Tensor], s: int, nfe: Array, start: int, *, times: int | None = None
    ) -> tuple[Tensor, Array, Array]:
        """x_s (n, D) of x_{s+1}, the last of the path; which rows reached the tolerance, and what they took."""
        x, q = path[-1], self._first(path, s)
        best, error = q.clone(), torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
        spent, size = np.zeros(len(x)), rms(x).double().clamp(min=1e-12)
        active, memory = torch.arange(len(x), device=x.device), Memory.empty(q)
        mark, since = error.clone(), torch.zeros(len(x), device=x.device)
        gain: Tensor | float = 1.0
        for k in range(times or self.iterations):
            at = active.tolist()
            conditions = [self.conditions[i] for i in at]
            made, unit = one_step(self.generator, q, conditions, s)
            spent[at] += unit
            if k == 0 and not (self.levels is not None and self.levels.flow):
                gain, cost = self._gain(q, made, conditions, s)
                spent[at] += cost
            r = (x[active] - made) / gain
            now = rms(x[active] - made).double()
            q, memory = accelerate(memory, q, r, depth=self.depth, damping=self.damping)
            if not self.keep_best:
                best[active], error[active] = q, now
                continue
            better = now < error[active]
            best[active[better]] = memory.q[-1][better]
            error[active] = torch.minimum(error[active], now)
            gained = now < GAINED * mark[active]
            mark[active] = torch.where(gained, now, mark[active])
            since[active] = torch.where(gained, 0.0, since[active] + 1)
            used = nfe[at] + spent[at]
            afford = torch.from_numpy(used + unit * (1 + RESERVE * (s - start)) <= self.budget).to(x.device)
            open_ = error[active] > self.tolerance * size[active]
            keep = open_ & afford & (since[active] < PATIENCE)
            ahead = open_ & ~afford & better  # still on its way: where it goes next is nearer than what was evaluated
            best[active[ahead]] = q[ahead]
            if not keep.any():
                break
            if not keep.all():
                active, q, memory = active[keep], q[keep], memory.pick(keep)
                gain = gain[keep] if isinstance(gain, Tensor) else gain
        return best, (error <= self.tolerance * size).cpu().numpy(), spent

    def _first(self, path: list[Tensor], s: int) -> Tensor:
        """Where the search for x_s begins: along the line on which the step after it went."""
        x, levels = path[-1], self.levels
        if not self.extrapolate:
            return x.clone()
        if levels is None:
            return x.clone() if len(path) < 2 else 2 * x - path[-2]
        if levels.flow:
            time, scale = levels.b, np.ones_like(levels.a)
        else:
            scale = np.where(levels.a > 0, levels.a, 1.0)
            time = levels.b / scale
        if len(path) < 2:
            return x * float(scale[s] / scale[s + 1])
        ratio = float((time[s] - time[s + 1]) / (time[s + 1] - time[s + 2]))
        near, far = x / float(scale[s + 1]), path[-2] / float(scale[s + 2])
        return (near + ratio * (near - far)) * float(scale[s])

    def _gain(self, q: Tensor, made: Tensor, conditions: list[Condition], s: int) -> tuple[Tensor, Array]:
        """What the step multiplies a small change with, by row (n, 1), and the cost of measuring it."""
        signs = torch.from_numpy(np.random.default_rng(s).choice([-1.0, 1.0], size=q.shape[1])).to(q)
        nudge = NUDGE * rms(q)[:, None].clamp(min=1e-6) * signs
        moved, cost = one_step(self.generator, q + nudge, conditions, s)
        gain = ((moved - made) * nudge).sum(dim=1, keepdim=True) / nudge.square().sum(dim=1, keepdim=True)
        return torch.where(gain.abs() > 1e-3, gain, torch.ones_like(gain)), cost


def check_invertible(generator: Steppable[Any], condition: Condition) -> None:
    """Refuse a generator whose steps cannot be undone one by one.

    Its own `why_not_invertible` is asked where it has one. Otherwise one draw is run twice: a row that stops after the
    first step and enters anew has to end as one that went on.

    Raises:
        UnsupportedError: its steps remember earlier ones, or are known not to be invertible.
    """
    g: Any = generator
    known = hasattr(g, "why_not_invertible")
    reason: str | None = g.why_not_invertible if known else None
    if not known and g.steps > 1:
        xi = torch.from_numpy(np.random.default_rng(0).standard_normal((1, g.prior.dim), dtype=np.float32))
        first = g.advance(g.start(g.prior.from_inner(xi), [condition]), 1)
        on = flat(g.latents(g.advance(first, 2)))
        anew, _ = one_step(g, flat(g.latents(first)), [condition], 1)
        if float(rms(on.cpu() - anew.cpu())) > FORGETS * float(rms(on)):
            reason = f"{type(g).__name__} remembers earlier steps, which a step back lacks."
    if reason is not None:
        raise UnsupportedError(
            f"invert: {reason} Take a first-order deterministic solver: flow matching's Euler, DDIM with "
            "clip_sample=False, EulerDiscreteScheduler, or DPMSolverMultistepScheduler with solver_order=1."
        )


def _check_numbers(method: str, tolerance: float, budget: float | None, damping: float, start: int, steps: int) -> None:
    if method not in ("anderson", "fixed-point", "uni-inv", "euler"):
        raise ArgumentError(f"method: expected 'anderson', 'fixed-point', 'uni-inv' or 'euler', got {method!r}.")
    if not tolerance > 0:
        raise ArgumentError(f"tolerance: expected a positive number, got {tolerance}.")
    if budget is not None and not budget >= steps - start:
        raise ArgumentError(f"budget: expected at least one evaluation a step, {steps - start}, got {budget}.")
    if not 0 < damping <= 1:
        raise ArgumentError(f"damping: expected a number in (0, 1], got {damping}.")
    if not 0 <= start < steps:
        raise ArgumentError(f"start: expected a step from 0 to {steps - 1}, got {start}.")
