"""Points that are made here instead of by Ax: of plain draws, of proposals, and at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ax.core.parameter import ChoiceParameter, Parameter, RangeParameter
from ax.core.search_space import SearchSpace

from surrogate_ax.errors import MismatchError
from surrogate_ax.latents.seeds import Terms
from surrogate_ax.latents.space import SurrogateSpace, coordinate_names
from surrogate_ax_platform.search_space import ROUND, box_names

INSIDE = 1e-9  # a row this near to a point of the box is that point


def random_point(
    search_space: SearchSpace, conditions: Sequence[str], *, round: int, rng: np.random.Generator
) -> dict[str, Any]:
    """A uniform point of a search space.

    Args:
        search_space: with the box, the round and the conditions.
        conditions: names of the searched conditions.
        round: the value of that parameter.
        rng: draws.

    Raises:
        MismatchError: a condition that `parameters` did not make.
    """
    present = search_space.parameters
    u = {name: float(rng.uniform()) for name in box_names(present)}
    return {**u, ROUND: round, **{name: _draw(present[name], rng) for name in conditions}}


def coordinates(space: SurrogateSpace, terms: Terms) -> dict[str, float] | None:
    """Where in the box a coefficient row lies.

    Args:
        space: the box.
        terms: the row.

    Returns:
        `u0` to `u{K-2}`, or None where no point of the box has that row.
    """
    known = set(space.bank.seeds)
    if space.fresh > 0 or any(seed not in known for seed, _ in terms):
        return None
    row = space.bank.rows([terms]).toarray()[0]
    w = np.linalg.lstsq(space.frame.T, row, rcond=None)[0]
    if (w < -INSIDE).any() or not (w > INSIDE).any() or np.abs(w @ space.frame - row).max() > INSIDE:
        return None
    u = space.chart.coordinates(np.clip(w, 0, None)[None])[0]
    return dict(zip(coordinate_names(space.axes), u.tolist(), strict=True))


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
