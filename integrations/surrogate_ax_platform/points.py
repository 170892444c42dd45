"""Random points of a search space, of plain draws and before a model proposes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ax.core.parameter import ChoiceParameter, Parameter, RangeParameter
from ax.core.search_space import SearchSpace

from surrogate_ax.errors import MismatchError
from surrogate_ax_platform.search_space import ROUND, box_names


def random_point(
    search_space: SearchSpace, conditions: Sequence[str], *, round: int, rng: np.random.Generator
) -> dict[str, Any]:
    """A uniform point of a search space.

    Args:
        search_space: with the box, the round and the conditions.
        conditions: names of the searched conditions.
        round: the number of the box.
        rng: draws.

    Raises:
        MismatchError: a condition that `parameters` did not make.
    """
    present = search_space.parameters
    u = {name: float(rng.uniform()) for name in box_names(present)}
    return {**u, ROUND: round, **{name: _draw(present[name], rng) for name in conditions}}


def _draw(parameter: Parameter, rng: np.random.Generator) -> Any:
    """A uniform value of a searched condition."""
    if isinstance(parameter, ChoiceParameter):
        return parameter.values[int(rng.integers(len(parameter.values)))]
    if not isinstance(parameter, RangeParameter):
        raise MismatchError(f"client: {parameter} is neither a range nor a choice. Use `parameters`.")
    low, high = float(parameter.lower), float(parameter.upper)
    whole = parameter.parameter_type.name == "INT"
    end = high + 1 if whole else high
    drawn = np.exp(rng.uniform(np.log(low), np.log(end))) if parameter.log_scale else rng.uniform(low, end)
    value = min(float(drawn), high)
    return int(value) if whole else value
