"""What a study holds, read without a host: its ended trials, their history, and how the study stands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from torch import Tensor

from surrogate_ax.checks import mapping
from surrogate_ax.errors import MismatchError
from surrogate_ax.execution.answers import Answers
from surrogate_ax.execution.asking import LIKING
from surrogate_ax.execution.batch_size import recorded_size
from surrogate_ax.execution.collector import collecting_later
from surrogate_ax.execution.records import EndedTrial, HistoryBuilder, SearchRecord, SearchStatus
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.policies.history import History
from surrogate_ax.policies.noisy import settled_record
from surrogate_ax.scoring.objective import Objective, recorded_objective
from surrogate_ax_optuna.attributes import (
    ANSWERS_ATTR,
    METRICS_ATTR,
    RECIPE_ATTR,
    RESULT_ATTR,
    STUDY_ATTR,
    attributes,
    study_attributes,
)
from surrogate_ax_optuna.lease import abandoned
from surrogate_ax_optuna.pruning import checkpoint_estimates
from surrogate_ax_optuna.seeds import Seeds, study_seeds
from surrogate_ax_optuna.trials import (
    is_awaiting,
    is_gone,
    is_leased,
    is_lost,
    is_told,
    parent_of,
    read_recipe,
    round_of,
    study_trials,
    when_ended,
)


class StudyReader:
    """Reads the ended trials of a study, each once.

    Args:
        objective: ranks them.
        seeds: inner rows (D,) of stored seeds, by SHA-256.
        tells: whose values the study was told; None where that is not known, and what was recorded counts.
        decode: what a trial without a recipe has evaluated, as one that a user has told by hand; None where that is not
            known, and the trial is passed over. Left out, such a trial is refused.
        liking: what a person likes by now, by number of the trial, in place of what was told.

    Attributes:
        recipes: of trials that the caller asked itself, by number, which need not be parsed.
        passed_over: numbers of trials that nobody can tell what they evaluated.
    """

    def __init__(
        self,
        objective: Objective,
        seeds: Mapping[str, Tensor] | None = None,
        *,
        tells: Objective | None,
        decode: Callable[[FrozenTrial], Recipe | None] | None = None,
        liking: Mapping[int, float] | None = None,
    ) -> None:
        self.recipes: dict[int, Recipe] = {}
        self.passed_over: list[int] = []
        self._optimised = [metric.name for metric in (tells or objective).optimised]
        self._known, self._decode, self._liking = tells is not None, decode, liking or {}
        self._builder = HistoryBuilder(objective, seeds)
        self._settled = 0  # so many first trials have ended, and been read
        self._read: set[int] = set()  # of those behind

    @collecting_later()
    def read(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Read what has ended since.

        Args:
            trials: all of the study, by number.

        Returns:
            Those that have not ended.
        """
        unsettled = trials[self._settled :]
        fresh = [trial for trial in unsettled if trial.state.is_finished() and trial.number not in self._read]
        ended = [(when_ended(trial)[0], self._ended(trial)) for trial in fresh if is_told(trial)]
        self._builder.extend([(when, trial) for when, trial in ended if trial is not None])
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

    def _ended(self, trial: FrozenTrial) -> EndedTrial | None:
        recipe, known = self.recipes.pop(trial.number, None), attributes(trial)
        if recipe is None:
            unknown = self._decode is not None and RECIPE_ATTR not in known
            recipe = self._decode(trial) if self._decode and unknown else read_recipe(trial)
        if recipe is None:
            self.passed_over.append(trial.number)
            return None
        result = self._told(trial, mapping(known.get(RESULT_ATTR, {}), f"trial {trial.number}, {RESULT_ATTR}"))
        return EndedTrial(trial.number, recipe, round_of(trial), result, checkpoint_estimates(trial))

    def _told(self, trial: FrozenTrial, result: Mapping[str, Any]) -> Mapping[str, Any]:
        """The result of a trial: what was recorded, and what the study was told where a user has told it by hand."""
        step = trial.last_step
        if trial.state == TrialState.PRUNED and not result and len(self._optimised) == 1 and step is not None:
            estimate = checkpoint_estimates(trial)[step]
            return {"stopped": step, "values": {self._optimised[0]: estimate}}
        values = mapping(result.get("values", {}), f"trial {trial.number}, {RESULT_ATTR}: values")
        if trial.state != TrialState.COMPLETE or (values and not self._known):
            return result
        if len(trial.values) != len(self._optimised):
            raise MismatchError(
                f"trial {trial.number}: expected a value for each of {self._optimised}, as the study's record of its "
                f"metrics says, got {len(trial.values)}. The record was altered, or the trial comes from another study."
            )
        told = dict(zip(self._optimised, trial.values, strict=True))
        if trial.number in self._liking:
            told[LIKING] = self._liking[trial.number]
        return result if told.items() <= values.items() else {**result, "values": {**values, **told}}


