"""What a study holds, read without a host: its ended trials, their history, and how the study stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState
from torch import Tensor

from surrogate_ax.checks import mapping
from surrogate_ax.errors import MismatchError
from surrogate_ax.execution.records import EndedTrial, HistoryBuilder, SearchRecord, SearchStatus
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.policies.history import History
from surrogate_ax.scoring.objective import Objective, recorded_objective
from surrogate_ax_optuna.attributes import METRICS_ATTR, RECIPE_ATTR, RESULT_ATTR, STUDY_ATTR
from surrogate_ax_optuna.lease import abandoned
from surrogate_ax_optuna.pruning import checkpoint_estimates
from surrogate_ax_optuna.seeds import Seeds, study_seeds
from surrogate_ax_optuna.trials import (
    is_gone,
    is_lost,
    is_running,
    is_told,
    parent_of,
    read_recipe,
    round_of,
    when_ended,
)


class StudyReader:
    """Reads the ended trials of a study, each once.

    Args:
        objective: ranks them.
        seeds: inner rows (D,) of stored seeds, by SHA-256.

    Attributes:
        recipes: of trials that the caller asked itself, by number, which need not be parsed.
    """

    def __init__(self, objective: Objective, seeds: Mapping[str, Tensor] | None = None) -> None:
        self.recipes: dict[int, Recipe] = {}
        self._builder = HistoryBuilder(objective, seeds)
        self._settled = 0  # so many first trials have ended, and been read
        self._read: set[int] = set()  # of those behind

    def read(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Read what has ended since.

        Args:
            trials: all of the study, by number.

        Returns:
            Those that have not ended.
        """
        unsettled = trials[self._settled :]
        fresh = [trial for trial in unsettled if trial.state.is_finished() and trial.number not in self._read]
        self._builder.extend([(when_ended(trial)[0], self._ended(trial)) for trial in fresh if is_told(trial)])
        self._read.update(trial.number for trial in fresh)
        unended = [trial for trial in unsettled if not trial.state.is_finished()]
        self._settled = unended[0].number if unended else len(trials)
        self._read = {number for number in self._read if number >= self._settled}
        return unended

    def history(self, running: Sequence[int] = ()) -> History:
        """The history of what was read; arguments as for `HistoryBuilder.build`."""
        return self._builder.build(running)

    @property
    def ended(self) -> Sequence[EndedTrial]:
        """What was read, in the order of ending."""
        return self._builder.trials

    def _ended(self, trial: FrozenTrial) -> EndedTrial:
        recipe = self.recipes.pop(trial.number, None) or read_recipe(trial)
        result = trial.user_attrs.get(RESULT_ATTR, {})
        return EndedTrial(trial.number, recipe, round_of(trial), result, checkpoint_estimates(trial))


def read_record(study: optuna.Study, objective: Objective | None = None, *, seeds: Seeds = None) -> SearchRecord:
    """What a study holds.

    Args:
        study: of `optimize`, of `mirror`, or of trials with `suggest_latents` and `record`.
        objective: ranks what was measured; left out, the one that the study has recorded.
        seeds: where stored seeds are kept, if not where the study keeps them.

    Raises:
        MismatchError: the study has no record of its metrics, or a trial without a recipe.
    """
    reader = StudyReader(objective or study_objective(study), study_seeds(study, seeds))
    reader.read(study.get_trials(deepcopy=False))
    return SearchRecord(reader.ended, reader.history(), status(study))


def study_objective(study: optuna.Study) -> Objective:
    """The objective that a study was made with, without its score.

    Raises:
        MismatchError: the study has no such record.
    """
    attributes = study.user_attrs
    recorded = attributes.get(METRICS_ATTR)
    if STUDY_ATTR in attributes:
        recorded = mapping(attributes[STUDY_ATTR], f"study {study.study_name!r}, {STUDY_ATTR}").get("metrics")
    if recorded is None:
        raise MismatchError(
            f"study {study.study_name!r}: no record of its metrics, which `optimize` makes; pass `objective` otherwise."
        )
    return recorded_objective(recorded)


def status(study: optuna.Study) -> SearchStatus:
    """How a study stands; nothing is changed.

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
