"""Where items of FlowOpt stand between two iterates, as a value that can be split and merged by rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.arrays import Array
from surrogate_ax.editing.anderson import Memory
from surrogate_ax.generation.conditions import Condition


@dataclass(frozen=True)
class FlowOptState:
    """n items at one iterate.

    Args:
        step: iterates that were evaluated.
        z: (n, D) the next iterates.
        conditions: n mappings.
        nfe: (n,) spent.
        eta: (n,) step sizes.
        memory: of the acceleration.
        made: (n, D) f of the last evaluated iterates; None before the first.
        best: (n, D) the iterates with the least error.
        best_made: (n, D) f of them.
        best_error: (n,) their errors, infinite before the first.
        first_error: (n,) of the first iterates.
    """

    step: int
    z: Tensor
    conditions: tuple[Condition, ...]
    nfe: Array
    eta: Tensor
    memory: Memory
    made: Tensor | None
    best: Tensor
    best_made: Tensor
    best_error: Tensor
    first_error: Tensor

    def pick(self, rows: Sequence[int]) -> FlowOptState:
        """Some of the rows."""
        at = torch.tensor(list(rows), dtype=torch.long, device=self.z.device)
        moved: dict[str, Any] = {
            name: getattr(self, name)[at] for name in ("z", "eta", "best", "best_made", "best_error", "first_error")
        }
        return replace(
            self,
            conditions=tuple(self.conditions[i] for i in rows),
            nfe=self.nfe[list(rows)],
            memory=self.memory.pick(at),
            made=None if self.made is None else self.made[at],
            **moved,
        )


def joined(states: Sequence[FlowOptState]) -> FlowOptState:
    """Single rows as one state."""
    first = states[0]
    names = ("z", "eta", "best", "best_made", "best_error", "first_error")
    tensors: dict[str, Any] = {name: torch.cat([getattr(state, name) for state in states]) for name in names}
    made = None if first.made is None else torch.cat([s.made for s in states if s.made is not None])
    memory = Memory(torch.cat([s.memory.q for s in states], dim=1), torch.cat([s.memory.r for s in states], dim=1))
    conditions = tuple(state.conditions[0] for state in states)
    nfe = np.concatenate([state.nfe for state in states])
    return replace(first, conditions=conditions, nfe=nfe, memory=memory, made=made, **tensors)
