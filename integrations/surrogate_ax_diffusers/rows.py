"""Rows that stand between two steps of a pipeline: what they are, what a scheduler remembers of them, joining them.

n rows at step s: s of the T passes through the pipeline's loop have been run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import Array


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


def find_remembered(scheduler: Any) -> Remembered | None:
    """The row of `REMEMBERED` for a scheduler, None where there is none.

    Args:
        scheduler: a component of a pipeline.
    """
    names = {base.__name__ for base in type(scheduler).__mro__}
    return next((row for row in REMEMBERED if row.classes in names), None)


def select_rows(states: Sequence[Rows], rows: Sequence[tuple[int, int]]) -> Rows:
    """Chosen rows of states that stand at one step, as one state; tensors are joined and indexed once each.

    Args:
        states: at the same step.
        rows: (number of the state, number of its row), in the order wanted.

    Raises:
        ArgumentError: states at different steps or with another past, or rows that do not exist.
    """
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
