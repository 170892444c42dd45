"""One call of a pipeline in which only chosen steps are run.

A pipeline's loop passes over the steps for which `pipe.interrupt` is true. So it is called on a view of itself whose
`interrupt` is true outside the steps that are wanted, and whose `prepare_latents` returns the latents of the state that
the call starts from. The schedule, the step numbers and everything else that the pipeline derives from them stay its
own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, wraps
from typing import Any

import torch
from torch import Tensor

from surrogate_ax_diffusers.families import Pipeline
from surrogate_ax_diffusers.patching import replaced
from surrogate_ax_diffusers.step_support import SteppableScheduler
from surrogate_ax_diffusers.trajectory_state import TrajectoryState


class PartialRun:
    """One call of a pipeline that takes trajectories from the step where they stand to the step `to`.

    Args:
        pipe: the pipeline; only the state of its scheduler is touched.
        scheduler: what its scheduler carries from step to step.
        start: the trajectories.
        to: the step at which they stand afterwards.
        device: where the pipeline computes; None lets it look, which takes it longer than everything else here.
    """

    def __init__(
        self,
        pipe: Pipeline,
        scheduler: SteppableScheduler,
        start: TrajectoryState,
        to: int,
        device: torch.device | None,
    ) -> None:
        self.start, self.to = start, to
        self.device = device
        self.end = start
        self.steps_seen = 0
        self.entered: Tensor | None = None  # the latents with which the loop was entered
        self._scheduler = pipe.scheduler
        self._kind = scheduler
        self._estimate = start.estimate
        pipeline: Any = type(pipe)
        self.view: Pipeline = object.__new__(_view_of(pipeline))
        object.__setattr__(self.view, "__dict__", vars(pipe))  # shared: what a call sets is set on the pipeline
        object.__setattr__(self.view, "_partial_run", self)

    def interrupt(self) -> bool:
        """Whether the loop passes over the step that it comes to next."""
        step, self.steps_seen = self.steps_seen, self.steps_seen + 1
        if step == self.start.step < self.to:
            self._restore_scheduler()
        return not self.start.step <= step < self.to

    def replace_latents(self, prepared: Any) -> Any:
        """What `prepare_latents` returned, with the latents of the state that the run starts from."""
        if self.start.scheduler_state is None and self.start.step == 0:
            return prepared
        first, rest = (prepared[0], prepared[1:]) if isinstance(prepared, (tuple, list)) else (prepared, None)
        if self.start.scheduler_state is None:  # in the shape the loop wants, without the scale of the first step
            latents = first / getattr(self._scheduler, "init_noise_sigma", 1.0)
        else:
            latents = self.start.latents
        self.entered = latents
        return latents if rest is None else type(prepared)((latents, *rest))

    def after_step(self, pipe: Pipeline, step: int, t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """The pipeline's `callback_on_step_end`: keeps the state after the last step that is run."""
        if step == self.to - 1:
            scheduler_state = {name: _copied(getattr(self._scheduler, name, None)) for name in self._kind.attributes}
            self.end = replace(
                self.start,
                step=self.to,
                latents=tensors["latents"],
                estimate=self._estimate,
                scheduler_state=scheduler_state,
            )
        return {}

    @contextmanager
    def recording_estimate(self) -> Iterator[None]:
        """Reads x̂ off the last step that is run inside the block."""
        step = self._scheduler.step

        @wraps(step)  # pipelines look at its signature
        def recorded(v: Tensor, t: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
            stepped = step(v, t, x, *args, **kwargs)
            if self.steps_seen == self.to:
                self._estimate = self._kind.estimate(self._scheduler, stepped, v, x).to(x.dtype)
            return stepped

        with replaced(self._scheduler, "step", recorded):
            yield

    def _restore_scheduler(self) -> None:
        """Put the scheduler into the state that it had at the step where the run starts."""
        if self.start.scheduler_state is not None:
            for name, value in self.start.scheduler_state.items():
                setattr(self._scheduler, name, _copied(value))
        elif self.start.step and hasattr(self._scheduler, "_step_index"):
            self._scheduler._step_index = (self._scheduler.begin_index or 0) + self.start.step


@cache
def _view_of(pipeline: Any) -> Any:
    """A subclass of a pipeline's class, whose loop and latents ask a `PartialRun`."""

    class View(pipeline):  # type: ignore[misc]
        __slots__ = ("_partial_run",)

        @property
        def interrupt(self) -> bool:
            return self._partial_run.interrupt()  # type: ignore[no-any-return]

        @property
        def _execution_device(self) -> Any:
            return self._partial_run.device or super()._execution_device

        @property
        def prepare_latents(self) -> Any:
            own = vars(self).get("prepare_latents", super().prepare_latents)  # the generator's may stand in for it
            return lambda *args, **kwargs: self._partial_run.replace_latents(own(*args, **kwargs))

    View.__name__, View.__qualname__, View.__module__ = pipeline.__name__, pipeline.__qualname__, pipeline.__module__
    return View


def _copied(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value
