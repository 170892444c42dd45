"""What the trials of a study are to us: told, running, gone or lost; and their recipes.

A failed trial is of one of three kinds:

| kind | reason | recipe | it |
|---|---|---|---|
| failed | its own, or that its process was killed again and again | | counts |
| gone | interrupted, or none | none, if there is no reason | is as if it had never been asked |
| lost | none: its process was killed, another one failed it | there | is run again by a child with the same recipe |
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from surrogate_ax.errors import MismatchError
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.latents.seeds import Terms
from surrogate_ax.scoring.evaluator import INTERRUPTED
from surrogate_ax_optuna.lease import abandoned
from surrogate_ax_optuna.round_view import ROUND_ATTR
from surrogate_ax_optuna.search_space import REASON_ATTR, RECIPE_ATTR

HISTORY = "retry_history"  # of Optuna's RetryHeartbeatStaleTrialCallback: numbers of the trials that one repeats


def ended_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Told trials in the order in which they ended, without those that were broken off before they had a result."""
    return in_order(study.get_trials(deepcopy=False))


def in_order(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """The told ones of some trials, in the order in which they ended."""
    return sorted(filter(is_told, trials), key=_when)


def read_recipe(trial: FrozenTrial) -> Recipe:
    """The recipe of a trial.

    Raises:
        MismatchError: the trial has none, so something else made it.
    """
    if RECIPE_ATTR not in trial.user_attrs:
        raise MismatchError(
            f"study: trial {trial.number} has no recipe, so something else made it. Use a study of its own."
        )
    return Recipe.from_json(trial.user_attrs[RECIPE_ATTR])


def proposal(trial: FrozenTrial) -> tuple[Terms, Condition]:
    """The coefficient row and the searched call arguments of a trial's recipe."""
    recipe = read_recipe(trial)
    return recipe.terms, dict(recipe.condition)


def is_told(trial: FrozenTrial) -> bool:
    """Whether a trial was told: a value, a stop at a checkpoint, or a failure of its own."""
    return trial.state.is_finished() and not is_gone(trial) and not is_lost(trial)


def is_running(trial: FrozenTrial) -> bool:
    """Whether some worker runs a trial that `ask` made; others' are no concern."""
    return trial.state == TrialState.RUNNING and ROUND_ATTR in trial.user_attrs


def is_gone(trial: FrozenTrial) -> bool:
    """Whether a trial is as if it had never been asked: broken off, or killed before its recipe was written."""
    return trial.state == TrialState.FAIL and (
        trial.user_attrs.get(REASON_ATTR) == INTERRUPTED
        or (REASON_ATTR not in trial.user_attrs and RECIPE_ATTR not in trial.user_attrs)
    )


def is_lost(trial: FrozenTrial) -> bool:
    """Whether a trial's process was killed after it was asked: what the host fails itself has a reason."""
    return trial.state == TrialState.FAIL and REASON_ATTR not in trial.user_attrs and RECIPE_ATTR in trial.user_attrs


def parent_of(trial: FrozenTrial) -> int | None:
    """Number of the trial that a trial repeats."""
    history = trial.system_attrs.get(HISTORY)
    return int(history[-1]) if history else None


def round_of(trial: FrozenTrial) -> int:
    """A trial's round."""
    return int(trial.user_attrs.get(ROUND_ATTR, 0))


@dataclass(frozen=True)
class SearchStatus:
    """What a study holds when a run begins.

    Args:
        ended: trials that have ended, failed ones among them.
        failed: those that failed.
        again: trials of killed processes, which are run again.
        running: trials that other processes are running.
    """

    ended: int
    failed: int
    again: int
    running: int

    def __bool__(self) -> bool:
        return bool(self.ended or self.again or self.running)

    def __str__(self) -> str:
        parts = [f"{self.ended} told"]
        parts += [f"{self.failed} of them failed"] if self.failed else []
        parts += [f"{self.again} taken back from a killed process, to be run again"] if self.again else []
        parts += [f"{self.running} running in another process"] if self.running else []
        return ", ".join(parts)


def status(study: optuna.Study) -> SearchStatus:
    """What a study holds; nothing is changed.

    Args:
        study: any; of trials that `optimize` did not make, those that have ended are counted.
    """
    trials = study.get_trials(deepcopy=False)
    ended = [trial for trial in trials if is_told(trial)]
    running = [trial for trial in trials if is_running(trial)]
    dead = abandoned(study, running)
    repeated = {parent_of(trial) for trial in trials if not is_gone(trial)}
    again = sum(is_lost(trial) and trial.number not in repeated for trial in trials)
    again += sum(RECIPE_ATTR in trial.user_attrs for trial in dead)
    return SearchStatus(len(ended), sum(t.state == TrialState.FAIL for t in ended), again, len(running) - len(dead))


def _when(trial: FrozenTrial) -> tuple[float, int]:
    ended: datetime.datetime | None = trial.datetime_complete
    return (ended.timestamp() if ended else math.inf, trial.number)
