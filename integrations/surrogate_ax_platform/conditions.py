"""Searched call arguments as a client's parameters say them: the inverse of `search_space.parameters`."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Any

from ax.api.client import Client
from ax.core.parameter import ChoiceParameter, Parameter, RangeParameter
from ax.core.search_space import SearchSpace

from surrogate_ax.errors import MismatchError
from surrogate_ax.generation.conditions import Choice, Range, Searched
from surrogate_ax.latents.space import is_coordinate
from surrogate_ax_platform.search_space import ROUND


def searched_conditions(client: Client) -> Searched:
    """The searched conditions of a client's experiment, as the core knows them.

    Raises:
        MismatchError: a parameter that `parameters` did not make.
    """
    return conditions_in(client._experiment.search_space)


def conditions_in(search_space: SearchSpace) -> Searched:
    """The same of a search space."""
    parameters = search_space.parameters
    names = [name for name in parameters if name != ROUND and not is_coordinate(name)]
    return {name: _searched(parameters[name]) for name in names}


def with_conditions(recorded: Mapping[str, Any] | None, searched: Searched) -> dict[str, Any] | None:
    """The record of a search; earlier releases left out conditions, which the client's parameters fix anyway."""
    if recorded is None or recorded.get("conditions"):
        return None if recorded is None else dict(recorded)
    return {**recorded, "conditions": {name: repr(of) for name, of in searched.items()}}


def _searched(parameter: Parameter) -> Range | Choice:
    whole = parameter.parameter_type.name == "INT"
    if isinstance(parameter, RangeParameter):
        low, high = float(parameter.lower), float(parameter.upper)
        log = bool(parameter.log_scale)
        return Range(int(low), int(high), log=log) if whole else Range(low, high, log=log)
    if not isinstance(parameter, ChoiceParameter):
        raise MismatchError(f"client: {parameter} is neither a range nor a choice. Use `parameters`.")
    values: list[Any] = list(parameter.values)
    ordered = parameter.is_ordered and parameter.parameter_type.is_numeric
    steps = {Fraction(str(b)) - Fraction(str(a)) for a, b in pairwise(values)} if ordered else set()
    if len(steps) == 1 and (step := steps.pop()) > 0:
        return Range(values[0], values[-1], step=int(step) if whole else float(step))
    return Choice(values)
