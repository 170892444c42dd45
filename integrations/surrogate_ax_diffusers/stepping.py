"""Pipelines that stop between their steps, drop or merge trajectories, and go on: exactly, and without idle steps.

What the scheduler carries from step to step is kept with the trajectories (`trajectory_state`), only the steps that are
asked for are run (`partial_run`), and an estimate x̂ is decoded by the pipeline itself, in a call that passes over every
step.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.generation.comparison import numbers_of
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import Generated, Outputs
from surrogate_ax.latents.priors import SINGLE, Latents
from surrogate_ax_diffusers.arguments import blank_prompt
from surrogate_ax_diffusers.families import Pipeline
from surrogate_ax_diffusers.latent_code import LatentCode, find_order
from surrogate_ax_diffusers.outputs import drop_failed, join_groups
from surrogate_ax_diffusers.partial_run import PartialRun
from surrogate_ax_diffusers.pipeline import PipelineGenerator
from surrogate_ax_diffusers.short_run import STEPS, shortened
from surrogate_ax_diffusers.start_checks import check_stepping
from surrogate_ax_diffusers.step_support import (
    CannotStepError,
    find_steppable_scheduler,
    why_not_invertible,
    why_not_steppable,
)
from surrogate_ax_diffusers.trajectory_state import TrajectoryState, select_rows

_SCHEDULE = ("num_inference_steps", "timesteps", "sigmas", "strength", "denoising_start", "denoising_end")


class SteppablePipelineGenerator(PipelineGenerator):
    """A `PipelineGenerator` that can stop between steps.

    `pipeline_generator` makes one where the pipeline can; arguments as for `pipeline_generator`.

    Raises:
        CannotStepError: the pipeline cannot stop between steps.
    """

    def __init__(self, pipe: Pipeline, **options: Any) -> None:
        super().__init__(pipe, **options)
        reason = why_not_steppable(pipe)
        if reason is not None:
            raise CannotStepError(f"pipe: {reason}")
        self._steps: int | None = None
        self._schedule: Any = None  # the scheduler as it stands when the pipeline's loop begins

    @property
    def steps(self) -> int:
        """T, the passes through the pipeline's loop."""
        if self._steps is None:
            z = torch.zeros(1, *next(iter(self._prior.shapes.values())))
            run = self._partial_run(TrajectoryState(0, z, self._blank(1), np.zeros(1)), 0)
            hooks = [module.register_forward_pre_hook(_must_not_run) for module in self._denoisers]
            try:
                self._call_partially(run, z, {}, latent=True)
            finally:
                for hook in hooks:
                    hook.remove()
            self._steps = run.steps_seen
            self._schedule = copy.deepcopy(self._pipe.scheduler)
        return self._steps

    @property
    def schedule_arguments(self) -> frozenset[str]:
        """Call arguments that change the steps, and so cannot differ between trajectories that stop between them."""
        return frozenset(_SCHEDULE)

    @property
    def why_not_invertible(self) -> str | None:
        """Why its steps cannot be undone one by one, None where they can."""
        return why_not_invertible(self._pipe.scheduler)

    def start(self, z: Latents, conditions: Sequence[Condition], *, step: int = 0) -> TrajectoryState:
        """Trajectories that stand at a step; nothing is run.

        Args:
            z: {"latents": (n, *shape)}, at the noise level of `step`: the prior's law for step 0.
            conditions: n mappings of call arguments, of which none may change the schedule.
            step: 0 to T - 1.

        Raises:
            ShapeError: wrong latents, or not n conditions.
            ArgumentError: a step out of range, or conditions that cannot vary.
            UnsupportedError: a stop between the first steps changes what the pipeline makes, which is checked once.
        """
        fixed = sorted({name for condition in conditions for name in condition if name in _SCHEDULE})
        if fixed:
            raise ArgumentError(
                f"conditions: {fixed} change the schedule, so trajectories could not be merged between steps. Give "
                "them to pipeline_generator."
            )
        latents = self._checked(z, conditions).to(self._device, self._dtype, copy=True)
        if not 0 <= step < self.steps:
            raise ArgumentError(f"step: expected 0 to {self.steps - 1}, a step of this pipeline's, got {step}.")
        if len(latents) and self._unchecked["stepping"]:
            self._check_stepping(latents[:1], conditions[0])
            self._unchecked["stepping"] = False
        return TrajectoryState(step, latents, tuple(conditions), np.zeros(len(latents)))

    def advance(self, state: TrajectoryState, to: int) -> TrajectoryState:
        """The same trajectories at a later step; only the steps between are run.

        Args:
            state: n trajectories.
            to: a later step, at most T.

        Raises:
            ArgumentError: a step that is not ahead.
        """
        self._check_ahead(state, to)
        return state if to == state.step else self._run_to(state, to, latent=True)[0]

    def select(self, states: Sequence[TrajectoryState], rows: Sequence[tuple[int, int]]) -> TrajectoryState:
        """Chosen rows of states that stand at one step, as one state.

        Args:
            states: at the same step.
            rows: (number of the state, number of its row), in the order wanted.

        Raises:
            ArgumentError: states at different steps or with schedulers in different states, or rows that do not exist.
        """
        return select_rows(states, rows)

    def latents(self, state: TrajectoryState) -> Latents:
        """Undecoded rows in the prior's shapes, as `start` takes them at the same step.

        Args:
            state: n trajectories.

        Returns:
            {"latents": (n, *shape)}; after the last step, those that are decoded.
        """
        shape = self._prior.shapes[SINGLE]
        if state.latents.shape[1:] == shape:
            return {SINGLE: state.latents.clone()}
        return {SINGLE: self._loop_order.moved(state.latents.flatten(1))}

    def estimate(self, state: TrajectoryState) -> Outputs:
        """Decoded estimates x̂ of the final outputs; after the last step, the outputs.

        Args:
            state: n trajectories, at least one step ahead of where they started.

        Returns:
            n outputs; None where a safety checker withheld the estimate, which says nothing of the final output.

        Raises:
            ArgumentError: trajectories of which no step was run.
        """
        estimate = state.latents if state.step == self.steps else state.estimate
        if estimate is None:
            raise ArgumentError(f"state: no step was run from step {state.step} yet, so there is no estimate. Advance.")
        _, outputs, withheld = self._run_to(replace(state, latents=estimate), state.step)
        return [None if i in withheld else output for i, output in enumerate(outputs)] if withheld else outputs

    def nfe(self, state: TrajectoryState) -> Array:
        """NFE (n,) spent on trajectories so far.

        Args:
            state: rows at a step.
        """
        return state.nfe.copy()

    def finish(self, state: TrajectoryState) -> Generated:
        """The final outputs of trajectories, with the NFE of all their steps; `seconds` are those of this call.

        Args:
            state: n trajectories at any step.
        """
        clock = time.perf_counter()
        done, outputs, failed = self._run_to(state, self.steps)
        return Generated(drop_failed(outputs, failed), done.nfe, time.perf_counter() - clock, failed)

    @cached_property
    def _loop_order(self) -> LatentCode:
        """Where the loop holds the entries of a latent, for a pipeline that packs latents itself."""

        def entered(z: Tensor) -> Tensor:
            run = self._partial_run(TrajectoryState(self.steps, z, self._blank(1), np.zeros(1)), self.steps)
            self._call_partially(run, z, {}, latent=True)
            if run.entered is None:
                raise UnsupportedError(f"{type(self._pipe).__name__} did not prepare its latents.")
            return run.entered.cpu()

        code = find_order(self._prior.shapes[SINGLE], entered, self._dtype)
        return replace(code, order=code.order.to(self._device))

    def _blank(self, n: int) -> tuple[Condition, ...]:
        """Conditions for calls in which no step is run."""
        return (blank_prompt(self._arguments.defaults, self._call),) * n

    def _check_stepping(self, latents: Tensor, condition: Condition) -> None:
        """Refuse a pipeline in which a stop between the first steps changes the output; both are short runs."""
        whole = self._short_outputs(latents, condition)[0]
        state = TrajectoryState(0, latents, (condition,), np.zeros(1))
        with shortened(self._schedulers, self._denoisers):
            for step in range(1, min(STEPS, self.steps)):
                state = self.advance(state, step)
            outputs = self._run_to(state, self.steps)[1]
        check_stepping(self._pipe, whole, numbers_of(outputs), half=self._half)

    def _check_ahead(self, state: TrajectoryState, to: int) -> None:
        if not state.step <= to <= self.steps:
            raise ArgumentError(f"to: expected {state.step} to {self.steps}, a step that is not behind, got {to}.")

    def _partial_run(self, start: TrajectoryState, to: int) -> PartialRun:
        scheduler = find_steppable_scheduler(self._pipe.scheduler)
        if scheduler is None:
            raise UnsupportedError(f"pipe.scheduler: {why_not_steppable(self._pipe)}")
        offloaded = getattr(self._pipe, "_all_hooks", None)
        here = not offloaded and next(self._denoisers[0].parameters()).device == self._device
        return PartialRun(self._pipe, scheduler, start, to, self._device if here else None)

    def _run_to(
        self, state: TrajectoryState, to: int, *, latent: bool = False
    ) -> tuple[TrajectoryState, Outputs, dict[int, str]]:
        """Run the steps up to `to`, one call for each group of conditions: the state, outputs, and those withheld."""
        n, failed = len(state.latents), dict[int, str]()
        ends, groups = list[TrajectoryState](), list[tuple[Outputs, list[int]]]()
        self._check_schedulers(state.conditions)
        for shared, items in self._arguments.group(self._call, state.conditions):
            start = state if len(items) == n else select_rows([state], [(0, i) for i in items])
            run = self._partial_run(start, to)
            fresh = start.scheduler_state is None
            given = start.latents if fresh else torch.zeros(len(items), *self._prior.shapes[SINGLE])
            outputs, withheld, rows = self._call_partially(run, given, shared, latent=latent)
            failed |= {items[k]: reason for k, reason in withheld.items()}
            groups.append((outputs, items))
            ends.append(replace(run.end, nfe=start.nfe + rows / len(items)))
        if len(ends) != 1:
            at = [(g, k) for g, end in enumerate(ends) for k in range(len(end.latents))]
            order = np.argsort([i for _, items in groups for i in items])
            ends = [select_rows(ends, [at[i] for i in order])] if ends else [replace(state, step=to)]
        return ends[0], join_groups(groups), dict(sorted(failed.items()))

    def _call_partially(
        self, run: PartialRun, given: Tensor, shared: Condition, *, latent: bool
    ) -> tuple[Outputs, dict[int, str], int]:
        """One call of a partial run's view: outputs, those withheld, and the denoiser rows it evaluated."""
        call = self._arguments.call(self._call, shared, run.start.conditions)
        call["callback_on_step_end"] = run.after_step
        if latent:
            call["output_type"] = "latent"
        with self._driving() as rows, run.recording_estimate():
            outputs, withheld = self._run(given, call, run.view)
        return outputs, withheld, rows.take()


def _must_not_run(*_: Any) -> None:
    raise UnsupportedError(
        "the pipeline's loop does not look at `interrupt` before it denoises, so it cannot stop between steps."
    )
