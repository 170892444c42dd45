"""Stopping a pipeline between its steps, dropping or merging rows, and going on: exact, and without idle steps.

A pipeline's loop passes over the steps for which `pipe.interrupt` is true. So it is called on a view of itself whose
`interrupt` is true outside the steps that are wanted, and whose `prepare_latents` gives the latents where the rows
stand. The schedule, the step numbers and everything else the pipeline derives from them stay its own; what a
scheduler remembers of earlier steps is kept with the rows. An estimate x̂ is decoded by passing over every step.

n rows at step s: s of the T passes through the loop have been run.
"""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.generator import Array, Condition, Generated, Outputs
from surrogate_ax.priors import SINGLE, Latents
from surrogate_ax_diffusers.discovery import replaced
from surrogate_ax_diffusers.families import Pipeline
from surrogate_ax_diffusers.pipeline import PipelineGenerator, in_order, without

METHODS = frozenset({"start", "advance", "select", "estimate", "finish", "nfe"})
_SCHEDULE = ("num_inference_steps", "timesteps", "sigmas", "strength", "denoising_start", "denoising_end")


class CannotStepError(UnsupportedError, AttributeError):
    """A pipeline that cannot stop between steps was asked to; `isinstance(generator, Steppable)` is false."""


@dataclass(frozen=True)
class Remembered:
    """What a kind of scheduler carries from step to step.

    Args:
        classes: name of the scheduler class or of one of its bases.
        names: attributes that change while it steps. Tensors in them have one row an item, but for scalars.
        clean: x̂ from the scheduler after a step, what the step returned, the model's output and the sample.
        needs: settings without which x̂ cannot be read, by name.
    """

    classes: str
    names: tuple[str, ...]
    clean: Callable[[Any, Any, Tensor, Tensor], Tensor]
    needs: Mapping[str, Any]


def _returned(_: Any, stepped: Any, __: Tensor, ___: Tensor) -> Tensor:
    return stepped[1]  # type: ignore[no-any-return]


def _newest(scheduler: Any, _: Any, __: Tensor, ___: Tensor) -> Tensor:
    return scheduler.model_outputs[-1]  # type: ignore[no-any-return]


def _straight(scheduler: Any, _: Any, v: Tensor, x: Tensor) -> Tensor:
    return x - scheduler.sigmas[scheduler.step_index - 1] * v  # type: ignore[no-any-return]


REMEMBERED: tuple[Remembered, ...] = (
    Remembered("DDIMScheduler", (), _returned, {}),
    Remembered("EulerDiscreteScheduler", ("_step_index", "is_scale_input_called"), _returned, {}),
    Remembered("FlowMatchEulerDiscreteScheduler", ("_step_index",), _straight, {}),
    Remembered(
        "DPMSolverMultistepScheduler",
        ("_step_index", "model_outputs", "lower_order_nums"),
        _newest,
        {"algorithm_type": "dpmsolver++"},
    ),
    Remembered(
        "UniPCMultistepScheduler",
        ("_step_index", "model_outputs", "lower_order_nums", "timestep_list", "last_sample", "this_order"),
        _newest,
        {"predict_x0": True},
    ),
)


@dataclass(frozen=True)
class Rows:
    """n items that stand at the same step.

    Args:
        step: steps that were run.
        latents: (n, *shape) as the pipeline holds them there; until a step was run, as the prior has them.
        conditions: n mappings.
        spent: (n,) NFE.
        clean: (n, *shape) the last step's x̂, undecoded; None until a step was run.
        history: what the scheduler remembers; None until a step was run.
    """

    step: int
    latents: Tensor
    conditions: tuple[Condition, ...]
    spent: Array
    clean: Tensor | None = None
    history: Mapping[str, Any] | None = None


class SteppablePipelineGenerator(PipelineGenerator):
    """A `PipelineGenerator` that can stop between steps; `PipelineGenerator(pipe)` makes one where it can be had."""

    _steps: int | None = None

    @property
    def steps(self) -> int:
        """T, the passes through the pipeline's loop."""
        if self._steps is None:
            z = torch.zeros(1, *next(iter(self._prior.shapes.values())))
            walk = _Walk(self._pipe, Rows(0, z, ({},), np.zeros(1)), 0)
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
        return _select(states, rows)

    def estimate(self, state: Rows) -> Outputs:
        """Decoded estimates x̂ of the final outputs; after the last step, the outputs.

        Args:
            state: n rows, at least one step ahead of where they started.

        Raises:
            ArgumentError: rows of which no step was run.
        """
        clean = state.latents if state.step == self.steps else state.clean
        if clean is None:
            raise ArgumentError(f"state: no step was run from step {state.step} yet, so there is no estimate. Advance.")
        return self._through(replace(state, latents=clean), state.step)[1]

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

    def _through(self, state: Rows, to: int, *, latent: bool = False) -> tuple[Rows, Outputs, dict[int, str]]:
        """Run the steps up to `to`, one call for each group of conditions: rows, outputs, and those withheld."""
        n, failed = len(state.latents), dict[int, str]()
        ends, parts = list[Rows](), list[tuple[Outputs, list[int]]]()
        self._check_schedulers(state.conditions)
        for shared, items in self._arguments.group(self._call, state.conditions):
            here = state if len(items) == n else _select([state], [(0, i) for i in items])
            walk = _Walk(self._pipe, here, to)
            given = here.latents if here.history is None else torch.zeros(len(items), *self._prior.shapes[SINGLE])
            outputs, withheld, rows = self._walk(walk, given, shared, latent=latent)
            failed |= {items[k]: reason for k, reason in withheld.items()}
            parts.append((outputs, items))
            ends.append(replace(walk.end, spent=here.spent + rows / len(items)))
        if len(ends) != 1:
            at = [(g, k) for g, end in enumerate(ends) for k in range(len(end.latents))]
            order = np.argsort([i for _, items in parts for i in items])
            ends = [_select(ends, [at[i] for i in order])] if ends else [replace(state, step=to)]
        return ends[0], in_order(parts, n), dict(sorted(failed.items()))

    def _walk(
        self, walk: _Walk, given: Tensor, shared: Condition, *, latent: bool
    ) -> tuple[Outputs, dict[int, str], int]:
        """One call of the pipeline's view: outputs, those withheld, and the denoiser rows it evaluated."""
        call = self._arguments.call(self._call, shared, walk.start.conditions)
        call["callback_on_step_end"] = walk.after_step
        if latent:
            call["output_type"] = "latent"
        with self._driving() as rows_seen, walk.watching():
            outputs, withheld = self._run(given, call, walk.view)
        return outputs, withheld, rows_seen.take()


