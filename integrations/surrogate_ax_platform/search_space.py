"""The box and searched conditions as Ax parameters, metrics as Ax's objective and outcome constraints.

Parameters: `u0..u{K-2}` floats in [0, 1]; `round`, the number of the box that the point lies in, which the search
chooses; then the searched conditions. Earlier releases gave plain draws and proposals a `round` below 0, outside the
design; their snapshots are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, Literal

from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from ax.api.utils.instantiation.from_string import optimization_config_from_string
from ax.core.optimization_config import OptimizationConfig
from ax.core.parameter import RangeParameter
from ax.core.search_space import SearchSpace
from ax.core.types import ComparisonOp

from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.generation.conditions import Choice, Range, check_searched
from surrogate_ax.latents.space import SurrogateSpace, coordinate_names, is_coordinate
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_platform.metric_names import check_metric_names

ROUND = "round"
LAST_BOX = 999  # boxes are numbered from 0

Parameter = RangeParameterConfig | ChoiceParameterConfig


def parameters(
    space: SurrogateSpace | int, conditions: Mapping[str, Range | Choice] | None = None
) -> list[RangeParameterConfig | ChoiceParameterConfig]:
    """Ax's description of the box, the round, and searched conditions beside them.

    Args:
        space: the box, or K, its number of axes.
        conditions: searched call arguments by name.

    Returns:
        `u0` to `u{K-2}` in [0, 1], `round`, then the conditions; for `client.configure_experiment`.

    Raises:
        ArgumentError: K below 2, or conditions that Ax cannot hold, are not searched values or carry a taken name.
    """
    axes = space if isinstance(space, int) else space.axes
    if axes < 2:
        raise ArgumentError(f"space: expected K of at least 2 axes, got {axes}.")
    searched = check_searched(conditions or {})
    if ROUND in searched:
        raise ArgumentError("conditions['round']: the name belongs to the rounds of a policy; rename the argument.")
    return [*_box(axes), *(_parameter(name, condition) for name, condition in searched.items())]


def _box(axes: int) -> list[RangeParameterConfig]:
    box = [
        RangeParameterConfig(name=name, bounds=(0.0, 1.0), parameter_type="float") for name in coordinate_names(axes)
    ]
    return [*box, RangeParameterConfig(name=ROUND, bounds=(0, LAST_BOX), parameter_type="int")]


def _parameter(name: str, condition: Range | Choice) -> Parameter:
    if isinstance(condition, Choice):
        return _choice(name, condition)
    kind: Literal["int", "float"] = "int" if condition.integer else "float"
    if condition.step is None or (condition.integer and condition.step == 1):
        scaling: Literal["log", "linear"] = "log" if condition.log else "linear"
        bounds = (condition.low, condition.high)
        return RangeParameterConfig(name=name, bounds=bounds, parameter_type=kind, scaling=scaling)
    low, high, step = (Fraction(str(number)) for number in (condition.low, condition.high, condition.step))
    steps = [low + i * step for i in range(int((high - low) / step) + 1)]  # as written: 0.3 is three times 0.1
    values: Any = [int(value) if condition.integer else float(value) for value in steps]
    return ChoiceParameterConfig(name=name, values=values, parameter_type=kind, is_ordered=True)


def _choice(name: str, condition: Choice) -> ChoiceParameterConfig:
    kinds = {type(value) for value in condition.values}
    if kinds == {int, float}:
        kinds = {float}
    if len(kinds) != 1 or type(None) in kinds:
        raise ArgumentError(
            f"conditions[{name!r}]: Ax needs choices of one type, all strings, numbers or booleans, "
            f"got {list(condition.values)}. Use names, and turn them into values in the generator."
        )
    (kind,) = kinds
    values: Any = [float(value) if kind is float and isinstance(value, int) else value for value in condition.values]
    kind_name: Any = kind.__name__
    return ChoiceParameterConfig(name=name, values=values, parameter_type=kind_name, is_ordered=kind is bool)


def objective_text(objective: Objective) -> str:
    """What Ax calls the objective: "score", "-loss" or "score, -loss"."""
    return ", ".join(metric.name if metric.goal == "maximize" else f"-{metric.name}" for metric in objective.optimised)


def optimization(objective: Objective) -> OptimizationConfig:
    """Metrics to optimise as Ax's objective, bounded ones as outcome constraints.

    Raises:
        ArgumentError: Ax cannot read a metric's name in the expressions that it takes.
    """
    check_metric_names(metric.name for metric in objective.metrics)
    signs = {"at_most": "<=", "at_least": ">="}
    bounds = [f"{metric.name} {signs[metric.goal]} {metric.bound!r}" for metric in objective.bounded]
    wanted = {metric.name for metric in (*objective.optimised, *objective.bounded)}
    try:
        config = optimization_config_from_string(objective_text(objective), bounds)
        read = set(config.metric_names)
    except (ValueError, TypeError, SyntaxError, AttributeError) as error:  # what SymPy makes of names such as "beta"
        raise ArgumentError(_unreadable(wanted, str(error).splitlines()[0])) from error
    if read != wanted:
        raise ArgumentError(_unreadable(wanted, f"it reads {sorted(read)}"))
    return config


def _unreadable(names: set[str], why: str) -> str:
    return f"objective: Ax cannot read the metric names {sorted(names)} ({why}). Use words such as my_score."


def check_client(client: Client, objective: Objective) -> int:
    """K of a client's experiment, after checking that it is one of ours for this objective.

    Raises:
        MismatchError: no experiment, other parameters than `parameters` gives, or another objective (named).
    """
    experiment = client._maybe_experiment
    advice = "Use `configure_experiment(client, generator, objective)` on a new Client."
    if experiment is None:
        raise MismatchError(f"client: it has no experiment yet. {advice}")
    present = experiment.search_space.parameters
    axes = len(box_names(present)) + 1
    if axes < 2 or ROUND not in present:
        raise MismatchError(f"client: expected the parameters u0, u1, ..., round, got {sorted(present)}. {advice}")
    for wanted in _box(axes):
        found = present.get(wanted.name)
        if not isinstance(found, RangeParameter) or (found.lower, found.upper) != (wanted.bounds[0], wanted.bounds[1]):
            raise MismatchError(f"client: expected {wanted.name} in {wanted.bounds}, got {found}. {advice}")
    if experiment.search_space.parameter_constraints:
        raise MismatchError("client: expected no parameter constraints; they would cut a part out of the box.")
    wanted_config, config = optimization(objective), experiment.optimization_config
    described = None if config is None else _describe(config)
    if described != _describe(wanted_config):
        raise MismatchError(
            f"client: it optimises {described}, the objective given is {_describe(wanted_config)}. "
            "Give the objective that the client was configured with, or a new Client."
        )
    return axes


def _describe(config: OptimizationConfig) -> tuple[str, ...]:
    """The objective and constraints in one form, since Ax writes bounds differently after loading."""
    signs = {ComparisonOp.LEQ: "<=", ComparisonOp.GEQ: ">="}
    constraints = sorted(f"{c.metric_names} {signs[c.op]} {float(c.bound)!r}" for c in config.outcome_constraints)
    weights = zip(config.objective.metric_names, (w for _, w in config.objective.metric_weights), strict=True)
    return (", ".join(f"{float(weight):+g} {name}" for name, weight in weights), *constraints)


def searched_names(space: SearchSpace) -> list[str]:
    """Names of the searched conditions of a search space of ours."""
    box = box_names(space.parameters)
    return [name for name in space.parameters if name != ROUND and name not in box]


def box_names(names: Iterable[str]) -> list[str]:
    """Those of the parameters that are surrogate coordinates, in order."""
    found = [name for name in names if is_coordinate(name)]
    return sorted(found, key=lambda name: int(name[1:]))
