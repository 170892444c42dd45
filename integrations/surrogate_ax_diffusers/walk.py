"""One call of a pipeline that runs chosen steps only: the view of the pipeline that it is called on.

A pipeline's loop passes over the steps for which `pipe.interrupt` is true. So it is called on a view of itself whose
`interrupt` is true outside the steps that are wanted, and whose `prepare_latents` gives the latents where the rows
stand. The schedule, the step numbers and everything else the pipeline derives from them stay its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, wraps
from typing import Any

import torch
from torch import Tensor

from surrogate_ax_diffusers.discovery import replaced
from surrogate_ax_diffusers.families import Pipeline
from surrogate_ax_diffusers.rows import Remembered, Rows


class PartialRun:
    """One call of a pipeline that runs the steps from where rows stand up to `to`.

    Args:
        pipe: the pipeline; only its scheduler's memory is touched.
        remembered: what its scheduler carries from step to step.
        start: rows.
        to: the step at which they stand afterwards.
        device: where the pipeline computes; None lets it look, which takes it longer than everything else here.
    """

    def __init__(
        self, pipe: Pipeline, remembered: Remembered, start: Rows, to: int, device: torch.device | None
    ) -> None:
        self.start, self.to = start, to
        self.device = device
        self.end = start
        self.passed = 0
        self._scheduler = pipe.scheduler
        self._remembered = remembered
        self._clean = start.clean
        kind: Any = type(pipe)
        self.view: Pipeline = object.__new__(_view_of(kind))
        object.__setattr__(self.view, "__dict__", vars(pipe))  # shared: what a call sets is set on the pipeline
        object.__setattr__(self.view, "_walk", self)

    def interrupt(self) -> bool:
        """Whether the loop passes over the step it comes to."""
        step, self.passed = self.passed, self.passed + 1
        if step == self.start.step < self.to:
            self._remind()
        return not self.start.step <= step < self.to

    def prepared(self, made: Any) -> Any:
        """What `prepare_latents` returns, with the latents where the rows stand."""
        if self.start.history is None and self.start.step == 0:
            return made
        first, rest = (made[0], made[1:]) if isinstance(made, (tuple, list)) else (made, None)
        if self.start.history is None:  # in the shape the loop wants, without the scale of the first step
            here = first / getattr(self._scheduler, "init_noise_sigma", 1.0)
        else:
            here = self.start.latents
        return here if rest is None else type(made)((here, *rest))

    def after_step(self, pipe: Pipeline, step: int, t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        """The pipeline's `callback_on_step_end`: keeps the rows after the last step that is run."""
        if step == self.to - 1:
            history = {name: _copied(getattr(self._scheduler, name, None)) for name in self._remembered.names}
            latents = tensors["latents"]
            self.end = replace(self.start, step=self.to, latents=latents, clean=self._clean, history=history)
        return {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Reads x̂ off the last step that is run."""
        step = self._scheduler.step

        @wraps(step)  # pipelines look at its signature
        def watched(v: Tensor, t: Any, x: Tensor, *args: Any, **kwargs: Any) -> Any:
            stepped = step(v, t, x, *args, **kwargs)
            if self.passed == self.to:
                self._clean = self._remembered.clean(self._scheduler, stepped, v, x).to(x.dtype)
            return stepped

        with replaced(self._scheduler, "step", watched):
            yield

    def _remind(self) -> None:
        """Put the scheduler where the rows stand."""
        if self.start.history is not None:
            for name, value in self.start.history.items():
                setattr(self._scheduler, name, _copied(value))
        elif self.start.step and hasattr(self._scheduler, "_step_index"):
            self._scheduler._step_index = (self._scheduler.begin_index or 0) + self.start.step


@cache
def _view_of(kind: Any) -> Any:
    """A subclass whose loop and latents ask a `PartialRun`."""

    class View(kind):  # type: ignore[misc]
        __slots__ = ("_walk",)

        @property
        def interrupt(self) -> bool:
            return self._walk.interrupt()  # type: ignore[no-any-return]

        @property
        def _execution_device(self) -> Any:
            return self._walk.device or super()._execution_device

        @property
        def prepare_latents(self) -> Any:
            own = vars(self).get("prepare_latents", super().prepare_latents)  # the generator's may stand in for it
            return lambda *args, **kwargs: self._walk.prepared(own(*args, **kwargs))

    View.__name__, View.__qualname__, View.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    return View


def _copied(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value
