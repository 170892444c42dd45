"""Stopping a pipeline between its steps, dropping or merging rows, and going on: exact, and without idle steps.

What a scheduler remembers of earlier steps is kept with the rows (`rows`), only the steps asked for are run (`walk`),
and an estimate x̂ is decoded by the pipeline itself, in a call that passes over every step.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import Array, Generated, Outputs
from surrogate_ax.latents.priors import SINGLE, Latents
from surrogate_ax_diffusers.families import Pipeline
from surrogate_ax_diffusers.outputs import in_order, without
from surrogate_ax_diffusers.pipeline import PipelineGenerator
from surrogate_ax_diffusers.rows import REMEMBERED, Rows, find_remembered, select_rows
from surrogate_ax_diffusers.walk import PartialRun

METHODS = frozenset({"start", "advance", "select", "estimate", "finish", "nfe"})
_SCHEDULE = ("num_inference_steps", "timesteps", "sigmas", "strength", "denoising_start", "denoising_end")


class CannotStepError(UnsupportedError, AttributeError):
    """A pipeline that cannot stop between steps was asked to; `isinstance(generator, Steppable)` is false."""


class SteppablePipelineGenerator(PipelineGenerator):
    """A `PipelineGenerator` that can stop between steps; `PipelineGenerator(pipe)` makes one where it can be had."""

    _steps: int | None = None

    @property
    def steps(self) -> int:
        """T, the passes through the pipeline's loop."""
        if self._steps is None:
            z = torch.zeros(1, *next(iter(self._prior.shapes.values())))
            walk = self._steps_of(Rows(0, z, ({},), np.zeros(1)), 0)
            hooks = [module.register_forward_pre_hook(_must_not_run) for module in self._denoisers]
            try:
                self._walk(walk, z, {}, latent=True)
            finally:
                for hook in hooks:
                    hook.remove()
            self._steps = walk.passed
        return self._steps

    def start(self, z: Latents, conditions: Sequence[Condition], *, step: int = 0) -> Rows:
        """Rows at a step; nothing is run.

        Args:
            z: {"latents": (n, *shape)}, at the noise level of `step`: the prior's law for step 0.
            conditions: n mappings of call arguments, of which none may change the schedule.
            step: 0 to T - 1.

        Raises:
            ShapeError: wrong latents, or not n conditions.
            ArgumentError: a step out of range, or conditions that cannot vary.
        """
        fixed = sorted({name for condition in conditions for name in condition if name in _SCHEDULE})
        if fixed:
            raise ArgumentError(
                f"conditions: {fixed} change the schedule, so rows could not be merged between steps. Give them to "
                "PipelineGenerator."
            )
        latents = self._checked(z, conditions).to(self._device, self._dtype, copy=True)
        if not 0 <= step < self.steps:
            raise ArgumentError(f"step: expected 0 to {self.steps - 1}, a step of this pipeline's, got {step}.")
        return Rows(step, latents, tuple(conditions), np.zeros(len(latents)))

    def advance(self, state: Rows, to: int) -> Rows:
        """The same rows at a later step; only the steps between are run.

        Args:
            state: n rows.
            to: a later step, at most T.

        Raises:
            ArgumentError: a step that is not ahead.
        """
        self._check_ahead(state, to)
        return state if to == state.step else self._through(state, to, latent=True)[0]

    def select(self, states: Sequence[Rows], rows: Sequence[tuple[int, int]]) -> Rows:
        """Chosen rows of states that stand at one step, as one state.

        Args:
            states: at the same step.
            rows: (number of the state, number of its row), in the order wanted.

        Raises:
            ArgumentError: states at different steps or with another past, or rows that do not exist.
        """
        return select_rows(states, rows)

    def estimate(self, state: Rows) -> Outputs:
        """Decoded estimates x̂ of the final outputs; after the last step, the outputs.

        Args:
            state: n rows, at least one step ahead of where they started.

        Returns:
            n outputs; None for a row whose estimate a safety checker withheld, which says nothing of its output.

        Raises:
            ArgumentError: rows of which no step was run.
        """
        clean = state.latents if state.step == self.steps else state.clean
        if clean is None:
            raise ArgumentError(f"state: no step was run from step {state.step} yet, so there is no estimate. Advance.")
        _, outputs, withheld = self._through(replace(state, latents=clean), state.step)
        return [None if i in withheld else output for i, output in enumerate(outputs)] if withheld else outputs

    def nfe(self, state: Rows) -> Array:
        """NFE (n,) spent on rows so far."""
        return state.spent.copy()

    def finish(self, state: Rows) -> Generated:
        """The final outputs of rows, with all that was spent on them; `seconds` are those of this call.

        Args:
            state: n rows at any step.
        """
        clock = time.perf_counter()
        done, outputs, failed = self._through(state, self.steps)
        return Generated(without(outputs, failed), done.spent, time.perf_counter() - clock, failed)

    def _check_ahead(self, state: Rows, to: int) -> None:
        if not state.step <= to <= self.steps:
            raise ArgumentError(f"to: expected {state.step} to {self.steps}, a step that is not behind, got {to}.")

    def _steps_of(self, start: Rows, to: int) -> PartialRun:
        remembered = find_remembered(self._pipe.scheduler)
        if remembered is None:
            raise UnsupportedError(f"pipe.scheduler: {why_not_steppable(self._pipe)}")
        offloaded = getattr(self._pipe, "_all_hooks", None)
        here = not offloaded and next(self._denoisers[0].parameters()).device == self._device
        return PartialRun(self._pipe, remembered, start, to, self._device if here else None)

    def _through(self, state: Rows, to: int, *, latent: bool = False) -> tuple[Rows, Outputs, dict[int, str]]:
        """Run the steps up to `to`, one call for each group of conditions: rows, outputs, and those withheld."""
        n, failed = len(state.latents), dict[int, str]()
        ends, parts = list[Rows](), list[tuple[Outputs, list[int]]]()
        self._check_schedulers(state.conditions)
        for shared, items in self._arguments.group(self._call, state.conditions):
            here = state if len(items) == n else select_rows([state], [(0, i) for i in items])
            walk = self._steps_of(here, to)
            given = here.latents if here.history is None else torch.zeros(len(items), *self._prior.shapes[SINGLE])
            outputs, withheld, rows = self._walk(walk, given, shared, latent=latent)
            failed |= {items[k]: reason for k, reason in withheld.items()}
            parts.append((outputs, items))
            ends.append(replace(walk.end, spent=here.spent + rows / len(items)))
        if len(ends) != 1:
            at = [(g, k) for g, end in enumerate(ends) for k in range(len(end.latents))]
            order = np.argsort([i for _, items in parts for i in items])
            ends = [select_rows(ends, [at[i] for i in order])] if ends else [replace(state, step=to)]
        return ends[0], in_order(parts, n), dict(sorted(failed.items()))

    def _walk(
        self, walk: PartialRun, given: Tensor, shared: Condition, *, latent: bool
    ) -> tuple[Outputs, dict[int, str], int]:
        """One call of the pipeline's view: outputs, those withheld, and the denoiser rows it evaluated."""
        call = self._arguments.call(self._call, shared, walk.start.conditions)
        call["callback_on_step_end"] = walk.after_step
        if latent:
            call["output_type"] = "latent"
        with self._driving() as rows_seen, walk.watching():
            outputs, withheld = self._run(given, call, walk.view)
        return outputs, withheld, rows_seen.take()


