"""The box and searched conditions as Optuna parameters, and the record of an evaluation on a trial."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from surrogate_ax.errors import ArgumentError
from surrogate_ax.execution.records import result_record
from surrogate_ax.generation.conditions import Choice, Range, check_searched
from surrogate_ax.latents.space import SurrogateSpace, coordinate_names
from surrogate_ax.scoring.evaluator import Evaluations
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_optuna.attributes import REASON_ATTR, RESULT_ATTR, set_attribute


def distributions(
    space: SurrogateSpace | int, conditions: Mapping[str, Range | Choice] | None = None
) -> dict[str, BaseDistribution]:
    """Optuna's description of the box, and of searched conditions beside it.

    Args:
        space: the box, or K, its number of axes.
        conditions: searched call arguments by name.

    Returns:
        `u0` to `u{K-2}` in [0, 1], then the conditions; for `study.ask(fixed_distributions=...)`.

    Raises:
        ArgumentError: K below 2, or conditions that are not searched values or carry a name of the box.
    """
    axes = space if isinstance(space, int) else space.axes
    if axes < 2:
        raise ArgumentError(f"space: expected K of at least 2 axes, got {axes}.")
    box: dict[str, BaseDistribution] = dict.fromkeys(coordinate_names(axes), FloatDistribution(0.0, 1.0))
    searched = check_searched(conditions or {})
    return box | {name: _distribution(condition) for name, condition in searched.items()}


def _distribution(condition: Range | Choice) -> BaseDistribution:
    if isinstance(condition, Choice):
        return CategoricalDistribution(condition.values)
    if condition.integer:
        return IntDistribution(
            int(condition.low), int(condition.high), step=int(condition.step or 1), log=condition.log
        )
    return FloatDistribution(condition.low, condition.high, step=condition.step, log=condition.log)


def write_result(trial: optuna.Trial, evaluations: Evaluations, i: int) -> None:
    """Record the result of item i: constraints, values of every metric, costs, and the reason if it failed."""
    reason = evaluations.reasons.get(i)
    write_record(trial, evaluations.objective, {} if reason else result_record(evaluations, i), reason)


def write_record(trial: optuna.Trial, objective: Objective, result: Mapping[str, Any], reason: str | None) -> None:
    """Record what a host has noted of a trial.

    Args:
        trial: running.
        objective: for its bounds.
        result: of `result_record`.
        reason: why it failed, None if it did not.
    """
    if reason is not None:
        set_attribute(trial, REASON_ATTR, reason)
        return
    set_attribute(trial, RESULT_ATTR, dict(result))  # first: it is refused where a trial has ended
    for metric in objective.bounded:
        excess = result["values"][metric.name] - (metric.bound or 0.0)
        trial.set_constraint(metric.name, float(excess if metric.goal == "at_most" else -excess))


def objective_values(evaluations: Evaluations, i: int) -> list[float]:
    """What Optuna is told of item i: the metrics to maximise or minimise, in order."""
    return [float(evaluations.values[metric.name][i]) for metric in evaluations.objective.optimised]


def check_directions(study: optuna.Study, objective: Objective) -> None:
    """Refuse a study whose directions are not the objective's.

    Raises:
        ArgumentError: they differ; both are named.
    """
    wanted = [metric.goal for metric in objective.optimised]
    given = [direction.name.lower() for direction in study.directions]
    if wanted != given:
        names = ", ".join(f"{metric.name}: {metric.goal}" for metric in objective.optimised)
        raise ArgumentError(
            f"study: expected directions {wanted} for the metrics ({names}), got {given}. "
            f"Create it with directions={wanted}."
        )
