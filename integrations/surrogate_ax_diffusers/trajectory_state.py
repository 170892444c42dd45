"""The state of trajectories between two steps of a pipeline, as a value that can be split and merged by rows.

n rows, one an item, at step s: s of the T passes through the pipeline's loop have been run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError
from surrogate_ax.generation.conditions import Condition


@dataclass(frozen=True)
class TrajectoryState:
    """Trajectories of n items that stand at the same step.

    Args:
        step: steps that were run.
        latents: (n, *shape) as the pipeline holds them there; until a step was run, as the prior has them.
        conditions: n mappings.
        nfe: (n,) spent so far.
        estimate: (n, *shape) x̂ of the last step, undecoded; None until a step was run.
        scheduler_state: the scheduler's attributes that change while it steps; None until a step was run.
    """

    step: int
    latents: Tensor
    conditions: tuple[Condition, ...]
    nfe: Array
    estimate: Tensor | None = None
    scheduler_state: Mapping[str, Any] | None = None


def select_rows(states: Sequence[TrajectoryState], rows: Sequence[tuple[int, int]]) -> TrajectoryState:
    """Chosen rows of states that stand at one step, as one state; tensors are joined and indexed once each.

    Args:
        states: at the same step.
        rows: (number of the state, number of its row), in the order wanted.

    Raises:
        ArgumentError: states at different steps or with schedulers in different states, or rows that do not exist.
    """
    used = sorted({s for s, _ in rows})
    bad = [(s, r) for s, r in rows if not (0 <= s < len(states) and 0 <= r < len(states[s].latents))]
    if bad:
        raise ArgumentError(f"rows: {bad[0]} does not exist; states have {[len(s.latents) for s in states]} rows.")
    parts = [states[s] for s in used] or list(states[:1])
    if not parts:
        raise ArgumentError("states: expected at least one.")
    positions = {(part.step, json.dumps(_counters(part.scheduler_state))) for part in parts}
    if len(positions) > 1:
        raise ArgumentError(
            "states: expected rows at one step, whose scheduler has counted the same, got (step, counters) "
            f"{sorted(positions)}."
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
    scheduler_states = [part.scheduler_state for part in parts if part.scheduler_state is not None]
    return TrajectoryState(
        first.step,
        joined([part.latents for part in parts]),
        tuple(states[s].conditions[r] for s, r in rows),
        np.array([states[s].nfe[r] for s, r in rows], dtype=float),
        joined([part.estimate for part in parts]),
        {name: joined([state[name] for state in scheduler_states]) for name in first.scheduler_state}
        if first.scheduler_state is not None
        else None,
    )


def _counters(scheduler_state: Mapping[str, Any] | None) -> Any:
    """The entries of a scheduler's state that rows share, and that must agree between rows that are merged."""
    if scheduler_state is None:
        return None
    return {name: value for name, value in scheduler_state.items() if isinstance(value, (int, bool, type(None)))}