class _Walk:
    """One call of a pipeline that runs the steps from where rows stand up to `to`.

    Args:
        pipe: the pipeline; only its scheduler's memory is touched.
        start: rows.
        to: the step at which they stand afterwards.
    """

    def __init__(self, pipe: Pipeline, start: Rows, to: int) -> None:
        self.start, self.to = start, to
        self.end = start
        self.passed = 0
        self._scheduler = pipe.scheduler
        self._remembered = _remembered(pipe.scheduler)
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
        elif hasattr(self._scheduler, "_step_index"):
            self._scheduler._step_index = self.start.step


@cache
def _view_of(kind: Any) -> Any:
    """A subclass whose loop and latents ask a `_Walk`."""

    class View(kind):  # type: ignore[misc]
        __slots__ = ("_walk",)

        @property
        def interrupt(self) -> bool:
            return self._walk.interrupt()  # type: ignore[no-any-return]

        def prepare_latents(self, *args: Any, **kwargs: Any) -> Any:
            return self._walk.prepared(super().prepare_latents(*args, **kwargs))

    View.__name__, View.__qualname__, View.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    return View


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
    row = _find(scheduler)
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


def _find(scheduler: Any) -> Remembered | None:
    names = {base.__name__ for base in type(scheduler).__mro__}
    return next((row for row in REMEMBERED if row.classes in names), None)


def _remembered(scheduler: Any) -> Remembered:
    row = _find(scheduler)
    if row is None:
        raise UnsupportedError(f"{type(scheduler).__name__}: its memory of earlier steps is not known row by row.")
    return row


def _must_not_run(*_: Any) -> None:
    raise UnsupportedError(
        "the pipeline's loop does not look at `interrupt` before it denoises, so it cannot stop between steps."
    )


def _copied(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value


def _select(states: Sequence[Rows], rows: Sequence[tuple[int, int]]) -> Rows:
    """Rows of states as one state; tensors are joined and indexed once each."""
    used = sorted({s for s, _ in rows})
    bad = [(s, r) for s, r in rows if not (0 <= s < len(states) and 0 <= r < len(states[s].latents))]
    if bad:
        raise ArgumentError(f"rows: {bad[0]} does not exist; states have {[len(s.latents) for s in states]} rows.")
    parts = [states[s] for s in used] or list(states[:1])
    if not parts:
        raise ArgumentError("states: expected at least one.")
    pasts = {(part.step, json.dumps(_counts(part.history))) for part in parts}
    if len(pasts) > 1:
        raise ArgumentError(
            f"states: expected rows at one step with the same past, got (step, memory) {sorted(pasts)}."
        )
    offset = dict(zip(used, np.cumsum([0, *(len(part.latents) for part in parts)]), strict=False))
    at = torch.tensor([int(offset[s]) + r for s, r in rows], dtype=torch.long, device=parts[0].latents.device)

    def joined(values: Sequence[Any]) -> Any:
        if isinstance(values[0], list):
            return [joined(each) for each in zip(*values, strict=True)]
        if not isinstance(values[0], Tensor) or values[0].ndim == 0:
            return values[0]
        return (values[0] if len(values) == 1 else torch.cat(list(values))).index_select(0, at)

    first = parts[0]
    return Rows(
        first.step,
        joined([part.latents for part in parts]),
        tuple(states[s].conditions[r] for s, r in rows),
        np.array([states[s].spent[r] for s, r in rows], dtype=float),
        joined([part.clean for part in parts]),
        None
        if first.history is None
        else {name: joined([part.history[name] for part in parts if part.history]) for name in first.history},
    )


def _counts(history: Mapping[str, Any] | None) -> Any:
    """What must agree between rows that are merged."""
    return None if history is None else {k: v for k, v in history.items() if isinstance(v, (int, bool, type(None)))}
