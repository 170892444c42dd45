"""What Optuna's pruner is told of estimates at a checkpoint, and a pruner that compares the trials of a round.

Pruners know no constraints: a row that breaks a bound would stop rows that keep it. So an estimate that breaks a bound
is reported as worse than every estimate so far at its step, by as much as it breaks it; the trial keeps what was
estimated beside that, because policies learn from it.

Reference: Deb, Comput. Methods Appl. Mech. Engrg. 186 (2000): what is feasible stands before what is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from surrogate_ax.arrays import Array
from surrogate_ax.checks import mapping, show
from surrogate_ax.errors import ArgumentError
from surrogate_ax.policies.plan import survivors
from surrogate_ax.scoring.objective import Objective
from surrogate_ax_optuna.attributes import ESTIMATES_ATTR, attributes, set_attribute
from surrogate_ax_optuna.trials import round_of, study_trials


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
        others = [checkpoint_estimates(trial) for trial in study_trials(study)]
        known = [estimated[step] for estimated in others if step in estimated]
        sign = -1 if metric.goal == "maximize" else 1
        worst = np.max(sign * np.concatenate([known, estimates]))
        reported = np.where(excess > 0, sign * (worst + excess), estimates)
    for i, trial in enumerate(trials):
        trial.report(float(reported[i]), step)
        if excess[i] > 0:
            kept = attributes(trial).get(ESTIMATES_ATTR, {})
            set_attribute(trial, ESTIMATES_ATTR, {**kept, str(step): float(estimates[i])})


def checkpoint_estimates(trial: FrozenTrial) -> dict[int, float]:
    """Estimates of the optimised metric by step: what was reported, or kept beside it."""
    where = f"study: trial {trial.number}, {ESTIMATES_ATTR}"
    kept = mapping(attributes(trial).get(ESTIMATES_ATTR, {}), where)
    wrong = [step for step in kept if not step.isdecimal()]
    if wrong:
        raise ArgumentError(f"{where}: expected numbers of steps, got {show(wrong[0])}.")
    return trial.intermediate_values | {int(step): value for step, value in kept.items()}


class CohortPruner(BasePruner):
    """Let the best share of a round go on behind a checkpoint: what a budget does, for loops of one's own.

    A trial is compared with all trials of its round that have reported at the same step, so report all rows of a batch
    before asking about the first. In a study without rounds every trial is one cohort.

    Args:
        keep_fraction: share that goes on; one trial always does.

    Raises:
        ArgumentError: a share outside (0, 1].
    """

    def __init__(self, keep_fraction: float = 0.25) -> None:
        if not 0 < keep_fraction <= 1:
            raise ArgumentError(f"keep_fraction: expected a share in (0, 1], got {keep_fraction}.")
        self._keep_fraction = keep_fraction

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether a trial is none of the best of its round at its last step."""
        step = trial.last_step
        if step is None:
            return False
        cohort = {
            other.number: other.intermediate_values[step]
            for other in study_trials(study)
            if round_of(other) == round_of(trial) and step in other.intermediate_values
        } | {trial.number: trial.intermediate_values[step]}
        sign = -1 if study.direction == StudyDirection.MAXIMIZE else 1
        # NaN stands last, and of equal values the earlier trial first.
        order = sorted(cohort, key=lambda n: (math.isnan(cohort[n]), sign * cohort[n], n))
        return trial.number not in order[: survivors(len(order), self._keep_fraction)]