def why_not_steppable(pipe: Pipeline) -> str | None:
    """Why a pipeline cannot stop between steps, None where it can.

    Args:
        pipe: a `DiffusionPipeline`.
    """
    name = type(pipe).__name__
    parameters = inspect.signature(type(pipe).__call__).parameters
    if "callback_on_step_end" not in parameters:
        return f"{name} cannot stop between steps: it has no callback_on_step_end. Generate whole outputs."
    if not isinstance(getattr(type(pipe), "interrupt", None), property) or not hasattr(pipe, "prepare_latents"):
        return f"{name} cannot stop between steps: its loop cannot be interrupted. Generate whole outputs."
    scheduler: Any = getattr(pipe, "scheduler", None)
    row = find_remembered(scheduler)
    known = [row.classes for row in REMEMBERED]
    if row is None:
        return (
            f"{name} cannot stop between steps under {type(scheduler).__name__}, whose memory of earlier steps is not "
            f"known row by row. Use one of {known}."
        )
    wrong = {
        setting: scheduler.config.get(setting) for setting, v in row.needs.items() if scheduler.config.get(setting) != v
    }
    if wrong:
        return f"{name} cannot stop between steps under {type(scheduler).__name__} with {wrong}; set {dict(row.needs)}."
    return None


def _must_not_run(*_: Any) -> None:
    raise UnsupportedError(
        "the pipeline's loop does not look at `interrupt` before it denoises, so it cannot stop between steps."
    )
