"""What the trials of a study are to us: ended, running, gone or lost; and their recipes.

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
from collections.abc import Iterable, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from surrogate_ax.checks import show, whole
from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.execution.loop import INTERRUPTED
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.policies.history import Proposal
from surrogate_ax_optuna.attributes import (
    AWAITING_ATTR,
    BOX_ATTR,
    LEASE_ATTR,
    REASON_ATTR,
    RECIPE_ATTR,
    ROUND_ATTR,
    attributes,
    readable,
)

RETRIES = "retry_history"  # of Optuna's RetryHeartbeatStaleTrialCallback: numbers of the trials that one repeats


def study_trials(study: optuna.Study) -> list[FrozenTrial]:
    """All trials of a study, by number: the storage's own objects, which nobody may change.

    Raises:
        StorageError: Optuna cannot read them.
    """
    with readable(study):
        return study.get_trials(deepcopy=False)


def numbers_of(trials: Sequence[FrozenTrial], ids: Iterable[int]) -> dict[int, int]:
    """Numbers of some of the newest trials by id; a long study is not gone through.

    Args:
        trials: all of the study, by number.
        ids: of trials that are among them.
    """
    found, sought = dict[int, int](), set(ids)
    for trial in reversed(trials):
        if not sought:
            break
        if trial._trial_id in sought:
            sought.remove(trial._trial_id)
            found[trial._trial_id] = trial.number
    return found


def ended_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Ended trials in their order, without those that were broken off before they had a result."""
    return sorted(filter(is_told, study_trials(study)), key=when_ended)


def read_recipe(trial: FrozenTrial) -> Recipe:
    """The recipe of a trial.

    Raises:
        MismatchError: the trial has none, so something else made it.
    """
    recorded = attributes(trial).get(RECIPE_ATTR)
    if recorded is None:
        raise MismatchError(f"study: trial {trial.number} has no recipe, so something else made it.")
    try:
        return Recipe.from_json(recorded)
    except ArgumentError as error:
        raise ArgumentError(f"study: trial {trial.number} has a recipe that was altered. {error}") from error


def points_of(running: Iterable[FrozenTrial]) -> list[Proposal]:
    """What running trials evaluate, of those that have a recipe by now."""
    recipes = (read_recipe(trial) for trial in running if RECIPE_ATTR in attributes(trial))
    return [Proposal(recipe.terms, recipe.condition) for recipe in recipes]


def is_told(trial: FrozenTrial) -> bool:
    """Whether a trial ended with something of its own: a value, a stop at a checkpoint, or a failure of its own."""
    return trial.state.is_finished() and not is_gone(trial) and not is_lost(trial)


def is_foreign(trial: FrozenTrial) -> bool:
    """Whether something else made a trial: it lies in no round, and no recipe says what it evaluated."""
    known = attributes(trial)
    return ROUND_ATTR not in known and RECIPE_ATTR not in known


def is_running(trial: FrozenTrial) -> bool:
    """Whether a trial of a round is being evaluated; others' are no concern."""
    return trial.state == TrialState.RUNNING and ROUND_ATTR in attributes(trial)


def is_leased(trial: FrozenTrial) -> bool:
    """Whether a worker of `optimize` runs a trial: one that a loop by hand has asked is never taken away from it."""
    return trial.state == TrialState.RUNNING and LEASE_ATTR in attributes(trial)


def is_awaiting(trial: FrozenTrial) -> bool:
    """Whether a trial's output is made and kept, and waits for its score: no process runs it."""
    return trial.state == TrialState.RUNNING and AWAITING_ATTR in attributes(trial)


def is_gone(trial: FrozenTrial) -> bool:
    """Whether a trial is as if it had never been asked: broken off, or killed before its recipe was written."""
    if trial.state != TrialState.FAIL:
        return False
    known = attributes(trial)
    return known.get(REASON_ATTR) == INTERRUPTED or (REASON_ATTR not in known and RECIPE_ATTR not in known)


def is_lost(trial: FrozenTrial) -> bool:
    """Whether a trial's process was killed after it was asked: what the host fails itself has a reason."""
    if trial.state != TrialState.FAIL:
        return False
    known = attributes(trial)
    return REASON_ATTR not in known and RECIPE_ATTR in known


def parent_of(trial: FrozenTrial) -> int | None:
    """Number of the trial that a trial repeats."""
    history = trial.system_attrs.get(RETRIES)
    if not history:
        return None
    if not isinstance(history, list):
        raise ArgumentError(f"study: trial {trial.number}, {RETRIES}: expected numbers of trials, got {show(history)}.")
    return whole(history[-1], f"study: trial {trial.number}, {RETRIES}", least=0)


def round_of(trial: FrozenTrial) -> int:
    """A trial's round."""
    return whole(attributes(trial).get(ROUND_ATTR, 0), f"study: trial {trial.number}, {ROUND_ATTR}")


def box_of(trial: FrozenTrial) -> int:
    """Number of the box of its round that a trial lies in."""
    return whole(attributes(trial).get(BOX_ATTR, 0), f"study: trial {trial.number}, {BOX_ATTR}")


def when_ended(trial: FrozenTrial) -> tuple[float, int]:
    """By what ended trials are ordered: their time, and their number where that is the same."""
    ended: datetime.datetime | None = trial.datetime_complete
    return (ended.timestamp() if ended else math.inf, trial.number)
