"""Which pipelines can stop between their steps, and the error of those that cannot.

A pipeline can stop if its loop can be interrupted and if all that its scheduler carries from step to step is known:
`STEPPABLE_SCHEDULERS` is a table of such schedulers.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from surrogate_ax.errors import UnsupportedError
from surrogate_ax_diffusers.families import Pipeline
from surrogate_ax_diffusers.pipeline_state import stateful_hooks

# The methods of the protocol `Steppable`, whose absence is explained when one is asked for.
STEP_METHODS = frozenset({"start", "advance", "select", "latents", "estimate", "finish", "nfe", "noised"})


class CannotStepError(UnsupportedError, AttributeError):
    """A generator that cannot stop between steps was asked to; `isinstance(generator, Steppable)` is false."""


@dataclass(frozen=True)
class SteppableScheduler:
    """A kind of scheduler under which a pipeline can stop between steps.

    Args:
        name: of the scheduler class or of one of its bases.
        attributes: names of those that change while it steps. Tensors in them have one row an item, but for scalars.
        estimate: (scheduler, what its step returned, the denoiser's output, the sample) to the estimate x̂.
        settings: values of its configuration without which x̂ cannot be read.
    """

    name: str
    attributes: tuple[str, ...]
    estimate: Callable[[Any, Any, Tensor, Tensor], Tensor]
    settings: Mapping[str, Any]


def _returned(_: Any, stepped: Any, __: Tensor, ___: Tensor) -> Tensor:
    return stepped[1]  # type: ignore[no-any-return]


def _newest_output(scheduler: Any, _: Any, __: Tensor, ___: Tensor) -> Tensor:
    return scheduler.model_outputs[-1]  # type: ignore[no-any-return]


def _along_velocity(scheduler: Any, _: Any, v: Tensor, x: Tensor) -> Tensor:
    return x - scheduler.sigmas[scheduler.step_index - 1] * v  # type: ignore[no-any-return]


STEPPABLE_SCHEDULERS: tuple[SteppableScheduler, ...] = (
    SteppableScheduler("DDIMScheduler", (), _returned, {}),
    SteppableScheduler("EulerDiscreteScheduler", ("_step_index", "is_scale_input_called"), _returned, {}),
    SteppableScheduler("FlowMatchEulerDiscreteScheduler", ("_step_index",), _along_velocity, {}),
    SteppableScheduler(
        "DPMSolverMultistepScheduler",
        ("_step_index", "model_outputs", "lower_order_nums"),
        _newest_output,
        {"algorithm_type": "dpmsolver++"},
    ),
    SteppableScheduler(
        "UniPCMultistepScheduler",
        ("_step_index", "model_outputs", "lower_order_nums", "timestep_list", "last_sample", "this_order"),
        _newest_output,
        {"predict_x0": True},
    ),
)


def find_steppable_scheduler(scheduler: Any) -> SteppableScheduler | None:
    """The row of `STEPPABLE_SCHEDULERS` for a scheduler, None where there is none.

    Args:
        scheduler: a component of a pipeline.
    """
    names = {base.__name__ for base in type(scheduler).__mro__}
    return next((row for row in STEPPABLE_SCHEDULERS if row.name in names), None)


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
    carrying = stateful_hooks(pipe)
    if carrying:
        return (
            f"{name} cannot stop between steps: {', '.join(carrying)} carries a state from step to step, which is lost "
            "at a stop. Generate whole outputs, or disable it."
        )
    scheduler: Any = getattr(pipe, "scheduler", None)
    row = find_steppable_scheduler(scheduler)
    if row is None:
        return (
            f"{name} cannot stop between steps under {type(scheduler).__name__}, of which it is not known what it "
            f"carries from step to step. Use one of {[known.name for known in STEPPABLE_SCHEDULERS]}."
        )
    config = scheduler.config
    wrong = {setting: config.get(setting) for setting, value in row.settings.items() if config.get(setting) != value}
    if wrong:
        return (
            f"{name} cannot stop between steps under {type(scheduler).__name__} with {wrong}; set {dict(row.settings)}."
        )
    return None


def why_not_invertible(scheduler: Any) -> str | None:
    """Why the steps of a scheduler cannot be undone one by one, None where they can.

    Args:
        scheduler: one of `STEPPABLE_SCHEDULERS`.
    """
    name, config = type(scheduler).__name__, scheduler.config
    if config.get("clip_sample") or config.get("thresholding"):
        setting = "clip_sample" if config.get("clip_sample") else "thresholding"
        return f"{name} with {setting}=True cuts its estimates off, so that a step forgets where it came from."
    if config.get("solver_order", 1) > 1:
        return f"{name} with solver_order={config['solver_order']} remembers earlier steps, which a step back lacks."
    if config.get("disable_corrector") is not None:  # UniPC, which corrects a step by the one before at any order
        return f"{name} corrects each step by the one before, which a step back lacks."
    return None