def read_record(study: optuna.Study, objective: Objective | None = None, *, seeds: Seeds = None) -> SearchRecord:
    """What a study holds.

    Args:
        study: of `optimize`, of `mirror`, or of trials with `suggest_latents` and `record`.
        objective: ranks what was measured; left out, the one that the study has recorded.
        seeds: where stored seeds are kept, if not where the study keeps them.

    Raises:
        MismatchError: the study has no record of its metrics.
    """
    tells = None if _recorded_metrics(study) is None else study_objective(study)
    ranks = objective or tells or study_objective(study)
    liking = study_answers(study).liking
    reader = StudyReader(ranks, study_seeds(study, seeds), tells=tells, decode=lambda trial: None, liking=liking)
    reader.read(study_trials(study))
    measured = recorded_size(study_attributes(study).get(STUDY_ATTR), f"study {study.study_name!r}")
    return SearchRecord(reader.ended, settled_record(reader.history()), status(study), measured)


def study_answers(study: optuna.Study) -> Answers:
    """What a person has said in a study; nothing where nobody was asked.

    Raises:
        ArgumentError: a record that was altered.
    """
    recorded = study_attributes(study).get(ANSWERS_ATTR)
    return Answers() if recorded is None else Answers.from_json(recorded)


def study_objective(study: optuna.Study) -> Objective:
    """The objective that a study was made with, without its score.

    Raises:
        MismatchError: the study has no such record.
    """
    recorded = _recorded_metrics(study)
    if recorded is None:
        raise MismatchError(
            f"study {study.study_name!r}: no record of its metrics, which `optimize` makes; pass `objective` otherwise."
        )
    return recorded_objective(recorded)


def _recorded_metrics(study: optuna.Study) -> Any:
    """The metrics as a search or a mirror has recorded them, None where nothing has."""
    known = study_attributes(study)
    if STUDY_ATTR in known:
        return mapping(known[STUDY_ATTR], f"study {study.study_name!r}, {STUDY_ATTR}").get("metrics")
    return known.get(METRICS_ATTR)


def status(study: optuna.Study) -> SearchStatus:
    """How a study stands; nothing is changed.

    Args:
        study: any; of trials that `optimize` did not make, those that have ended are counted.
    """
    trials = study_trials(study)
    ended = [trial for trial in trials if is_told(trial)]
    running = [trial for trial in trials if is_leased(trial)]
    dead = abandoned(study, running)
    repeated = {parent_of(trial) for trial in trials if not is_gone(trial)}
    again = sum(is_lost(trial) and trial.number not in repeated for trial in trials)
    again += sum(RECIPE_ATTR in attributes(trial) for trial in dead)
    waiting, failed = sum(map(is_awaiting, running)), sum(t.state == TrialState.FAIL for t in ended)
    return SearchStatus(len(ended), failed, again, len(running) - len(dead) - waiting, waiting)
