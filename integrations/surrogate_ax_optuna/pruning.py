"""What Optuna's pruner is told of estimates at a checkpoint.

Pruners know no constraints: a row that breaks a bound would stop rows that keep it. So an estimate that breaks a bound
is reported as worse than every estimate so far at its step, by as much as it breaks it; the trial keeps what was
estimated beside that, because policies learn from it.

Reference: Deb, Comput. Methods Appl. Mech. Engrg. 186 (2000): what is feasible stands before what is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from surrogate_ax.arrays import Array
from surrogate_ax.checks import mapping, show
from surrogate_ax.errors import ArgumentError
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_optuna.attributes import ESTIMATES_ATTR


def report_to_pruner(
    study: optuna.Study, trials: Sequence[optuna.Trial], step: int, values: Mapping[str, Array], objective: Objective
) -> None:
    """Report n estimates to the study's pruner.

    Args:
        study: of the trials.
        trials: n running trials.
        step: the checkpoint, in steps done.
        values: (n,) estimates of every metric.
        objective: has one metric to optimise, as Optuna takes one number a step.
    """
    (metric,) = objective.optimised
    estimates, excess = values[metric.name], objective.violation(values)
    reported = estimates
    if excess.any():
        others = [checkpoint_estimates(trial) for trial in study.get_trials(deepcopy=False)]
        known = [estimated[step] for estimated in others if step in estimated]
        sign = -1 if metric.goal == "maximize" else 1
        worst = np.max(sign * np.concatenate([known, estimates]))
        reported = np.where(excess > 0, sign * (worst + excess), estimates)
    for i, trial in enumerate(trials):
        trial.report(float(reported[i]), step)
        if excess[i] > 0:
            kept = trial.user_attrs.get(ESTIMATES_ATTR, {})
            trial.set_user_attr(ESTIMATES_ATTR, {**kept, str(step): float(estimates[i])})


def checkpoint_estimates(trial: FrozenTrial) -> dict[int, float]:
    """Estimates of the optimised metric by step: what was reported, or kept beside it."""
    where = f"study: trial {trial.number}, {ESTIMATES_ATTR}"
    kept = mapping(trial.user_attrs.get(ESTIMATES_ATTR, {}), where)
    wrong = [step for step in kept if not step.isdecimal()]
    if wrong:
        raise ArgumentError(f"{where}: expected numbers of steps, got {show(wrong[0])}.")
    return trial.intermediate_values | {int(step): value for step, value in kept.items()}
