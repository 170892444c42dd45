"""Settings of a scheduler that act and that its configuration does not name, such as what `set_shift` sets.

A scheduler made afresh from the configuration has all that the configuration gives. What differs from that, and is not
set again by the scheduler's own steps, was set from outside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from surrogate_ax.generation.syntax import stored_attributes
from surrogate_ax.generation.value_text import is_setting, value_text

NONE = "none"
_IN_A_CALL = ("set_timesteps", "set_begin_index")  # which pipelines call


def acting_settings(scheduler: Any) -> str:
    """What was set on a scheduler beside its configuration.

    Args:
        scheduler: a component of a pipeline.

    Returns:
        "name=value" of every setting that differs, and the names of methods that were replaced; "none" without any.
    """
    kind = type(scheduler)
    if not hasattr(kind, "from_config") or not hasattr(scheduler, "config"):
        return NONE
    fresh, state = vars(kind.from_config(scheduler.config)), stored_attributes(kind, also=_IN_A_CALL)
    own = {name: value for name, value in vars(scheduler).items() if name not in state and name != "_internal_dict"}
    found = []
    for name, value in sorted(own.items()):
        if callable(value):
            found.append(f"{name} replaced by {getattr(value, '__qualname__', type(value).__name__)}")
        elif is_setting(value) and not isinstance(value, list) and not _same(value, fresh.get(name)):
            found.append(f"{name}={value_text(value)}")
    return ", ".join(found) or NONE


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor | np.ndarray) and isinstance(b, Tensor | np.ndarray):
        rounded = any(isinstance(x, Tensor) and x.dtype in (torch.half, torch.bfloat16) for x in (a, b))
        a, b = (x.detach().cpu().double().numpy() if isinstance(x, Tensor) else x for x in (a, b))
        return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-2 if rounded else 1e-6, equal_nan=True))
    return value_text(a) == value_text(b)
